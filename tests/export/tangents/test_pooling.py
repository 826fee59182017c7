"""Pools of random geometry against central differences, and at ties against torch."""

import numpy as np
import pytest
from torch.nn import functional

from edgeosr.errors import UnsupportedGraphError


def random_geometry(rng, dimensions, *, dilated):
    kernel = rng.integers(1, 4, dimensions)
    attributes = {
        "kernel_shape": kernel.tolist(),
        "strides": rng.integers(1, 4, dimensions).tolist(),
        "pads": [*(int(rng.integers(0, size // 2 + 1)) for size in kernel)] * 2,
    }
    if dilated:
        attributes["dilations"] = rng.integers(1, 3, dimensions).tolist()
    return attributes


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_average_pool(check_rule, dimensions, seed):
    rng = np.random.default_rng(seed)
    attributes = random_geometry(rng, dimensions, dilated=False)
    attributes["count_include_pad"] = seed % 2
    x = rng.standard_normal((2, 3, *rng.integers(6, 9, dimensions)))
    check_rule("AveragePool", [x], attributes=attributes)


@pytest.mark.parametrize("include", [0, 1])
def test_average_pool_that_rounds_up(check_against_torch, include):
    x = np.random.default_rng(include).standard_normal((2, 3, 8, 7))
    check_against_torch(
        "AveragePool",
        [x],
        lambda x: functional.avg_pool2d(x, (3, 2), 2, (1, 0), True, bool(include)),
        attributes={
            "kernel_shape": [3, 2],
            "strides": [2, 2],
            "pads": [1, 0, 1, 0],
            "ceil_mode": 1,
            "count_include_pad": include,
        },
        opset=19,
    )


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (2, 3, 2, 3, 4)])
def test_global_pools(check_rule, check_against_torch, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    check_rule("GlobalAveragePool", [x])
    # The reference evaluator's GlobalMaxPool gives maps of another rank.
    pool = getattr(functional, f"adaptive_max_pool{len(shape) - 2}d")
    check_against_torch("GlobalMaxPool", [x], lambda x: pool(x, 1), runtime=True, tolerance=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_max_pool(check_rule, dimensions, seed):
    rng = np.random.default_rng(seed)
    attributes = random_geometry(rng, dimensions, dilated=seed > 2)
    x = rng.standard_normal((2, 3, *rng.integers(7, 10, dimensions)))
    check_rule("MaxPool", [x], attributes=attributes)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"), [(7, 3, 2, 0), (8, 3, 2, 1), (6, 2, 3, 0), (9, 2, 2, 1)]
)
def test_max_pool_that_rounds_up_equals_torch(check_against_torch, size, kernel, stride, pad):
    x = np.random.default_rng(size).standard_normal((2, 3, size, size + 1))
    check_against_torch(
        "MaxPool",
        [x],
        lambda x: functional.max_pool2d(x, kernel, stride, pad, 1, True),
        attributes={
            "kernel_shape": [kernel, kernel],
            "strides": [stride, stride],
            "pads": [pad] * 4,
            "ceil_mode": 1,
        },
    )


@pytest.mark.parametrize("size", [6, 7])
def test_max_pool_pads_by_itself(check_rule, size):
    x = np.random.default_rng(size).standard_normal((2, 3, size, size))
    check_rule(
        "MaxPool", [x], attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    )


def test_max_pool_with_odd_padding_in_front_equals_torch(check_against_torch):
    # The reference evaluator computes another size for SAME_LOWER than onnxruntime does.
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 6))
    check_against_torch(
        "MaxPool",
        [x],
        lambda x: functional.max_pool2d(functional.pad(x, (1, 0, 1, 0), value=-1e9), 3, 2),
        attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]},
    )


def test_the_first_of_equal_values_wins_as_in_torch(check_against_torch):
    x = np.random.default_rng(2).integers(0, 2, (2, 3, 7, 7)).astype(np.float64)
    check_against_torch(
        "MaxPool",
        [x],
        lambda x: functional.max_pool2d(x, 3, 2, 1),
        attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    )
    check_against_torch("GlobalMaxPool", [x], lambda x: functional.adaptive_max_pool2d(x, 1))


def test_max_pool_whose_indices_are_used_is_refused(check_rule):
    x = np.random.default_rng(3).standard_normal((2, 3, 6, 6))
    with pytest.raises(UnsupportedGraphError, match=r"only the first output.*'y1'"):
        check_rule("MaxPool", [x], attributes={"kernel_shape": [2, 2]}, outputs=2)


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_lp_pool(check_rule, power, seed):
    rng = np.random.default_rng(seed)
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "p": power}
    check_rule("LpPool", [rng.standard_normal((2, 3, 7, 6))], attributes=attributes)
