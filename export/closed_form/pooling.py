"""The last spatial pool of a classifier, and the embedding behind it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.observed_shapes import observe_shapes
from edgeosr.export.graph.reading import (
    PASS_THROUGH,
    SIZES,
    ancestors,
    attribute,
    constant,
    describe,
    describe_value,
    input_of,
    static_shape,
    through,
)
from edgeosr.export.graph.writer import NodeWriter, claim_name, find_value

if TYPE_CHECKING:
    import onnx_ir as ir

_MEANS = ("GlobalAveragePool", "ReduceMean", "AveragePool")
_MAXIMA = ("GlobalMaxPool", "ReduceMax", "MaxPool", "GlobalLpPool")
_RESHAPES = ("Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Pool:
    """A pool that reduces a whole map ``[B, D, H, W]`` to one value a channel.

    Attributes:
        node: the pooling node.
        map: its input, after the last activation.
        flat: the first value after it that is ``[B, D]``, None if the graph has none (then the pool's
            output is ``[B, D, 1, 1]``).
        is_mean: False for a maximum or another norm.
    """

    node: "ir.Node"
    map: "ir.Value"
    flat: "ir.Value | None"
    is_mean: bool


def find_embedding(model: "ir.Model") -> str:
    """Name the embedding of any classifier: the output of its last spatial pool, flattened to ``[B, D]``.

    Where the graph flattens it nowhere (a convolution as head), a Flatten node is added beside what
    follows the pool, which is kept as it is.

    Args:
        model: a classifier with the input ``[B, 3, H, W]``; opset 13 or later.

    Returns:
        The name of a tensor of the graph, float32 ``[B, D]``.

    Raises:
        UnsupportedGraphError: there is no such pool, or more than one (the message names them).
    """
    name = embedding_of(model, find_pool(model)).name
    assert name is not None
    return name


def embedding_of(model: "ir.Model", pool: Pool) -> "ir.Value":
    """Return the pool's output as ``[B, D]``; adds a Flatten node named ``embedding`` if none does it."""
    if pool.flat is not None:
        _set_dimension(pool.flat, pool)
        return pool.flat
    claim_name(model, EMBEDDING)
    writer = NodeWriter(model, EMBEDDING)
    flat = writer.op("Flatten", pool.node.outputs[0], name=EMBEDDING, axis=1)
    writer.append()
    _set_dimension(flat, pool)
    return flat


def find_pool(model: "ir.Model", embedding: str | None = None) -> Pool:
    """Find the last spatial pool, or the one that makes the tensor ``embedding``.

    It is the last one that all ways from the image to the output lead through. A pool that the map goes on
    beside, as in the gates of squeeze-and-excite and its kin, is none, however it is written.

    Raises:
        UnsupportedGraphError: no pool, several last ones, or ``embedding`` is not a flattened pool.
    """
    observe_shapes(model.graph, _reduced_rows(model))
    if embedding is not None:
        return _pool_of(find_value(model, embedding))
    reaching = ancestors(model.graph.outputs)
    pools = [pool for node in model.graph if node in reaching and (pool := _as_pool(node)) is not None]
    above_another: set[ir.Node] = set().union(*(ancestors(pool.node.inputs) for pool in pools))
    last = [pool for pool in pools if pool.node not in above_another]
    # All of these lie on one way, each above the next.
    through_all = [pool for pool in pools if not _reached_past(model, pool.node)]
    if through_all:
        return max(through_all, key=lambda pool: len(ancestors(pool.node.inputs)))
    if len(last) < 2:
        names = ", ".join(describe_value(value) for value in model.graph.outputs)
        beside = ", ".join(describe(pool.node) for pool in last)
        raise UnsupportedGraphError(
            f"no pool over the whole map (GlobalAveragePool, ReduceMean over height and width, ...) lies on "
            f"every way to the output, {names}"
            + (f" (the map goes on beside {beside}, as beside a gate)" if last else "")
            + "; name the embedding with --embedding TENSOR, a float32 [batch, D] tensor of the graph"
            f"{_candidate(model)}, and use `--jacobian probes`, or `--jacobian none`"
        )
    raise UnsupportedGraphError(
        "more than one pool could be the last: "
        + ", ".join(describe(pool.node) for pool in last)
        + "; name the embedding with --embedding TENSOR and use `--jacobian probes`, or `--jacobian none`"
    )


def _reduced_rows(model: "ir.Model") -> "list[ir.Value]":
    """Return what reductions read out of a Reshape, whose length may be computed, as in x.view(n, c, -1)."""
    read = [node.inputs[0] for node in model.graph if node.op_type.startswith("Reduce") and node.inputs]
    makers = [(value, value.producer()) for value in read if value is not None]
    return [value for value, maker in makers if maker is not None and maker.op_type in _RESHAPES]


def _reached_past(model: "ir.Model", pool: "ir.Node") -> bool:
    """Tell whether the image gets to the output by a way that does not lead through the pool.

    What is computed from its size alone, as torch writes it for an Expand, says nothing of the image.
    """
    pending, seen = list(model.graph.outputs), {pool}
    while pending:
        value = pending.pop()
        node = value.producer()
        if node is None:
            if value.is_graph_input() and not value.is_initializer():
                return True
        elif node not in seen and node.op_type not in SIZES:
            seen.add(node)
            pending.extend(edge for edge in node.inputs if edge is not None)
    return False


def last_layer_input(model: "ir.Model") -> "ir.Value | None":
    """Return what the last linear layer reads, ``[B, n]`` as far as is known; None if that is unclear."""
    value = model.graph.outputs[0]
    while (node := value.producer()) is not None and len(node.inputs) > 0:
        inputs = [each for each in node.inputs if each is not None]
        computed = [each for each in inputs if each.const_value is None]
        if len(computed) != 1:
            break
        value = computed[0]
        if node.op_type in ("Gemm", "MatMul"):
            return value if value.shape is None or len(value.shape) == 2 else None
    return None


def _candidate(model: "ir.Model") -> str:
    """Return what the classifier's last layer reads, as a hint; empty if that is not clear."""
    value = last_layer_input(model)
    return "" if value is None else f" (perhaps {value.name!r}, which the last layer reads)"


def _set_dimension(flat: "ir.Value", pool: Pool) -> None:
    """Write D into the embedding's shape where inference lost it (a Reshape to a computed shape)."""
    import onnx_ir as ir

    of_map = static_shape(pool.map)
    of_flat = static_shape(flat)
    if of_map is None or of_map[1] is None or (of_flat is not None and of_flat[-1] is not None):
        return
    assert pool.map.shape is not None
    flat.shape = ir.Shape([pool.map.shape[0], of_map[1]])
    flat.type = ir.TensorType(ir.DataType.FLOAT)


def _pool_of(embedding: "ir.Value") -> Pool:
    value = embedding
    node = value.producer()
    while node is not None and node.op_type in (*PASS_THROUGH, *_RESHAPES):
        assert node.inputs[0] is not None
        value = node.inputs[0]
        node = value.producer()
    pool = None if node is None else _as_pool(node)
    if pool is None:
        raise UnsupportedGraphError(
            f"the embedding {embedding.name!r} must be a pool over the whole map, flattened; it comes from "
            f"{describe_value(value)}; choose another tensor, `--jacobian probes`, or "
            "`--jacobian none`"
        )
    flat = pool.flat if embedding is pool.node.outputs[0] else embedding
    return Pool(pool.node, pool.map, flat, pool.is_mean)


def _as_pool(node: "ir.Node") -> Pool | None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in (*_MEANS, *_MAXIMA):
        return None
    source = node.inputs[0]
    pooled = None if source is None else _pooled_map(node, source)
    if pooled is None:
        return None
    return Pool(node, pooled, _flattened(node), node.op_type in _MEANS)


def _pooled_map(node: "ir.Node", source: "ir.Value") -> "ir.Value | None":
    """Return the map ``[B, D, H, W]`` that a node reduces as a whole, None if it does not."""
    if not node.op_type.startswith("Reduce"):
        return through(source) if _reduces_whole_map(node, source) else None
    axes = _reduced_axes(node, source)
    if axes == {2, 3}:
        return through(source)
    before = through(source)
    maker = before.producer()
    if maker is None or not maker.inputs or maker.inputs[0] is None:
        return None
    above = through(maker.inputs[0])
    # Channels last, as Keras writes it; and all positions in one row, as x.flatten(2).mean(2).
    last = maker.op_type == "Transpose" and list(attribute(maker, "perm", ())) == [0, 2, 3, 1]
    if axes == {1, 2} and last:
        return above
    whole, rows = static_shape(above), static_shape(before)
    if maker.op_type in _RESHAPES and axes == {2} and whole and rows and len(whole) == 4 and len(rows) == 3:
        channels, height, width = whole[1:]
        if height is not None and width is not None:
            return above if rows[1:] == (channels, height * width) else None
    return None


def _reduces_whole_map(node: "ir.Node", source: "ir.Value") -> bool:
    if node.op_type.startswith("Global"):
        return True
    shape = static_shape(source)
    kernel = tuple(attribute(node, "kernel_shape", ()))
    padding = any(attribute(node, "pads", ())) or attribute(node, "auto_pad", "NOTSET").startswith("SAME")
    return shape is not None and len(shape) == 4 and shape[2:] == kernel and not padding


def _reduced_axes(node: "ir.Node", source: "ir.Value") -> set[int]:
    axes = attribute(node, "axes", None)
    if axes is None:
        given = constant(input_of(node, 1))
        axes = () if given is None else given.ravel().tolist()
    shape = static_shape(source)
    rank = 4 if shape is None else len(shape)
    return {int(axis) % rank for axis in axes} if rank in (3, 4) else set()


def _flattened(node: "ir.Node") -> "ir.Value | None":
    """Follow the pool's output down to the first ``[B, D]`` value."""
    value = node.outputs[0]
    if node.op_type.startswith("Reduce") and not attribute(node, "keepdims", 1):
        return value
    while True:
        users = {user for user, _ in value.uses()}
        onward = [user for user in users if user.op_type in (*PASS_THROUGH, *_RESHAPES)]
        flat = next((user.outputs[0] for user in onward if _flattens(user)), None)
        if flat is not None:
            return flat
        if len(onward) != 1 or onward[0].inputs[0] is not value:
            return None
        value = onward[0].outputs[0]


def _flattens(node: "ir.Node") -> bool:
    """Tell whether the node turns ``[B, D, 1, 1]`` (or ``[B, D, 1]``) into ``[B, D]``."""
    shape = static_shape(node.outputs[0])
    if shape is not None:
        return len(shape) == 2 and node.op_type in _RESHAPES
    if node.op_type == "Flatten":
        return int(attribute(node, "axis", 1)) in (1, -3)
    target = constant(input_of(node, 1))
    if node.op_type == "Reshape":
        return target is not None and target.size == 2
    if node.op_type == "Squeeze":
        axes = attribute(node, "axes", None) if target is None else target.ravel().tolist()
        return axes is not None and {int(axis) % 4 for axis in axes} == {2, 3}
    return False
