"""Convolutions of one to three dimensions, of random geometry, against central differences and torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgeosr.errors import UnsupportedGraphError


def random_case(seed, dimensions, *, transposed=False):
    """Return (inputs, attributes) of a convolution that fits its image."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 4]))
    channels, filters = 4, 4 * int(rng.integers(1, 3))
    kernel = rng.integers(1, 4, dimensions).tolist()
    attributes = {
        "kernel_shape": kernel,
        "group": groups,
        "strides": rng.integers(1, 3, dimensions).tolist(),
        "dilations": rng.integers(1, 3, dimensions).tolist(),
    }
    mode = rng.choice(["NOTSET", "VALID"])
    if mode == "NOTSET":
        attributes["pads"] = rng.integers(0, 2, 2 * dimensions).tolist()
    else:
        attributes["auto_pad"] = mode
    sizes = rng.integers(5, 8, dimensions)
    shape = (channels, filters // groups) if transposed else (filters, channels // groups)
    inputs = [rng.standard_normal((2, channels, *sizes)), rng.standard_normal((*shape, *kernel))]
    if rng.integers(2):
        inputs.append(rng.standard_normal(filters))
    return inputs, attributes


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_convolution_equals_central_differences(check_rule, dimensions, seed):
    inputs, attributes = random_case(seed, dimensions)
    check_rule(
        "Conv", inputs, attributes=attributes, forms=("full", "narrow", "single")[: 3 if seed < 2 else 1]
    )


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel", [2, 3])
def test_every_automatic_padding(check_rule, mode, kernel):
    rng = np.random.default_rng(kernel)
    inputs = [rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((2, 3, kernel, kernel))]
    check_rule("Conv", inputs, attributes={"auto_pad": mode, "strides": [1, 2]})


def test_depthwise_convolution_equals_torch(check_against_torch):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape) for shape in ((2, 6, 7, 8), (6, 1, 3, 3), (6,)))
    check_against_torch(
        "Conv",
        [x, weight, bias],
        lambda x: functional.conv2d(x, torch.tensor(weight), torch.tensor(bias), 2, 1, groups=6),
        attributes={"group": 6, "strides": [2, 2], "pads": [1, 1, 1, 1]},
    )


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_transposed_convolution_equals_torch(check_against_torch, dimensions, seed):
    inputs, attributes = random_case(seed + 50, dimensions, transposed=True)
    pads = [int(size) for size in np.random.default_rng(seed).integers(0, 2, dimensions)]
    attributes["pads"] = pads * 2
    attributes.pop("auto_pad", None)
    strides = attributes["strides"]
    # torch wants it less than the stride or the dilation.
    attributes["output_padding"] = [min(stride, 2) - 1 for stride in strides]
    weight, *bias = (torch.tensor(array) for array in inputs[1:])
    operator = getattr(functional, f"conv_transpose{dimensions}d")

    geometry = (strides, pads, attributes["output_padding"], attributes["group"], attributes["dilations"])

    def function(x):
        return operator(x.float(), weight.float(), bias[0].float() if bias else None, *geometry).double()

    # The reference evaluator has no groups here.
    check_against_torch(
        "ConvTranspose", inputs, function, attributes=attributes, runtime=True, tolerance=2e-6
    )


def test_transposed_convolution_equals_central_differences(check_rule):
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal((2, 4, 4, 5)), rng.standard_normal((4, 3, 3, 2))]
    check_rule("ConvTranspose", inputs, attributes={"strides": [2, 1], "pads": [1, 0, 1, 1]})


@pytest.mark.parametrize("directions", [1, 3])
def test_an_image_of_open_size(one_node, rule_tangents, directions):
    rng = np.random.default_rng(5)
    x, weight = rng.standard_normal((2, 3, 6, 5)), rng.standard_normal((4, 3, 3, 3))
    t = rng.standard_normal((directions, 2, 3, 6, 5))
    model = one_node("Conv", [x, weight])
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis in (2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_side_{axis}"
    (got,) = rule_tangents(model, {"x0": x}, {"x0": t})
    for direction, result in zip(t, got, strict=True):
        want = functional.conv2d(torch.tensor(direction), torch.tensor(weight))
        np.testing.assert_allclose(result, want, rtol=1e-10, atol=1e-12)


def test_a_weight_that_depends_on_the_image_is_refused(check_rule):
    rng = np.random.default_rng(4)
    inputs = [rng.standard_normal((2, 3, 5, 5)), rng.standard_normal((2, 3, 3, 3))]
    with pytest.raises(UnsupportedGraphError, match=r"weights of node 'the_node' \(Conv.*'x1'"):
        check_rule("Conv", inputs, varying=(0, 1), batched=(0,))
