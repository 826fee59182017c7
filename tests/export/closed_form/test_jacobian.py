"""The closed form against torch's autograd: every activation, kind of convolution, and way into the map."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from edgeosr.export.closed_form.jacobian import add_closed_form

CHANNELS = 6


@dataclass(frozen=True)
class Convolution:
    kernel: tuple[int, int]
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    outputs: int = CHANNELS

    @property
    def padding(self):
        return tuple(side // 2 * self.dilation for side in self.kernel)


CONVOLUTIONS = {
    "1x1": Convolution((1, 1)),
    "1x1 stride 2": Convolution((1, 1), stride=2),
    "3x3": Convolution((3, 3)),
    "3x3 stride 2": Convolution((3, 3), stride=2),
    "5x5 stride 2": Convolution((5, 5), stride=2),
    "3x5": Convolution((3, 5), outputs=10),
    "grouped": Convolution((3, 3), groups=2, outputs=8),
    "depthwise": Convolution((3, 3), groups=CHANNELS),
    "dilated": Convolution((3, 3), dilation=2),
    "stride past the kernel": Convolution((3, 3), stride=3),
}
JOINS = ("plain", "skip", "batch norm", "batch norm, skip", "skip, batch norm", "scaled")
SLOPES = torch.linspace(-0.3, 0.9, CHANNELS)


def node(kind, *inputs, **attributes):
    return lambda y, name: [helper.make_node(kind, [y, *inputs], [name], **attributes)]


def product_with(kind, **attributes):
    def nodes(y, name):
        return [
            helper.make_node(kind, [y], ["gate"], **attributes),
            helper.make_node("Mul", [y, "gate"], [name]),
        ]

    return nodes


# name in the contract: (the nodes, torch's function, constants that the nodes use)
ACTIVATIONS = {
    "identity": (node("Identity"), lambda y: y, {}),
    "relu": (node("Relu"), torch.relu, {}),
    "leaky_relu": (node("LeakyRelu", alpha=0.2), lambda y: functional.leaky_relu(y, 0.2), {}),
    "prelu": (
        node("PRelu", "slopes"),
        lambda y: torch.where(y > 0, y, y * 0.25),
        {"slopes": np.full((1, 1, 1), 0.25, np.float32)},
    ),
    "clip": (
        node("Clip", "low", "high"),
        lambda y: functional.hardtanh(y, 0.0, 1.5),
        {"low": np.float32(0), "high": np.float32(1.5)},
    ),
    "elu": (node("Elu", alpha=0.7), lambda y: functional.elu(y, 0.7), {}),
    "hard_swish": (node("HardSwish"), functional.hardswish, {}),
    "silu": (product_with("Sigmoid"), functional.silu, {}),
    "gelu": (node("Gelu"), functional.gelu, {}),
    "gelu_tanh": (node("Gelu", approximate="tanh"), lambda y: functional.gelu(y, approximate="tanh"), {}),
    "mish": (node("Mish"), functional.mish, {}),
}


class Case:
    """One network: conv -> join -> activation -> pool, as ONNX and as a torch function of the padded h."""

    def __init__(self, activation, convolution, join, *, height=9, width=8, dynamic=False, seed=0):
        self.spec, self.join = CONVOLUTIONS[convolution], join
        self.make_nodes, self.function, self.constants = ACTIVATIONS[activation]
        generator = torch.Generator().manual_seed(seed)
        self.generator = generator
        outputs = self.spec.outputs

        def floats(*shape):
            return torch.randn(*shape, generator=generator)

        self.weight = floats(outputs, CHANNELS // self.spec.groups, *self.spec.kernel)
        self.bias = floats(outputs)
        self.skip_weight = floats(outputs, CHANNELS, 1, 1)
        self.norm = [floats(outputs), floats(outputs), floats(outputs), floats(outputs).square() + 0.3]
        self.scale = floats(outputs, 1, 1)
        size = ("height", "width") if dynamic else (height, width)
        self.model = self._model(size)

    def images(self, batch, height=9, width=8):
        return torch.randn(batch, CHANNELS, height, width, generator=self.generator) * 1.5

    def _model(self, size):
        spec = self.spec
        geometry = {
            "pads": [*spec.padding, *spec.padding],
            "strides": [spec.stride] * 2,
            "dilations": [spec.dilation] * 2,
            "group": spec.groups,
        }
        shortcut = helper.make_node("Conv", ["h", "skip_weight"], ["shortcut"], strides=[spec.stride] * 2)
        nodes = [shortcut] if "skip" in self.join else []
        nodes.append(
            helper.make_node("Conv", ["h", "weight", "bias"], ["conv"], name="last_conv", **geometry)
        )
        edge = "conv"
        for step in self.join.split(", "):
            if step == "skip":
                nodes.append(helper.make_node("Add", ["shortcut", edge], [step]))
            elif step == "batch norm":
                inputs = [edge, *(f"norm{index}" for index in range(4))]
                nodes.append(helper.make_node("BatchNormalization", inputs, [step], epsilon=1e-3))
            elif step == "scaled":
                nodes.append(helper.make_node("Mul", ["scale", edge], ["product"]))
                nodes.append(helper.make_node("Sub", ["half", "product"], ["shifted"]))
                nodes.append(helper.make_node("Div", ["shifted", "half"], [step]))
            edge = step if step != "plain" else edge
        nodes += self.make_nodes(edge, "a")
        nodes += [
            helper.make_node("GlobalAveragePool", ["a"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["z"]),
        ]
        held = {
            "weight": self.weight,
            "bias": self.bias,
            "skip_weight": self.skip_weight,
            "scale": self.scale,
            "half": np.float32(0.5),
            **{f"norm{index}": values for index, values in enumerate(self.norm)},
            **self.constants,
        }
        graph = helper.make_graph(
            nodes,
            "case",
            [helper.make_tensor_value_info("h", TensorProto.FLOAT, ["batch", CHANNELS, *size])],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", spec.outputs])],
            [numpy_helper.from_array(np.asarray(values), name) for name, values in held.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
        return ir.from_proto(onnx.shape_inference.infer_shapes(model))

    def embedding(self, padded, shortcut):
        """Z of one image from the explicitly padded h, the skip held constant; float64."""
        spec = self.spec
        y = functional.conv2d(
            padded, self.weight.double(), self.bias.double(), spec.stride, 0, spec.dilation, spec.groups
        )
        for step in self.join.split(", "):
            if step == "skip":
                y = y + shortcut
            elif step == "batch norm":
                gamma, beta, mean, variance = (values.double() for values in self.norm)
                y = functional.batch_norm(y, mean, variance, gamma, beta, eps=1e-3)
            elif step == "scaled":
                y = (0.5 - self.scale.double() * y) / 0.5
        return self.function(y).mean((2, 3))[0]

    def exact_norm(self, image):
        """|dz/dh|_F / |z| by torch.func.jacrev."""
        image = image[None].double()
        shortcut = functional.conv2d(image, self.skip_weight.double(), stride=self.spec.stride)
        vertical, horizontal = self.spec.padding
        padded = functional.pad(image, (horizontal, horizontal, vertical, vertical))
        jacobian = torch.func.jacrev(self.embedding)(padded, shortcut)
        return (jacobian.norm() / self.embedding(padded, shortcut).norm()).item()


def run(model, images, *names):
    """Run the graph with the named tensors as outputs."""
    values = {value.name: value for edge in model.graph for value in edge.outputs}
    model.graph.outputs[:] = [values[name] for name in names]
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images.numpy()})


def norms(model, images):
    squared, z = run(model, images, "jacobian_squared", "embedding")
    assert squared.shape == (len(images),)
    assert squared.dtype == np.float32
    return np.sqrt(squared) / np.linalg.norm(z, axis=1)


# Every pair of (activation, convolution), (activation, join) and (convolution, join).
CASES = sorted(
    {
        (activation, convolution, "batch norm, skip")
        for activation in ACTIVATIONS
        for convolution in CONVOLUTIONS
    }
    | {(activation, "3x3", join) for activation in ACTIVATIONS for join in JOINS}
    | {("silu", convolution, join) for convolution in CONVOLUTIONS for join in JOINS}
)


@pytest.mark.parametrize(("activation", "convolution", "join"), CASES)
def test_norm_equals_autograd_on_the_padded_input(activation, convolution, join):
    case = Case(activation, convolution, join)
    images = case.images(2)
    added = add_closed_form(case.model)
    assert (added.conv_node, added.map, added.embedding) == ("last_conv", "map", "embedding")
    assert added.closed_form.activation == activation
    expected = [case.exact_norm(image) for image in images]
    np.testing.assert_allclose(norms(case.model, images), expected, rtol=1e-5)


@pytest.mark.parametrize("activation", ["identity", "relu", "silu"])
@pytest.mark.parametrize("convolution", ["1x1", "3x3", "5x5 stride 2"])
def test_height_and_width_may_change_from_call_to_call(activation, convolution):
    case = Case(activation, convolution, "batch norm, skip", dynamic=True)
    add_closed_form(case.model)
    for height, width in ((9, 8), (5, 12), (3, 3), (1, 1)):
        images = case.images(2, height, width)
        expected = [case.exact_norm(image) for image in images]
        np.testing.assert_allclose(norms(case.model, images), expected, rtol=1e-5)


@pytest.mark.parametrize("convolution", ["1x1", "3x3"])
def test_an_image_has_the_same_norm_alone_and_at_any_place_in_a_batch(convolution):
    case = Case("silu", convolution, "skip")
    images = case.images(17)
    add_closed_form(case.model)
    together = norms(case.model, images)
    alone = np.concatenate([norms(case.model, images[index : index + 1]) for index in range(17)])
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    np.testing.assert_allclose(norms(case.model, images.flip(0)), together[::-1], rtol=1e-6)


@pytest.mark.parametrize("convolution", ["1x1", "3x3", "3x3 stride 2", "dilated", "grouped"])
def test_constants_for_the_kernel_give_the_norm_of_the_graph(convolution):
    case = Case("hard_swish", convolution, "skip, batch norm")
    images = case.images(3)
    form = add_closed_form(case.model).closed_form
    y, squared = run(case.model, images, "map", "jacobian_squared")
    # torch's derivative of the activation, then the formula of scoring.scorer.ClosedForm, word by word.
    leaf = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    mask = torch.autograd.grad(functional.hardswish(leaf).sum(), leaf)[0].numpy()
    height, width = mask.shape[2:]
    total = np.zeros(3)
    for tap, (down, right) in enumerate(form.offsets.tolist()):
        for row in range(height):
            for column in range(width):
                if 0 <= row + down < height and 0 <= column + right < width:
                    pair = mask[:, :, row, column] * mask[:, :, row + down, column + right]
                    total += pair @ form.table[:, tap].astype(np.float64)
    np.testing.assert_allclose(squared, total / (height * width) ** 2, rtol=1e-5)
    assert form.table.dtype == np.float32
    assert form.offsets.dtype == np.int32


def test_a_slope_a_channel_is_taken_for_its_channel(monkeypatch):
    slopes = torch.linspace(-0.3, 0.9, CHANNELS).reshape(-1, 1, 1)
    per_channel = (
        node("PRelu", "slopes"),
        lambda y: torch.where(y > 0, y, y * slopes.double()),
        {"slopes": slopes},
    )
    monkeypatch.setitem(ACTIVATIONS, "prelu", per_channel)
    case = Case("prelu", "3x3", "plain")
    images = case.images(2)
    form = add_closed_form(case.model).closed_form
    np.testing.assert_array_equal(form.parameters, slopes.numpy().ravel())
    np.testing.assert_allclose(
        norms(case.model, images), [case.exact_norm(image) for image in images], rtol=1e-5
    )


def test_a_map_without_any_active_position_has_norm_zero():
    case = Case("relu", "3x3", "plain")
    case.model.graph.initializers["bias"].const_value = ir.tensor(np.full(CHANNELS, -1e6, np.float32))
    add_closed_form(case.model)
    (squared,) = run(case.model, case.images(2), "jacobian_squared")
    np.testing.assert_array_equal(squared, [0, 0])


def test_only_standard_operators_that_tensorrt_has_are_added():
    # NVIDIA's onnx-tensorrt operator list, the ones without restrictions on float32.
    taken = {
        *("Add", "And", "Cast", "Clip", "Conv", "ConstantOfShape", "Div", "Erf", "Exp", "Flatten", "Gather"),
        *(
            "Greater",
            "Less",
            "MatMul",
            "Min",
            "Mul",
            "ReduceProd",
            "ReduceSum",
            "Reshape",
            "Shape",
            "Sigmoid",
        ),
        *("Softplus", "Sub", "Tanh", "Where"),
    }
    for activation in ACTIVATIONS:
        for convolution in ("1x1", "3x3"):
            case = Case(activation, convolution, "plain", dynamic=True)
            before = set(case.model.graph)
            add_closed_form(case.model)
            added = {(edge.domain, edge.op_type) for edge in case.model.graph if edge not in before}
            assert added <= {("", name) for name in taken}
