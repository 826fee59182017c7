"""``edgeosr export --engine``: what is in the bundle, and what happens when the gate fails."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeosr import Runtime
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import ExportError, UsageError
from edgeosr.export import calibrated
from edgeosr.export.export_run import export_run
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision import export_typed, portable
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.golden import read_golden
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer_file import read_scorer


@pytest.fixture(scope="module")
def bundle(report):
    return read_bundle(report.path)


def test_the_bundle_holds_the_backbone_and_says_what_it_is(bundle, report):
    assert set(bundle.files) == {"model.onnx", "scorer.npz", "golden.npz", BACKBONE}
    manifest = bundle.manifest
    assert manifest.engines == ()
    record = manifest.backbone
    assert (record.precision, record.ending, record.dtype, record.logits) == ("fp16", "map", "float16", False)
    assert record.fusion is None and record.threshold is None
    assert record.gate.known > 100 and record.gate.unknown > 20
    assert record.gate.agreement >= 0.97
    assert record.gate.described() in report.as_text()


def test_scorer_and_backbone_decide_like_the_runtime(bundle, report):
    """What engine and kernel do: the backbone's map into the scorer that ships, on images nothing saw."""
    _, parts = reopen_parts(bundle.manifest.data)
    session = onnxruntime.InferenceSession(bundle.files[BACKBONE], providers=["CPUExecutionProvider"])
    frames = np.stack([parts.test.read(i) for i in range(120)])
    feed = {"frames": frames, "channel_order": np.arange(3)}
    found = reference_scores(
        read_scorer(bundle.files["scorer.npz"]), map=session.run(["map"], feed)[0].astype(np.float64)
    )
    with Runtime(report.path) as runtime:
        verdicts = runtime(frames)
        threshold = runtime.threshold
    near = np.abs(found["score"] - threshold) < 0.05
    assert near.mean() < 0.1
    accepted = np.array([verdict.accepted for verdict in verdicts])
    assert np.array_equal(accepted[~near], found["accepted"][~near])
    assert 0.05 < accepted.mean() < 1
    agreeing = found["label"] == [verdict.index for verdict in verdicts]
    assert agreeing.mean() > 0.98


def broken(data: bytes) -> bytes:
    """The backbone with its first convolution's weights turned round: other decisions, the same shapes."""
    model = onnx.load_model_from_string(data)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    array = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array[::-1]), weight.name))
    return model.SerializeToString()


def test_a_typed_graph_that_decides_otherwise_is_refused(digits_run, report, tmp_path, monkeypatch):
    made = export_typed.typed_graph

    def wrong(*args, **kwargs):
        typed = made(*args, **kwargs)
        return dataclasses.replace(typed, body=broken(typed.body))

    monkeypatch.setattr(export_typed, "typed_graph", wrong)
    out = tmp_path / "digits.edgeosr"
    with pytest.raises(ExportError) as caught:
        export_run(digits_run, ExportSettings(out=out, precision="fp16"))
    text = str(caught.value)
    assert "decides like model.onnx on" in text and "--min-agreement asks for 99.50%" in text
    assert "digits[" in text, "the worst images are named"
    assert "--recalibrate" in text and str(tmp_path / "digits.gate.png") in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits.gate.png"]


def test_recalibrating_fits_fusion_and_threshold_on_the_typed_graph(digits_run, tmp_path):
    """int8 moves the scores; anew fitted, the threshold keeps its promise on the typed graph's own scores."""
    out = tmp_path / "digits.edgeosr"
    settings = ExportSettings(
        out=out, precision="int8", recalibrate=True, min_agreement=0.5, false_reject_rate=0.1
    )
    export_run(digits_run, settings)
    bundle = read_bundle(out)
    record = bundle.manifest.backbone
    assert record.gate.recalibrated
    assert record.threshold.value != bundle.manifest.threshold.value
    scorer = read_scorer(bundle.files["scorer.npz"])
    assert scorer.threshold == np.float32(record.threshold.value)
    assert scorer.fusion.weights == record.fusion.weights
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    rgb = ~golden.bgr
    feed = {"frames": golden.frames[rgb], "channel_order": np.arange(3)}
    labels = golden.portable.label[rgb]
    session = onnxruntime.InferenceSession(bundle.files[BACKBONE], providers=["CPUExecutionProvider"])
    (y,) = session.run(["map"], feed)
    assert y.dtype == np.float16
    assert (reference_scores(scorer, map=y.astype(np.float64))["label"] == labels).mean() > 0.5


def test_the_threads_asked_for_reach_every_graph_that_is_run(digits_run, tmp_path, monkeypatch):
    given = []

    class Noted(GraphRunner):
        def __init__(self, model, **options):
            given.append(options["threads"])
            super().__init__(model, **options)

    for module in (calibrated, export_typed, portable):
        monkeypatch.setattr(module, "GraphRunner", Noted)
    out = tmp_path / "digits.edgeosr"
    export_run(digits_run, ExportSettings(out=out, precision="fp16", min_agreement=0.9, threads=2))
    # Fusion and threshold of model.onnx; both graphs in the gate.
    assert given == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp8"}, "--engine"),
        ({"precision": "fp16", "min_agreement": 1.5}, "--min-agreement must be from 0 to 1; got 1.5"),
        ({"precision": None, "recalibrate": True}, "--recalibrate fits the threshold on a typed graph"),
    ],
)
def test_options_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        ExportSettings(**settings)
