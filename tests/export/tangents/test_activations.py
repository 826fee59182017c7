"""Activations against central differences, and at their kinks against torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

KINKS = np.array([[-3.0, -1.0, 0.0, 1.0, 3.0, 6.0], [0.5, 2.0, -0.5, -2.0, 0.0, 4.0]])

# name: (operator, attributes, torch's function)
CASES = {
    "relu": ("Relu", {}, torch.relu),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.2}, lambda x: functional.leaky_relu(x, 0.2)),
    "leaky_relu, slope 0": ("LeakyRelu", {"alpha": 0.0}, torch.relu),
    "leaky_relu, steep": ("LeakyRelu", {"alpha": 1.5}, lambda x: functional.leaky_relu(x, 1.5)),
    "leaky_relu, negative": ("LeakyRelu", {"alpha": -0.3}, lambda x: functional.leaky_relu(x, -0.3)),
    "elu": ("Elu", {"alpha": 0.7}, lambda x: functional.elu(x, 0.7)),
    "elu, negative": ("Elu", {"alpha": -0.7}, lambda x: functional.elu(x, -0.7)),
    "selu": ("Selu", {}, functional.selu),
    "sigmoid": ("Sigmoid", {}, torch.sigmoid),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, functional.hardsigmoid),
    "hard_swish": ("HardSwish", {}, functional.hardswish),
    "mish": ("Mish", {}, functional.mish),
    "tanh": ("Tanh", {}, torch.tanh),
    "softplus": ("Softplus", {}, functional.softplus),
    "softsign": ("Softsign", {}, functional.softsign),
}
SMOOTH = ("sigmoid", "mish", "tanh", "softplus", "softsign")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (1, 2, 3, 5)])
def test_derivative_equals_central_differences(check_rule, name, shape):
    op_type, attributes, _ = CASES[name]
    x = np.random.default_rng(len(shape)).standard_normal(shape) * 2
    check_rule(op_type, [x], attributes=attributes)


@pytest.mark.parametrize("name", CASES)
def test_derivative_equals_torch_at_the_kinks_too(check_against_torch, name):
    op_type, attributes, function = CASES[name]
    # ONNX attributes are float32, torch's numbers are not.
    check_against_torch(op_type, [KINKS], function, attributes=attributes, tolerance=2e-7)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_equals_torch(check_against_torch, approximate):
    x = np.random.default_rng(0).standard_normal((3, 50)) * 3
    check_against_torch(
        "Gelu",
        [x],
        lambda x: functional.gelu(x, approximate=approximate),
        attributes={"approximate": approximate},
        opset=20,
        tolerance=1e-6,  # the reference evaluator's own Erf is single precision
    )


def test_gelu_far_from_zero_is_finite(check_against_torch):
    for approximate in ("none", "tanh"):
        check_against_torch(
            "Gelu",
            [np.array([[-1e20, -50.0, 50.0, 1e20]])],
            lambda x: torch.where(x > 0, x, 0 * x),
            attributes={"approximate": approximate},
            opset=20,
            runtime=True,
            tolerance=1e-6,
        )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_celu_equals_torch(check_against_torch, alpha):
    # ONNX has it for float32 alone.
    check_against_torch(
        "Celu",
        [KINKS],
        lambda x: functional.celu(x, alpha),
        attributes={"alpha": alpha},
        dtype=np.float32,
        tolerance=1e-6,
    )


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_swish_equals_torch(check_against_torch, alpha):
    check_against_torch(
        "Swish",
        [KINKS],
        lambda x: x * torch.sigmoid(alpha * x),
        attributes={"alpha": alpha},
        opset=24,
        tolerance=2e-7,
    )


@pytest.mark.parametrize(("slope", "varying"), [((3, 1), (0,)), ((1,), (0,)), ((2, 3, 1), (0, 1))])
def test_prelu_has_a_slope_per_channel_that_may_vary(check_rule, slope, varying):
    rng = np.random.default_rng(1)
    check_rule("PRelu", [rng.standard_normal((2, 3, 4)), rng.standard_normal(slope)], varying=varying)


def test_prelu_at_its_kink_is_what_torch_has_going_backward(one_node, rule_tangents):
    # Going forward torch takes 1 at 0, going backward the slope, as for every other activation.
    x = torch.tensor(KINKS, requires_grad=True)
    (expected,) = torch.autograd.grad(functional.prelu(x, torch.tensor([0.25]).double()).sum(), x)
    model = one_node("PRelu", [KINKS, np.array([0.25])])
    (got,) = rule_tangents(model, {"x0": KINKS}, {"x0": np.ones((1, *KINKS.shape))})
    np.testing.assert_array_equal(got[0], expected.numpy())


BOUNDS = [(0.0, 6.0), (0.0, None), (None, 1.0), (-1.0, 1.0), (None, None), (0.0, 3.4e38), (-1.0, 4.0)]


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clip_passes_strictly_between_its_bounds(check_against_torch, low, high):
    inputs = [KINKS, *(None if bound is None else np.array(bound) for bound in (low, high))]
    below, above = (-np.inf if low is None else low), (np.inf if high is None else high)
    check_against_torch("Clip", inputs, lambda x: functional.hardtanh(x, below, above))


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_clip_equals_central_differences(check_rule, low, high):
    x = np.random.default_rng(2).standard_normal((2, 3, 4)) * 3
    check_rule("Clip", [x, *(None if bound is None else np.array(bound) for bound in (low, high))])
