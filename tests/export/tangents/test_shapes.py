"""Operators that move, copy or rename numbers, with the batch in front and without."""

import numpy as np
import pytest

SHAPE = (2, 3, 4, 6)


def ints(*values):
    return np.array(values, np.int64)


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.parametrize("axis", range(-3, 5))
def test_flatten(check_rule, axis):
    check_rule("Flatten", [numbers(*SHAPE)], attributes={"axis": axis}, opset=13)


@pytest.mark.parametrize(
    "target", [(0, -1), (-1, 72), (0, 4, -1, 6), (2, 12, 6), (-1, 6), (6, 24), (1, 0, -1), (-1,), (1, -1, 1)]
)
def test_reshape(check_rule, target):
    x = numbers(2, 12, 6) if target == (1, 0, -1) else numbers(*SHAPE)
    check_rule("Reshape", [x, ints(*target)], opset=13)


def test_reshape_to_a_shape_that_the_graph_computes(check_rule):
    x = numbers(*SHAPE)
    check_rule("Reshape", [x, ints(2, 12, 6)], varying=(0, 1), batched=(0,), still=(1,))
    check_rule("Reshape", [x, ints(6, 0, -1)], varying=(0, 1), batched=(0,), still=(1,), opset=26)
    check_rule("Reshape", [x, ints(2, 72)], attributes={"allowzero": 1})


@pytest.mark.parametrize("perm", [None, (0, 2, 3, 1), (3, 1, 0, 2), (1, 0, 2, 3)])
def test_transpose(check_rule, perm):
    check_rule("Transpose", [numbers(*SHAPE)], attributes={} if perm is None else {"perm": perm})


@pytest.mark.parametrize("axes", [(1,), (-2,), (3, 1), None])
def test_squeeze(check_rule, axes):
    batched = () if axes is None else (0,)
    inputs = [numbers(2, 1, 3, 1)[..., 0, :][:, :, None]] if axes == (-2,) else [numbers(2, 1, 3, 1)]
    check_rule("Squeeze", [*inputs, *([] if axes is None else [ints(*axes)])], batched=batched, opset=13)


def test_squeeze_of_a_batch_of_one(check_rule):
    check_rule("Squeeze", [numbers(1, 3, 4), ints(0)], batched=())


@pytest.mark.parametrize("axes", [(1,), (-1,), (0,), (3, 0), (-1, 1)])
def test_unsqueeze(check_rule, axes):
    check_rule("Unsqueeze", [numbers(2, 3), ints(*axes)], opset=13)


@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((2, 1, 3), (2, 4, 3)),
        ((2, 1, 3), (1, 4, 1)),
        ((2, 3), (5, 2, 3)),
        ((1, 3, 1), (2, 1, 4)),
        ((2, 1), (4, 5, 1, 3)),
        ((), (2, 3)),
    ],
)
def test_expand(check_rule, shape, target):
    batched = (0,) if shape[:1] == (2,) else ()
    for varying in ((0,), (0, 1)):
        inputs = [numbers(*shape), ints(*target)]
        check_rule("Expand", inputs, varying=varying, batched=batched, still=(1,), opset=13)


@pytest.mark.parametrize("repeats", [(1, 2, 3), (2, 1, 1), (3, 2, 1)])
def test_tile(check_rule, repeats):
    inputs = [numbers(2, 3, 4), ints(*repeats)]
    check_rule("Tile", inputs, opset=13)
    check_rule("Tile", inputs, varying=(0, 1), batched=(0,), still=(1,), forms=("full",))


def test_what_leaves_numbers_alone(check_rule):
    check_rule("Identity", [numbers(2, 3)])
    check_rule("Cast", [numbers(2, 3)], attributes={"to": 11})
    check_rule("CastLike", [numbers(2, 3), np.zeros(1)], opset=15)
    check_rule("Dropout", [numbers(2, 3)], opset=13)
    check_rule("Dropout", [numbers(2, 3), np.float32(0.5), np.array(False)], opset=22)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(check_rule, mode):
    check_rule("DepthToSpace", [numbers(2, 8, 2, 3)], attributes={"blocksize": 2, "mode": mode}, opset=13)


def test_space_to_depth(check_rule):
    check_rule("SpaceToDepth", [numbers(2, 3, 4, 6)], attributes={"blocksize": 2}, opset=13)
