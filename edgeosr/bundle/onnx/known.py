"""What is known of a tensor that is made of constants alone, and of what is only put in another shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgeosr.bundle.onnx.small_values import Values, values_of_tensor
from edgeosr.bundle.onnx.wire import Fields, WireError

_MOST_AXES = 64
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Known:
    """A tensor made of constants.

    Attributes:
        elements: at most so many.
        shape: no side is longer; None if it is not followed.
        values: None if they are many or not known.
        exact: ``shape`` is its very shape.
    """

    elements: int
    shape: Shape | None = None
    values: Values | None = None
    exact: bool = False


def of_tensor(tensor: Fields) -> Known:
    """Return what is known of a checked TensorProto."""
    return Known(math.prod(tensor["dims"]), tuple(tensor["dims"]), values_of_tensor(tensor), exact=True)


def of_values(values: Values) -> Known:
    """Return what is known of a tensor of these values."""
    return Known(values.size, values.shape, values, exact=True)


def of_shape(shape: Shape) -> Known:
    """Return what is known of a tensor that is no longer than this on any side."""
    return Known(math.prod(shape), shape)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the largest side of each axis, from the last: what is made, or more where that is refused."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(sides) for sides in zip(*padded, strict=True))


def flattened(node: Fields, first: Known) -> Known:
    """Return a tensor of as many elements, in two axes."""
    axis = next((each.get("i", 1) for each in node["attribute"] if each.get("name") == "axis"), 1)
    shape = first.shape
    if shape is None or not -len(shape) <= axis <= len(shape):
        return Known(first.elements)
    axis += len(shape) if axis < 0 else 0
    return Known(first.elements, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def transposed(node: Fields, first: Known) -> Known:
    """Return a tensor with its axes in another order.

    Raises:
        WireError: the order is not one of these axes.
    """
    if first.shape is None:
        return Known(first.elements)
    orders = (each["ints"] for each in node["attribute"] if each.get("name") == "perm")
    order = next(orders, None) or list(range(len(first.shape)))[::-1]
    if sorted(order) != list(range(len(first.shape))):
        raise WireError(f"a Transpose puts {len(first.shape)} axes in the order {order[:_MOST_AXES]}")
    return of_shape(tuple(first.shape[axis] for axis in order))


def reshaped(op: str, given: Sequence[Known]) -> Known:
    """Return a tensor of as many elements, in the shape that short constants say, if they do."""
    first, shape = given[0], given[0].shape or ()
    said = None if len(given) < 2 else given[1].values
    # Without axes, onnxruntime squeezes all of them.
    if said is None or not said.size or (first.shape is None and op != "Reshape"):
        return Known(first.elements)
    numbers = whole(said)
    if op == "Reshape":
        return _in_shape(first, numbers)
    if op == "Squeeze":
        gone = {number % max(1, len(shape)) for number in numbers}
        return Known(first.elements, tuple(side for i, side in enumerate(shape) if i not in gone))
    if op == "Unsqueeze":
        rank = len(shape) + len(numbers)
        if rank > _MOST_AXES:
            raise WireError(f"an Unsqueeze makes {rank} axes; at most {_MOST_AXES} are allowed")
        places, left = {number % rank for number in numbers}, iter(shape)
        return Known(first.elements, tuple(1 if i in places else next(left, 1) for i in range(rank)))
    return Known(first.elements)


def _in_shape(first: Known, numbers: Sequence[int]) -> Known:
    """Return a tensor of as many elements in a shape in which 0 is the first one's side, and -1 the rest."""
    shape, same = first.shape or (), [axis for axis, size in enumerate(numbers) if size == 0]
    if any(axis >= len(shape) for axis in same):
        return Known(first.elements)
    # What is left are the elements of the other axes: sides may be shorter than they are said to be.
    room = math.prod(side for axis, side in enumerate(shape) if axis not in same) if same else first.elements
    rest = -(-room // max(1, math.prod(size for size in numbers if size > 0)))
    sides = (shape[axis] if size == 0 else rest if size < 0 else size for axis, size in enumerate(numbers))
    return Known(first.elements, tuple(sides))


def whole(values: Values) -> list[int]:
    """Return short constants as a list of whole numbers.

    Raises:
        WireError: one of them is no number.
    """
    if not np.isfinite(values).all():
        raise WireError("a size, or an axis, is no number")
    return [int(value) for value in values.reshape(-1)]
