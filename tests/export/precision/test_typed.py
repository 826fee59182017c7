"""The typed backbone computes what the float32 one does, in the types that kernel and engine take."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeosr.bundle.tensors import feed_of
from edgeosr.data.labelled_images import evenly_spaced
from edgeosr.errors import ExportError
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.fp16 import to_fp16
from edgeosr.export.precision.pixels import BATCH, CALIBRATION_IMAGES, calibration_pixels
from edgeosr.export.precision.tangent_gain import scaled_tangents
from edgeosr.export.precision.typed import typed_graph
from edgeosr.export.scored_graph import scored_graph
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

ORDER = np.array([0, 1, 2], np.int64)


def fusion(graph):
    """Weights on every part, so that a wrong one is seen in the score."""
    weights = {
        "log_jacobian": 0.3,
        "movr_loss": 0.2,
        "max_logit": 0.4,
        "log_norm": 0.1,
        "raw_jacobian": 0.2,
        "bank": 0.3,
        "relative_mahalanobis": 0.1,
        "class_jacobian": 0.1,
    }
    count = len(graph.parts)
    return Fusion(
        parts=graph.parts,
        means=(0.0,) * count,
        stds=(1.0,) * count,
        weights=tuple(weights[name] for name in graph.parts),
    )


def run(data, frames, order=ORDER):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"frames": frames, "channel_order": order}), strict=True))


def typed(graph, precision, images, probes):
    scaled = None
    if graph.tangents is not None and precision != "fp32":
        scaled = scaled_tangents(graph, probes, images)
    preprocessing = graph.classifier.preprocessing
    return typed_graph(
        graph, precision, scaled=scaled, pixels=lambda: calibration_pixels(images, preprocessing)
    )


def reference(graph, made, outputs):
    """Scores by the float64 reference from what the backbone gives, as the kernel does."""
    scorer = graph.fitted(fusion(graph), 0.0)
    if scorer.probes is not None:
        scorer = dataclasses.replace(scorer, probes=dataclasses.replace(scorer.probes, gain=made.gain))
    inputs = {"logits": outputs["logits"].astype(np.float64)}
    if made.boundary.ending == "map":
        inputs["map"] = outputs["map"].astype(np.float64)
    else:
        inputs["embedding"] = outputs["embedding"].astype(np.float64)
    if made.boundary.ending == "tangents":
        inputs["tangents"] = outputs["tangents"].astype(np.float64)
    return reference_scores(scorer, **inputs)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_outputs_are_those_the_kernel_takes(graph, precision, images, probes, frames):
    made = typed(graph, precision, images, probes)
    outputs = run(made.backbone(), frames)
    assert tuple(outputs) == made.boundary.outputs
    wanted = np.float32 if precision == "fp32" else np.float16
    assert all(array.dtype == (np.float32 if name == "logits" else wanted) for name, array in outputs.items())
    shapes = {name: array.shape for name, array in outputs.items()}
    sizes = {"map": (6, 12, 4, 4), "embedding": (6, 12), "tangents": (3, 6, 12), "logits": (6, 3)}
    assert shapes == {name: sizes[name] for name in made.boundary.outputs}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_backbone_and_reference_score_as_the_whole_typed_graph(graph, precision, images, probes, frames):
    made = typed(graph, precision, images, probes)
    expected = reference(graph, made, run(made.backbone(), frames))
    label, score, values = GraphRunner(made.whole(fusion(graph)), as_typed=True).run(frames)
    assert np.array_equal(label, expected["label"])
    # Tight enough to see whether the tail reads the map as fp16 has rounded it: before that rounding,
    # log_norm is 3e-5 away and relative_mahalanobis 1e-3.
    np.testing.assert_allclose(values, expected["values"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(score, expected["score"], rtol=1e-5, atol=1e-5)


def numbers(graph, values):
    """J (if there is one), the top logit and |z|: relative errors of logarithms would say little."""
    named = dict(zip(graph.parts, values.astype(np.float64).T, strict=True))
    found = [np.exp(named["log_jacobian"])] if "log_jacobian" in named else []
    return np.stack([*found, -named["max_logit"], np.exp(-named["log_norm"])], axis=1)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 5e-4), ("int8", 3e-2)])
def test_a_typed_graph_is_near_the_float32_one(graph, precision, tolerance, images, probes):
    frames = np.stack([images.read(i) for i in range(24)])
    made = typed(graph, precision, images, probes)
    label, _, values = GraphRunner(made.whole(fusion(graph)), as_typed=True).run(frames)
    expected_label, _, expected = GraphRunner(graph.model(fusion(graph))).run(frames)
    # The Jacobian norm, the top logit and |z|: the loss is exponential in the logits.
    error = np.median(np.abs(numbers(graph, values) / numbers(graph, expected) - 1), axis=0)
    assert error.max() < tolerance
    if precision == "fp32":
        assert np.array_equal(label, expected_label)
    else:
        assert error.max() > 1e-6, "nothing was rounded, so nothing was typed"


def test_channel_order_is_a_plain_input_of_the_backbone_and_turns_the_channels(graph, images, probes, frames):
    backbone = typed(graph, "fp16", images, probes).backbone()
    model = onnx.load_model_from_string(backbone)
    assert [value.name for value in model.graph.input] == ["frames", "channel_order"]
    assert "channel_order" not in {tensor.name for tensor in model.graph.initializer}
    turned = run(backbone, np.ascontiguousarray(frames[..., ::-1]), ORDER[::-1].copy())
    plain = run(backbone, frames)
    assert all(np.array_equal(turned[name], plain[name]) for name in plain)


def test_a_fixed_frame_fixes_the_backbone(graph, images, probes, frames):
    made = typed(graph, "fp16", images, probes)
    fixed = made.backbone((20, 26))
    shape = onnx.load_model_from_string(fixed).graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_value for size in shape] == [0, 20, 26, 3]
    for name, array in run(fixed, frames).items():
        np.testing.assert_allclose(array, run(made.backbone(), frames)[name], rtol=0.02, atol=0.02)


def test_as_typed_keeps_every_rounding(classifier, images, probes, frames):
    """onnxruntime's default optimisation takes casts out; the gate must not see a better graph than ships."""
    graph = scored_graph(classifier, "closed-form")
    whole = typed(graph, "fp16", images, probes).whole(fusion(graph))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    values = plain.run(["values"], feed_of(frames))[0]
    np.testing.assert_allclose(GraphRunner(whole, as_typed=True).run(frames)[2], values, rtol=2e-6)


def test_weights_that_fp16_cannot_hold_are_refused(classifier):
    model = onnx.load_model_from_string(classifier.graph)
    first = next(tensor for tensor in model.graph.initializer if tensor.name == "first")
    array = onnx.numpy_helper.to_array(first).copy()
    array[0, 0, 0, 0] = 1e5
    first.CopyFrom(onnx.numpy_helper.from_array(array, "first"))
    with pytest.raises(ExportError, match=r"'first' reaches 1e\+05.*--engine fp32"):
        to_fp16(model.SerializeToString())


def test_the_gain_is_a_power_of_two_that_brings_tangents_to_about_one(classifier, probes, images):
    tiny = dataclasses.replace(probes, directions=probes.directions * np.float32(2.0**-18))
    graph = scored_graph(classifier, "probes", tiny)
    scaled = scaled_tangents(graph, tiny, images)
    assert np.log2(scaled.gain) == round(np.log2(scaled.gain))
    assert scaled.gain > 2**10
    made = typed_graph(graph, "fp16", scaled=scaled)
    frames = np.stack([images.read(i) for i in range(20)])
    tangents = run(made.backbone(), frames)["tangents"].astype(np.float64)
    assert 0.3 < np.sqrt(np.mean(tangents**2)) < 3


def test_a_gain_reads_back_from_the_scorer(graph):
    scorer = graph.fitted(fusion(graph), 0.5)
    if scorer.probes is None:
        assert read_scorer(write_scorer(scorer)).probes is None
        return
    scorer = dataclasses.replace(scorer, probes=dataclasses.replace(scorer.probes, gain=64.0))
    again = read_scorer(write_scorer(scorer))
    assert (again.probes.K, again.probes.n, again.probes.gain) == (scorer.probes.K, scorer.probes.n, 64.0)
    assert again.probes.scale == scorer.probes.n / scorer.probes.K / 4096


def test_int8_is_symmetric_per_channel_and_leaves_tangents_alone(graph, images, probes):
    made = typed(graph, "int8", images, probes)
    model = onnx.load_model_from_string(made.backbone())
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    points = [constants[node.input[2]] for node in pairs]
    assert points and all(array.dtype == np.int8 and not array.any() for array in points)
    assert {array.size for array in points} == {1, 8}, "scalar activations, weights by output channel"
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert rounded and not any(name.startswith("tangents") for name in rounded)


def test_calibration_takes_images_from_the_whole_part(classifier, images):
    batches = list(calibration_pixels(images, classifier.preprocessing))
    assert all(batch.dtype == np.float32 and batch.shape == (BATCH, 3, 8, 8) for batch in batches)
    assert len(batches) == min(len(images), CALIBRATION_IMAGES) // BATCH
    assert evenly_spaced(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly_spaced(3, 4).tolist() == [0, 1, 2]
