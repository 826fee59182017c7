"""Shapes that convolutions and pools make, and the work of it; for constants alone."""

import math

from edgeosr.bundle.onnx.wire import Fields

_Shape = tuple[int, ...]


def window_shape(node: Fields, image: _Shape, weights: _Shape | None) -> tuple[_Shape, int] | None:
    """Return what a Conv, or a pool without weights, makes of ``[n, channels, ...]``, and its work.

    Args:
        node: with its attributes.
        image: the shape of the first input.
        weights: ``[out, in / groups, ...]`` of a Conv; None for a pool.

    Returns:
        None where the shapes do not fit together; onnxruntime refuses such a node.
    """
    lists = {each.get("name", ""): each["ints"] for each in node["attribute"]}
    kernel = list(weights[2:]) if weights is not None else lists.get("kernel_shape", [])
    axes = len(image) - 2
    if axes < 1 or len(kernel) != axes or (weights is not None and len(weights) != len(image)):
        return None
    strides = lists.get("strides") or [1] * axes
    dilations = lists.get("dilations") or [1] * axes
    pads = lists.get("pads") or [0] * (2 * axes)
    if len(strides) != axes or len(dilations) != axes or len(pads) != 2 * axes or min(strides) < 1:
        return None
    sides = []
    for axis in range(axes):
        # As if every pool rounded up and every side were padded: never less than what is made.
        room = image[2 + axis] + abs(pads[axis]) + abs(pads[axes + axis])
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        same = -(-image[2 + axis] // strides[axis])
        sides.append(max(same, -(-max(0, room - reach) // strides[axis]) + 1))
    channels = image[1] if weights is None else weights[0]
    made = (image[0], channels, *sides)
    each = math.prod(kernel) * (1 if weights is None else weights[1])
    return made, math.prod(made) * max(1, each)
