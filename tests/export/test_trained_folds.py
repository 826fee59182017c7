"""Folds of a trained run: their own networks score the classes they never saw, and these weigh the parts."""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgeosr import ExportSettings, TrainSettings, export_run, train_run
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.parts import four_parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError, UsageError
from edgeosr.export.folds import folds_of
from edgeosr.export.frozen_features import FeatureReader
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.trained import classifier_from_run
from edgeosr.export.trained_folds import full_as_fold, trained_folds
from edgeosr.metrics import auroc
from edgeosr.run import fold_runs, read_run, write_run
from edgeosr.training import opengan_settings

KNOWN = ("2", "4", "5", "9", "8", "3")
COMPANIONS = {"max_logit", "relative_mahalanobis"}


@dataclass(frozen=True, kw_only=True)
class QuickOpenGan(opengan_settings.OpenGanSettings):
    """Few OpenGAN steps."""

    epochs: int = 2
    steps: int = 5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on six digits with three folds, each with a discriminator of a few steps."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opengan_settings, "OpenGanSettings", QuickOpenGan)
        return train_run(
            TrainSettings(
                data="digits", known=KNOWN, input_size=16, batch_size=16, epochs=3, rotation_weight=0.0,
                fractions=(0.7, 0.15, 0.15), folds=3, threads=1,
                out=tmp_path_factory.mktemp("runs") / "folded",
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def parts(run):
    return reopen_parts(data_record(read_run(run).data, "run.json"))[1]


@pytest.fixture(scope="module")
def full(run):
    return classifier_from_run(run)


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "folded.edgeosr"
    return export_run(run, ExportSettings(out=out, threads=1))


def test_the_manifest_says_what_each_part_won_on_the_classes_each_fold_left_out(run, report):
    record = report.manifest.left_out
    left = [
        tuple(name for name in KNOWN if name not in read_run(fold).data["known"]) for fold in fold_runs(run)
    ]
    assert [fold.classes for fold in record.folds] == left
    assert sorted(name for names in left for name in names) == sorted(KNOWN)
    assert COMPANIONS | {"movr_loss", "bank", "discriminator", "raw_jacobian"} <= set(record.parts)
    assert all(fold.accuracy > 0.8 and not fold.dropped for fold in record.folds)
    assert "weighed on left-out classes, 3 folds" in report.manifest.fusion.note
    assert sum(abs(weight) for weight in report.manifest.fusion.weights) == pytest.approx(1, abs=1e-6)
    assert "decides" in report.as_text() and "left-out classes" in report.as_text()


def test_a_fold_s_values_are_those_of_its_own_exported_network(run, full, parts):
    """Against the fold exported and read off as a run of its own."""
    from edgeosr.bundle.directory import read_bundle
    from edgeosr.export.measure import GraphRunner

    first = fold_runs(run)[0]
    (fold,) = trained_folds(
        [first], full, parts.train, parts.select, jacobian="closed-form", seed=0, threads=1
    )
    kept = read_run(first).data["known"]
    left = [name for name in KNOWN if name not in kept]
    own = export_run(first, ExportSettings(out=first / "own.edgeosr", parts="all", folds=0, threads=1))
    runner = GraphRunner(read_bundle(own.path).files["model.onnx"], threads=1)
    known = runner.measure(parts.select.of_classes(kept), "")
    unknown = [runner.measure(side.of_classes(left), "") for side in (parts.train, parts.select)]
    for i, name in enumerate(own.manifest.parts):
        np.testing.assert_allclose(fold.known.by_part[name], known.values[:, i], rtol=1e-4, atol=1e-4)
        expected = np.concatenate([side.values[:, i] for side in unknown])
        np.testing.assert_allclose(fold.unknown.by_part[name], expected, rtol=1e-4, atol=1e-4)
    assert fold.accuracy == known.accuracy
    among = [KNOWN.index(name) for name in kept]
    select = parts.select.of_classes(kept)
    z = FeatureReader(scored_graph(full, "none"), threads=1).read(select, "").embeddings
    logits = z / np.linalg.norm(z, axis=1, keepdims=True) @ full.head.weight[among].T
    assert fold.full_accuracy == np.mean(logits.argmax(axis=1) == select.labels)
    assert fold.left_out == tuple(KNOWN.index(name) for name in left)


def test_no_calibrate_or_test_image_is_read_for_the_weights(run, full, parts):
    read = []

    def watched(part):
        return replace(part, read=lambda i, part=part: (read.append(part.name_of(i)), part.read(i))[1])

    trained_folds(
        fold_runs(run), full, watched(parts.train), watched(parts.select), jacobian="closed-form", seed=0,
        threads=1,
    )  # fmt: skip
    learnt = {part.name_of(i) for part in (parts.train, parts.select) for i in range(len(part))}
    assert set(read) == learnt


def test_the_weights_beat_the_loss_of_the_head_on_digits_never_seen(report, parts):
    from edgeosr.bundle.directory import read_bundle
    from edgeosr.export.measure import GraphRunner

    runner = GraphRunner(read_bundle(report.path).files["model.onnx"], threads=1)
    known, unknown = (runner.measure(side, "") for side in (parts.test, parts.unknown_test))
    loss = report.manifest.parts.index("movr_loss")
    alone = auroc(known.values[:, loss], unknown.values[:, loss])
    assert auroc(known.scores, unknown.scores) > alone


def test_without_folds_two_sound_parts_weigh_the_same_and_the_note_says_how_to_get_folds(run, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("folds"))
    made = export_run(bare, ExportSettings(out=tmp_path / "bare.edgeosr", threads=1))
    assert made.manifest.left_out is None
    assert made.manifest.fusion.used() == pytest.approx(dict.fromkeys(COMPANIONS, 0.5))
    # No path of this machine goes into a bundle.
    assert "edgeosr train --resume RUN --folds 3" in made.manifest.fusion.note


def test_an_export_with_folds_missing_says_so_and_how_to_train_the_rest(run, parts, tmp_path, capsys):
    part = tmp_path / "a part"
    shutil.copytree(run, part)
    shutil.rmtree(part / "folds" / "2")
    record = read_run(part)
    found = folds_of(part, record, ExportSettings())
    assert len(found.runs) == 2
    note = "2 of 3 folds are trained; edgeosr train --resume RUN trains the rest"
    assert found.unfinished == note
    assert note.replace("RUN", f"'{part}'") in capsys.readouterr().err
    assert folds_of(run, read_run(run), ExportSettings()).unfinished == ""
    made = export_run(part, ExportSettings(out=tmp_path / "part.edgeosr", threads=1))
    assert "left-out classes, 2 folds: " in made.manifest.fusion.note and note in made.manifest.fusion.note


def test_folds_0_looks_at_none_and_other_numbers_are_refused(run, tmp_path):
    made = export_run(run, ExportSettings(out=tmp_path / "none.edgeosr", folds=0, threads=1))
    assert made.manifest.left_out is None
    assert made.manifest.fusion.note.startswith("equal weights: no folds were asked for")
    with pytest.raises(UsageError, match=r"edgeosr train --resume .* --folds 4"):
        export_run(run, ExportSettings(folds=4))


@pytest.mark.parametrize("part", ["train", "select"])
def test_a_fold_that_was_cut_by_another_seed_is_refused(run, full, parts, tmp_path, part):
    cut = tmp_path / "of a run" / "folds" / "1"
    shutil.copytree(fold_runs(run)[0], cut)
    record = read_run(cut)
    kept = record.data["known"]
    image_set = open_image_set("digits", None)
    other = four_parts(image_set, known=kept, seed=parts.seed + 1, fractions=parts.fractions)
    digests = {**record.data["digests"], part: other.digests[part]}
    write_run(cut, replace(record, data={**record.data, "digests": digests}))
    said = rf"expected the run's {part} images without .* --resume '.*/of a run' --folds 3 trains"
    with pytest.raises(DataError, match=said):
        trained_folds([cut], full, parts.train, parts.select, jacobian="closed-form", seed=0, threads=1)


def test_the_full_network_has_its_classes_also_where_select_lacks_the_last():
    from edgeosr.export.measure import Measured

    labels = np.arange(6) % 2
    measured = Measured(labels, np.zeros(6), np.zeros((6, 1)), labels, np.arange(6) % 3, np.arange(6), [])
    full = full_as_fold(measured, None, ("max_logit",), 3)
    assert full.classes == 3 and full.known.usable(["max_logit"]) == 3


def test_a_fold_of_other_classes_is_refused(run, full, parts):
    with pytest.raises(DataError, match="is not a fold of this run"):
        trained_folds([run], full, parts.train, parts.select, jacobian="closed-form", seed=0, threads=1)
