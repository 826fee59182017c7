"""Which tensor of a graph a cut's name means."""

from typing import TYPE_CHECKING

from edgeosr.errors import UsageError
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.tangents.path import nodes_between, tensor_named

if TYPE_CHECKING:
    import onnx_ir as ir

INPUT_CUT = "input"
LAST_STAGE = "last-stage"
LAST_CONV = "last-conv"
CUTS = (INPUT_CUT, LAST_STAGE, LAST_CONV)


def resolve_cut(model: "ir.Model", cut: str, embedding: str) -> str:
    """Return the name of the tensor that a cut means.

    ``input`` is the graph's input; ``last-conv`` what the last convolution over a map reads; ``last-stage``
    what the node reads that first brings the map to the size that the last convolution leaves it in. Any
    other cut is the name of a tensor.

    Args:
        model: a classifier with inferred shapes.
        cut: one of ``CUTS``, or the name of a tensor.
        embedding: name of the embedding.

    Raises:
        UsageError: there is no such tensor (the message suggests near ones), or it does not lead to the
            embedding.
    """
    source = next(value for value in model.graph.inputs if value.name not in model.graph.initializers)
    end = tensor_named(model, embedding, "the embedding")
    nodes = nodes_between(model, source, end)
    if cut == INPUT_CUT:
        found = source
    elif cut == LAST_CONV:
        found = _read_by(_last_convolution(nodes))
    elif cut == LAST_STAGE:
        found = _last_stage(nodes)
    else:
        found = tensor_named(model, cut, f"the cut, if it is none of {', '.join(CUTS)},", CUTS)
    if not nodes_between(model, found, end):
        raise UsageError(
            f"the cut must lead to the embedding {embedding!r}; {cut!r} does not; "
            f"pass --cut {', '.join(CUTS)} or a tensor between the input and the embedding"
        )
    assert found.name
    return found.name


def _last_convolution(nodes: "list[ir.Node]") -> "ir.Node":
    """Return the convolution with the most convolutions before it; the last one of several.

    The depth decides, because a shortcut's convolution may stand behind the main branch's. Convolutions
    over a single position (squeeze-and-excitation, heads) are linear layers and do not count.
    """
    depths: dict[ir.Value, int] = {}
    deepest, last = 0, None
    for node in nodes:
        depth = max((depths.get(value, 0) for value in node.inputs if value is not None), default=0)
        if node.op_type == "Conv" and _positions(_read_by(node)) != 1:
            depth += 1
            if depth >= deepest:
                deepest, last = depth, node
        depths.update(dict.fromkeys(node.outputs, depth))
    if last is None:
        raise UsageError(
            f"the cuts {LAST_STAGE} and {LAST_CONV} need a convolution between input and embedding; there is "
            f"none; pass --cut {INPUT_CUT} or the name of a tensor"
        )
    return last


def _last_stage(nodes: "list[ir.Node]") -> "ir.Value":
    final = _map_size(_last_convolution(nodes).outputs[0])
    for node in nodes:
        value = next((value for value in node.inputs if value is not None), None)
        if final is None or value is None or _map_size(node.outputs[0]) != final:
            continue
        before = _map_size(value)
        if before is not None and before != final:
            return value
    raise UsageError(
        f"the cut {LAST_STAGE} needs maps of known sizes that get smaller; there are none before the last "
        f"convolution; pass --cut {LAST_CONV} or the name of a tensor"
    )


def _read_by(node: "ir.Node") -> "ir.Value":
    value = node.inputs[0]
    assert value is not None
    return value


def _map_size(value: "ir.Value") -> tuple[int, ...] | None:
    """Return the spatial sizes of a map ``[B, C, ...]``, None if they are unknown."""
    sizes = static_shape(value)
    if sizes is None or len(sizes) < 3 or None in sizes[2:]:
        return None
    return tuple(size for size in sizes[2:] if size is not None)


def _positions(value: "ir.Value") -> int | None:
    sizes = _map_size(value)
    count = 1
    for size in sizes or ():
        count *= size
    return None if sizes is None else count
