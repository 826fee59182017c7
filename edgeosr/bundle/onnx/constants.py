"""What a graph makes of its constants alone: onnxruntime does that while it loads, and nothing can stop it.

A bound on the number of elements is kept for every tensor that no input of the graph reaches, and the values
of short ones, by which the results of shape operators are bounded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeosr.bundle.onnx.small_values import (
    SHORT,
    Values,
    values_made,
    values_of_constant,
    values_of_tensor,
)
from edgeosr.bundle.onnx.wire import Fields, WireError

# Elements of a tensor whose size is made of constants: 256 MiB of float32.
LARGEST_RESULT = 1 << 26
# Multiplications and the like on constants alone, in the whole graph: a second or so.
MOST_WORK = 1 << 30
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
# Of these, what is said is how many times larger than what goes in.
_TIMES = ("Tile", "Resize", "Pad", "OneHot")
# Results have as many elements as the first input, or fewer.
_NOT_LARGER = frozenset(
    [
        "Abs",
        "Cast",
        "Ceil",
        "Clip",
        "DequantizeLinear",
        "Erf",
        "Exp",
        "Flatten",
        "Floor",
        "Identity",
        "Log",
        "Neg",
        "Not",
        "QuantizeLinear",
        "Reciprocal",
        "Relu",
        "ReduceL1",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
        "Reshape",
        "Round",
        "Sigmoid",
        "Sign",
        "Slice",
        "Softmax",
        "Split",
        "Sqrt",
        "Squeeze",
        "Tanh",
        "Transpose",
        "Unsqueeze",
    ]
)
_PRODUCTS = ("MatMul", "Gemm", "Einsum")
# Their work is at most the product of what goes in.
_HEAVY = frozenset(
    (
        *_PRODUCTS,
        *("Attention", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "GridSample", "GRU", "LSTM"),
        *("MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN"),
    )
)


@dataclass(frozen=True)
class Known:
    """A tensor made of constants: at most ``elements``; ``values``: None if they are many or not known."""

    elements: int
    values: Values | None = None


class Constants:
    """The tensors that no input of the graph reaches, by name; nodes are told in their order."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._work = 0.0

    def __contains__(self, name: object) -> bool:
        """Tell whether a tensor is made of constants alone."""
        return name in self._known

    def add(self, name: str, tensor: Fields) -> None:
        """Take in a constant that ``tensors.require_tensor`` has checked."""
        self._known[name] = Known(math.prod(tensor["dims"]), values_of_tensor(tensor))

    def follow(self, node: Fields, where: str) -> None:
        """Take in what a node makes, if it is of constants alone.

        Raises:
            WireError: that, or the size that it makes of constants, is too large or cannot be read.
        """
        op, inputs = node["op_type"], [name for name in node["input"] if name]
        sized = self._sized(node, op, where)
        if op == "Constant":
            self._take(node, Known(_count_of_constant(node), values_of_constant(node)))
        elif inputs and all(name in self._known for name in inputs):
            given = [self._known[name] for name in inputs]
            values = values_made(node, [known.values for known in given])
            bound = values.size if values is not None else _bound(op, given, sized)
            if bound > LARGEST_RESULT:
                raise WireError(
                    f"{where} could make {bound:.3g} numbers of constants alone; at most {LARGEST_RESULT} "
                    "are allowed: compute them before the classifier is exported"
                )
            sizes = [known.elements for known in given]
            self._work += math.prod(max(size, 1) for size in sizes) if op in _HEAVY else max(bound, *sizes)
            if self._work > MOST_WORK:
                raise WireError(
                    f"{where} and what is before it compute on constants alone for longer than is allowed: "
                    "do it before the classifier is exported"
                )
            self._take(node, Known(int(bound), values))

    def _take(self, node: Fields, known: Known) -> None:
        self._known.update(dict.fromkeys((name for name in node["output"] if name), known))

    def _sized(self, node: Fields, op: str, where: str) -> float | None:
        """Return how many elements, or times more, constants ask for; None if they ask for nothing."""
        inputs = node["input"]
        names = [inputs[place] for place in _SIZED_BY.get(op, ()) if place < len(inputs) and inputs[place]]
        given = [self._known[name] for name in names if name in self._known]
        if not given or (op == "Range" and len(given) < len(names)):
            return None
        values = [known.values for known in given]
        if any(each is None for each in values):
            raise WireError(f"{where} has a size that is made of constants in a way that is not read")
        asked = _asked(op, [np.asarray(each, np.float64).reshape(-1) for each in values])
        if not asked <= LARGEST_RESULT:
            raise WireError(
                f"{where} is asked by constants for {asked:.3g} numbers, or for that many times more; at "
                f"most {LARGEST_RESULT} are allowed"
            )
        return asked


def _count_of_constant(node: Fields) -> int:
    tensors = [each["t"] for each in node["attribute"] if "t" in each]
    if tensors:
        return math.prod(tensors[0]["dims"])
    return max((len(each["ints"]) + len(each["floats"]) for each in node["attribute"]), default=1) or 1


def _bound(op: str, given: Sequence[Known], sized: float | None) -> float:
    sizes = [known.elements for known in given]
    if op == "Shape":
        return SHORT
    if sized is not None:
        return sized * (max(sizes[0], 1) if op in _TIMES else 1)
    if op in _NOT_LARGER:
        return sizes[0]
    if op == "Concat":
        return sum(sizes)
    # Numbers of one size and single ones are combined place by place, but for products of matrices.
    if op not in _PRODUCTS and len({size for size in sizes if size != 1}) <= 1:
        return max(sizes)
    return math.prod(max(size, 1) for size in sizes)


def _asked(op: str, values: Sequence[Values]) -> float:
    with np.errstate(all="ignore"):
        if op == "Range":
            start, limit, step = (float(each[0]) if len(each) else math.nan for each in values)
            count = (limit - start) / step if step else math.inf
            return max(0.0, math.ceil(count)) if math.isfinite(count) else math.inf
        if op == "Pad":
            # Both sides of an axis; what goes in has one place on it at least.
            sides, half = np.abs(values[0]), len(values[0]) // 2
            return float(np.prod(1 + sides[:half] + sides[half : 2 * half]))
        sizes = np.concatenate(list(values))
        return float(np.prod(np.maximum(np.abs(sizes), 1)))
