"""Resize: every mode and way to place coordinates, by scales and by sizes, for all axes and for some."""

import numpy as np
import pytest

MODES = ("nearest", "linear", "cubic")
PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


def floats(*values):
    return np.array(values, np.float32)


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("mode", MODES)
def test_resize_by_scales(check_rule, mode, places):
    attributes = {"mode": mode, "coordinate_transformation_mode": places}
    inputs = [numbers(2, 2, 3, 4), None, floats(1, 1, 2, 0.5)]
    check_rule("Resize", inputs, attributes=attributes, opset=13)


@pytest.mark.parametrize("opset", [13, 26])
@pytest.mark.parametrize("mode", MODES)
def test_resize_to_sizes(check_rule, mode, opset):
    inputs = [numbers(2, 2, 3, 4), None, None, ints(2, 2, 5, 3)]
    check_rule("Resize", inputs, attributes={"mode": mode}, opset=opset)


@pytest.mark.parametrize("opset", [13, 18])
def test_resize_to_sizes_that_the_graph_computes(check_rule, opset):
    inputs = [numbers(2, 2, 3, 4), None, None, ints(2, 2, 5, 3)]
    check_rule(
        "Resize", inputs, attributes={"mode": "linear"}, varying=(0, 3), batched=(0,), still=(3,), opset=opset
    )


def test_resize_with_an_empty_vector_of_scales(check_rule):
    inputs = [numbers(2, 2, 3, 4), None, floats(), ints(2, 2, 5, 3)]
    check_rule("Resize", inputs, opset=13, forms=("full",))


@pytest.mark.parametrize(
    "attributes",
    [
        {"axes": [2, 3]},
        {"axes": [3, 2], "mode": "linear"},
        {"axes": [2, 3], "mode": "linear", "antialias": 1},
        {"axes": [2, 3], "mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
        {"axes": [2, 3], "nearest_mode": "ceil", "keep_aspect_ratio_policy": "not_larger"},
    ],
)
def test_resize_of_some_axes(check_rule, attributes):
    check_rule("Resize", [numbers(2, 2, 4, 6), None, None, ints(3, 5)], attributes=attributes)


def test_resize_of_a_sequence_and_of_a_volume(check_rule):
    check_rule("Resize", [numbers(2, 3, 5), None, floats(1, 1, 1.5)], attributes={"mode": "linear"})
    check_rule("Resize", [numbers(2, 1, 2, 3, 2), None, floats(1, 1, 2, 1, 2)], forms=("full",))


def test_resize_of_a_region(check_rule):
    inputs = [numbers(2, 2, 4, 6), floats(0, 0, 0.2, -0.2, 1, 1, 0.9, 1.2), None, ints(2, 2, 3, 5)]
    attributes = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}
    check_rule("Resize", inputs, attributes={**attributes, "extrapolation_value": 7.0})
