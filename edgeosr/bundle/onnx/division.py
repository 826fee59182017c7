"""Division of whole numbers, which ends the process where it has no result.

Some releases of onnxruntime divide by 0, and all of them the least number by -1: a processor then raises a
signal (SIGFPE) that no program catches. So whole numbers may be divided by stored constants other than 0 and
-1, and by the larger of a stored constant from 1 on and anything; element types are followed that far.
"""

from collections.abc import Callable, Sequence

from edgeosr.bundle.onnx.tensors import BOOL, DOUBLE, FLOAT, FLOAT16, INT64, Values
from edgeosr.bundle.onnx.wire import Fields, WireError

_FLOATING = frozenset((FLOAT, FLOAT16, DOUBLE))
# Types that do not follow from the first input; of what is listed nowhere they do. https://onnx.ai/onnx/operators/
_ALWAYS: dict[str, int] = {
    **dict.fromkeys(("ArgMax", "ArgMin", "Shape", "Size"), INT64),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"), BOOL),
}
# Where the type is that of a later input: of the zero point where it quantises, else of the scale.
_LATER = {"CastLike": 1, "DequantizeLinear": 1, "QuantizeLinear": 2, "Where": 1}
_SECOND = {"Dropout": BOOL, "MaxPool": INT64, "TopK": INT64}
_OF_VALUE = {"value_float": FLOAT, "value_floats": FLOAT, "value_int": INT64, "value_ints": INT64}


class ElementTypes:
    """The element type of every tensor of a graph, by name; nodes are told in their order."""

    def __init__(self) -> None:
        self._types: dict[str, int] = {}
        # Made by a Max with a constant from 1 on.
        self._positive = set[str]()

    def add(self, name: str, kind: int) -> None:
        """Take in an input or a constant, of a type of TensorProto.DataType."""
        self._types[name] = kind

    def follow(self, node: Fields, values_of: Callable[[str], Values | None], where: str) -> None:
        """Take in what a node makes.

        Args:
            node: its inputs are known.
            values_of: gives those of a short constant, by name; None of anything else.
            where: the node, for messages.

        Raises:
            WireError: it may divide whole numbers by 0 or by -1.
        """
        op, inputs = node["op_type"], node["input"]
        # A type that is not followed counts as one of whole numbers.
        if op == "Div" and len(inputs) == 2 and self._types.get(inputs[0]) not in _FLOATING:
            _require_divisor(values_of(inputs[1]), inputs[1] in self._positive, where)
        if op == "Max":
            values = [values_of(name) for name in inputs]
            if any(value is not None and value.size and value.min() >= 1 for value in values):
                self._positive.update(node["output"])
        kinds = _kinds(node, [self._types.get(name) for name in inputs])
        for place, name in enumerate(node["output"]):
            kind = kinds[min(place, len(kinds) - 1)]
            if name and kind is not None:
                self._types[name] = kind


def _require_divisor(divisor: Values | None, positive: bool, where: str) -> None:
    if divisor is None and not positive:
        raise WireError(
            f"{where} divides whole numbers by what is neither a short constant nor the larger of one, from "
            "1 on, and something"
        )
    if divisor is not None and ((divisor == 0).any() or (divisor == -1).any()):
        raise WireError(f"{where} divides whole numbers by {'0' if (divisor == 0).any() else '-1'}")


def _kinds(node: Fields, given: Sequence[int | None]) -> tuple[int | None, ...]:
    op, said = node["op_type"], {each.get("name"): each for each in node["attribute"]}
    if op in _ALWAYS:
        return (_ALWAYS[op],)
    if op == "Constant" and "value" not in said:
        return (next((_OF_VALUE.get(str(name)) for name in said), None),)
    if op in ("Constant", "ConstantOfShape"):
        tensor = said.get("value", {}).get("t")
        return (FLOAT if tensor is None else tensor.get("data_type"),)
    if op == "Cast":
        return (said.get("to", {}).get("i"),)
    place = _LATER.get(op, 0)
    first = given[place] if place < len(given) else None
    return (first, _SECOND[op]) if op in _SECOND else (first,)
