import dataclasses

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgeosr.errors import ExportError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.graph.assemble import model_bytes
from edgeosr.export.scoring_graph import add_scoring, set_fusion
from edgeosr.scoring.fusion import Fusion, float32_values
from edgeosr.scoring.parts import carried_parts, part_names
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer

DIMENSION, CLASSES, SIDE = 24, 7, 3
# Of a norm that the test hands in as a tensor: the table itself is not looked at.
ANY_FORM = ClosedForm(
    activation="relu",
    parameters=np.zeros(0, np.float32),
    table=np.zeros((DIMENSION, 1), np.float32),
    offsets=np.zeros((1, 2), np.int32),
)


def random_scorer(kind="cosine", *, jacobian=True, layers=True, alone=None, temperature=32.0, seed=0):
    """A scorer with every part that it carries; ``alone`` names the one part with a weight."""
    rng = np.random.default_rng(seed)

    def floats(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    weight, bias = floats(CLASSES, DIMENSION), floats(CLASSES)
    if kind == "cosine":
        weight /= np.linalg.norm(weight, axis=1, keepdims=True)
        bias[:] = 0
    if kind == "external":
        weight, bias = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    margin = 0.5 if kind == "cosine" else 0.0
    sizes = [(16, DIMENSION), (8, 16), (1, 8)] if layers else []
    draft = Scorer(
        dimension=DIMENSION,
        classes=CLASSES,
        head=Head(kind=kind, weight=weight, bias=bias, temperature=temperature, margin=margin),
        fusion=Fusion(parts=(), means=(), stds=(), weights=()),
        threshold=1.0,
        closed_form=ANY_FORM if jacobian else None,
        layers=tuple((floats(*size) / 4, floats(size[0])) for size in sizes),
    )
    parts = carried_parts(draft)
    fusion = Fusion(
        parts=parts,
        means=float32_values(floats(len(parts))),
        stds=float32_values(np.abs(floats(len(parts))) + 0.2),
        # Of both signs.
        weights=tuple(
            0.5 * (-1) ** number if alone is None else float(name == alone)
            for number, name in enumerate(parts)
        ),
    )
    return dataclasses.replace(draft, fusion=fusion)


def scored(scorer, *, opset=18):
    """Return a model: map (and jacobian_squared, logits) in, scores out; ReLU and a pool between."""
    with_jacobian = scorer.closed_form is not None

    def given(name, *shape):
        return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))

    def constant(name, *values):
        return ir.Value(name=name, const_value=ir.tensor(np.array(values, np.int64), name=name))

    external = scorer.head.kind == "external"
    y, squared = given("y_in", "N", DIMENSION, SIDE, SIDE), given("squared", "N")
    own = given("own_in", "N", CLASSES)
    nodes = [ir.Node("", "Identity", [y]), ir.Node("", "Identity", [own])]
    # Its names are those that the scoring part uses, on purpose.
    nodes[0].outputs[0].name, nodes[1].outputs[0].name = "values", "score"
    nodes.append(ir.Node("", "Relu", nodes[0].outputs))
    nodes.append(ir.Node("", "GlobalAveragePool", nodes[2].outputs))
    shape = constant("shape", 0, -1)
    nodes.append(ir.Node("", "Reshape", [nodes[3].outputs[0], shape]))
    inputs = [y, *([squared] if with_jacobian else []), *([own] if external else [])]
    for node in nodes[2:]:
        node.outputs[0].name = f"{node.op_type}_out"
    output = nodes[4].outputs[0]
    output.dtype, output.shape = ir.DataType.FLOAT, ir.Shape(["N", DIMENSION])
    if not external:
        del nodes[1]
    graph = ir.Graph(inputs, [output], nodes=nodes, initializers=[shape], opset_imports={"": opset}, name="g")
    model = ir.Model(graph, ir_version=10)
    add_scoring(
        model,
        scorer,
        embedding="Reshape_out",
        logits="score" if external else None,
        jacobian_squared="squared" if with_jacobian else None,
        map="values",
    )
    return model


def session_of(model):
    return onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])


def run(session, y, squared=None, logits=None):
    feeds = {"y_in": y, "squared": squared, "own_in": logits}
    given = {value.name for value in session.get_inputs()}
    outputs = session.run(
        ["label", "score", "values"],
        {name: feed.astype(np.float32) for name, feed in feeds.items() if name in given},
    )
    return dict(zip(("label", "score", "values"), outputs, strict=True))


def expected_of(scorer, y, squared=None, logits=None):
    """Return the float64 reference of the same."""
    y = y.astype(np.float32)
    with np.errstate(invalid="ignore"):
        z = np.maximum(y.astype(np.float64), 0).mean((2, 3))
    return reference_scores(scorer, map=y, embedding=z, logits=logits, jacobian_squared=squared)


def maps(count, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (count, DIMENSION, SIDE, SIDE)).astype(np.float32)


def assert_same(got, expected, *, rtol=2e-5, atol=2e-5):
    finite = np.isfinite(expected["score"])
    np.testing.assert_array_equal(np.isfinite(got["score"]), finite)
    np.testing.assert_array_equal(got["label"][finite], expected["label"][finite])
    np.testing.assert_allclose(got["score"][finite], expected["score"][finite], rtol=rtol, atol=atol)
    np.testing.assert_allclose(got["values"][finite], expected["values"][finite], rtol=rtol, atol=atol)


@pytest.mark.parametrize("opset", [13, 18, 20])
@pytest.mark.parametrize("kind", ["cosine", "linear", "external"])
def test_the_graph_equals_the_reference_on_random_maps(kind, opset):
    scorer = random_scorer(kind, temperature=32.0 if kind == "cosine" else 1.0)
    y, rng = maps(64), np.random.default_rng(1)
    squared = rng.exponential(1, 64).astype(np.float32)
    logits = rng.normal(0, 5, (64, CLASSES)).astype(np.float32) if kind == "external" else None
    got = run(session_of(scored(scorer, opset=opset)), y, squared, logits)
    assert got["label"].dtype == np.int64 and got["values"].shape == (64, len(scorer.fusion.parts))
    assert_same(got, expected_of(scorer, y, squared, logits))


@pytest.mark.parametrize("layers", [True, False])
@pytest.mark.parametrize("jacobian", [True, False])
def test_without_a_jacobian_or_a_discriminator_there_is_no_such_column(jacobian, layers):
    scorer = random_scorer(jacobian=jacobian, layers=layers)
    y, squared = maps(5), np.ones(5) if jacobian else None
    got = run(session_of(scored(scorer)), y, squared)
    assert_same(got, expected_of(scorer, y, squared))
    gone = ["bank", "relative_mahalanobis", "class_jacobian"]  # no constants here
    gone += ["discriminator"] if not layers else []
    gone += ["log_jacobian", "raw_jacobian"] if not jacobian else []
    assert scorer.fusion.parts == tuple(name for name in part_names() if name not in gone)
    assert got["values"].shape == (5, len(scorer.fusion.parts))


def test_columns_stand_in_the_order_that_the_fusion_lists():
    scorer = random_scorer()
    y, squared = maps(4), np.ones(4)
    turned = dataclasses.replace(scorer.fusion, parts=scorer.fusion.parts[::-1])
    got = run(session_of(scored(dataclasses.replace(scorer, fusion=turned))), y, squared)
    plain = run(session_of(scored(scorer)), y, squared)
    np.testing.assert_array_equal(got["values"], plain["values"][:, ::-1])


def test_an_embedding_and_a_jacobian_of_zero_are_finite():
    scorer = random_scorer()
    y = maps(3)
    y[1] = -1  # ReLU leaves nothing
    squared = np.array([0, 0, -1e-9], np.float32)
    got = run(session_of(scored(scorer)), y, squared)
    assert np.isfinite(got["score"]).all()
    assert_same(got, expected_of(scorer, y, squared))


def test_equal_logits_give_the_lowest_index():
    scorer = random_scorer("external", temperature=1.0)
    logits = np.zeros((3, CLASSES), np.float32)
    logits[1, 2:] = 4
    logits[2, [3, 5]] = 1
    got = run(session_of(scored(scorer)), maps(3), np.ones(3), logits)
    assert got["label"].tolist() == [0, 2, 3]
    assert_same(got, expected_of(scorer, maps(3), np.ones(3), logits))


@pytest.mark.parametrize("scale", [1e4, -1e4, 1e-4])
def test_the_loss_is_stable_for_extreme_logits(scale):
    scorer = random_scorer("external", temperature=1.0)
    logits = np.random.default_rng(2).uniform(0.5, 1, (32, CLASSES)).astype(np.float32) * np.float32(scale)
    logits[:16, 1:] *= -1
    got = run(session_of(scored(scorer)), maps(32), np.ones(32), logits)
    assert_same(got, expected_of(scorer, maps(32), np.ones(32), logits), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", part_names())
def test_one_value_that_is_not_finite_makes_its_frame_and_no_other_nan(bad, part):
    scorer = random_scorer(alone=part)
    y = maps(4)
    y[2, 5, 1, 1] = bad
    got = run(session_of(scored(scorer)), y, np.ones(4))
    assert np.isnan(got["score"]).tolist() == [False, False, True, False]
    with np.errstate(invalid="ignore"):
        accepted = got["score"] <= 1e30
    assert accepted.tolist() == [True, True, False, True]
    assert_same(got, expected_of(scorer, y, np.ones(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["squared", "logits", "overflow"])
def test_other_tensors_that_are_not_finite_make_the_score_nan(which, bad):
    scorer = random_scorer("external", temperature=1.0)
    y, squared, logits = maps(3), np.ones(3, np.float32), np.zeros((3, CLASSES), np.float32)
    if which == "squared":
        squared[1] = bad
    elif which == "logits":
        logits[1, 4] = bad
    else:
        y[1] = 1e25  # finite, but its square is not a float32
    got = run(session_of(scored(scorer)), y, squared, logits)
    assert np.isnan(got["score"]).tolist() == [False, True, False]


def test_a_frame_has_the_same_verdict_alone_and_in_a_batch():
    session, y, squared = session_of(scored(random_scorer())), maps(9), np.linspace(0.1, 2, 9)
    whole = run(session, y, squared)
    for row in range(9):
        alone = run(session, y[row : row + 1], squared[row : row + 1])
        assert alone["label"][0] == whole["label"][row]
        np.testing.assert_allclose(alone["score"][0], whole["score"][row], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(alone["values"][0], whole["values"][row], rtol=1e-5, atol=1e-5)


def test_setting_the_fusion_changes_the_scores_and_nothing_else():
    scorer, other = random_scorer(), random_scorer(seed=9)
    model, y, squared = scored(scorer), maps(6), np.ones(6, np.float32)
    before = run(session_of(model), y, squared)
    set_fusion(model, other.fusion)
    after = run(session_of(model), y, squared)
    refitted = dataclasses.replace(scorer, fusion=other.fusion)
    assert_same(after, expected_of(refitted, y, squared))
    assert not np.allclose(before["score"], after["score"])
    np.testing.assert_array_equal(before["values"], after["values"])


def test_set_fusion_wants_a_scoring_graph():
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=9)
    with pytest.raises(ExportError, match="add the scoring nodes first"):
        set_fusion(model, random_scorer().fusion)


def test_scoring_says_which_tensor_is_missing_and_which_head_wants_logits():
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=9)
    with pytest.raises(ExportError, match="no tensor named 'features'"):
        add_scoring(model, random_scorer(), embedding="features")
    with pytest.raises(ExportError, match="'external', so logits must be a tensor"):
        add_scoring(model, random_scorer("external"), embedding="features")
    with pytest.raises(ExportError, match="'linear', so logits must be no tensor"):
        add_scoring(model, random_scorer("linear"), embedding="features", logits="a")


def scoring_nodes(scorer, without=()):
    """The nodes that scoring adds for a scorer's parts but for some."""
    kept = tuple(name for name in scorer.fusion.parts if name not in without)
    zeros = (0.0,) * len(kept)
    fusion = Fusion(parts=kept, means=zeros, stds=(1.0,) * len(kept), weights=zeros)
    proto = onnx.load_model_from_string(model_bytes(scored(dataclasses.replace(scorer, fusion=fusion))))
    assert {node.domain for node in proto.graph.node} == {""}
    return [node for node in proto.graph.node if node.name.startswith("scoring/")]


def test_only_standard_operators_and_few_nodes_are_added():
    scorer = random_scorer()
    five = scoring_nodes(scorer, without=["ovr_loss", "raw_jacobian"])
    assert len(five) <= 44
    assert len(scoring_nodes(scorer, without=["raw_jacobian"])) - len(five) <= 9
    assert len(scoring_nodes(scorer, without=["ovr_loss"])) - len(five) <= 4


def convolutional_classifier(rng):
    """Return a small float classifier: conv, ReLU, conv, ReLU, global average pool, flatten."""

    def weights(*shape):
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    def tensor(name, array):
        return onnx.numpy_helper.from_array(array, name)

    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1]),
        make("Relu", ["c0"], ["r0"]),
        make("Conv", ["r0", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        make("Relu", ["c1"], ["r1"]),
        make("GlobalAveragePool", ["r1"], ["p"]),
        make("Flatten", ["p"], ["z"]),
    ]
    constants = {"w0": weights(8, 3, 3, 3), "b0": weights(8, 1)[:, 0], "w1": weights(DIMENSION, 8, 3, 3)}
    constants["b1"] = weights(DIMENSION, 1)[:, 0]
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "classifier",
        [info("x", onnx.TensorProto.FLOAT, ["N", 3, 16, 16])],
        [info("z", onnx.TensorProto.FLOAT, ["N", DIMENSION])],
        [tensor(name, array) for name, array in constants.items()],
    )
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))


def test_with_the_closed_form_the_whole_graph_equals_the_reference_on_its_map():
    rng = np.random.default_rng(0)
    model = convolutional_classifier(rng)
    added = add_closed_form(model)
    scorer = dataclasses.replace(random_scorer(), closed_form=added.closed_form)
    add_scoring(
        model, scorer, embedding=added.embedding, jacobian_squared=added.jacobian_squared, map=added.map
    )
    model.graph.outputs.extend(
        value for node in model.graph for value in node.outputs if value.name in ("map", "embedding")
    )
    session = session_of(model)
    images = rng.normal(0, 1, (8, 3, 16, 16)).astype(np.float32)
    label, score, values, *tensors = session.run(None, {"x": images})
    named = dict(zip([output.name for output in session.get_outputs()][3:], tensors, strict=True))
    expected = reference_scores(scorer, map=named["map"])
    assert_same({"label": label, "score": score, "values": values}, expected)
    np.testing.assert_allclose(
        named["embedding"], np.maximum(named["map"], 0).mean((2, 3)), rtol=1e-5, atol=1e-6
    )
