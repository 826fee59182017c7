"""Control flow in a classifier's graph: branches that are always the same are inlined, the rest is refused.

torch's exporters write an ``If`` for a ``squeeze`` whose axis may or may not be 1, functions and scripted
modules bring more. Almost all of them ask for a size that never changes.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeosr.errors import InferenceError, UnsupportedGraphError
from edgeosr.export.graph.assemble import remove_unused
from edgeosr.export.graph.operators import is_random
from edgeosr.export.graph.reading import SIZES, ancestors, describe
from edgeosr.export.graph.writer import find_value, import_onnx_ir
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

if TYPE_CHECKING:
    from collections.abc import Collection

    import onnx_ir

_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
# Batches that conditions are run with, and what their images hold: black, or noise from this seed.
_TRIED = ((1, None), (1, 1), (2, None), (3, 1))
# Inputs whose values, not their sizes alone, say how large the output is; None: all of them.
_SIZED_BY_VALUES: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("NonZero", "Compress", "Unique", "NonMaxSuppression", "Range", "ConstantOfShape"), None),
    **dict.fromkeys(("StringSplit", "ImageDecoder"), None),
    **dict.fromkeys(("HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix"), None),
    **dict.fromkeys(
        ("Reshape", "Expand", "Tile", "OneHot", "TopK", "Upsample", "Squeeze", "Unsqueeze"), (1,)
    ),
    **dict.fromkeys(("Split", "SplitToSequence", "CenterCropPad", "AffineGrid", "SequenceAt"), (1,)),
    **dict.fromkeys(("SequenceErase", "STFT"), (1,)),
    **dict.fromkeys(("Col2Im", "DFT", "MaxUnpool", "SequenceInsert"), (1, 2)),
    **dict.fromkeys(("Slice", "Resize"), (1, 2, 3, 4)),
    "Pad": (1, 3),
}


def without_constant_branches(proto: Any) -> Any:
    """Replace every ``If`` whose condition is the same for any image by the branch that it takes.

    A condition counts as such if constants and sizes alone decide it, and it comes out alike for every batch
    size that the graph runs with.

    Args:
        proto: ``onnx.ModelProto`` with one input, ``[batch, fixed sizes]``.

    Returns:
        The graph; unchanged if it has no such ``If``.
    """
    if not any(node.op_type == "If" for node in proto.graph.node):
        return proto
    ir = import_onnx_ir()
    model: onnx_ir.Model = ir.from_proto(proto)
    while True:
        candidates = [
            node for node in model.graph if node.op_type == "If" and decided_by_sizes(node.inputs[0])
        ]
        taken = _taken(model, candidates)
        if not taken:
            return ir.to_proto(model)
        for node, condition in taken.items():
            _inline(model.graph, node, "then_branch" if condition else "else_branch")


def refuse_control_flow(model: "onnx_ir.Model", path: Path) -> None:
    """Raise UnsupportedGraphError if a node on the way to the outputs has a body that may or may not run."""
    reaching = ancestors(model.graph.outputs)
    for node in model.graph:
        if node in reaching and node.op_type in _CONTROL_FLOW:
            raise UnsupportedGraphError(
                f"a classifier that always runs the same nodes is needed; {describe(node)} of {path} lies on "
                f"the way to its scores, and what its {node.op_type} does is not the same for every image; "
                "export it without control flow (torch: trace it, or export with a fixed image size)"
            )


def decided_by_sizes(value: "onnx_ir.Value | None") -> bool:
    """Tell whether constants and sizes, all fixed but the batch, decide what a tensor holds."""
    # Each value with what is asked of it: what it holds, or only how large it is.
    pending, seen = [(value, True)], set()
    while pending:
        value, held = pending.pop()
        if value is None or value.is_initializer():
            continue
        if value.is_graph_input():
            if held:
                return False
            continue
        maker = value.producer()
        if maker is None or (maker, held) in seen:
            continue
        seen.add((maker, held))
        if maker.op_type in _CONTROL_FLOW or (held and is_random(maker)):
            return False
        if maker.op_type in SIZES:
            pending += [(one, False) for one in maker.inputs]
            continue
        by_values = () if held else _sizing_inputs(maker)
        pending += [(one, held or place in by_values) for place, one in enumerate(maker.inputs)]
    return True


def _sizing_inputs(node: "onnx_ir.Node") -> "Collection[int]":
    """Return the places of the inputs whose values decide the size of the output."""
    places: tuple[int, ...] | None = _SIZED_BY_VALUES.get(node.op_type, ())
    if node.op_type.startswith("Reduce"):
        places = (1,)
    # What is no standard operator may do anything.
    if places is None or node.domain not in ("", "ai.onnx"):
        return range(len(node.inputs))
    return places


def _taken(model: "onnx_ir.Model", nodes: "list[onnx_ir.Node]") -> "dict[onnx_ir.Node, bool]":
    """Return the nodes whose condition is always the same, and what it is."""
    names = {node: str(node.inputs[0].name) for node in nodes if node.inputs[0] is not None}
    wanted = list(dict.fromkeys(names.values()))
    runs = [found for tried in _TRIED if wanted and (found := _conditions(model, wanted, *tried))]
    always = {
        name: runs[0][index] for index, name in enumerate(wanted) if len({run[index] for run in runs}) == 1
    }
    return {node: always[name] for node, name in names.items() if name in always}


def _conditions(model: "onnx_ir.Model", names: list[str], batch: int, noise: int | None) -> list[bool] | None:
    ir = import_onnx_ir()
    # What the conditions do not need may not run for this batch.
    part: onnx_ir.Model = ir.from_proto(ir.to_proto(model))
    part.graph.outputs[:] = [find_value(part, name) for name in names]
    remove_unused(part)
    proto = ir.to_proto(part)
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    if dims[0].HasField("dim_value") and dims[0].dim_value not in (batch, 0, -1):
        return None
    image = np.zeros((batch, *(dim.dim_value for dim in dims[1:])), np.float32)
    if noise is not None:
        image = np.asarray(np.random.default_rng(noise).normal(size=image.shape), np.float32)
    try:
        session = open_session(proto.SerializeToString(), SessionSettings(threads=1, optimisation="none"))
        found = run_session(session, names, {proto.graph.input[0].name: image})
    except InferenceError:
        return None
    return [bool(np.all(value)) for value in found]


def _inline(graph: "onnx_ir.Graph", node: "onnx_ir.Node", name: str) -> None:
    ir = import_onnx_ir()
    branch: onnx_ir.Graph = node.attributes[name].value
    results = list(branch.outputs)
    branch.outputs.clear()
    # Two branches may use a name each; in one graph there is only one.
    prefix = f"{node.name or node.outputs[0].name}/{name}"
    for own_name, held in list(branch.initializers.items()):
        del branch.initializers[own_name]
        held.name = f"{prefix}/{held.name}"
        graph.register_initializer(held)
    inner = list(branch)
    branch.remove(inner)
    graph.insert_before(node, inner)
    for one in inner:
        for value in one.outputs:
            if value.name:
                value.name = f"{prefix}/{value.name}"
    for output, result in zip(node.outputs, results, strict=True):
        # It keeps the name that people may have asked for.
        copy = ir.node("Identity", [result])
        graph.insert_before(node, copy)
        own, output.name = output.name, f"{prefix}/{output.name}"
        copy.outputs[0].name = own
        copy.outputs[0].type, copy.outputs[0].shape = output.type, output.shape
        for index, given in enumerate(graph.outputs):
            if given is output:
                graph.outputs[index] = copy.outputs[0]
        ir.convenience.replace_all_uses_with(output, copy.outputs[0])
    graph.remove(node, safe=True)
