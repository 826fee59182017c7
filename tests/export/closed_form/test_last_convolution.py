"""Which graphs have a closed form, which convolution it is taken at, and what the error names if not."""

import copy

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from edgeosr.errors import ExportError, UnsupportedGraphError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.closed_form.last_convolution import recognise_last_convolution
from edgeosr.export.closed_form.pooling import find_embedding

SIDE = 6
RNG = np.random.default_rng(0)


def op(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"node_{output}", **attributes)


def weights(**shapes):
    return {
        name: value if isinstance(value, np.ndarray) else RNG.standard_normal(value).astype(np.float32)
        for name, value in shapes.items()
    }


def graph(nodes, held, output="logits", *, opset=18, shape=("batch", 5), side=SIDE):
    made = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


HEAD = [op("Gemm", "z head", "logits", transB=1)]
HELD = weights(first=(4, 3, 3, 3), last=(8, 4, 3, 3), head=(5, 8))
START = [
    op("Conv", "image first", "c1", pads=[1, 1, 1, 1]),
    op("Relu", "c1", "h"),
    op("Conv", "h last", "c2", pads=[1, 1, 1, 1]),
    op("Relu", "c2", "a"),
]


def exact_squares(images):
    """|dz/dh|_F^2 of START by autograd."""
    h = functional.conv2d(images, torch.tensor(HELD["first"]), padding=1).relu().double()

    def embedding(padded):
        return functional.conv2d(padded, torch.tensor(HELD["last"]).double()).relu().mean((2, 3))[0]

    return [
        torch.func.jacrev(embedding)(functional.pad(row[None], (1, 1, 1, 1))).square().sum().item()
        for row in h
    ]


def run(model, images, name="jacobian_squared"):
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.append(values[name])
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run([name], {"image": images.numpy()})[0]


def axes(values):
    return numpy_helper.from_array(np.array(values))


POOLS = {
    "GlobalAveragePool, Flatten": ([op("GlobalAveragePool", "a", "p"), op("Flatten", "p", "z")], 18),
    "GlobalAveragePool, Reshape": ([op("GlobalAveragePool", "a", "p"), op("Reshape", "p flat", "z")], 18),
    "GlobalAveragePool, Squeeze": ([op("GlobalAveragePool", "a", "p"), op("Squeeze", "p hw", "z")], 18),
    "GlobalAveragePool, Dropout, Flatten": (
        [op("GlobalAveragePool", "a", "p"), op("Dropout", "p", "d"), op("Flatten", "d", "z")],
        18,
    ),
    "ReduceMean, axes attribute, keepdims": (
        [op("ReduceMean", "a", "p", axes=[2, 3], keepdims=1), op("Flatten", "p", "z")],
        13,
    ),
    "ReduceMean, negative axes attribute": ([op("ReduceMean", "a", "z", axes=[-1, -2], keepdims=0)], 13),
    "ReduceMean, axes initialiser": ([op("ReduceMean", "a hw", "z", keepdims=0)], 18),
    "ReduceMean, axes Constant": (
        [
            helper.make_node("Constant", [], ["k"], value=axes([2, 3])),
            op("ReduceMean", "a k", "z", keepdims=0),
        ],
        18,
    ),
    "ReduceMean, keepdims, Reshape": (
        [op("ReduceMean", "a hw", "p", keepdims=1), op("Reshape", "p flat", "z")],
        18,
    ),
    "AveragePool over the whole map": (
        [op("AveragePool", "a", "p", kernel_shape=[SIDE, SIDE]), op("Flatten", "p", "z")],
        18,
    ),
}
POOL_CONSTANTS = {"hw": np.array([-2, -1]), "flat": np.array([0, -1])}


@pytest.mark.parametrize("pool", POOLS)
def test_pool_is_recognised_however_it_is_written(pool):
    nodes, opset = POOLS[pool]
    model = graph([*START, *nodes, *HEAD], HELD | POOL_CONSTANTS, opset=opset)
    found = add_closed_form(model)
    assert (found.embedding, found.map, found.conv_node, found.dimension) == (
        "embedding",
        "map",
        "node_c2",
        8,
    )
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(run(model, images), exact_squares(images), rtol=1e-5)
    assert run(model, images, "embedding").shape == (3, 8)


def test_outputs_of_the_classifier_are_kept():
    nodes = [*START, op("GlobalAveragePool", "a", "p"), op("Flatten", "p", "z"), *HEAD]
    images = torch.randn(2, 3, SIDE, SIDE)
    before = run(graph(nodes, HELD), images, "logits")
    model = graph(nodes, HELD)
    add_closed_form(model)
    assert [value.name for value in model.graph.outputs] == ["logits"]
    np.testing.assert_array_equal(run(model, images, "logits"), before)


def test_other_tensors_with_our_names_are_renamed():
    renamed = {"c1": "map", "h": "embedding"}
    nodes = copy.deepcopy([*START, op("GlobalAveragePool", "a", "p"), op("Flatten", "p", "z"), *HEAD])
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    model = graph(nodes, HELD)
    add_closed_form(model)
    images = torch.randn(2, 3, SIDE, SIDE)
    np.testing.assert_allclose(run(model, images), exact_squares(images), rtol=1e-5)


POOLED = [op("GlobalAveragePool", "a", "p"), op("Flatten", "p", "z"), *HEAD]


def residual(*, down_last):
    """A residual block with a downsampling convolution; the Add's operands in either order."""
    main = [op("Conv", "h one", "m1"), op("Relu", "m1", "m2"), op("Conv", "m2 two", "m3", pads=[1, 1, 1, 1])]
    down = [op("Conv", "h down", "d1")]
    parts = [*main, *down] if down_last else [*down, *main]
    operands = "d1 m3" if down_last else "m3 d1"
    return graph(
        [*START[:2], *parts, op("Add", operands, "sum"), op("Relu", "sum", "a"), *POOLED],
        HELD | weights(one=(4, 4, 1, 1), two=(8, 4, 3, 3), down=(8, 4, 1, 1)),
    )


@pytest.mark.parametrize("down_last", [False, True])
def test_main_branch_is_the_deeper_one_when_both_end_in_a_convolution(down_last):
    assert recognise_last_convolution(residual(down_last=down_last)).conv.name == "node_m3"


def test_last_of_a_chain_of_unactivated_blocks_is_the_main_branch():
    nodes = [
        *START[:2],
        op("Conv", "h one", "r1"),
        op("Add", "h r1", "s1"),
        op("Relu", "s1", "t1"),
        op("Conv", "t1 one", "r2"),
        op("Add", "r2 s1", "s2"),
        op("BatchNormalization", "s2 g b m v", "n"),
        op("Relu", "n", "a"),
        op("GlobalAveragePool", "a", "p"),
        op("Flatten", "p", "z"),
        op("Gemm", "z small", "logits", transB=1),
    ]
    norms = {name: np.full(4, value, np.float32) for name, value in zip("gbmv", (2, 0, 0, 4), strict=True)}
    found = recognise_last_convolution(graph(nodes, HELD | weights(one=(4, 4, 1, 1), small=(5, 4)) | norms))
    assert found.conv.name == "node_r2"
    np.testing.assert_allclose(found.scale, np.ones(4), rtol=1e-5)


def test_pools_of_squeeze_and_excite_gates_are_not_the_last_pool():
    nodes = [
        *START[:2],
        op("GlobalAveragePool", "h", "q"),
        op("Conv", "q gate", "g1"),
        op("Sigmoid", "g1", "g2"),
        op("Mul", "h g2", "gated"),
        op("Conv", "gated last", "c2", pads=[1, 1, 1, 1]),
        op("HardSwish", "c2", "a"),
        *POOLED,
    ]
    found = recognise_last_convolution(graph(nodes, HELD | weights(gate=(4, 4, 1, 1))))
    assert (found.pool.node.name, found.conv.name) == ("node_p", "node_c2")


def mobilenet_like(*, flat):
    """Convolution and HardSwish after the pool too; flattened at the end, or before the last layer."""
    nodes = [*START, op("GlobalAveragePool", "a", "p")]
    held = HELD | weights(wide=(16, 8, 1, 1), head=(5, 16))
    if flat:
        nodes += [op("Flatten", "p", "f"), op("Gemm", "f dense", "d", transB=1), op("HardSwish", "d", "z")]
        held |= weights(dense=(16, 8))
    else:
        nodes += [op("Conv", "p wide", "w"), op("HardSwish", "w", "x"), op("Flatten", "x", "z")]
    return graph([*nodes, *HEAD], held)


@pytest.mark.parametrize("flat", [True, False])
def test_embedding_is_the_last_spatial_pool_also_with_layers_behind_it(flat):
    model = mobilenet_like(flat=flat)
    name = find_embedding(model)
    assert name == ("f" if flat else "embedding")
    values = {value.name: value for node in model.graph for value in node.outputs}
    assert list(values[name].shape)[1] == 8
    images = torch.randn(2, 3, SIDE, SIDE)
    np.testing.assert_allclose(run(model, images, name), run(model, images, "a").mean((2, 3)), rtol=1e-5)
    found = add_closed_form(model, name)
    assert found.dimension == 8
    np.testing.assert_allclose(run(model, images), exact_squares(images), rtol=1e-5)


CONTEXT = [
    op("GlobalAveragePool", "h", "q"),
    op("Conv", "q square", "g"),
    op("Relu", "g", "g1"),
    op("Conv", "g1 square", "g2"),
    op("Add", "h g2", "a"),
    op("GlobalAveragePool", "a", "p"),
    op("Flatten", "p", "z"),
    op("Gemm", "z small", "logits", transB=1),
]
BROKEN = {
    "gate": (
        [
            *START[:3],
            op("Sigmoid", "c2", "s"),
            op("Relu", "c2", "r"),
            op("Mul", "r s", "a"),
            *POOLED,
        ],
        {},
        "node 'node_a' (Mul, output 'a')",
    ),
    "concatenation": (
        [
            *START[:2],
            op("Concat", "h h", "c2", axis=1),
            op("Relu", "c2", "a"),
            *POOLED,
        ],
        {},
        "node 'node_c2' (Concat, output 'c2')",
    ),
    "convolution with a computed weight": (
        [*START[:2], op("Neg", "last", "l"), op("Conv", "h l", "c2"), op("Relu", "c2", "a"), *POOLED],
        {},
        "node 'node_c2' (Conv, output 'c2')",
    ),
    "maximum": (
        [*START, op("GlobalMaxPool", "a", "p"), op("Flatten", "p", "z"), *HEAD],
        {},
        "node 'node_p' (GlobalMaxPool, output 'p')",
    ),
    "map made of one position": (
        [*START[:2], *CONTEXT],
        weights(square=(4, 4, 1, 1), small=(5, 4)),
        "node 'node_g2' (Conv, output 'g2')",
    ),
    "scale that varies over the map": (
        [*START[:3], op("Mul", "c2 mask", "m"), op("Relu", "m", "a"), *POOLED],
        weights(mask=(1, 1, SIDE, SIDE)),
        "node 'node_m' (Mul, output 'm')",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_error_names_the_node_that_breaks_the_pattern(case):
    nodes, held, named = BROKEN[case]
    model = graph(nodes, HELD | held)
    with pytest.raises(UnsupportedGraphError) as caught:
        add_closed_form(model)
    assert named in str(caught.value)
    assert "--jacobian none" in str(caught.value)


def test_graph_is_untouched_when_it_is_refused():
    nodes, held, _ = BROKEN["concatenation"]
    model = graph(nodes, HELD | held)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    with pytest.raises(UnsupportedGraphError):
        add_closed_form(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_partial_average_pool_is_no_embedding():
    nodes = [
        *START,
        op("AveragePool", "a", "p", kernel_shape=[3, 3], strides=[3, 3]),
        op("Flatten", "p", "z"),
        op("Gemm", "z large", "logits", transB=1),
    ]
    model = graph(nodes, HELD | weights(large=(5, 32)))
    hint = r"no pool over the whole map.*--embedding TENSOR.*\(perhaps 'z', which the last layer reads\)"
    with pytest.raises(UnsupportedGraphError, match=hint):
        find_embedding(model)


def test_two_last_pools_are_both_named():
    nodes = [
        *START,
        op("GlobalAveragePool", "a", "p1"),
        op("GlobalMaxPool", "a", "p2"),
        op("Concat", "p1 p2", "p", axis=1),
        op("Flatten", "p", "z"),
        op("Gemm", "z double", "logits", transB=1),
    ]
    model = graph(nodes, HELD | weights(double=(5, 16)))
    with pytest.raises(UnsupportedGraphError, match=r"more than one pool.*node_p1.*node_p2.*--embedding"):
        find_embedding(model)
    assert add_closed_form(model, "p1").pool_node == "node_p1"


def test_named_embedding_must_exist_and_be_a_pool():
    nodes = [*START, *POOLED]
    with pytest.raises(ExportError, match="no tensor named 'zz'; did you mean 'z'"):
        add_closed_form(graph(nodes, HELD), "zz")
    with pytest.raises(UnsupportedGraphError, match="node 'node_logits'"):
        add_closed_form(graph(nodes, HELD), "logits")
