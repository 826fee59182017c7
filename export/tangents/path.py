"""The nodes between two tensors of a graph, and how an error shows the way."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from edgeosr.errors import UsageError, suggestion

if TYPE_CHECKING:
    import onnx_ir as ir

_SHOWN = 4  # names at either end of a long path


def tensor_named(model: "ir.Model", name: str, what: str, also: Iterable[str] = ()) -> "ir.Value":
    """Return an input of the graph or an output of a node.

    Args:
        model: the graph.
        name: of the tensor.
        what: what the name is for, for the message.
        also: other names that could have been meant.

    Raises:
        UsageError: there is none of that name; the message suggests near ones.
    """
    values = {value.name: value for value in _tensors(model) if value.name}
    if name not in values:
        raise UsageError(
            f"{what} must be a tensor of the ONNX graph; got {name!r}{suggestion(name, [*values, *also])}; "
            "a viewer such as Netron shows the names of all tensors"
        )
    return values[name]


def nodes_between(model: "ir.Model", start: "ir.Value", end: "ir.Value") -> "list[ir.Node]":
    """Return the nodes that depend on ``start`` and that ``end`` depends on, in the graph's order."""
    dependent = {start}
    reached: list[ir.Node] = []
    for node in model.graph:
        if any(value in dependent for value in inputs_of(node)) and start not in node.outputs:
            dependent.update(node.outputs)
            reached.append(node)
    needed = {end}
    between: list[ir.Node] = []
    for node in reversed(reached):
        if any(value in needed for value in node.outputs):
            needed.update(inputs_of(node))
            between.append(node)
    return between[::-1]


def inputs_of(node: "ir.Node") -> "Iterator[ir.Value]":
    """Yield what a node reads, the tensors that its subgraphs read from outside included."""
    import onnx_ir as ir

    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            graphs = [attribute.value] if attribute.type == ir.AttributeType.GRAPH else attribute.value
            for graph in graphs:
                for inner in graph:
                    yield from inputs_of(inner)


def way_through(nodes: "list[ir.Node]", start: "ir.Value", node: "ir.Node", end: "ir.Value") -> str:
    """Show one way from ``start`` through ``node`` to ``end``, as tensor names.

    Args:
        nodes: what ``nodes_between`` returned.
        start: the cut.
        node: a node of the list.
        end: the embedding.
    """
    makers = {value: maker for maker in nodes for value in maker.outputs}
    before: list[str] = []
    value = next(value for value in inputs_of(node) if value is start or value in makers)
    while value is not start:
        before.append(value.name or "?")
        value = next(value for value in inputs_of(makers[value]) if value is start or value in makers)
    before.append(start.name or "?")
    after: list[str] = []
    wanted = {id(other) for other in nodes}
    here = node
    while True:
        value = next(v for v in here.outputs if v is end or any(id(user) in wanted for user, _ in v.uses()))
        after.append(value.name or "?")
        if value is end:
            break
        here = next(user for user, _ in value.uses() if id(user) in wanted)
    return " -> ".join(_shortened(before[::-1]) + _shortened(after))


def _shortened(names: list[str]) -> list[str]:
    return names if len(names) <= 2 * _SHOWN + 1 else [*names[:_SHOWN], "...", *names[-_SHOWN:]]


def _tensors(model: "ir.Model") -> "Iterator[ir.Value]":
    yield from model.graph.inputs
    for node in model.graph:
        yield from node.outputs
