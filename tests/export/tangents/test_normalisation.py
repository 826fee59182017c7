"""Normalisations against central differences, and torch where it has them."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgeosr.errors import UnsupportedGraphError


def randoms(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 5), (2, 4, 3, 5)])
@pytest.mark.parametrize("opset", [14, 18])
def test_batch_normalisation_with_running_statistics(check_rule, shape, opset):
    x, *parameters, variance = randoms(len(shape), shape, (4,), (4,), (4,), (4,))
    inputs = [x, *parameters, np.abs(variance) + 0.1]
    check_rule("BatchNormalization", inputs, attributes={"epsilon": 1e-3}, opset=opset)


def test_batch_normalisation_of_the_oldest_opset(check_against_torch):
    # The reference evaluator takes the statistics of the batch there.
    x, scale, bias, mean, variance = randoms(9, (2, 4, 5), (4,), (4,), (4,), (4,))
    variance = np.abs(variance) + 0.1
    tensors = [torch.tensor(array) for array in (mean, variance, scale, bias)]
    check_against_torch(
        "BatchNormalization",
        [x, scale, bias, mean, variance],
        lambda x: functional.batch_norm(x, *tensors, eps=1e-3),
        attributes={"epsilon": 1e-3, "momentum": 0.8},
        opset=13,
        runtime=True,
        tolerance=1e-6,
    )


def test_batch_normalisation_in_training_mode_is_refused(check_rule):
    x, *parameters, variance = randoms(0, (2, 4, 5), (4,), (4,), (4,), (4,))
    with pytest.raises(UnsupportedGraphError, match="eval mode"):
        check_rule(
            "BatchNormalization",
            [x, *parameters, np.abs(variance)],
            attributes={"training_mode": 1},
            outputs=3,
        )


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 4, 5), (1, 3, 2, 3, 4)])
def test_instance_normalisation(check_rule, shape):
    check_rule("InstanceNormalization", randoms(1, shape, (3,), (3,)), attributes={"epsilon": 1e-2})


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 6), -1), ((2, 3, 6), -1), ((2, 3, 4), 1), ((2, 3, 2, 5), 2)]
)
def test_layer_normalisation(check_rule, shape, axis):
    scale = shape[axis:]
    inputs = randoms(2, shape, scale, scale)
    check_rule("LayerNormalization", inputs, attributes={"axis": axis, "epsilon": 1e-2})


def test_layer_normalisation_without_a_bias(check_rule):
    check_rule("LayerNormalization", randoms(3, (2, 3, 6), (6,)))


def test_layer_normalisation_equals_torch(check_against_torch):
    x, scale, bias = randoms(4, (2, 3, 6), (6,), (6,))
    check_against_torch(
        "LayerNormalization",
        [x, scale, bias],
        lambda x: functional.layer_norm(x, (6,), torch.tensor(scale), torch.tensor(bias)),
        tolerance=1e-7,  # epsilon is float32 in ONNX
    )


@pytest.mark.parametrize(("shape", "groups"), [((2, 6, 5), 3), ((2, 4, 3, 4), 1), ((2, 4, 3, 4), 4)])
def test_group_normalisation_equals_torch(check_against_torch, shape, groups):
    # The reference evaluator normalises in float32: no oracle for differences.
    x, scale, bias = randoms(5, shape, shape[1:2], shape[1:2])
    check_against_torch(
        "GroupNormalization",
        [x, scale, bias],
        lambda x: functional.group_norm(x, groups, torch.tensor(scale), torch.tensor(bias)),
        attributes={"num_groups": groups},
        opset=21,
        tolerance=1e-7,
    )


@pytest.mark.parametrize(("shape", "axis"), [((2, 6), -1), ((2, 3, 6), -1), ((2, 3, 4), 1)])
def test_root_mean_square_normalisation(check_rule, shape, axis):
    inputs = randoms(6, shape, shape[axis:])
    check_rule("RMSNormalization", inputs, attributes={"axis": axis, "epsilon": 1e-2}, opset=23)
