"""Reading an ONNX graph: constants, pass-through nodes, shapes, and how an error names a node."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

# Nodes that hand their first input on unchanged at inference.
PASS_THROUGH = ("Identity", "Dropout")
# What these give depends on the sizes of their input alone.
SIZES = ("Shape", "Size")
WITHOUT_JACOBIAN = "`--jacobian none` exports this classifier without the Jacobian part"


def describe(node: "ir.Node") -> str:
    """Name a node for an error message: its name, operator and first output."""
    operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return f"node {node.name or '(unnamed)'!r} ({operator}, output {node.outputs[0].name!r})"


def describe_value(value: "ir.Value") -> str:
    """Name a tensor for an error message, by the node that makes it."""
    producer = value.producer()
    return f"tensor {value.name!r}, which no node makes" if producer is None else describe(producer)


def constant(value: "ir.Value | None") -> "NDArray[np.generic] | None":
    """Return what an initializer, a Constant node or an Identity of one holds, else None."""
    import onnx_ir as ir

    while value is not None:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None:
            # An initializer that is a graph input too may be replaced by the caller: not a constant.
            return None if value.is_graph_input() else tensor.numpy()
        node = value.producer()
        if node is None or node.op_type != "Identity":
            return None
        value = node.inputs[0]
    return None


def through(value: "ir.Value") -> "ir.Value":
    """Walk up over pass-through nodes to the value they hand on."""
    node = value.producer()
    while node is not None and node.op_type in PASS_THROUGH and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value


def static_shape(value: "ir.Value") -> "tuple[int | None, ...] | None":
    """Return a value's dimensions, None for each unknown one; None if not even the rank is known."""
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def attribute(node: "ir.Node", name: str, default: Any) -> Any:
    """Return the value of a node's attribute, or ``default`` if it is not there."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def input_of(node: "ir.Node", index: int) -> "ir.Value | None":
    """Return a node's input, None if it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def ancestors(values: "Iterable[ir.Value | None]") -> "set[ir.Node]":
    """Return all nodes that the values depend on."""
    found: set[ir.Node] = set()
    pending = [value for value in values if value is not None]
    while pending:
        node = pending.pop().producer()
        if node is not None and node not in found:
            found.add(node)
            pending.extend(value for value in node.inputs if value is not None)
    return found
