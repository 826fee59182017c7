"""Inputs of other layouts: channels last, grey, or both; what comes in stays what the model was made for."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from PIL import Image

from edgeosr.errors import UsageError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.foreign.classifier import read_classifier
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.graph.image_input import LUMA
from edgeosr.export.measure import GraphRunner
from edgeosr.export.probing import drafted
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings

IMAGES = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
GREY_KERNEL = np.random.default_rng(1).normal(size=(6, 1, 3, 3)).astype(np.float32)
TO_FIRST = ("Transpose", "image", "planes", {"perm": [0, 3, 1, 2]})
SAME = ("Identity", "image", "planes", {})
LAST, GREY, GREY_LAST = ("n", 16, 16, 3), ("n", 1, 16, 16), ("n", 16, 16, 1)


def classifier(foreign_model, image, first, **more):
    kernel = {"kernel": GREY_KERNEL} if 1 in image[1:] else {}
    start = (first, ("Conv", "planes kernel", "c", {}))
    return foreign_model((), held=kernel, image=image, start=start, **more)


def outputs(proto, images):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("opset", [10, 12, 17])
def test_channels_last_are_moved_and_the_transpose_of_keras_falls_out(opset, batch, foreign_model, saved):
    model = classifier(foreign_model, (batch, *LAST[1:]), TO_FIRST, opset=opset)
    loaded = load_classifier_onnx(saved(model))
    assert list(loaded.graph.inputs[0].shape)[1:] == [3, 16, 16]
    assert not [node for node in loaded.graph if node.op_type == "Transpose"]
    one_by_one = [outputs(model, image[None].transpose(0, 2, 3, 1)) for image in IMAGES]
    np.testing.assert_allclose(outputs(ir.to_proto(loaded), IMAGES), np.concatenate(one_by_one), rtol=1e-5)
    assert add_closed_form(loaded, find_embedding(loaded)).dimension == 6


def test_a_network_that_computes_with_channels_last_before_it_turns_them_is_kept(foreign_model, saved):
    start = (
        ("Mul", "image gains", "scaled", {}),
        ("Transpose", "scaled", "planes", {"perm": [0, 3, 1, 2]}),
        ("Conv", "planes kernel", "c", {}),
    )
    gains = np.array([1, 2, 3], np.float32)
    model = foreign_model((), held={"gains": gains}, image=LAST, start=start)
    loaded = load_classifier_onnx(saved(model))
    expected = outputs(model, np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1)))
    np.testing.assert_allclose(outputs(ir.to_proto(loaded), IMAGES), expected, rtol=1e-5)


def test_open_sides_of_channels_last_can_be_given(foreign_model, saved):
    path = saved(classifier(foreign_model, ("n", "h", "w", 3), TO_FIRST))
    assert list(load_classifier_onnx(path, (16, 20)).graph.inputs[0].shape)[1:] == [3, 16, 20]


def grey_settings(**changes):
    return ExportSettings(**{"mean": (0.4,) * 3, "std": (0.2,) * 3, "jacobian": "none", **changes})


@pytest.mark.parametrize(("image", "first"), [(GREY, SAME), (GREY_LAST, TO_FIRST)])
def test_a_grey_input_sees_what_pillow_calls_grey(image, first, foreign_model, saved):
    model = classifier(foreign_model, image, first)
    found, notes = read_classifier(saved(model), ("a", "b", "c", "d"), grey_settings(), None)
    assert "0.299 red + 0.587 green + 0.114 blue" in notes[0]
    frames = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), np.uint8)
    runner = GraphRunner(scored_graph(found, "none").model(expose=("logits",)), extra_outputs=("logits",))
    grey = np.stack([np.asarray(Image.fromarray(frame).convert("L"), np.float32) for frame in frames])
    inputs = ((grey / 255 - 0.4) / 0.2).astype(np.float32)[:, None]
    expected = outputs(model, inputs if image == GREY else np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)))
    # Pillow rounds the grey value to a whole number.
    np.testing.assert_allclose(runner.run(frames)[3], expected, atol=0.02 * np.abs(expected).max())
    assert sum(LUMA) == pytest.approx(1)


def test_a_grey_input_is_normalised_by_one_value_and_has_no_order_of_colours(foreign_model, saved):
    path = saved(classifier(foreign_model, GREY, SAME))
    with pytest.raises(UsageError, match=r"grey images.*one value, given three times.*--mean 0\.5"):
        read_classifier(path, ("a", "b", "c", "d"), ExportSettings(), None)
    with pytest.raises(UsageError, match=r"no order of colours; leave --color out"):
        read_classifier(path, ("a", "b", "c", "d"), grey_settings(color="bgr"), None)


def test_a_grey_input_has_a_closed_form_and_probes(foreign_model, saved):
    path = saved(classifier(foreign_model, GREY_LAST, TO_FIRST))
    loaded = load_classifier_onnx(path)
    assert add_closed_form(loaded, find_embedding(loaded)).dimension == 6
    found, _ = read_classifier(path, ("a", "b", "c", "d"), grey_settings(), None)
    draft = drafted(found, 2, "input")
    _, score, values = GraphRunner(draft.model()).run(np.full((2, 16, 16, 3), 90, np.uint8))
    assert "log_jacobian" in draft.parts and np.isfinite(values).all() and np.isfinite(score).all()
