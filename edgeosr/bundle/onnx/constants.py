"""What a graph makes of its constants alone: onnxruntime does that while it loads, and nothing can stop it.

The shapes of all tensors that no input of the graph reaches are followed, and the values of short ones, by
which the results of shape operators are bounded. What is not listed here may not work on constants alone.
"""

import math
from collections.abc import Sequence

import numpy as np

from edgeosr.bundle.onnx.known import (
    Known,
    Shape,
    broadcast,
    flattened,
    of_shape,
    of_tensor,
    of_values,
    reshaped,
    transposed,
    whole,
)
from edgeosr.bundle.onnx.small_values import (
    SHORT,
    Values,
    values_made,
    values_of_constant,
    values_of_shape,
)
from edgeosr.bundle.onnx.windows import window_shape
from edgeosr.bundle.onnx.wire import Fields, WireError

# Elements of a tensor whose size is made of constants, and of all of them: 256 and 512 MiB of float32.
LARGEST_RESULT = 1 << 26
LARGEST_TOTAL = 1 << 27
# Multiplications of constants, in the whole graph: a second or so. Probes of the input are constants, and
# the first convolution is applied to them.
MOST_WORK = 1 << 32
_MANY = 10**99  # or more, in messages: of larger ones there may be no float
# Which inputs say how large the result is; Resize has scales and sizes.
_SIZED_BY = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Tile": (1,),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Pad": (1,),
    "OneHot": (1,),
    "CenterCropPad": (1,),
    "Col2Im": (0, 1),
    "AffineGrid": (1,),
}
_SAME_SHAPE = frozenset(
    (
        *("Abs", "BatchNormalization", "Cast", "Ceil", "Clip", "Cos", "CumSum", "DequantizeLinear", "Erf"),
        *("Exp", "Floor", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "IsNaN"),
        *("LayerNormalization", "LeakyRelu", "Log", "LogSoftmax", "LpNormalization", "Neg", "Not"),
        *("QuantizeLinear", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus"),
        *("Sqrt", "Tanh", "Trilu"),
    )
)
_BROADCAST = frozenset(
    (
        *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean"),
        *("Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
    )
)
# As many elements as the first input, or fewer; their shape is not followed.
_NOT_LARGER = frozenset(("DepthToSpace", "GlobalAveragePool", "GlobalMaxPool", "Reshape", "Slice"))
_NOT_LARGER |= frozenset(("SpaceToDepth", "Split", "Squeeze", "Unsqueeze"))
_REDUCTIONS = frozenset(
    (
        *("ArgMax", "ArgMin", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
    )
)


class Constants:
    """The tensors that no input of the graph reaches, by name; nodes are told in their order."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._total, self._work = 0, 0

    def __contains__(self, name: object) -> bool:
        """Tell whether a tensor is made of constants alone."""
        return name in self._known

    def add(self, name: str, tensor: Fields) -> None:
        """Take in a constant that ``tensors.require_tensor`` has checked."""
        self._known[name] = of_tensor(tensor)

    def values_of(self, name: str) -> Values | None:
        """Return the values of a short constant; None of any other tensor."""
        return self._known[name].values if name in self._known else None

    def follow(self, node: Fields, where: str) -> None:
        """Take in what a node makes, if it is of constants alone.

        Raises:
            WireError: that, or the size that it makes of constants, is too large or cannot be followed.
        """
        op, inputs = node["op_type"], [name for name in node["input"] if name]
        self._require_read_size(node, op, where)
        if op == "Constant":
            self._take(node, [_of_constant(node)])
        elif inputs and all(name in self._known for name in inputs):
            given = [self._known[name] for name in inputs]
            values = values_made(node, [known.values for known in given])
            if values is not None:
                made = [of_values(each) for each in values]
            else:
                made = [self._made(node, given)] * max(1, len(node["output"]))
            largest = min(made[0].elements, _MANY)
            if largest > LARGEST_RESULT:
                raise WireError(
                    f"{where} could make {largest:.3g} numbers of constants alone; at most "
                    f"{LARGEST_RESULT} are allowed: compute them before the classifier is exported"
                )
            self._total += sum(known.elements for known in made)
            if self._total > LARGEST_TOTAL or self._work > MOST_WORK:
                raise WireError(
                    f"{where} and what is before it compute more on constants alone than is allowed "
                    f"({LARGEST_TOTAL} numbers): do it before the classifier is exported"
                )
            self._take(node, made)

    def _take(self, node: Fields, known: Sequence[Known]) -> None:
        self._known.update((name, made) for name, made in zip(node["output"], known, strict=False) if name)

    def _made(self, node: Fields, given: Sequence[Known]) -> Known:
        op, first = node["op_type"], given[0]
        shapes = [known.shape for known in given]
        if op in ("Shape", "Size"):
            known = first.exact and first.shape is not None
            return of_values(values_of_shape(node, first.shape or ())) if known else Known(SHORT)
        if op in _SIZED_BY:
            return of_shape(_sized_shape(op, given)) if op != "Resize" else Known(LARGEST_RESULT)
        if op in _SAME_SHAPE:
            return Known(first.elements, first.shape)
        if op in ("Reshape", "Squeeze", "Unsqueeze"):
            return reshaped(op, given)
        if op in ("Slice", "Split"):
            return Known(first.elements, first.shape)
        if op in _REDUCTIONS:
            keeps = {each.get("name"): each.get("i", 0) for each in node["attribute"]}.get("keepdims", 1)
            return Known(first.elements, first.shape if keeps else None)
        if op == "Flatten":
            return flattened(node, first)
        if op in _NOT_LARGER:
            return Known(first.elements)
        if op == "Transpose":
            return transposed(node, first)
        if op == "Concat":
            return Known(sum(known.elements for known in given))
        followed = [shape for shape in shapes if shape is not None]
        if op in _BROADCAST and len(followed) == len(shapes):
            return of_shape(broadcast(followed))
        if op in _BROADCAST:
            # Every number of one meets every number of the others at most once.
            return Known(math.prod(max(1, known.elements) for known in given))
        if op == "Gather" and len(given) == 2:
            # Of every place along one axis there are as many as indices at most.
            return Known(first.elements * max(1, given[1].elements))
        if op in ("MatMul", "Gemm") and len(given) >= 2:
            made, work = _product(node, given)
            self._work += work
            return made
        if op in ("Conv", "AveragePool", "MaxPool") and first.shape is not None:
            weights = given[1].shape if op == "Conv" and len(given) > 1 else None
            if op != "Conv" or weights is not None:
                shape, work = window_shape(node, first.shape, weights) or ((), 0)
                self._work += work
                return of_shape(shape)
        raise WireError(
            f"a bundle's graph may not have {op} of constants alone; compute it before the classifier is "
            "exported"
        )

    def _require_read_size(self, node: Fields, op: str, where: str) -> None:
        """Refuse a size from constants that is too large, or not known."""
        inputs = node["input"]
        names = [inputs[place] for place in _SIZED_BY.get(op, ()) if place < len(inputs) and inputs[place]]
        given = [self._known[name] for name in names if name in self._known]
        if not given or (op == "Range" and len(given) < len(names)):
            return
        values = [known.values for known in given]
        if any(each is None for each in values):
            raise WireError(f"{where} has a size that is made of constants in a way that is not read")
        asked = _asked(op, [np.asarray(each, np.float64).reshape(-1) for each in values])
        if not asked <= LARGEST_RESULT:
            raise WireError(
                f"{where} is asked by constants for {asked:.3g} numbers, or for that many times more; at "
                f"most {LARGEST_RESULT} are allowed"
            )


def _of_constant(node: Fields) -> Known:
    (attribute,) = node["attribute"]  # checked before
    if "t" in attribute:
        return of_tensor(attribute["t"])
    many = [*attribute["ints"], *attribute["floats"]]
    single = attribute.get("name", "").endswith(("_int", "_float"))
    return Known(1 if single else len(many), () if single else (len(many),), values_of_constant(node))


def _sized_shape(op: str, given: Sequence[Known]) -> Shape:
    """Return the shape that constants ask for; one of as many elements where only those are followed."""
    first, asked = given[0], _numbers(given)
    if op == "ConstantOfShape":
        return tuple(max(0, size) for size in asked)
    if op == "Expand" and first.shape is not None:
        return broadcast([first.shape, tuple(max(0, size) for size in asked)])
    if op == "Range":
        return (int(_asked(op, [np.asarray(each.values, np.float64).reshape(-1) for each in given[:3]])),)
    if op == "Tile":
        return (first.elements * math.prod(max(0, times) for times in asked),)
    if op == "Pad":
        return (first.elements * int(_asked(op, [np.array(asked, np.float64)])),)
    if op == "OneHot":
        return (first.elements * max(1, max(asked, default=1)),)
    return (LARGEST_RESULT,)


def _numbers(given: Sequence[Known]) -> list[int]:
    """Return the whole numbers that say the size: of the second input, or of the only one."""
    values = given[1 if len(given) > 1 else 0].values
    return [] if values is None else whole(values)


def _product(node: Fields, given: Sequence[Known]) -> tuple[Known, int]:
    """Return what a product of matrices makes, and its multiplications."""
    left, right = given[0].shape, given[1].shape
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        # Each number of one side meets each of the other at most once.
        most = given[0].elements * given[1].elements
        return Known(most), most
    turned = {each.get("name"): each.get("i", 0) for each in node["attribute"]}
    rows, inner = left[-2:] if not turned.get("transA") else left[:-3:-1]
    columns = right[-2] if turned.get("transB") else right[-1]
    shape = (*broadcast([left[:-2], right[:-2]]), rows, columns)
    return of_shape(shape), math.prod(shape) * max(1, inner)


def _asked(op: str, values: Sequence[Values]) -> float:
    with np.errstate(all="ignore"):
        if op == "Range":
            if len(values) != 3:
                return math.inf
            start, limit, step = (float(each[0]) if len(each) else math.nan for each in values)
            # A longer way than that may be counted as another one, in the type of its ends.
            count = (limit - start) / step if step and abs(limit - start) < 1 << 31 else math.inf
            return max(0.0, math.ceil(count)) if math.isfinite(count) else math.inf
        if op == "Pad":
            # Both sides of an axis; what goes in has one place on it at least.
            sides, half = np.abs(values[0]), len(values[0]) // 2
            return float(np.prod(1 + sides[:half] + sides[half : 2 * half]))
        sizes = np.concatenate(list(values))
        return float(np.prod(np.maximum(np.abs(sizes), 1)))
