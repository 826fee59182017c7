"""A run with a frozen backbone, exported: left-out classes decide, and the bundle says so."""

import dataclasses
import json
import re
import sys

import pytest

from edgeosr import ExportSettings, TrainSettings, export_run, train_run
from edgeosr.bundle.directory import read_bundle
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.errors import MissingDependencyError
from edgeosr.export.bundling import _picture
from edgeosr.export.folds import folds_of
from edgeosr.export.left_out import weighed_in
from edgeosr.run import read_run

CANDIDATES = {"bank", "relative_mahalanobis", "movr_loss", "ovr_loss", "raw_jacobian"}


@pytest.fixture(scope="module")
def frozen_run(tmp_path_factory):
    settings = TrainSettings(
        data="digits",
        known=("0", "1", "2", "3"),
        arch="efficientnet-lite0",
        input_size=32,
        pretrained=True,
        freeze=True,
        epochs=20,
        batch_size=32,
        discriminator=False,
        threads=1,
        out=tmp_path_factory.mktemp("runs") / "frozen",
    )
    return train_run(settings)


@pytest.fixture(scope="module")
def report(frozen_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "frozen.edgeosr"
    return export_run(frozen_run, ExportSettings(out=out, threads=1))


def test_the_weights_come_from_the_classes_that_were_left_out(report):
    manifest = report.manifest
    assert set(weighed_in(manifest.left_out, frozen=True)) == CANDIDATES < set(manifest.left_out.parts)
    assert [fold.classes for fold in manifest.left_out.folds] == [("0",), ("1",), ("2",), ("3",)]
    assert set(manifest.fusion.used()) <= CANDIDATES
    # What a part won stays in the record, also if it weighs nothing and is not in the bundle.
    own = {"bank", "relative_mahalanobis"}
    assert set(manifest.parts) & own == set(manifest.fusion.used()) & own
    assert all(name in manifest.fusion.note for name in own - set(manifest.parts))
    assert sum(manifest.fusion.weights) == pytest.approx(1) and min(manifest.fusion.weights) >= 0
    assert manifest.fusion.note.startswith("weighed on left-out classes, 4 folds: ")
    # Digits that were never seen are told from those that were, by each fold's own score.
    assert all(fold.auroc > 0.7 for fold in manifest.left_out.used)


def test_export_and_inspect_say_what_decides_and_what_each_part_won(report):
    inspected = text_from_bundle(read_bundle(report.path))
    for text in (report.as_text(), inspected):
        decides = next(line for line in text.splitlines() if line.startswith("decides"))
        assert "nearest known image 0." in decides and "(share of the score" in decides
        whole = re.sub(r"\s+", " ", text)
        assert "AUROC, mean +- spread of 4 folds: " in whole and "(estimates, not test figures" in whole
        assert "top logit 0." in whole, "it weighs nothing here, and has a figure all the same"
    assert json.loads(report.as_json())["manifest"]["left_out"]["parts"]


def test_export_and_inspect_say_and_draw_what_unknown_images_are_let_through_by_estimate(report):
    record = report.manifest.left_out
    estimate = record.at(report.manifest.threshold.target_false_reject_rate)
    assert 0 < estimate.low <= estimate.mean <= estimate.high <= 1 and estimate.folds == 4
    inspected = text_from_bundle(read_bundle(report.path))
    for text in (report.as_text(), inspected):
        said = re.sub(r"\s+", " ", text.partition("\nfalse accepts ")[2])
        assert f"at 5 % false rejects, on left-out classes: {estimate.described()}; a rough guess" in said
    assert report.estimate_picture == report.path.with_name("frozen.false-accepts.png")
    assert report.estimate_picture.read_bytes().startswith(b"\x89PNG")
    assert str(report.estimate_picture) in report.as_text()


def test_without_folds_three_parts_weigh_the_same_on_a_typed_graph_fitted_anew_too(frozen_run, tmp_path):
    settings = ExportSettings(
        out=tmp_path / "none.edgeosr", threads=1, folds=0, precision="fp16", recalibrate=True
    )
    # Of an older bundle of that name.
    (tmp_path / "none.false-accepts.png").write_bytes(b"stale")
    manifest = export_run(frozen_run, settings).manifest
    assert manifest.left_out is None
    assert not list(tmp_path.glob("*.png"))
    equal = dict.fromkeys(("bank", "relative_mahalanobis", "movr_loss"), 1 / 3)
    assert manifest.fusion.used() == pytest.approx(equal)
    assert manifest.backbone.fusion.used() == pytest.approx(equal)
    dropped = "; not in the bundle at weight 0: class_jacobian"
    assert manifest.fusion.note == f"equal weights: no folds were asked for{dropped}"


def test_a_picture_that_cannot_be_written_leaves_the_bundle_and_is_told(tmp_path, capsys):
    bundle = tmp_path / "cats.edgeosr"
    assert _picture(bundle, b"png").read_bytes() == b"png"
    assert _picture(bundle, None) is None and not list(tmp_path.iterdir())
    (tmp_path / "cats.false-accepts.png").mkdir()
    assert _picture(bundle, b"png") is None
    assert f"{bundle} is finished, but not the picture beside it: cannot" in capsys.readouterr().err


def test_without_matplotlib_an_export_with_folds_ends_before_it_starts(frozen_run, monkeypatch):
    record = read_run(frozen_run)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="matplotlib"):
        folds_of(frozen_run, record, ExportSettings())
    assert folds_of(frozen_run, record, ExportSettings(folds=0)).why_none == "no folds were asked for"


def test_a_fold_count_that_cannot_be_is_refused():
    from edgeosr.errors import UsageError

    for folds in (1, -1, 65):
        with pytest.raises(UsageError, match=r"--folds must be 0 \(none\) or from 2 to 64; got"):
            dataclasses.replace(ExportSettings(), folds=folds)
