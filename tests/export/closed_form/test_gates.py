"""A pool inside a gate is never the embedding, however the gate is written and whatever comes after it."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.graph.writer import find_value

RANDOM = np.random.default_rng(3)


def weight(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


HELD = {
    "hw": np.array([2, 3]),
    "ch": np.array([1]),
    "last": np.array([-1]),
    "down": weight(2, 6, 1, 1),
    "up": weight(6, 2, 1, 1),
    "narrow": weight(6, 2),
    "wide": weight(2, 6),
    "along": weight(1, 1, 3),
    "over": weight(1, 2, 7, 7),
    "pairs": np.array([0, 6, 1]),
    "square": np.array([0, 6, 1, 1]),
}
EXCITE = [
    ("Conv", "g down", "g1", {}),
    ("Relu", "g1", "g2", {}),
    ("Conv", "g2 up", "g3", {}),
    ("Sigmoid", "g3", "s", {}),
    ("Mul", "a s", "m", {}),
]
DENSE = [
    ("MatMul", "g narrow", "g1", {}),
    ("Relu", "g1", "g2", {}),
    ("MatMul", "g2 wide", "g3", {}),
    ("HardSigmoid", "g3", "g4", {}),
    ("Unsqueeze", "g4 hw", "s", {}),
    ("Mul", "s a", "m", {}),
]
GATES = {
    "squeeze-excite": [("GlobalAveragePool", "a", "g", {}), *EXCITE],
    "a mean": [("ReduceMean", "a", "g", {"axes": [2, 3]}), *EXCITE],
    "a mean of negative axes": [("ReduceMean", "a", "g", {"axes": [-1, -2]}), *EXCITE],
    "dense": [("GlobalAveragePool", "a", "p", {}), ("Flatten", "p", "g", {}), *DENSE],
    "dense, of a mean": [("ReduceMean", "a", "g", {"axes": [2, 3], "keepdims": 0}), *DENSE],
    "added": [
        ("GlobalAveragePool", "a", "g", {}),
        ("Conv", "g down", "g1", {}),
        ("Conv", "g1 up", "s", {}),
        ("Add", "a s", "m", {}),
    ],
    "a maximum beside the mean": [
        ("GlobalAveragePool", "a", "g", {}),
        ("GlobalMaxPool", "a", "x", {}),
        ("Conv", "g down", "g1", {}),
        ("Conv", "x down", "x1", {}),
        ("Add", "g1 x1", "b", {}),
        ("Conv", "b up", "b1", {}),
        ("Sigmoid", "b1", "s", {}),
        ("Mul", "a s", "m1", {}),
        ("ReduceMean", "m1", "cm", {"axes": [1]}),
        ("ReduceMax", "m1", "cx", {"axes": [1]}),
        ("Concat", "cm cx", "cc", {"axis": 1}),
        ("Conv", "cc over", "sp", {"pads": [3, 3, 3, 3]}),
        ("Sigmoid", "sp", "sps", {}),
        ("Mul", "m1 sps", "m", {}),
    ],
    "along the channels": [
        ("GlobalAveragePool", "a", "g", {}),
        ("Squeeze", "g last", "g1", {}),
        ("Transpose", "g1", "g2", {"perm": [0, 2, 1]}),
        ("Conv", "g2 along", "g3", {"pads": [1, 1]}),
        ("Transpose", "g3", "g4", {"perm": [0, 2, 1]}),
        ("Unsqueeze", "g4 last", "g5", {}),
        ("Sigmoid", "g5", "s", {}),
        ("Mul", "a s", "m", {}),
    ],
    "spread out first": [
        ("GlobalAveragePool", "a", "g", {}),
        ("Sigmoid", "g", "s1", {}),
        ("Shape", "a", "shape", {}),
        ("Expand", "s1 shape", "s", {}),
        ("Mul", "a s", "m", {}),
    ],
}
TAILS = {
    "a pool of quarters": (
        [("AveragePool", "m", "q", {"kernel_shape": [7, 7], "strides": [7, 7]}), ("Flatten", "q", "z", {})],
        24,
    ),
    "flattened as it is": ([("Flatten", "m", "z", {})], 6 * 14 * 14),
    "a corner": (
        [("Slice", "m start end hw", "q", {}), ("Flatten", "q", "z", {})],
        6,
    ),
}


def gated(foreign_model, saved, gate, tail, dimension):
    held = {**HELD, "start": np.array([0, 0]), "end": np.array([1, 1]), "head": weight(4, dimension)}
    return load_classifier_onnx(saved(foreign_model((), held=held, middle=[*GATES[gate], *tail])))


@pytest.mark.parametrize("gate", GATES)
def test_the_gate_of_a_block_before_the_last_pool_is_not_the_embedding(gate, foreign_model, saved):
    tail = [("GlobalAveragePool", "m", "last_pool", {}), ("Flatten", "last_pool", "z", {})]
    assert find_embedding(gated(foreign_model, saved, gate, tail, 6)) == "z"


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("gate", GATES)
def test_without_a_pool_behind_it_a_gate_is_refused_and_not_taken(gate, tail, foreign_model, saved):
    nodes, dimension = TAILS[tail]
    model = gated(foreign_model, saved, gate, nodes, dimension)
    with pytest.raises(UnsupportedGraphError, match=r"no pool over|more than one pool"):
        find_embedding(model)
    with pytest.raises(UnsupportedGraphError):
        add_closed_form(model)


def test_the_error_names_the_gate_and_what_the_head_reads(foreign_model, saved):
    model = gated(foreign_model, saved, "squeeze-excite", *TAILS["a pool of quarters"])
    with pytest.raises(UnsupportedGraphError, match=r"beside node 'node_g'.*--embedding.*perhaps 'z'"):
        find_embedding(model)


def test_a_gate_behind_the_pool_changes_nothing(foreign_model, saved):
    # The vector itself is gated: all of it still comes from the first pool.
    middle = [
        ("GlobalAveragePool", "a", "first", {}),
        ("GlobalAveragePool", "first", "g", {}),
        ("Conv", "g down", "g1", {}),
        ("Conv", "g1 up", "g3", {}),
        ("Sigmoid", "g3", "s", {}),
        ("Mul", "first s", "m", {}),
        ("Flatten", "m", "z", {}),
    ]
    model = load_classifier_onnx(saved(foreign_model((), held=HELD, middle=middle)))
    found = add_closed_form(model)
    assert (found.pool_node, found.dimension) == ("node_first", 6)
    # The map goes to the pool alone; where the graph flattens nothing there, that is done beside it.
    assert ir.to_proto(model).graph.output[0].name == "logits"


def test_a_size_that_is_read_off_the_image_is_no_way_past_the_pool(foreign_model, saved):
    # As torch writes a normalisation: the norm is spread to [batch, 6].
    middle = [
        ("GlobalAveragePool", "a", "p", {}),
        ("Flatten", "p", "z0", {}),
        ("ReduceL2", "z0", "norm", {"axes": [1]}),
        ("Shape", "image", "sizes", {"start": 0, "end": 1}),
        ("Concat", "sizes six", "shape", {"axis": 0}),
        ("Expand", "norm shape", "spread", {}),
        ("Div", "z0 spread", "z", {}),
    ]
    model = load_classifier_onnx(saved(foreign_model((), held={"six": np.array([6])}, middle=middle)))
    assert find_embedding(model) == "z0"


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("written", ["channels last", "in a row", "in a row, of a computed length"])
def test_a_mean_over_a_map_of_another_form_is_a_pool(written, flat, foreign_model, saved):
    turned = {
        "channels last": ("Transpose", "a", "t", {"perm": [0, 2, 3, 1]}),
        "in a row": ("Reshape", "a row", "t", {}),
        "in a row, of a computed length": ("Reshape", "a counted", "t", {}),
    }[written]
    # x.view(n, c, -1), as torch's older exporter writes it.
    counted = [("Shape", "a", "sizes", {"end": 2}), ("Concat", "sizes rest", "counted", {"axis": 0})]
    axes = [1, 2] if written == "channels last" else [-1]
    mean = ("ReduceMean", "t", "z" if flat else "p", {"axes": axes, "keepdims": 0 if flat else 1})
    middle = [*(counted if "counted" in turned[1] else []), turned, mean]
    middle += [] if flat else [("Flatten", "p", "z", {})]
    held = {"row": np.array([0, 6, -1]), "rest": np.array([-1])}
    path = saved(foreign_model((), held=held, middle=middle))
    plain = saved(foreign_model(), "plain.onnx")
    models = [load_classifier_onnx(one) for one in (path, plain)]
    found = [add_closed_form(model) for model in models]
    assert found[0].embedding == "embedding" and found[0].dimension == 6
    images = RANDOM.normal(size=(2, 3, 16, 16)).astype(np.float32)
    norms = []
    for model in models:
        for name in ("jacobian_squared", "embedding"):
            model.graph.outputs.append(find_value(model, name))
        session = onnxruntime.InferenceSession(
            ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
        )
        norms.append(session.run(["jacobian_squared", "embedding"], {"image": images}))
    for one, other in zip(*norms, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_mean_over_one_side_of_the_map_is_no_pool(foreign_model, saved):
    middle = [("ReduceMean", "a", "p", {"axes": [3], "keepdims": 0}), ("Flatten", "p", "z", {})]
    model = load_classifier_onnx(saved(foreign_model((), held={"head": weight(4, 84)}, middle=middle)))
    with pytest.raises(UnsupportedGraphError, match="no pool over the whole map"):
        find_embedding(model)


def test_a_mean_over_a_part_of_the_positions_in_a_row_is_no_pool(foreign_model, saved):
    middle = [("Reshape", "a halves", "t", {}), ("ReduceMean", "t", "m", {"axes": [2], "keepdims": 0})]
    middle += [("Reshape", "m pairs", "z", {})]
    held = {"halves": np.array([-1, 6, 98]), "pairs": np.array([-1, 12]), "head": weight(4, 12)}
    model = load_classifier_onnx(saved(foreign_model((), held=held, middle=middle)))
    with pytest.raises(UnsupportedGraphError, match="no pool over the whole map"):
        find_embedding(model)


def test_the_last_of_two_pools_on_one_way_is_the_embedding(foreign_model, saved):
    middle = [
        ("GlobalAveragePool", "a", "first", {}),
        ("Conv", "first down", "d", {}),
        ("Conv", "d up", "u", {}),
        ("GlobalAveragePool", "u", "second", {}),
        ("Flatten", "second", "z", {}),
    ]
    model = load_classifier_onnx(saved(foreign_model((), held=HELD, middle=middle)))
    assert find_embedding(model) == "z"
