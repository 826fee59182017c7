"""A run becomes a bundle whose figures and decisions are those of its own graph."""

import importlib.util
import json
import shutil

import numpy as np
import pytest

from edgeosr import Runtime
from edgeosr.bundle.directory import read_bundle
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.parts import four_parts
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import DataError, MissingDependencyError, UsageError
from edgeosr.export.conformal import conformal_threshold
from edgeosr.export.export_run import export_run
from edgeosr.export.graph.names import JACOBIAN_SQUARED
from edgeosr.export.measure import GraphRunner
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.golden import read_golden
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import part, with_constants
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer_file import read_scorer


@pytest.fixture(scope="module")
def bundle(digits_bundle):
    return read_bundle(digits_bundle)


@pytest.fixture(scope="module")
def parts(bundle):
    return reopen_parts(bundle.manifest.data)[1]


@pytest.fixture(scope="module")
def runner(bundle):
    return GraphRunner(bundle.files["model.onnx"])


def exposed(bundle, *names):
    """Return a runner over the shipped graph with internal tensors as further outputs."""
    import onnx

    model = onnx.load_model_from_string(bundle.files["model.onnx"])
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return GraphRunner(model.SerializeToString(), extra_outputs=names)


def test_the_shipped_graph_equals_the_float64_reference_of_the_shipped_scorer(bundle, parts):
    measured, (feature_map,) = exposed(bundle, "map").measure_with_extras(parts.test, "test")
    expected = reference_scores(read_scorer(bundle.files["scorer.npz"]), map=feature_map)
    assert np.array_equal(measured.predictions, expected["label"])
    np.testing.assert_allclose(measured.scores, expected["score"], atol=2e-4)
    np.testing.assert_allclose(measured.values, expected["values"], rtol=2e-4, atol=2e-4)
    threshold = bundle.manifest.threshold.value
    clear = np.abs(expected["score"] - threshold) > 1e-3
    assert clear.mean() > 0.95
    assert np.array_equal((measured.scores <= threshold)[clear], expected["accepted"][clear])


def test_the_shipped_graph_classifies_as_the_torch_model_does(digits_run, bundle, parts, runner):
    import torch

    from edgeosr.model.classifier import load_classifier

    classifier, preprocessing = load_classifier(digits_run), bundle.manifest.preprocessing
    pixels = np.stack([preprocessing.resize(parts.test.read(i)) for i in range(40)])
    normalised = (pixels / 255 - preprocessing.mean) / preprocessing.std
    with torch.no_grad():
        z = classifier.backbone(torch.from_numpy(normalised).float().permute(0, 3, 1, 2))
        logits = classifier.logits(z).numpy()
    label, _, values = runner.run(np.stack([parts.test.read(i) for i in range(40)]))
    # Torch sees Pillow's rounded pixels, the graph resizes in float: both within one grey level.
    named = dict(zip(bundle.manifest.parts, values.T, strict=True))
    np.testing.assert_allclose(-named["max_logit"], logits.max(axis=1), atol=0.02)
    np.testing.assert_allclose(np.exp(-named["log_norm"]), np.linalg.norm(z.numpy(), axis=1), rtol=0.02)
    assert np.mean(label == logits.argmax(axis=1)) >= 0.95


def test_the_threshold_is_the_conformal_one_of_the_shipped_graphs_calibrate_scores(bundle, parts, runner):
    measured = runner.measure(parts.calibrate, "calibrate")
    again = conformal_threshold(measured.scores, measured.groups, 0.05)
    assert bundle.manifest.threshold.value == pytest.approx(again.value, abs=1e-6)
    assert np.mean(measured.scores > bundle.manifest.threshold.value + 1e-6) <= 0.05
    low, high = bundle.manifest.threshold.interval
    assert low < 0.05 < high


def test_no_part_of_the_calibration_has_seen_the_unknown_test_classes(bundle):
    manifest = bundle.manifest
    assert manifest.data.unknown == ("1", "6", "7")
    assert manifest.outliers is not None
    assert manifest.outliers.source == "digits:0"
    assert manifest.discriminator is not None
    assert manifest.discriminator.selected_by == "real"


def test_golden_frames_give_the_recorded_scores(bundle, runner):
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    frames = np.where(golden.bgr[:, None, None, None], golden.frames[..., ::-1], golden.frames)
    label, score, _ = runner.run(frames)
    assert np.array_equal(label, golden.portable.label)
    np.testing.assert_allclose(score, golden.portable.score, atol=1e-6)


def test_the_runtime_decides_as_the_graph_does(digits_bundle, bundle, parts, runner):
    measured = runner.measure(parts.test, "test")
    with Runtime(digits_bundle) as runtime:
        verdicts = [runtime(parts.test.read(i)) for i in range(60)]
    accepted = measured.scores <= bundle.manifest.threshold.value
    assert [verdict.accepted for verdict in verdicts] == accepted[:60].tolist()
    assert [verdict.index for verdict in verdicts] == measured.predictions[:60].tolist()


def test_a_fixed_frame_size_scores_like_any_size(digits_run, bundle, tmp_path):
    report = export_run(digits_run, ExportSettings(frame=(48, 40), out=tmp_path / "fixed.edgeosr"))
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 40, 3), np.uint8)
    fixed = GraphRunner(read_bundle(report.path).files["model.onnx"]).run(frames)
    anysize = GraphRunner(bundle.files["model.onnx"]).run(frames)
    assert np.array_equal(fixed[0], anysize[0])
    np.testing.assert_allclose(fixed[1], anysize[1], atol=2e-3)
    assert report.manifest.frame == (48, 40)
    assert report.manifest.threshold.value == pytest.approx(bundle.manifest.threshold.value, abs=1e-6)


@pytest.fixture(scope="module")
def whole(digits_run, tmp_path_factory):
    """The same with every part, whatever it weighs."""
    out = tmp_path_factory.mktemp("bundles") / "whole.edgeosr"
    return read_bundle(export_run(digits_run, ExportSettings(parts="all", out=out)).path)


def test_without_a_jacobian_its_parts_are_gone_and_the_rest_is_the_same(digits_run, whole, parts, tmp_path):
    asked = ExportSettings(jacobian="none", parts="all", out=tmp_path / "none.edgeosr")
    report = export_run(digits_run, asked)
    assert report.manifest.jacobian.method == "none"
    frames = np.stack([parts.test.read(i) for i in range(8)])
    _, _, values = GraphRunner(read_bundle(report.path).files["model.onnx"]).run(frames)
    _, _, expected = GraphRunner(whole.files["model.onnx"]).run(frames)
    kept = ["jacobian" not in name for name in whole.manifest.parts]
    assert report.manifest.parts == tuple(np.array(whole.manifest.parts)[kept])
    assert kept.count(False) == 3
    np.testing.assert_allclose(values, expected[:, kept], rtol=1e-4, atol=1e-4)


def test_the_constants_come_from_the_train_part_on_the_exported_graph(whole, parts):
    scorer = read_scorer(whole.files["scorer.npz"])
    found = exposed(whole, "embedding", JACOBIAN_SQUARED).measure_with_extras(parts.train, "test")
    measured, (z, squared) = found
    features = TrainFeatures(
        embeddings=z,
        labels=measured.labels,
        classes=scorer.classes,
        seed=0,
        jacobian_squared=squared.astype(np.float64),
    )
    expected = with_constants(scorer, features).constants
    assert set(scorer.constants) == set(expected) == {"bank", "relative_mahalanobis", "class_jacobian"}
    for name, own in expected.items():
        np.testing.assert_allclose(scorer.constants[name].rows, own.rows, atol=1e-5)
        np.testing.assert_allclose(scorer.constants[name].numbers, own.numbers, rtol=1e-4, atol=1e-5)
    values = dict(zip(whole.manifest.parts, measured.values.T, strict=True))
    # Of the true class, which it hardly ever misses on the train part.
    assert abs(np.mean(values["class_jacobian"])) < 0.1 and 0.8 < np.std(values["class_jacobian"]) < 1.2
    # Their own centres are near, and their own class is nearer than all together.
    assert np.median(values["bank"]) < -0.9 and np.median(values["relative_mahalanobis"]) < 0


def test_the_report_names_what_was_made(digits_run, tmp_path):
    report = export_run(digits_run, ExportSettings(false_reject_rate=0.1, out=tmp_path / "ten.edgeosr"))
    plain = json.loads(report.as_json())
    assert plain["manifest"]["threshold"]["target_false_reject_rate"] == 0.1
    text = report.as_text()
    assert "10.0%" in text
    assert [name for name in report.manifest.parts if f"{name}  " not in text] == []
    assert [name for name in report.manifest.parts if f"  {part(name).title}\n" not in text] == []
    assert (tmp_path / "ten.edgeosr" / "manifest.json").is_file()


def test_another_fit_than_the_trained_one_is_refused(digits_run, tmp_path):
    with pytest.raises(UsageError, match="trained with --fit crop; got --fit letterbox"):
        export_run(digits_run, ExportSettings(fit="letterbox", out=tmp_path / "no.edgeosr"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"outliers": "digits:0"}, "--outliers is only for MODEL.onnx; .*give --outliers to edgeosr train"),
        (
            {"known": ("2", "4"), "data": "digits"},
            "--data, --known are only .*give --data, --known to edge",
        ),
        ({"embedding": "zzz"}, "--embedding is only for MODEL.onnx; .*a run has its own"),
        ({"mean": (0.5, 0.5, 0.5)}, "--mean is only for MODEL.onnx"),
        ({"std": (0.5, 0.5, 0.5)}, "--std is only for MODEL.onnx"),
        ({"color": "bgr"}, "--color is only for MODEL.onnx"),
        ({"folds": 3}, "--folds is only for a run with a frozen backbone .*edgeosr train --resume"),
    ],
)
def test_what_a_run_would_ignore_is_refused(given, said, digits_run, tmp_path):
    with pytest.raises(UsageError, match=said):
        export_run(digits_run, ExportSettings(out=tmp_path / "no.edgeosr", **given))
    assert not list(tmp_path.iterdir())


def test_a_run_whose_discriminator_was_stopped_is_exported_and_the_report_says_so(digits_run, tmp_path):
    run = tmp_path / "my run"
    shutil.copytree(digits_run, run)
    (run / "discriminator.npz").unlink()
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert record["training"]["discriminator"] is True
    record["discriminator"] = None
    (run / "run.json").write_text(json.dumps(record))
    report = export_run(run, ExportSettings())
    assert report.manifest.discriminator is None
    line = f"if it was stopped, add it with: edgeosr train --resume '{run}'"
    assert line in report.as_text()

    record["training"]["discriminator"] = False
    (run / "run.json").write_text(json.dumps(record))
    assert "stopped" not in export_run(run, ExportSettings()).as_text()


def test_a_run_hardly_better_than_chance_is_to_be_trained_longer(digits_run, tmp_path, monkeypatch):
    # A label for each image that its network does not give.
    monkeypatch.setattr("edgeosr.export.measure.Measured.accuracy", 0.1)
    with pytest.raises(DataError, match="with 6 classes; train it longer, or on more images") as refused:
        export_run(digits_run, ExportSettings(out=tmp_path / "no.edgeosr"))
    assert "--known" not in str(refused.value)


def test_images_that_changed_since_training_are_refused(digits_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    record = json.loads((run / "run.json").read_text("utf-8"))
    record["data"]["digests"]["calibrate"] = "0" * 64
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="part calibrate differs"):
        export_run(run, ExportSettings())
    assert not list(run.glob("*.edgeosr"))


def test_a_rate_that_the_images_cannot_promise_is_refused_with_the_number_needed(digits_run, tmp_path):
    with pytest.raises(DataError, match="at least 999 independent groups"):
        export_run(digits_run, ExportSettings(false_reject_rate=0.001, out=tmp_path / "no.edgeosr"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"precision": "fp61"}, "--engine must be one of fp32, fp16, int8; got 'fp61'; did you mean 'fp16'"),
        ({"jacobian": "closedform"}, "did you mean 'closed-form'"),
        ({"fit": "strech"}, "did you mean 'stretch'"),
        ({"false_reject_rate": 0.0}, "above 0 and below 0.5"),
        ({"frame": (0, 10)}, "HEIGHTxWIDTH"),
        ({"frame": "480x640"}, "HEIGHTxWIDTH, each from 1 to .*; got '480x640'; in Python give"),
        ({"frame": (480,)}, "HEIGHTxWIDTH"),
        ({"frame": (480.0, 640.0)}, "HEIGHTxWIDTH"),
        ({"false_reject_rate": "a"}, "--false-reject-rate must be a number; got 'a'"),
        ({"min_agreement": None}, "--min-agreement must be a number; got None"),
        ({"known": "cat,dog"}, "known must be a sequence of names, not one text; got 'cat,dog'"),
        ({"data": 3}, "--data must be a text; got 3"),
        ({"out": 3}, "out must be a path, as text or pathlib.Path; got 3"),
        ({"out": "cats"}, "--out must end in .edgeosr; got cats; try cats.edgeosr"),
        ({"mean": 0.5}, "--mean must be 3 numbers; got 0.5"),
        ({"std": (1, 1, "a")}, "each of the 3 numbers of --std must be a number; got 'a'"),
        ({"color": 3}, "--color must be one of"),
        ({"jacobian": "probes", "probes": "4"}, "--probes must be a whole number"),
    ],
)
def test_wrong_option_values_are_refused_with_a_hint(wrong, hint):
    with pytest.raises(UsageError, match=hint):
        ExportSettings(**wrong)


def test_the_calibrate_part_shares_no_image_with_any_other_part():
    parts = four_parts(open_image_set("digits"), split=0)
    names = [
        {part.name_of(i) for i in range(len(part))}
        for part in (parts.train, parts.select, parts.calibrate, parts.test)
    ]
    assert sum(len(each) for each in names) == len(set.union(*names))


def test_without_torch_the_export_of_a_run_says_what_to_install(digits_run, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else there(name))
    with pytest.raises(MissingDependencyError, match=r"exporting a training run needs .*edgeosr\[train\]"):
        export_run(digits_run)


def test_too_few_groups_of_a_run_are_told_with_what_a_run_takes(digits_run):
    with pytest.raises(DataError, match=r"\(more images, or edgeosr train --fractions\)"):
        export_run(digits_run, ExportSettings(false_reject_rate=0.001))
