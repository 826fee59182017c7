"""``evaluate`` reports what an independent count over the Runtime's verdicts gives."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edgeosr import ExportSettings, Runtime, export_run
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle, read_manifest, write_bundle
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import DataError, FrameError, UsageError
from edgeosr.scoring.parts import part


@pytest.fixture(scope="module")
def report(digits_bundle, tmp_path_factory):
    return evaluate_bundle(digits_bundle, QualitySettings(out=tmp_path_factory.mktemp("evaluation")))


@pytest.fixture(scope="module")
def verdicts(digits_bundle):
    """(known verdicts, their labels, unknown verdicts), one frame at a time through the Runtime."""
    data = read_manifest(digits_bundle).data
    _, parts = reopen_parts(data)
    unknown = parts.unknown_test.of_classes(data.unknown)
    with Runtime(digits_bundle) as runtime:
        known = [runtime(parts.test.read(i)) for i in range(len(parts.test))]
        strange = [runtime(unknown.read(i)) for i in range(len(unknown))]
    return known, parts.test.labels, strange


def test_rates_and_accuracy_equal_a_count_of_the_runtimes_verdicts(report, verdicts):
    known, labels, unknown = verdicts
    fused = report.fused
    assert (fused.known, fused.unknown) == (len(known), len(unknown))
    assert fused.false_reject.value == pytest.approx(np.mean([not verdict.accepted for verdict in known]))
    assert fused.false_accept.value == pytest.approx(np.mean([verdict.accepted for verdict in unknown]))
    right = [verdict.index == label for verdict, label in zip(known, labels, strict=True)]
    assert fused.closed_accuracy == pytest.approx(np.mean(right))


def test_auroc_of_the_fused_score_and_of_each_part_equals_scikit_learns(report, verdicts):
    known, _, unknown = verdicts
    truth = [0] * len(known) + [1] * len(unknown)
    both = [*known, *unknown]
    assert report.fused.auroc == pytest.approx(roc_auc_score(truth, [v.score for v in both]), abs=1e-4)
    assert {row.name for row in report.rows} == {"fused", *known[0].parts}
    for row in report.rows[1:]:
        expected = roc_auc_score(truth, [verdict.parts[row.name] for verdict in both])
        assert row.metrics.auroc == pytest.approx(expected, abs=1e-4), row.name


def test_the_report_and_its_pictures_are_written(report):
    plain = json.loads((report.out / "report.json").read_text("utf-8"))
    assert plain["scores"]["fused"]["auroc"] == report.fused.auroc
    assert plain["data"]["unknown"] == ["1", "6", "7"]
    for plot in report.plots:
        assert plot.read_bytes().startswith(b"\x89PNG"), plot
    text = report.as_text()
    assert "known is the positive class" in text.replace("known / unknown", "known")
    assert "target 5.0%" in text
    for row in report.rows[1:]:
        assert re.search(rf"^{row.name} .*\d  {part(row.name).title}$", text, re.MULTILINE), row.name


def test_other_images_can_serve_as_unknown(digits_bundle, tmp_path):
    from PIL import Image

    folder = tmp_path / "noise"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    report = evaluate_bundle(digits_bundle, QualitySettings(unknown=str(folder), out=tmp_path / "out"))
    assert report.fused.unknown == 12


def test_known_classes_given_as_unknown_are_refused(digits_bundle, tmp_path):
    with pytest.raises(DataError, match="holds the known classes"):
        evaluate_bundle(digits_bundle, QualitySettings(unknown="digits", out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_known_images_of_a_class_the_bundle_does_not_know_are_refused(digits_bundle, tmp_path):
    with pytest.raises(DataError, match="which the bundle does not know"):
        evaluate_bundle(
            digits_bundle, QualitySettings(known="digits:1,2", unknown="digits:6", out=tmp_path / "out")
        )


def test_known_images_of_the_users_own_keep_their_labels(digits_bundle, tmp_path):
    # In another order of names than the bundle's, and with a class left out.
    report = evaluate_bundle(
        digits_bundle, QualitySettings(known="digits:3,2,9", unknown="digits:6", out=tmp_path / "out")
    )
    images = open_image_set("digits:3,2,9").train
    with Runtime(digits_bundle) as runtime:
        right = [
            runtime(images.read(i)).nearest == images.class_names[images.labels[i]]
            for i in range(len(images))
        ]
    assert report.fused.closed_accuracy == pytest.approx(np.mean(right))


def test_images_of_another_size_than_the_bundles_frames_are_refused_as_predict_does(digits_run, tmp_path):
    bundle = export_run(digits_run, ExportSettings(frame=(48, 64), out=tmp_path / "fixed.edgeosr")).path
    with pytest.raises(FrameError, match=r"takes frames of 48x64 only .*again without --frame"):
        evaluate_bundle(bundle, QualitySettings(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_earlier_evaluation_that_is_replaced_is_named(digits_bundle, tmp_path, capsys):
    settings = QualitySettings(known="digits:2,3", unknown="digits:6", out=tmp_path)
    evaluate_bundle(digits_bundle, settings)
    with pytest.raises(DataError):
        evaluate_bundle(digits_bundle, replace(settings, unknown="digits:none"))
    # Nothing is replaced by a command whose images are refused.
    assert "replacing" not in capsys.readouterr().err
    evaluate_bundle(digits_bundle, replace(settings, unknown="digits:7"))
    said = capsys.readouterr().err
    assert f"replacing the evaluation in {tmp_path}: made 2" in said and "--out" in said
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["unknown"].endswith("7")


def test_bundles_whose_names_differ_behind_a_dot_have_evaluations_of_their_own(digits_bundle, tmp_path):
    shutil.copytree(digits_bundle, tmp_path / "model.v1.edgeosr")
    report = evaluate_bundle(
        tmp_path / "model.v1.edgeosr", QualitySettings(known="digits:2,3", unknown="digits:6")
    )
    assert report.out == tmp_path / "model.v1-evaluation" and report.out.is_dir()


@pytest.mark.parametrize("text", ["{}", '{"kind": "latency"}', "[1]", "no json"])
def test_a_report_that_no_evaluation_wrote_is_not_replaced(digits_bundle, tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UsageError, match=r"holds a report\.json that no evaluation wrote"):
        evaluate_bundle(digits_bundle, QualitySettings(unknown="digits:6", out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
    assert (tmp_path / "report.json").read_text() == text


def test_images_that_a_strangers_bundle_names_are_opened_only_on_the_users_word(
    digits_bundle, tmp_path, monkeypatch
):
    source = read_bundle(digits_bundle)
    photos = tmp_path / "photos"
    photos.mkdir()
    made = tmp_path / "stranger.edgeosr"
    data = replace(source.manifest.data, source=str(photos))
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "cache"))
    write_bundle(made, replace(source.manifest, data=data), source.files)
    # Made here: the folder is opened, and found to hold other images.
    with pytest.raises(DataError):
        evaluate_bundle(made, QualitySettings(out=tmp_path / "out"))
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "another-cache"))
    monkeypatch.setattr("edgeosr.bench.quality_images.reopen_parts", lambda *_: pytest.fail("opened unasked"))
    with pytest.raises(UsageError, match=r"not made here by you.*photos.*add --trust-source"):
        evaluate_bundle(made, QualitySettings(out=tmp_path / "out"))
    monkeypatch.undo()
    with pytest.raises(DataError):
        evaluate_bundle(made, QualitySettings(out=tmp_path / "out", trust_source=True))
