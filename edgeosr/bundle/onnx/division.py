"""Division of whole numbers, which ends the process where the least of them is divided by -1.

onnxruntime refuses a divisor of 0, but a processor's division has one more case without a result, and raises
a signal (SIGFPE) that no program catches. So whole numbers may be divided by constants only, and not by -1;
of every tensor the element type is followed that far.
"""

from collections.abc import Sequence

from edgeosr.bundle.onnx.small_values import Values
from edgeosr.bundle.onnx.tensors import BOOL, DOUBLE, FLOAT, FLOAT16, INT32, INT64, UINT8
from edgeosr.bundle.onnx.wire import Fields, WireError

_FLOATING = frozenset((FLOAT, FLOAT16, DOUBLE))
# Types that do not follow from the first input; of what is listed nowhere they do. https://onnx.ai/onnx/operators/
_ALWAYS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("ArgMax", "ArgMin", "Shape", "Size"), (INT64,)),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"), (BOOL,)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (INT32,)),
    "DequantizeLinear": (FLOAT,),
    "DynamicQuantizeLinear": (UINT8, FLOAT, UINT8),
}
_LATER = {"CastLike": 1, "OneHot": 2, "Where": 1}
_SECOND = {"Dropout": BOOL, "MaxPool": INT64, "TopK": INT64}
_OF_VALUE = {"value_float": FLOAT, "value_floats": FLOAT, "value_int": INT64, "value_ints": INT64}


class ElementTypes:
    """The element type of every tensor of a graph, by name; nodes are told in their order."""

    def __init__(self) -> None:
        self._types: dict[str, int] = {}

    def add(self, name: str, kind: int) -> None:
        """Take in an input or a constant, of a type of TensorProto.DataType."""
        self._types[name] = kind

    def follow(self, node: Fields, divisor: Values | None, where: str) -> None:
        """Take in what a node makes.

        Args:
            node: its inputs are known.
            divisor: the values of its second input, if they are constants that are known.
            where: the node, for messages.

        Raises:
            WireError: it may divide whole numbers by -1.
        """
        op, inputs = node["op_type"], node["input"]
        if op == "Div" and inputs and self._types.get(inputs[0]) not in _FLOATING:
            # A type that is not followed counts as one of whole numbers.
            if divisor is None:
                raise WireError(f"{where} divides whole numbers by what is no short constant")
            if (divisor == 0).any() or (divisor == -1).any():
                raise WireError(f"{where} divides whole numbers by {'0' if (divisor == 0).any() else '-1'}")
        kinds = _kinds(node, [self._types.get(name) for name in inputs])
        for place, name in enumerate(node["output"]):
            kind = kinds[place] if place < len(kinds) else kinds[0]
            if name and kind is not None:
                self._types[name] = kind


def _kinds(node: Fields, given: Sequence[int | None]) -> tuple[int | None, ...]:
    op, said = node["op_type"], {each.get("name"): each for each in node["attribute"]}
    if op in _ALWAYS:
        return _ALWAYS[op]
    if op == "Constant" and "value" not in said:
        return (next((_OF_VALUE.get(str(name)) for name in said), None),)
    if op in ("Constant", "ConstantOfShape"):
        tensor = said.get("value", {}).get("t")
        return (FLOAT if tensor is None else tensor.get("data_type"),)
    if op == "Cast":
        return (said.get("to", {}).get("i"),)
    if op == "QuantizeLinear":
        return (given[2] if len(given) > 2 else None,)
    if op in ("QLinearConv", "QLinearMatMul"):
        return (None,)
    place = _LATER.get(op, 0)
    first = given[place] if place < len(given) else None
    return (first, _SECOND[op]) if op in _SECOND else (first,)
