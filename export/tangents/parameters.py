"""What a rule asks of a node that has parameters beside its input."""

from typing import TYPE_CHECKING, Any

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.graph.reading import describe

if TYPE_CHECKING:
    import onnx_ir as ir


def require_constant_parameters(node: "ir.Node", tangents: "list[ir.Value | None]") -> "ir.Value":
    """Return the tangent of a node's first input, the only one that may have one.

    Raises:
        UnsupportedGraphError: a weight, scale or bias depends on the cut.
    """
    if tangents[0] is None or any(t is not None for t in tangents[1:]):
        names = [value.name for t, value in zip(tangents, node.inputs, strict=False) if t and value]
        raise UnsupportedGraphError(
            f"the weights of {describe(node)} must not depend on the image to be differentiated; got "
            f"{', '.join(map(repr, names))}, computed from it; choose a cut behind this node"
        )
    return tangents[0]


def require_single_output(node: "ir.Node") -> None:
    """Check that only the first output of a node is used.

    Raises:
        UnsupportedGraphError: another one is.
    """
    for value in node.outputs[1:]:
        if value.uses() or value.is_graph_output():
            raise UnsupportedGraphError(
                f"only the first output of {describe(node)} can be differentiated; got a graph that uses "
                f"{value.name!r} too; export the classifier without it, or choose a cut behind this node"
            )


def attributes_of(node: "ir.Node", *without: str) -> dict[str, Any]:
    """Return a node's attributes as plain values, for a node like it."""
    return {name: found.value for name, found in node.attributes.items() if name not in without}
