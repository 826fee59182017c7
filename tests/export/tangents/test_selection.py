"""Operators that cut, pick, join or surround, along the batch and along other axes."""

import numpy as np
import pytest

SHAPE = (3, 4, 5)


def ints(*values):
    return np.array(values, np.int64)


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((1,), (3,), (1,), None),
        ((0, 1), (3, 4), None, None),
        ((-3,), (2**31,), (-1,), (2,)),
        ((4, -1), (0, -100), (2, 1), (-2, -1)),
        ((1,), (3,), (0,), (1,)),
        ((-1,), (-100,), (0,), (-1,)),
        ((1, 1), (3, 3), (-2, -1), (1, 1)),
    ],
)
def test_slice(check_rule, starts, ends, axes, steps):
    further = [None if values is None else ints(*values) for values in (starts, ends, axes, steps)]
    while further[-1] is None:
        further.pop()
    check_rule("Slice", [numbers(*SHAPE), *further], opset=13)


def test_slice_with_limits_of_32_bits_or_from_the_graph(check_rule):
    limits = [np.array(values, np.int32) for values in ([1], [3], [-1])]
    check_rule("Slice", [numbers(*SHAPE), *limits])
    inputs = [numbers(*SHAPE), ints(1), ints(3), ints(2)]
    check_rule("Slice", inputs, varying=(0, 1, 2), batched=(0,), still=(1, 2), forms=("full",))


@pytest.mark.parametrize(
    ("sizes", "axis", "outputs", "opset"),
    [
        ((1, 3, 1), -1, 3, 13),
        (None, 1, 2, 13),
        ((1, 2), 0, 2, 13),
        (None, 2, 3, 18),
        (None, -1, 2, 26),
        ((2, 1, 1), 1, 3, 26),
        (None, 0, 3, 18),
    ],
)
def test_split(check_rule, sizes, axis, outputs, opset):
    attributes = {"axis": axis}
    if sizes is None and opset >= 18:
        attributes["num_outputs"] = outputs
    inputs = [numbers(*SHAPE), *([] if sizes is None else [ints(*sizes)])]
    check_rule("Split", inputs, attributes=attributes, outputs=outputs, opset=opset)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [2, (0, -1), ((2, 0), (1, 1))], ids=["one", "some", "a table"])
def test_gather(check_rule, axis, indices):
    attributes = {"axis": axis}
    check_rule("Gather", [numbers(*SHAPE), np.array(indices, np.int64)], attributes=attributes, opset=13)


def test_gather_with_indices_that_depend_on_the_images(check_rule):
    inputs = [numbers(*SHAPE), ints(2, 0, 1)]
    check_rule("Gather", inputs, varying=(0, 1), still=(1,), attributes={"axis": 1})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("still", [(), (0,), (2,), (0, 1), (1, 2), (0, 2), (1,)], ids=str)
def test_concat_with_inputs_that_do_not_depend_on_the_cut(check_rule, axis, still):
    inputs = [numbers(*SHAPE) + index for index in range(3)]
    attributes = {"axis": axis}
    check_rule("Concat", inputs, varying=(0, 1, 2), still=still, attributes=attributes, opset=13)


def test_concat_with_a_constant(check_rule):
    inputs = [numbers(3, 1, 5), numbers(*SHAPE), numbers(3, 2, 5)]
    check_rule("Concat", inputs, varying=(1,), batched=(), attributes={"axis": 1})


@pytest.mark.parametrize(
    ("mode", "pads", "opset"),
    [
        ("constant", (0, 1, 2, 0, 3, 0), 13),
        ("constant", (1, 0, 0, 0, 1, 2), 13),
        ("reflect", (0, 2, 1, 0, 1, 3), 13),
        ("edge", (0, 2, 1, 0, 0, 3), 13),
        ("edge", (1, 0, 0, 2, 1, 0), 26),
        ("wrap", (0, 2, 1, 0, 1, 3), 19),
    ],
)
def test_pad(check_rule, mode, pads, opset):
    value = [np.array(0.75)] if mode == "constant" else []
    check_rule("Pad", [numbers(*SHAPE), ints(*pads), *value], attributes={"mode": mode}, opset=opset)


def test_pad_of_some_axes(check_rule):
    inputs = [numbers(*SHAPE), ints(1, 2, 0, 3), None, ints(-1, 1)]
    check_rule("Pad", inputs, attributes={"mode": "reflect"})
    check_rule("Pad", inputs, varying=(0, 1), batched=(0,), still=(1,), opset=26)


def test_pad_by_borders_that_the_graph_computes(check_rule):
    inputs = [numbers(*SHAPE), ints(1, 0, 2, 0, 3, 0)]
    check_rule("Pad", inputs, varying=(0, 1), batched=(0,), still=(1,), opset=13)
