"""Parts of weight 0 are not in the bundle, and not one decision changes."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgeosr import Runtime
from edgeosr.bench.random_bundle import random_classifier
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.data.catalogue import open_image_set
from edgeosr.errors import UsageError
from edgeosr.export.calibrate import SelectFit
from edgeosr.export.export_run import export_run
from edgeosr.export.graph.names import CLOSED_FORM_TABLE
from edgeosr.export.measure import GraphRunner, Measured
from edgeosr.export.precision.typed import typed_graph
from edgeosr.export.probing import make_probes
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.export.used_parts import without_unused
from edgeosr.runtime.verify import verify_bundle
from edgeosr.scoring.fusion import Fusion, float32_values
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import part_names, with_constants
from edgeosr.scoring.reference import reference_scores

OWN = {"bank", "relative_mahalanobis", "class_jacobian"}
FRAMES = np.random.default_rng(3).integers(0, 256, (24, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def full():
    """A scored graph of every part."""
    classifier = random_classifier("classifier32", 32)
    bare = scored_graph(classifier, "closed-form")
    rng = np.random.default_rng(1)
    features = TrainFeatures(
        embeddings=np.abs(rng.normal(size=(40, classifier.dimension))).astype(np.float32),
        labels=np.arange(40) % 10,
        classes=10,
        seed=0,
        jacobian_squared=np.exp(rng.normal(size=40)),
    )
    return scored_graph(classifier, "closed-form", constants=with_constants(bare.scorer, features).constants)


def fit_of(graph, **weights):
    """A fit on the frames, with these weights by part."""
    label, score, values = GraphRunner(graph.model()).run(FRAMES)
    stds = values.std(axis=0)
    fusion = Fusion(
        parts=graph.parts,
        means=float32_values(values.mean(axis=0)),
        stds=float32_values(np.where(stds > 0, stds, 1)),
        weights=float32_values(np.array([weights.get(name, 0.0) for name in graph.parts])),
        note="as this test wants",
    )
    count = np.arange(len(label))
    return SelectFit(fusion, Measured(label, score, values, count, count, count, []), None)


WEIGHTS = (
    {"movr_loss": 1.0},
    {"bank": 0.4, "log_jacobian": 0.6},
    {"relative_mahalanobis": 0.5, "class_jacobian": 0.5, "discriminator": 1.0},
)


@pytest.mark.parametrize("which", ["reported", "used"])
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: "+".join(weights))
def test_the_smaller_graph_scores_as_the_full_one_in_every_implementation(full, which, weights):
    fit = fit_of(full, **weights)
    smaller, kept, _ = without_unused(full, fit, None, which)
    dropped = set(full.parts) - set(smaller.parts)
    assert dropped and not dropped & set(weights)
    expected = GraphRunner(full.model(fit.fusion)).run(FRAMES)
    found = GraphRunner(smaller.model(kept.fusion)).run(FRAMES)
    assert np.array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-5)
    columns = [full.parts.index(name) for name in smaller.parts]
    np.testing.assert_allclose(found[2], expected[2][:, columns], rtol=1e-5, atol=1e-5)
    # The select part's values follow, for whatever is still made of them.
    np.testing.assert_array_equal(kept.known.values, fit.known.values[:, columns])
    typed = [
        GraphRunner(typed_graph(graph, "fp32").whole(fusion), as_typed=True).run(FRAMES)[1]
        for graph, fusion in ((full, fit.fusion), (smaller, kept.fusion))
    ]
    np.testing.assert_allclose(typed[1], typed[0], rtol=1e-5, atol=1e-5)
    z, squared = np.abs(np.random.default_rng(2).normal(size=(9, full.scorer.dimension))), np.arange(1.0, 10)
    scores = [
        reference_scores(graph.fitted(fusion, 0.0), embedding=z, jacobian_squared=squared)["score"]
        for graph, fusion in ((full, fit.fusion), (smaller, kept.fusion))
    ]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-12, atol=1e-12)


def test_by_default_only_rows_go_and_what_needs_none_is_still_reported(full):
    smaller, kept, _ = without_unused(full, fit_of(full, movr_loss=1.0), None, "reported")
    assert set(full.parts) - set(smaller.parts) == set(full.scorer.constants) >= OWN
    assert {"log_jacobian", "discriminator"} <= set(smaller.parts) and not smaller.scorer.constants
    assert smaller.scorer.layers and smaller.scorer.closed_form is not None
    assert kept.fusion.note == "as this test wants; not in the bundle at weight 0: " + ", ".join(
        name for name in full.parts if name in full.scorer.constants
    )


def test_with_used_the_jacobian_table_and_the_discriminator_go_where_nothing_reads_them(full):
    smaller, _, _ = without_unused(full, fit_of(full, bank=1.0), None, "used")
    assert smaller.parts == ("bank",) and smaller.jacobian.method == "none"
    assert smaller.scorer.closed_form is None and not smaller.scorer.layers
    assert CLOSED_FORM_TABLE.encode() not in smaller.core and CLOSED_FORM_TABLE.encode() in full.core
    # The loss of the head is gone: a fit on a typed graph starts from what decides.
    assert smaller.classifier.default_part == "bank"
    smaller, _, _ = without_unused(full, fit_of(full, raw_jacobian=0.2, movr_loss=0.8), None, "used")
    assert smaller.scorer.closed_form is not None and not smaller.scorer.layers
    smaller, _, _ = without_unused(full, fit_of(full, discriminator=1.0), None, "used")
    assert smaller.scorer.closed_form is None and smaller.scorer.layers


def test_probes_go_with_the_last_part_that_reads_them(full, capsys):
    images = open_image_set("digits").train.subset(np.arange(20))
    classifier = full.classifier
    probes = make_probes(classifier, K=2, cut="last-conv", family="random", seed=0, images=images)
    graph = scored_graph(classifier, "probes", probes, full.scorer.constants)
    assert "log_jacobian" in graph.parts and "raw_jacobian" not in graph.parts
    for which, parts in (
        ("reported", set(graph.parts) - set(full.scorer.constants)),
        ("used", {"movr_loss"}),
    ):
        fit = fit_of(graph, movr_loss=1.0)
        smaller, kept, left = without_unused(graph, fit, probes, which)
        assert ("--jacobian probes was asked for" in capsys.readouterr().err) == (left is None)
        assert set(smaller.parts) == parts
        assert (left is probes) == (smaller.tangents is not None) == ("log_jacobian" in parts)
        expected = GraphRunner(graph.model(fit.fusion)).run(FRAMES)[1]
        found = GraphRunner(smaller.model(kept.fusion)).run(FRAMES)[1]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_nothing_changes_where_all_are_wanted_or_all_weigh_something(full):
    fit = fit_of(full, movr_loss=1.0)
    assert without_unused(full, fit, None, "all")[:2] == (full, fit)
    everything = fit_of(full, **dict.fromkeys(full.parts, 0.1))
    assert without_unused(full, everything, None, "used")[0] is full


@pytest.fixture(scope="module")
def run_without_outliers(digits_run, tmp_path_factory):
    """Its one default part decides alone."""
    run = tmp_path_factory.mktemp("runs") / "plain"
    shutil.copytree(digits_run, run)
    record = json.loads((run / "run.json").read_text("utf-8"))
    record["outliers"] = None
    (run / "run.json").write_text(json.dumps(record))
    return run


@pytest.fixture(scope="module")
def bundles(run_without_outliers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    typed = {"precision": "fp16", "recalibrate": True, "min_agreement": 0.9}
    asked = {"all": {}, "reported": {}, "used": typed}
    return {
        which: read_bundle(
            export_run(
                run_without_outliers,
                ExportSettings(parts=which, out=folder / f"{which}.edgeosr", threads=1, **more),
            ).path
        )
        for which, more in asked.items()
    }


def test_an_export_keeps_threshold_and_verdicts_whichever_parts_it_has(bundles):
    frames = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8)
    verdicts = {}
    for which, bundle in bundles.items():
        with Runtime(bundle.path) as runtime:
            verdicts[which] = [runtime(frame) for frame in frames]
        assert bundle.manifest.threshold.value == pytest.approx(
            bundles["all"].manifest.threshold.value, abs=1e-5
        )
    for which in ("reported", "used"):
        for one, other in zip(verdicts[which], verdicts["all"], strict=True):
            assert (one.accepted, one.index) == (other.accepted, other.index)
            assert one.score == pytest.approx(other.score, abs=1e-4)


def test_file_manifest_and_scorer_of_an_export_speak_of_the_parts_that_are_left(bundles):
    known = set(part_names())
    assert OWN <= set(bundles["all"].manifest.parts) <= known
    # Without folds two parts weigh the same, and one of them has rows of its own.
    decide = {"max_logit": 0.5, "relative_mahalanobis": 0.5}
    assert set(bundles["reported"].manifest.parts) & OWN == {"relative_mahalanobis"}
    assert set(bundles["used"].manifest.parts) == set(decide)
    for bundle in bundles.values():
        assert bundle_scorer(bundle).fusion.parts == bundle.manifest.parts
    used = bundles["used"]
    assert used.manifest.jacobian.method == "none" and used.manifest.discriminator is None
    assert used.manifest.backbone.fusion.used() == pytest.approx(decide)
    sizes = {which: len(bundle.files["model.onnx"]) for which, bundle in bundles.items()}
    assert sizes["used"] < sizes["reported"] < sizes["all"]
    said = "; not in the bundle at weight 0: "
    assert said not in bundles["all"].manifest.fusion.note
    # The report wraps its lines.
    assert f"{said}log_jacobian, discriminator, " in " ".join(text_from_bundle(used).split())


@pytest.mark.parametrize("which", ["reported", "used"])
def test_verify_passes_on_a_bundle_with_fewer_parts(bundles, which):
    assert verify_bundle(bundles[which].path, threads=1).passed


def test_an_unknown_choice_of_parts_is_refused_with_the_near_one():
    with pytest.raises(UsageError, match="--parts must be one of reported, used, all; got 'use'"):
        replace(ExportSettings(), parts="use")
