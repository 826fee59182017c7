"""One convolution that reaches the activation by several ways: the scales are summed with their signs."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from edgeosr.errors import NoClosedFormError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.closed_form.last_convolution import recognise_last_convolution

SIDE, CHANNELS = 5, 6
RNG = np.random.default_rng(5)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


HELD = {
    "first": floats(4, 3, 3, 3),
    "last": floats(CHANNELS, 4, 3, 3),
    "shortcut": floats(CHANNELS, 4, 1, 1),
    "half": np.float32(0.5),
    "three": np.float32(3.0),
    "each": floats(CHANNELS, 1, 1),
    "gamma": np.abs(floats(CHANNELS)) + np.float32(0.3),
    "beta": floats(CHANNELS),
    "mean": floats(CHANNELS),
    "variance": np.abs(floats(CHANNELS)) + np.float32(0.3),
    "tenth": np.float32(0.1),
    "fifth": np.float32(0.2),
    "three_tenths": np.float32(0.3),
    "nothing": np.float32(0.0),
    "with_a_zero": np.where(np.arange(CHANNELS) == 4, 0, 2).astype(np.float32).reshape(CHANNELS, 1, 1),
    "with_a_nan": np.where(np.arange(CHANNELS) == 1, np.nan, 2).astype(np.float32).reshape(CHANNELS, 1, 1),
    "negative": -np.ones(CHANNELS, np.float32),
    "huge": np.float32(1e25),
}
T = {name: torch.tensor(value).double() for name, value in HELD.items()}


def op(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"node_{output}", **attributes)


def norm(inputs, output):
    return op("BatchNormalization", f"{inputs} gamma beta mean variance", output)


def normed(c):
    return functional.batch_norm(c, T["mean"], T["variance"], T["gamma"], T["beta"], eps=1e-5)


# What makes y from c = conv(h) and the skip s, which is held: (nodes, the same in torch).
WAYS = {
    "c + c / 2": (
        [op("Mul", "c half", "w"), op("Add", "c w", "y")],
        lambda c, s: c + 0.5 * c,
    ),
    "c - c / 2": (
        [op("Mul", "c half", "w"), op("Sub", "c w", "y")],
        lambda c, s: c - 0.5 * c,
    ),
    "c / 2 - c": (
        [op("Mul", "half c", "w"), op("Sub", "w c", "y")],
        lambda c, s: 0.5 * c - c,
    ),
    "c + c, one tensor twice": ([op("Add", "c c", "y")], lambda c, s: c + c),
    "three ways, two negative": (
        [
            op("Mul", "c three", "w"),
            op("Neg", "c", "v"),
            op("Div", "c three", "u"),
            op("Add", "w v", "x"),
            op("Sub", "x u", "y"),
        ],
        lambda c, s: 3 * c - c - c / 3,
    ),
    "Sum of three": (
        [op("Mul", "c half", "w"), op("Neg", "c", "v"), op("Sum", "c w v", "y")],
        lambda c, s: c + 0.5 * c - c,
    ),
    "a scale a channel, and none": (
        [op("Mul", "c each", "w"), op("Sub", "w c", "y")],
        lambda c, s: c * T["each"] - c,
    ),
    "BatchNormalization, and past it": (
        [norm("c", "n"), op("Identity", "c", "i"), op("Sub", "i n", "y")],
        lambda c, s: c - normed(c),
    ),
    "BatchNormalization of the sum": (
        [op("Mul", "c half", "w"), op("Add", "w c", "x"), norm("x", "n"), op("Sub", "n c", "y")],
        lambda c, s: normed(1.5 * c) - c,
    ),
    "constants added on a way": (
        [op("Add", "c each", "w"), op("Sub", "three w", "v"), op("Add", "c v", "x"), op("Sub", "x w", "y")],
        lambda c, s: c + (3 - (c + T["each"])) - (c + T["each"]),
    ),
    "a skip between the ways": (
        [op("Add", "c s", "w"), op("Mul", "w half", "v"), op("Sub", "v c", "x"), op("Sub", "x s", "y")],
        lambda c, s: (c + s) * 0.5 - c - s,
    ),
}


def model_of(ways):
    nodes = [
        op("Conv", "image first", "f", pads=[1, 1, 1, 1]),
        op("Relu", "f", "h"),
        op("Conv", "h shortcut", "s"),
        op("Conv", "h last", "c", pads=[1, 1, 1, 1]),
        *ways,
        op("Elu", "y", "a"),
        op("GlobalAveragePool", "a", "p"),
        op("Flatten", "p", "z"),
    ]
    graph = helper.make_graph(
        nodes,
        "ways",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", CHANNELS])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in HELD.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def computed_squares(model, images):
    added = add_closed_form(model)
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.append(values[added.jacobian_squared])
    data = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run([added.jacobian_squared], {"image": images.numpy()})[0]


def exact_squares(images, ways):
    """|dz/dh|_F^2 by autograd in float64, with respect to the padded input of ``last`` alone."""
    hidden = functional.conv2d(images.double(), T["first"], padding=1).relu()

    def embedding(padded, skip):
        c = functional.conv2d(padded, T["last"])
        return functional.elu(ways(c, skip)).mean((2, 3))[0]

    return [
        torch.func.jacrev(embedding)(
            functional.pad(row[None], (1, 1, 1, 1)), functional.conv2d(row[None], T["shortcut"])
        )
        .square()
        .sum()
        .item()
        for row in hidden
    ]


@pytest.mark.parametrize("case", WAYS)
def test_the_norm_is_that_of_autograd_whatever_the_ways(case):
    nodes, ways = WAYS[case]
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    np.testing.assert_allclose(
        computed_squares(model_of(nodes), images), exact_squares(images, ways), rtol=1e-5
    )


@pytest.mark.parametrize(("sign", "square"), [("Add", 2.25), ("Sub", 0.25)])
def test_half_of_a_convolution_added_or_taken_off_gives_the_square_of_the_summed_scale(sign, square):
    ways = model_of([op("Mul", "c half", "w"), op(sign, "c w", "y")])
    np.testing.assert_allclose(np.square(recognise_last_convolution(ways).scale), np.full(CHANNELS, square))


def test_sums_nested_forty_deep_take_no_longer_than_forty_steps():
    nodes, before = [], "c"
    for level in range(40):
        after = "y" if level == 39 else f"x{level}"
        nodes += [op("Add", f"{before} {before}", f"d{level}"), op("Mul", f"d{level} half", after)]
        before = after
    np.testing.assert_array_equal(recognise_last_convolution(model_of(nodes)).scale, np.ones(CHANNELS))


CANCELLING = {
    "c - c": [op("Sub", "c c", "y")],
    "-c + c": [op("Neg", "c", "w"), op("Add", "w c", "y")],
    "0.1 c + 0.2 c - 0.3 c": [
        op("Mul", "c tenth", "u"),
        op("Mul", "c fifth", "v"),
        op("Mul", "c three_tenths", "w"),
        op("Add", "u v", "x"),
        op("Sub", "x w", "y"),
    ],
}


@pytest.mark.parametrize("case", CANCELLING)
def test_a_convolution_whose_ways_cancel_is_refused(case):
    with pytest.raises(NoClosedFormError, match=r"'node_c' \(Conv, output 'c'\): its scales .* sum to 0"):
        add_closed_form(model_of(CANCELLING[case]))


NOT_FINITE = {
    "a divisor with a 0": ([op("Div", "c with_a_zero", "y")], "1 of 6 channels, the first is 4"),
    "a divisor of 0": ([op("Div", "c nothing", "y")], "1 of 1 channels, the first is 0"),
    "0 over 0": ([op("Mul", "c nothing", "w"), op("Div", "w nothing", "y")], "1 of 1 channels"),
    "a factor that is not a number": ([op("Mul", "c with_a_nan", "y")], "1 of 6 channels, the first is 1"),
    "a variance below 0": (
        [op("BatchNormalization", "c gamma beta mean negative", "y")],
        "6 of 6 channels, the first is 0",
    ),
}


@pytest.mark.parametrize("case", NOT_FINITE)
def test_a_constant_that_makes_a_scale_that_is_not_finite_is_refused_by_name(case):
    nodes, said = NOT_FINITE[case]
    with pytest.raises(NoClosedFormError, match=rf"output 'y'\): its constants make a scale .* in {said}"):
        add_closed_form(model_of(nodes))


def test_a_scale_whose_square_float32_cannot_hold_is_refused():
    with pytest.raises(NoClosedFormError, match=r"output 'c'\): .* table that float32 cannot hold"):
        add_closed_form(model_of([op("Mul", "c huge", "y")]))


def test_where_the_ways_of_the_deepest_convolution_cancel_the_next_one_is_the_last():
    ways = [op("Add", "c s", "w"), op("Sub", "w c", "y")]
    assert recognise_last_convolution(model_of(ways)).conv.name == "node_s"


def test_a_skip_that_goes_around_the_convolution_stays_held():
    ways = [op("Tanh", "s", "t"), op("Sub", "c t", "y")]
    found = recognise_last_convolution(model_of(ways))
    assert found.conv.name == "node_c"
    np.testing.assert_array_equal(found.scale, np.ones(CHANNELS))


NOT_AFFINE = {
    "Tanh": [op("Tanh", "c", "t"), op("Add", "c t", "y")],
    "gate": [
        op("GlobalAveragePool", "c", "q"),
        op("Sigmoid", "q", "g"),
        op("Mul", "c g", "t"),
        op("Sub", "c t", "y"),
    ],
    "context of one position": [
        op("GlobalAveragePool", "c", "q"),
        op("Conv", "q square", "t"),
        op("Add", "c t", "y"),
    ],
}
HELD["square"] = floats(CHANNELS, CHANNELS, 1, 1)


@pytest.mark.parametrize("case", NOT_AFFINE)
def test_a_second_way_that_is_not_affine_is_refused_by_name(case):
    model = model_of(NOT_AFFINE[case])
    with pytest.raises(NoClosedFormError, match=r"'node_t'.*'node_c' .* reaches the activation past it too"):
        add_closed_form(model)
