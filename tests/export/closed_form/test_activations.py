"""Activations as exporters write them, and their derivatives at the kinks and far out."""

import io
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.closed_form.jacobian import add_closed_form

ONE = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "one")


def pointwise(nodes, constants=None, opset=22):
    """y = x (a 1x1 convolution with weight 1), the nodes from "y" to "a", and the mean of a."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "one"], ["y"]),
            *nodes,
            helper.make_node("GlobalAveragePool", ["a"], ["pool"]),
            helper.make_node("Flatten", ["pool"], ["z"]),
        ],
        "pointwise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 1])],
        [
            ONE,
            *(numpy_helper.from_array(np.float32(value), name) for name, value in (constants or {}).items()),
        ],
    )
    return ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    )


def squared_derivatives(model, points):
    """act'(point)^2 as the graph computes it: one position an image, so J^2 = act'^2."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs[:] = [values["jacobian_squared"]]
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": np.asarray(points, np.float32).reshape(-1, 1, 1, 1)})[0]


def torch_derivatives(function, points):
    leaf = torch.tensor(points, dtype=torch.float32, requires_grad=True)
    return torch.autograd.grad(function(leaf).sum(), leaf)[0].numpy()


def chain(*steps):
    """Nodes from (operator, inputs, output) triples."""
    return [helper.make_node(kind, inputs.split(), [output]) for kind, inputs, output in steps]


SINGLE = {
    "relu": ([helper.make_node("Relu", ["y"], ["a"])], {}, torch.relu),
    "leaky_relu": (
        [helper.make_node("LeakyRelu", ["y"], ["a"], alpha=0.2)],
        {},
        lambda x: functional.leaky_relu(x, 0.2),
    ),
    "prelu": (chain(("PRelu", "y s", "a")), {"s": 0.3}, lambda x: functional.prelu(x, torch.tensor([0.3]))),
    "clip": (chain(("Clip", "y low high", "a")), {"low": 0, "high": 6}, functional.relu6),
    "elu": ([helper.make_node("Elu", ["y"], ["a"], alpha=0.5)], {}, lambda x: functional.elu(x, 0.5)),
    "hard_swish": ([helper.make_node("HardSwish", ["y"], ["a"])], {}, functional.hardswish),
    "silu": (chain(("Sigmoid", "y", "s"), ("Mul", "y s", "a")), {}, functional.silu),
    "gelu": ([helper.make_node("Gelu", ["y"], ["a"])], {}, functional.gelu),
    "gelu_tanh": (
        [helper.make_node("Gelu", ["y"], ["a"], approximate="tanh")],
        {},
        lambda x: functional.gelu(x, approximate="tanh"),
    ),
    "mish": ([helper.make_node("Mish", ["y"], ["a"])], {}, functional.mish),
}


@pytest.mark.parametrize("name", SINGLE)
def test_derivative_is_torchs_also_at_the_kinks(name):
    nodes, constants, function = SINGLE[name]
    model = pointwise(nodes, constants)
    assert add_closed_form(model).closed_form.activation == name
    tiny = float(np.finfo(np.float32).tiny)
    points = [-3.0, 0.0, 3.0, 6.0, -tiny, tiny, *np.nextafter(np.float32([-3, 3, 6]), np.float32(0)).tolist()]
    points += np.linspace(-8, 8, 97).tolist()
    expected = torch_derivatives(function, points) ** 2
    np.testing.assert_allclose(squared_derivatives(model, points), expected, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", SINGLE)
def test_derivative_of_a_huge_value_is_finite(name):
    nodes, constants, _ = SINGLE[name]
    model = pointwise(nodes, constants)
    add_closed_form(model)
    left = {"leaky_relu": 0.04, "prelu": 0.09}.get(name, 0.0)
    right = 0.0 if name == "clip" else 1.0
    got = squared_derivatives(model, [-1e30, -1e4, -100.0, 100.0, 1e4, 1e30])
    np.testing.assert_allclose(got, [left] * 3 + [right] * 3, atol=1e-12)


# Spelled out by one exporter or another; ("y" to "a", constants, what it is).
SPELLINGS = {
    "SiLU, operands swapped": (chain(("Sigmoid", "y", "s"), ("Mul", "s y", "a")), {}, "silu"),
    "HardSwish by HardSigmoid": (
        [
            helper.make_node("HardSigmoid", ["y"], ["s"], alpha=1 / 6),
            helper.make_node("Mul", ["y", "s"], ["a"]),
        ],
        {},
        "hard_swish",
    ),
    "HardSwish, divided last": (
        chain(("Add", "y c3", "t"), ("Clip", "t c0 c6", "u"), ("Mul", "y u", "v"), ("Div", "v c6", "a")),
        {"c0": 0, "c3": 3, "c6": 6},
        "hard_swish",
    ),
    "HardSwish, divided first": (
        chain(("Add", "c3 y", "t"), ("Clip", "t c0 c6", "u"), ("Mul", "u sixth", "v"), ("Mul", "v y", "a")),
        {"c0": 0, "c3": 3, "c6": 6, "sixth": 1 / 6},
        "hard_swish",
    ),
    "GELU, halved last": (
        chain(
            ("Div", "y r", "t"),
            ("Erf", "t", "u"),
            ("Add", "u c1", "v"),
            ("Mul", "y v", "w"),
            ("Mul", "w h", "a"),
        ),
        {"r": 2**0.5, "c1": 1, "h": 0.5},
        "gelu",
    ),
    "GELU, halved inside": (
        chain(
            ("Div", "y r", "t"),
            ("Erf", "t", "u"),
            ("Add", "u c1", "v"),
            ("Mul", "h v", "w"),
            ("Mul", "y w", "a"),
        ),
        {"r": 2**0.5, "c1": 1, "h": 0.5},
        "gelu",
    ),
    "GELU, halved first": (
        chain(
            ("Mul", "y h", "w"),
            ("Mul", "y r", "t"),
            ("Erf", "t", "u"),
            ("Add", "c1 u", "v"),
            ("Mul", "w v", "a"),
        ),
        {"r": 0.5**0.5, "c1": 1, "h": 0.5},
        "gelu",
    ),
    "GELU by tanh, with Pow": (
        chain(
            ("Pow", "y c3", "p"),
            ("Mul", "k p", "q"),
            ("Add", "y q", "r"),
            ("Mul", "f r", "s"),
            ("Tanh", "s", "t"),
            ("Add", "t c1", "u"),
            ("Mul", "h u", "v"),
            ("Mul", "y v", "a"),
        ),
        {"c3": 3, "k": 0.044715, "f": 0.7978845608, "c1": 1, "h": 0.5},
        "gelu_tanh",
    ),
    "Mish by Softplus": (chain(("Softplus", "y", "s"), ("Tanh", "s", "t"), ("Mul", "y t", "a")), {}, "mish"),
    "Mish by Exp and Log": (
        chain(
            ("Exp", "y", "e"),
            ("Add", "e c1", "f"),
            ("Log", "f", "s"),
            ("Tanh", "s", "t"),
            ("Mul", "y t", "a"),
        ),
        {"c1": 1},
        "mish",
    ),
    "ReLU by Max": (chain(("Max", "y c0", "a")), {"c0": 0}, "relu"),
    "ReLU6 by Min and Max": (chain(("Max", "y c0", "t"), ("Min", "t c6", "a")), {"c0": 0, "c6": 6}, "clip"),
    "Clip without a maximum": ([helper.make_node("Clip", ["y", "c0"], ["a"])], {"c0": 0}, "clip"),
    "behind an Identity": (
        chain(("Identity", "y", "i"), ("Relu", "i", "j"), ("Identity", "j", "a")),
        {},
        "relu",
    ),
    "behind a Dropout": (chain(("Relu", "y", "i"), ("Dropout", "i", "a")), {}, "relu"),
    "none": (chain(("Identity", "y", "a")), {}, "identity"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spelling_is_recognised(spelling):
    nodes, constants, name = SPELLINGS[spelling]
    model = pointwise(nodes, constants)
    assert add_closed_form(model).closed_form.activation == name
    if name in SINGLE and name != "clip":
        function = SINGLE[name][2]
        points = np.linspace(-5, 5, 41)
        expected = torch_derivatives(function, points) ** 2
        np.testing.assert_allclose(squared_derivatives(model, points), expected, rtol=2e-5, atol=1e-7)


def test_swish_operator_is_silu():
    nodes = [helper.make_node("Swish", ["y"], ["a"])]
    assert add_closed_form(pointwise(nodes, opset=24)).closed_form.activation == "silu"
    with pytest.raises(UnsupportedGraphError, match="Swish with alpha 1"):
        add_closed_form(pointwise([helper.make_node("Swish", ["y"], ["a"], alpha=1.7)], opset=24))


def test_limits_of_an_old_clip_are_attributes():
    node = helper.make_node("Clip", ["y"], ["a"], name="relu6")
    node.attribute.append(helper.make_attribute("min", 0.0))
    node.attribute.append(helper.make_attribute("max", 6.0))
    form = add_closed_form(pointwise([node], opset=13)).closed_form
    assert (form.activation, form.parameters.tolist()) == ("clip", [0.0, 6.0])


def test_limits_in_constant_nodes_are_read():
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.float32(value)))
        for name, value in (("low", -1.0), ("high", 2.0))
    ]
    form = add_closed_form(pointwise([*constants, *chain(("Clip", "y low high", "a"))])).closed_form
    assert form.parameters.tolist() == [-1.0, 2.0]


@pytest.mark.parametrize(
    ("nodes", "constants", "named"),
    [
        (chain(("Tanh", "y", "a")), {}, "Tanh, output 'a'"),
        (chain(("Selu", "y", "a")), {}, "Selu, output 'a'"),
        (chain(("Softplus", "y", "a")), {}, "Softplus, output 'a'"),
        # x * sigmoid(1.702 x) is near GELU, and not GELU.
        (
            chain(("Mul", "y k", "t"), ("Sigmoid", "t", "s"), ("Mul", "y s", "a")),
            {"k": 1.702},
            "Mul, output 'a'",
        ),
        (chain(("Relu", "y", "r"), ("Clip", "r low high", "a")), {"low": 0, "high": 1}, "Relu, output 'r'"),
    ],
)
def test_unknown_function_is_refused_by_node(nodes, constants, named):
    with pytest.raises(UnsupportedGraphError) as caught:
        add_closed_form(pointwise(nodes, constants))
    assert named in str(caught.value)
    assert "--jacobian none" in str(caught.value)


class Tails(nn.Module):
    """One trunk, an end for each activation, exported together to spare the test time."""

    def __init__(self, activations):
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3)
        self.convs = nn.ModuleList(nn.Conv2d(4, 5, 1) for _ in activations)
        self.activations = nn.ModuleList(activations)

    def forward(self, x):
        h = self.trunk(x)
        pairs = zip(self.convs, self.activations, strict=True)
        return tuple(torch.flatten(functional.adaptive_avg_pool2d(act(conv(h)), 1), 1) for conv, act in pairs)


MODULES = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.1),
    "prelu": nn.PReLU(5),
    "clip": nn.ReLU6(),
    "elu": nn.ELU(),
    "hard_swish": nn.Hardswish(),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "mish": nn.Mish(),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize(("dynamo", "opset"), [(True, 18), (True, 20), (False, 13), (False, 17)])
def test_every_activation_is_recognised_as_torch_exports_it(dynamo, opset):
    torch.manual_seed(0)
    network = Tails(list(MODULES.values())).eval()
    images = torch.randn(2, 3, 7, 7)
    names = [f"z_{name}" for name in MODULES]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters warn about their own internals
        if dynamo:
            batch = torch.export.Dim("batch")
            program = torch.onnx.export(
                network, (images,), dynamo=True, opset_version=opset, dynamic_shapes=({0: batch},),
                input_names=["x"], output_names=names, verbose=False,
            )  # fmt: skip
            data = ir.to_proto(program.model).SerializeToString()
        else:
            stream = io.BytesIO()
            torch.onnx.export(
                network, (images,), stream, dynamo=False, opset_version=opset,
                dynamic_axes={"x": {0: "batch"}}, input_names=["x"], output_names=names,
            )  # fmt: skip
            data = stream.getvalue()
    for index, (name, activation) in enumerate(MODULES.items()):
        model = ir.from_proto(onnx.load_model_from_string(data))
        form = add_closed_form(model, f"z_{name}").closed_form
        assert form.activation == name
        values = {value.name: value for node in model.graph for value in node.outputs}
        model.graph.outputs[:] = [values["jacobian_squared"]]
        session = onnxruntime.InferenceSession(
            ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (got,) = session.run(None, {"x": images.numpy()})
        weight = network.convs[index].weight.detach().double().square().sum((1, 2, 3))
        y = network.convs[index](network.trunk(images)).detach().requires_grad_()
        mask = torch.autograd.grad(activation(y).sum() if name != "identity" else y.sum(), y)[0]
        expected = (mask.double().square().sum((2, 3)) @ weight) / y[0, 0].numel() ** 2
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-5)
