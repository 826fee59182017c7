"""Forward-mode differentiation of an ONNX graph, from a cut to the embedding."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import TANGENTS
from edgeosr.errors import UnsupportedGraphError, UsageError
from edgeosr.export.graph.names import TANGENT_NODES
from edgeosr.export.graph.operators import QUANTISED_GRAPH
from edgeosr.export.graph.reading import WITHOUT_JACOBIAN, describe, static_shape
from edgeosr.export.graph.writer import claim_name, import_onnx_ir
from edgeosr.export.tangents.context import RuleContext
from edgeosr.export.tangents.path import nodes_between, tensor_named, way_through
from edgeosr.export.tangents.rules import load_rules

if TYPE_CHECKING:
    import onnx_ir as ir

_SUBGRAPHS = ("If", "Loop", "Scan", "SequenceMap")
_STANDARD = ("", "ai.onnx")


def add_tangents(model: "ir.Model", *, cut: str, embedding: str, seeds: NDArray[np.float32]) -> str:
    """Add the embedding's derivatives along fixed directions at a cut, in place.

    The nodes that are there stay as they are and in their order.

    Args:
        model: a float classifier, opset 13 or later.
        cut: name of the tensor h ``[B, ...]`` that the derivative is with respect to.
        embedding: name of z ``[B, D]``, which depends on h.
        seeds: the directions v_k, float32 ``[K, *shape of h without the batch]``.

    Returns:
        The name of t_k = (dz/dh) v_k, float32 ``[K, B, D]``.

    Raises:
        UsageError: a name is not in the graph, the cut does not lead to the embedding, or the directions do
            not fit the cut.
        UnsupportedGraphError: a node on the way cannot be differentiated; the message names it.
    """
    onnx_ir = import_onnx_ir()
    start = tensor_named(model, cut, "the cut")
    end = tensor_named(model, embedding, "the embedding")
    nodes = nodes_between(model, start, end)
    if not nodes:
        raise UsageError(
            f"the cut must lead to the embedding {embedding!r}; {cut!r} does not; "
            "pass --cut input, last-stage, last-conv or a tensor between the input and the embedding"
        )
    _infer_shapes(model, nodes)
    seeds = _checked_seeds(seeds, start)
    _refuse_unsupported(nodes, start, end)
    context = RuleContext(model, len(seeds), _unused_prefix(model))
    dtype = np.float32 if start.dtype is None else start.dtype.numpy()
    tangents: dict[ir.Value, ir.Value] = {start: context.constant(seeds[:, None].astype(dtype))}
    stopped = _apply_rules(context, nodes, tangents)
    if end not in tangents:
        where = f"it ends at {describe(stopped)}, which has no derivative" if stopped else "there is none"
        raise UnsupportedGraphError(
            f"a differentiable way must lead from {cut!r} to the embedding {embedding!r}; {where}; "
            f"choose a cut behind it, or {WITHOUT_JACOBIAN}"
        )
    result = context.full(tangents[end], end)
    if result.producer() is None or dtype != np.float32:
        result = context.op("Cast", result, to=onnx_ir.DataType.FLOAT.value)
    context.finish(result)
    claim_name(model, TANGENTS)
    result.name = TANGENTS
    result.dtype = onnx_ir.DataType.FLOAT
    result.shape = onnx_ir.Shape([len(seeds), *(end.shape or (None, None))])
    return TANGENTS


def _apply_rules(
    context: RuleContext, nodes: "list[ir.Node]", tangents: "dict[ir.Value, ir.Value]"
) -> "ir.Node | None":
    """Fill in the tangent of every tensor that has one; return the first node where one ended, if any."""
    rules = load_rules()
    stopped = None
    for node in nodes:
        inputs = [None if value is None else tangents.get(value) for value in node.inputs]
        if all(t is None for t in inputs):
            continue
        results: list[ir.Value | None] = [None] * len(node.outputs)
        if not _is_discrete(node):
            results = rules[node.op_type](context, node, inputs)
        assert len(results) <= len(node.outputs), node.op_type
        found = {value: t for value, t in zip(node.outputs, results, strict=False) if t is not None}
        tangents.update(found)
        if not found and stopped is None:
            stopped = node
    return stopped


def _infer_shapes(model: "ir.Model", nodes: "list[ir.Node]") -> None:
    """Run shape inference if a tensor on the way, or one that goes into it, has no known shape or type."""
    from onnx_ir.passes.common import ShapeInferencePass

    around = [value for node in nodes for value in (*node.inputs, *node.outputs) if value is not None]
    if any(value.shape is None or value.dtype is None for value in around if value.name):
        ShapeInferencePass(check_type=False, strict_mode=False)(model)


def _checked_seeds(seeds: NDArray[np.float32], cut: "ir.Value") -> NDArray[np.float32]:
    """Return the directions; raises UsageError if they or the cut are not what they must be."""
    if cut.dtype is not None and not cut.dtype.is_floating_point():
        raise UsageError(
            f"the cut must be a tensor of floats; {cut.name!r} holds {cut.dtype.name}; "
            "choose a tensor behind it"
        )
    sizes = static_shape(cut)
    if sizes is None or len(sizes) < 2 or None in sizes[1:]:
        raise UsageError(
            f"the cut must be a tensor with a batch axis and fixed sizes behind it; {cut.name!r} has "
            f"{'no known shape' if cut.shape is None else f'the shape {cut.shape}'}; choose another tensor, "
            "or export the classifier again with fixed sizes but for the batch"
        )
    expected = tuple(size for size in sizes[1:] if size is not None)
    if seeds.ndim != len(expected) + 1 or seeds.shape[1:] != expected or len(seeds) < 1:
        raise UsageError(
            f"the directions at {cut.name!r} must be [K, {', '.join(map(str, expected))}] with K >= 1; "
            f"got {list(seeds.shape)}; make them of the cut's shape without the batch"
        )
    space = int(np.prod(expected))
    if len(seeds) > space:
        raise UsageError(
            f"at most {space} directions are possible at {cut.name!r}, which holds {space} numbers a sample; "
            f"got {len(seeds)}; pass a smaller --probes"
        )
    return np.asarray(seeds, np.float32)


def _refuse_unsupported(nodes: "list[ir.Node]", start: "ir.Value", end: "ir.Value") -> None:
    """Raise UnsupportedGraphError at the first node that no rule can be for, or that has none."""
    rules = load_rules()
    for node in nodes:
        if node.op_type in QUANTISED_GRAPH:
            raise UnsupportedGraphError(
                f"the graph must be a float graph to be differentiated; {describe(node)} is quantised; "
                "differentiate the float graph first, and quantise the result"
            )
        custom = node.domain not in _STANDARD
        if not custom and (node.op_type in rules or _is_discrete(node)):
            continue
        problem = "no tangent rule"
        help_ = "add a rule (one function and one test: see the docstring of edgeosr.export.tangents.rules)"
        if custom:
            problem, help_ = "an operator outside the ONNX standard", "export the classifier without it"
        elif node.op_type in _SUBGRAPHS:
            problem, help_ = "subgraphs", "export the classifier without control flow"
        raise UnsupportedGraphError(
            "every node from the cut to the embedding must be one that can be differentiated; "
            f"{describe(node)} cannot: {problem}; it lies on {way_through(nodes, start, node, end)}; "
            f"{help_}, choose a cut behind it, or {WITHOUT_JACOBIAN}"
        )


def _is_discrete(node: "ir.Node") -> bool:
    """Tell whether a node makes integers or truth values alone: they carry no tangent."""
    return all(value.dtype is not None and not value.dtype.is_floating_point() for value in node.outputs)


def _unused_prefix(model: "ir.Model") -> str:
    names = [value.name or "" for node in model.graph for value in node.outputs]
    names += [node.name or "" for node in model.graph] + list(model.graph.initializers)
    prefix = TANGENT_NODES
    while any(name.startswith(prefix + "/") for name in names):
        prefix += "_"
    return prefix
