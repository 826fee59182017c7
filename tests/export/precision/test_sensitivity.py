"""int8 takes the layers that bear it: measured together, the least sensitive first."""

import logging
import math

import numpy as np
import onnx
import pytest

from edgeosr.data.labelled_images import evenly_spaced
from edgeosr.errors import ExportError, MissingDependencyError
from edgeosr.export.precision import int8
from edgeosr.export.precision.pixels import calibration_pixels
from edgeosr.export.precision.sensitivity import LIMIT, ScoreShift, robust_layers
from edgeosr.export.precision.split import body_bytes, boundary_of, tail_model
from edgeosr.export.precision.typed import JUDGED_BATCHES, typed_graph
from edgeosr.export.scored_graph import scored_graph
from edgeosr.scoring.fusion import Fusion

LAYERS = [f"layer{i}" for i in range(10)]


def together(alone, asked=None):
    """Independent errors: their squares add up."""

    def shift(layers):
        if asked is not None:
            asked.append(tuple(layers))
        return math.sqrt(sum(alone[layer] ** 2 for layer in layers))

    return shift


def test_where_all_bear_it_all_are_taken_and_none_is_tried_alone():
    asked = []
    alone = dict.fromkeys(LAYERS, 0.1)
    assert robust_layers(LAYERS, together(alone, asked), limit=0.4) == LAYERS
    assert asked == [tuple(LAYERS)]


@pytest.mark.parametrize("seed", range(5))
def test_as_many_as_the_limit_allows_are_taken_in_graph_order(seed):
    alone = dict(zip(LAYERS, np.random.default_rng(seed).permutation(10) / 10 + 0.05, strict=True))
    shift = together(alone)
    chosen = robust_layers(LAYERS, shift, limit=0.6)
    assert chosen == [layer for layer in LAYERS if layer in set(chosen)]
    assert 0 < len(chosen) < 10 and shift(chosen) <= 0.6
    rest = sorted((layer for layer in LAYERS if layer not in chosen), key=alone.get)
    assert max(alone[layer] for layer in chosen) < alone[rest[0]]
    assert shift([*chosen, rest[0]]) > 0.6


def test_none_may_be_taken():
    assert robust_layers(LAYERS, together(dict.fromkeys(LAYERS, 1.0)), limit=0.5) == []


def fitted():
    """The parts of this network: no discriminator, no margin, no constants. Weights on the first four."""
    return Fusion(
        parts=("log_jacobian", "movr_loss", "max_logit", "log_norm", "raw_jacobian"),
        means=(0.0,) * 5,
        stds=(1.0,) * 5,
        weights=(0.3, 0.2, 0.4, 0.1, 0.0),
    )


@pytest.fixture(scope="module")
def scored(classifier):
    return scored_graph(classifier, "closed-form")


@pytest.fixture(scope="module")
def batches(scored, images):
    return list(calibration_pixels(images, scored.classifier.preprocessing))


def changed(body, layer, factor):
    """The body with the weights of one layer times ``factor``."""
    model = onnx.load_model_from_string(body)
    node = next(node for node in model.graph.node if node.name == layer)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    array = onnx.numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    return model.SerializeToString()


def test_the_shift_is_the_median_distance_of_the_scores(scored, batches):
    body, pixels = body_bytes(scored), np.concatenate(batches)
    shift = ScoreShift(scored, fitted(), body, pixels)
    assert shift(body) == 0.0
    small, large = (shift(changed(body, "conv_middle", factor)) for factor in (1.01, 1.5))
    assert 0 < small < 0.1 * large
    # By hand: the body's outputs into the tail.
    from onnxruntime import InferenceSession

    from edgeosr.export.graph.assemble import model_bytes

    tail = InferenceSession(model_bytes(tail_model(scored, fitted())), providers=["CPUExecutionProvider"])

    def scores(data):
        session = InferenceSession(data, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {scored.classifier.input_name: pixels})
        return tail.run(["score"], dict(zip(boundary_of(scored).outputs, outputs, strict=True)))[0]

    distance = np.abs(scores(changed(body, "conv_middle", 1.5)) - scores(body))
    assert large == pytest.approx(float(np.median(distance)), rel=1e-6)


def quantised_layers(body):
    model = onnx.load_model_from_string(body)
    made = {output: node.op_type for node in model.graph.node for output in node.output}
    return {
        node.name
        for node in model.graph.node
        if node.op_type in int8.QUANTISABLE and made.get(node.input[0]) == "DequantizeLinear"
    }


def test_only_what_bears_it_is_quantised(scored, batches):
    """Of conv_middle and the layers behind it, one is declared to be ruined by int8."""
    body, name = body_bytes(scored), scored.classifier.input_name
    handlers = list(logging.getLogger().handlers)
    everything = int8.to_int8(body, name, batches)
    assert logging.getLogger().handlers == handlers
    inner = quantised_layers(everything.data)
    assert inner == {"conv_middle"} and everything.quantised == 1

    with pytest.raises(
        ExportError, match=r"1 layers that can be int8 .* on its own; export with --engine fp16"
    ):
        int8.to_int8(body, name, batches, lambda data: 1.0 if quantised_layers(data) else 0.0)
    kept = int8.to_int8(body, name, batches, lambda data: LIMIT)
    assert kept.data == everything.data
    assert f"1 of {kept.layers} layers" in kept.converter


def test_an_export_asks_the_score(scored, batches, monkeypatch):
    """A limit just below what int8 does to this network, and one just above; without a fusion nobody asks."""
    body = body_bytes(scored)
    free = int8.to_int8(body, scored.classifier.input_name, batches)
    # The same images: of four batches of the eleven.
    judged = np.concatenate([batches[i] for i in evenly_spaced(len(batches), JUDGED_BATCHES)])
    moved = ScoreShift(scored, fitted(), body, judged)(free.data)

    def asked(limit):
        monkeypatch.setattr(robust_layers, "__defaults__", (limit,))
        return typed_graph(scored, "int8", pixels=lambda: iter(batches), fusion=fitted())

    assert asked(moved * 1.01).converter == free.converter
    with pytest.raises(ExportError, match="export with --engine fp16"):
        asked(moved * 0.99)
    assert typed_graph(scored, "int8", pixels=lambda: iter(batches)).converter == free.converter


def test_an_onnxruntime_that_keeps_no_calibration_is_refused(scored, batches, monkeypatch):
    monkeypatch.setattr("onnxruntime.quantization.quantize_static", lambda source, target: None)
    with pytest.raises(MissingDependencyError, match="pip install -U onnxruntime"):
        int8.to_int8(body_bytes(scored), scored.classifier.input_name, batches)


def test_an_opset_that_onnx_cannot_raise_is_an_error_with_what_to_do(scored, batches, monkeypatch):
    made = int8.to_int8(body_bytes(scored), scored.classifier.input_name, batches)

    def refused(model, opset):
        raise RuntimeError("no adapter for Conv")

    monkeypatch.setattr(onnx.version_converter, "convert_version", refused)
    with pytest.raises(ExportError, match=r"from opset 17 to 19.*no adapter for Conv; export the classifier"):
        made.with_fp16()
