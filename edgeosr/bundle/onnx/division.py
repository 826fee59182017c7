"""Division of whole numbers, which ends the process where the least of them is divided by -1.

onnxruntime refuses a divisor of 0, but a processor's division has one more case without a result, and raises
a signal (SIGFPE) that no program catches. So whole numbers may be divided by constants other than -1, and by
what is made of the frames' own sizes and cannot become negative; element types are followed that far.
"""

import math
from collections.abc import Sequence

from edgeosr.bundle.onnx.small_values import Values
from edgeosr.bundle.onnx.tensors import BOOL, DOUBLE, FLOAT, FLOAT16, INT32, INT64, UINT8
from edgeosr.bundle.onnx.wire import Fields, WireError

_FLOATING = frozenset((FLOAT, FLOAT16, DOUBLE))
# More than any side of frames, or as many of them, that fit in memory.
_LARGEST_SIZE = 1 << 40
_LARGEST = {INT64: 1 << 62, INT32: (1 << 31) - 1}
# Whose result holds numbers of the first input, or of all of them, and no others.
_CHOOSE = frozenset(("Cast", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"))
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
        # Whole numbers from 0 up to this.
        self._largest: dict[str, int] = {}
        self._inputs = set[str]()

    def add(self, name: str, kind: int, *, given: bool = False) -> None:
        """Take in an input (``given``) or a constant, of a type of TensorProto.DataType."""
        self._types[name] = kind
        if given:
            self._inputs.add(name)

    def follow(self, node: Fields, values: Sequence[Values | None], where: str) -> None:
        """Take in what a node makes.

        Args:
            node: its inputs are known.
            values: of its inputs, those of constants that are known.
            where: the node, for messages.

        Raises:
            WireError: it may divide whole numbers by -1.
        """
        op, inputs = node["op_type"], node["input"]
        largest = [self._bound(name, value) for name, value in zip(inputs, values, strict=True)]
        if op == "Div" and len(inputs) == 2 and self._types.get(inputs[0]) not in _FLOATING:
            # A type that is not followed counts as one of whole numbers.
            divisor = values[1]
            if divisor is None and largest[1] is None:
                raise WireError(
                    f"{where} divides whole numbers by what is neither a short constant nor a frame's size"
                )
            if divisor is not None and ((divisor == 0).any() or (divisor == -1).any()):
                raise WireError(f"{where} divides whole numbers by {'0' if (divisor == 0).any() else '-1'}")
        made = _bound_of(op, largest)
        if inputs and inputs[0] in self._inputs:
            if op == "Shape":
                made = _LARGEST_SIZE
            elif op in ("Cast", "Identity"):  # of the same shape
                self._inputs.update(node["output"])
        kinds = _kinds(node, [self._types.get(name) for name in inputs])
        for place, name in enumerate(node["output"]):
            kind = kinds[place] if place < len(kinds) else kinds[0]
            if name and kind is not None:
                self._types[name] = kind
                # Beyond that it would go on with the least number.
                if made is not None and made <= _LARGEST.get(kind, 0):
                    self._largest[name] = made

    def _bound(self, name: str, values: Values | None) -> int | None:
        if values is None:
            return self._largest.get(name)
        if values.dtype.kind not in "iu" or not values.size or int(values.min()) < 0:
            return None
        return int(values.max())


def _bound_of(op: str, largest: Sequence[int | None]) -> int | None:
    """Return the largest number that a node can make of whole numbers from 0 on; None if not known."""
    if op in _CHOOSE:
        return largest[0] if largest else None
    known = [one for one in largest if one is not None]
    if not known or len(known) < len(largest):
        return None
    if op in ("Concat", "Max"):
        return max(known)
    if op == "Min":
        return min(known)
    if op == "Add":
        return sum(known)
    if op == "Mul":
        return math.prod(known)
    return known[0] if op == "Div" else None


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
    if op == "EyeLike" and "dtype" in said:
        return (said["dtype"].get("i"),)
    if op == "QuantizeLinear":
        return (given[2] if len(given) > 2 else None,)
    if op in ("QLinearConv", "QLinearMatMul"):
        return (None,)
    place = _LATER.get(op, 0)
    first = given[place] if place < len(given) else None
    return (first, _SECOND[op]) if op in _SECOND else (first,)
