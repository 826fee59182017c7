"""Channels that come last inside a classifier, moved first: how Keras and TensorFlow write a network.

ONNX's convolutions take channels first, so their exporters put a Transpose before and after each, and write
what lies between with the channels last. Here the Transposes are pushed down through it until they meet, and
the rest of edgeosr reads one way of writing only.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.graph.reading import attribute, constant, input_of
from edgeosr.export.graph.writer import import_onnx_ir

if TYPE_CHECKING:
    import onnx_ir as ir

# Axis a of channels last is axis TO_LAST[a] of channels first, and the other way round.
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
_EACH_NUMBER = frozenset(
    (
        *("Abs", "Add", "Celu", "Clip", "Div", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid"),
        *("HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow"),
        *("Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh"),
    )
)
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2")
_TOLERANCE = 1e-3


def with_planes_inside(proto: Any) -> Any:
    """Write what lies between Transposes with the channels first.

    Tensors of channels last keep their names, for whoever asks for them.

    Args:
        proto: ``onnx.ModelProto`` of opset 13 or later with one input, all of its sizes fixed but the batch.

    Returns:
        The graph; unchanged if there is nothing to move, or if the outcome would not give the same.
    """
    turned = [node for node in proto.graph.node if node.op_type == "Transpose" and _perm(node) == TO_LAST]
    if not turned:
        return proto
    ir = import_onnx_ir()
    model = ir.from_proto(proto)
    if not _Planes(model).moved():
        return proto
    changed = ir.to_proto(model)
    difference = largest_difference(proto, changed, 1)
    return proto if difference is None or difference > _TOLERANCE else changed


def _perm(node: Any) -> list[int]:
    return next((list(each.ints) for each in node.attribute if each.name == "perm"), [])


class _Planes:
    def __init__(self, model: "ir.Model") -> None:
        self._ir, self._model = import_onnx_ir(), model
        # Tensors of channels last, and the same with the channels first.
        self._first: dict[ir.Value, ir.Value] = {}
        self._count = 0

    def moved(self) -> bool:
        """Rewrite the graph; return whether there was anything to move."""
        ways: dict[str, Callable[[ir.Node], bool]] = {
            "Transpose": self._transpose,
            "Concat": self._concat,
            "Pad": self._pad,
            **dict.fromkeys(_EACH_NUMBER, self._each_number),
            **dict.fromkeys(_REDUCTIONS, self._reduction),
        }
        for node in list(self._model.graph):
            way = ways.get(node.op_type)
            if way is not None and node.domain in ("", "ai.onnx") and way(node):
                self._count += 1
        return self._count > 0

    def _transpose(self, node: "ir.Node") -> bool:
        source, perm = node.inputs[0], list(attribute(node, "perm", ()))
        if source is None:
            return False
        if perm == TO_LAST:
            self._first[node.outputs[0]] = source
        elif perm == TO_FIRST and source in self._first and not node.outputs[0].is_graph_output():
            self._instead(node.outputs[0], self._first[source])
            return True
        return False

    def _each_number(self, node: "ir.Node") -> bool:
        given = [None if value is None else self._moved(value) for value in node.inputs]
        known = all(new is not None or old is None for new, old in zip(given, node.inputs, strict=True))
        if not known or len(node.outputs) != 1 or not any(value in self._first for value in node.inputs):
            return False
        self._append(node, given, dict(node.attributes))
        return True

    def _concat(self, node: "ir.Node") -> bool:
        given = [None if value is None else self._first.get(value) for value in node.inputs]
        if None in given:
            return False
        axis = self._ir.AttrInt64("axis", TO_LAST[attribute(node, "axis", 0) % 4])
        self._append(node, given, {"axis": axis})
        return True

    def _reduction(self, node: "ir.Node") -> bool:
        source = None if node.inputs[0] is None else self._first.get(node.inputs[0])
        listed = attribute(node, "axes", None)
        if listed is None:
            held = constant(input_of(node, 1))
            listed = [] if held is None else held.ravel().tolist()
        axes = sorted(TO_LAST[int(axis) % 4] for axis in listed)
        keeps = bool(attribute(node, "keepdims", 1))
        if source is None or not axes or (not keeps and axes != [2, 3]):
            return False
        attributes = {name: each for name, each in node.attributes.items() if name != "axes"}
        given = [source]
        if "axes" in node.attributes:
            attributes["axes"] = self._ir.AttrInt64s("axes", axes)
        else:
            given.append(self._constant(np.array(axes, np.int64)))
        self._append(node, given, attributes, same=not keeps)
        return True

    def _pad(self, node: "ir.Node") -> bool:
        source = None if node.inputs[0] is None else self._first.get(node.inputs[0])
        pads = constant(input_of(node, 1))
        if source is None or pads is None or pads.size != 8 or input_of(node, 3) is not None:
            return False
        moved = np.concatenate([half[TO_FIRST] for half in np.split(pads.ravel(), 2)])
        value = [input_of(node, 2)] if len(node.inputs) > 2 else []
        self._append(node, [source, self._constant(moved), *value], dict(node.attributes))
        return True

    def _moved(self, value: "ir.Value") -> "ir.Value | None":
        """Return a tensor with its channels first, or a constant; None for what cannot be moved."""
        if value in self._first:
            return self._first[value]
        held = constant(value)
        if held is None or held.ndim > 4:
            return None
        if held.size == 1 and held.ndim < 2:
            return value
        return self._constant(held.reshape((1,) * (4 - held.ndim) + held.shape).transpose(TO_FIRST))

    def _constant(self, array: Any) -> "ir.Value":
        self._count += 1
        tensor = self._ir.tensor(np.ascontiguousarray(array), name=f"planes/constant_{self._count}")
        value: ir.Value = self._ir.Value(
            name=tensor.name, shape=tensor.shape, type=self._ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._model.graph.register_initializer(value)
        return value

    def _append(self, node: "ir.Node", given: Any, attributes: dict[str, Any], *, same: bool = False) -> None:
        """Put the node with its channels first before it; ``same``: its output has no axes of an image."""
        own = node.outputs[0]
        made = self._ir.node(node.op_type, given, attributes)
        made.name = f"{node.name or own.name}/planes"
        made.outputs[0].name = f"{own.name}/planes"
        nodes, new = [made], made.outputs[0]
        if not same:
            back = self._ir.node("Transpose", [new], {"perm": TO_LAST})
            back.name = f"{node.name or own.name}/last"
            nodes.append(back)
            new = back.outputs[0]
            new.name = f"{own.name}/last"
            self._first[new] = made.outputs[0]
        self._model.graph.insert_before(node, nodes)
        self._instead(own, new)

    def _instead(self, old: "ir.Value", new: "ir.Value") -> None:
        """Let everybody read ``new``, which takes the name if nobody but the old value has it."""
        if old.is_graph_output() or old in self._first:
            return
        self._ir.convenience.replace_all_uses_with(old, new)
        if new in self._first or new.name == f"{old.name}/planes":
            own, old.name = old.name, f"{old.name}/before"
            new.name = own
