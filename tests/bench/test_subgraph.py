import numpy as np
import onnx
import pytest
from onnx import helper

from edgeosr.bench.session import open_session
from edgeosr.bench.subgraph import front_end, plain_classifier
from edgeosr.bundle.tensors import feed_of
from edgeosr.errors import BundleError


def run(model: bytes, outputs: list[str], frames: np.ndarray) -> list[np.ndarray]:
    return open_session(model, 1).run(outputs, feed_of(frames))


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (5, 9, 13, 3), np.uint8)


def exposed(model: bytes, name: str) -> bytes:
    """The whole graph with an inner tensor as one more output: nothing cut."""
    whole = onnx.load_from_string(model)
    whole.graph.output.append(helper.make_empty_tensor_value_info(name))
    return bytes(whole.SerializeToString())


def test_the_front_end_gives_the_pixels_that_the_whole_graph_sees(make_graph, frames) -> None:
    model = make_graph()
    (cut,) = run(front_end(model), ["pixels"], frames)
    (whole,) = run(exposed(model, "pixels"), ["pixels"], frames)
    np.testing.assert_array_equal(cut, whole)
    np.testing.assert_allclose(cut, frames.transpose(0, 3, 1, 2) / np.float32(255), rtol=1e-6)


def test_the_front_end_holds_no_weights_of_the_network(make_graph) -> None:
    names = {tensor.name for tensor in onnx.load_from_string(front_end(make_graph())).graph.initializer}
    assert names == {"scale"}


def test_the_plain_classifier_gives_the_logits_and_labels_of_the_whole_graph(make_graph, frames) -> None:
    model = make_graph()
    logits, label = run(plain_classifier(model), ["logits", "label"], frames)
    whole_logits, whole_label = run(exposed(model, "logits"), ["logits", "label"], frames)
    np.testing.assert_allclose(logits, whole_logits, rtol=1e-6)
    np.testing.assert_array_equal(label, whole_label)


def test_the_plain_classifier_has_none_of_the_scoring_nodes_but_the_same_inputs(make_graph) -> None:
    plain = onnx.load_from_string(plain_classifier(make_graph())).graph
    assert {node.op_type for node in plain.node}.isdisjoint({"ReduceMax", "ReduceL2", "Neg", "Concat"})
    assert [value.name for value in plain.input] == ["frames", "channel_order"]
    assert [value.name for value in plain.output] == ["logits", "label"]


def test_both_cuts_still_take_the_channel_order(make_graph, frames) -> None:
    model = make_graph()
    session = open_session(plain_classifier(model), 1)
    turned = session.run(["logits"], feed_of(frames[..., ::-1].copy(), bgr=True))
    np.testing.assert_allclose(turned[0], session.run(["logits"], feed_of(frames))[0], rtol=1e-6)


@pytest.mark.parametrize(("cut", "name"), [(front_end, "pixels"), (plain_classifier, "logits")])
def test_a_graph_without_the_promised_tensor_is_refused_by_its_name(make_graph, cut, name) -> None:
    model = onnx.load_from_string(make_graph())
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, value in enumerate(names):
                if value == name:
                    names[i] = "other"
    with pytest.raises(BundleError, match=f"no tensor named '{name}'.*export the bundle again"):
        cut(model.SerializeToString())


def test_a_label_made_of_more_than_the_logits_is_no_plain_classifier(make_graph) -> None:
    with pytest.raises(BundleError, match="ArgMin"):
        plain_classifier(make_graph(label_operator="ArgMin"))
