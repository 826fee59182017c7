"""Golden verdicts: both decisions and both orders, near and far, no ties, small; the typed graph's too."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime" / "backends"))

from typed_bundle import CLASSES, _fusion, deployed_classifier, sample_frames

from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.tensors import LOGITS
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError, ExportError, UsageError
from edgeosr.export.export_run import export_run
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.golden import LEAST_A_SIDE, Calibrated, GoldenImages, golden_verdicts, recorded
from edgeosr.export.golden_choice import chosen_frames
from edgeosr.export.golden_frames import pictures, stored_size, unknown_looking, varied
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.typed import typed_graph
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.bands import SAME_GRAPH, engine_band
from edgeosr.runtime.golden import LARGEST_GOLDEN, LEAST_FRAMES, enlarged, read_golden, write_golden
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.sessions import open_session
from edgeosr.runtime.verify import verify_bundle


def images_of(frames, unreadable=()):
    def read(index):
        if index in unreadable:
            raise DataError(f"image {index} is damaged")
        return frames[index]

    count = np.arange(len(frames))
    return LabelledImages(CLASSES, count % len(CLASSES), count, read, lambda i: f"image {i}")


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A small network of random weights; accepts three quarters of its known images."""
    path = deployed_classifier(tmp_path_factory.mktemp("deployed") / "net.onnx")
    graph = scored_graph(classifier_from_onnx(path, CLASSES, ExportSettings()), "closed-form")
    fusion = _fusion(graph)
    model = graph.model(fusion)
    scores = GraphRunner(model).run(sample_frames(100, seed=1))[1]
    limit = float(np.quantile(scores, 0.75))
    typed = typed_graph(graph, "fp16")
    return Calibrated(
        graph=graph, fusion=fusion, threshold=limit, frame=None, model=model, any_size=model,
        typed=(typed.backbone(), graph.fitted(fusion, limit)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def images():
    parts = tuple(images_of(sample_frames(60, seed=seed)) for seed in (3, 4))
    return GoldenImages(known=parts, unknown=images_of(255 - sample_frames(20, seed=5)))


def margins_of(expected, threshold):
    return np.where(np.isfinite(expected.score), expected.score - threshold, np.inf)


def test_both_decisions_near_and_far_and_both_orders_are_among_them(calibrated, images):
    golden = golden_verdicts(calibrated, images)
    assert len(golden) == LEAST_FRAMES and golden.bgr.sum() == LEAST_FRAMES // 2
    margins = margins_of(golden.portable, calibrated.threshold)
    for side in (margins[margins <= 0], margins[margins > 0]):
        assert len(side) >= LEAST_A_SIDE
        assert np.abs(side).min() < 0.1 and np.abs(side[np.isfinite(side)]).max() > 0.5


@pytest.mark.parametrize("grey", [False, True])
def test_a_back_end_that_ignores_the_channel_order_is_noticed_even_by_grey_known_images(
    calibrated, images, grey
):
    if grey:
        parts = (np.repeat(sample_frames(60, seed=seed)[..., :1], 3, axis=3) for seed in (3, 4))
        images = GoldenImages(known=tuple(map(images_of, parts)), unknown=None)
    golden = golden_verdicts(replace(calibrated, typed=None), images)
    turned = golden.frames[golden.bgr]
    score = GraphRunner(calibrated.model).run(enlarged(turned, golden.size))[1]
    apart = np.abs(score - golden.portable.score[golden.bgr]) > 10 * SAME_GRAPH
    assert apart.sum() >= 4


def test_of_every_class_there_is_one_as_far_as_they_go():
    random = np.random.default_rng(0)
    margins = random.normal(0, 1, 400)
    labels = random.integers(0, 9, 400)
    labels[np.argsort(np.abs(margins))[200]] = 9  # one frame, neither near nor far
    clear = np.abs(margins) > 0.01
    chosen = chosen_frames(margins, clear & (margins <= 0), clear & (margins > 0), labels)
    assert len(chosen) == len(set(chosen.tolist())) == LEAST_FRAMES
    assert set(labels[chosen].tolist()) == set(range(10)) and clear[chosen].all()
    assert (margins[chosen] > 0).sum() == LEAST_FRAMES // 2
    nearest = np.argsort(np.where(clear, np.abs(margins), np.inf))[:8]
    assert set(nearest.tolist()) <= set(chosen.tolist())
    many = chosen_frames(margins, margins <= 0, margins > 0, np.arange(400))
    assert len(many) == LEAST_FRAMES


def test_with_too_few_clear_frames_the_clearest_of_the_others_follow():
    margins = np.concatenate([np.full(10, -1.0), np.full(5, 1.0), np.linspace(1e-4, 1e-2, 100)])
    clear = np.abs(margins) > 0.5
    chosen = chosen_frames(margins, clear & (margins < 0), clear & (margins > 0), np.zeros(115, np.int64))
    assert len(chosen) == LEAST_FRAMES and set(range(15)) <= set(chosen.tolist())
    assert 114 in chosen and 15 not in chosen


@pytest.mark.parametrize("typed", [False, True])
def test_a_frame_without_finite_scores_is_no_golden_one(calibrated, images, typed, monkeypatch):
    counts = []

    def with_nan(calibrated, frames):
        golden = recorded(calibrated, frames)
        half = golden.typed if typed else golden.portable
        lost = golden.frames[:, 0, 0].max(axis=-1) > 200
        if len(frames) == LEAST_FRAMES and counts[-1][0] > LEAST_FRAMES:
            lost[5] = True  # of those chosen one is lost, now that it is in the other channel order
        counts.append((len(frames), int(lost.sum())))
        score, values = half.score.copy(), half.values.copy()
        score[lost], values[lost, -1] = np.nan, np.inf
        changed = replace(half, score=score, values=values)
        return replace(golden, **{"typed" if typed else "portable": changed})

    monkeypatch.setattr("edgeosr.export.golden.recorded", with_nan)
    golden = golden_verdicts(calibrated, images)
    assert counts[-3][1] > 1 and counts[-2:] == [(LEAST_FRAMES, 1), (LEAST_FRAMES, 0)]
    assert golden.portable.comparable(typed=False).all() and golden.typed.comparable(typed=True).all()


def test_frames_without_finite_scores_are_no_bundle(calibrated, images, monkeypatch):
    def all_lost(calibrated, frames):
        golden = recorded(calibrated, frames[:70])
        return replace(golden, portable=replace(golden.portable, score=np.full(70, np.nan, np.float32)))

    monkeypatch.setattr("edgeosr.export.golden.recorded", all_lost)
    with pytest.raises(ExportError, match=r"0 of .* frames that were tried as golden frames have finite"):
        golden_verdicts(calibrated, images)


def test_none_is_a_tie_for_the_portable_graph_or_an_engine(calibrated, images):
    golden = golden_verdicts(calibrated, images)
    band = engine_band(golden.rounding)
    assert np.abs(margins_of(golden.portable, calibrated.threshold)).min() > SAME_GRAPH
    assert np.abs(margins_of(golden.typed, calibrated.threshold)).min() > band.score
    assert golden.typed.gap.min() > band.gap


def test_the_same_images_give_the_same_file_contents(calibrated, images):
    one, other = golden_verdicts(calibrated, images), golden_verdicts(calibrated, images)
    assert np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.portable.score, other.portable.score)


def test_what_is_recorded_is_the_verdict_of_the_enlarged_frame_in_its_order(calibrated):
    size = (21, 46)
    fixed = calibrated.graph.model(calibrated.fusion, frame=size)
    pictures_ = sample_frames(LEAST_FRAMES, seed=7)[:, :10, :15]
    golden = recorded(replace(calibrated, frame=size, model=fixed, typed=None), pictures_)
    assert golden.size == size and golden.frames.shape == (LEAST_FRAMES, 10, 15, 3)
    seen = golden.frames.copy()
    seen[golden.bgr] = seen[golden.bgr][..., ::-1]
    assert np.array_equal(seen, pictures_)
    label, score, _ = GraphRunner(fixed).run(enlarged(seen, size))
    assert np.array_equal(golden.portable.label, label)
    np.testing.assert_allclose(golden.portable.score, score, atol=1e-5)


def test_the_typed_half_is_the_typed_graphs_and_its_rounding_is_measured(calibrated, images):
    golden = golden_verdicts(calibrated, images)
    distance = np.abs(golden.typed.score - golden.portable.score)
    assert 0 < golden.rounding.score < 0.02
    assert golden.rounding.score == pytest.approx(np.median(distance), rel=0.05)
    # A fusion of its own, as recalibration leaves it, is no rounding.
    backbone, scorer = calibrated.typed
    other = replace(scorer, fusion=replace(scorer.fusion, means=tuple(m - 1 for m in scorer.fusion.means)))
    moved = recorded(replace(calibrated, typed=(backbone, other)), golden.frames)
    assert np.median(np.abs(moved.typed.score - moved.portable.score)) > 0.5
    assert moved.rounding.score < 0.02
    assert recorded(replace(calibrated, typed=None), golden.frames).typed is None


def test_the_values_of_all_parts_are_recorded_and_their_rounding_in_deviations(calibrated, images):
    golden = golden_verdicts(calibrated, images)
    fusion, count = calibrated.fusion, len(calibrated.fusion.parts)
    assert golden.portable.values.shape == golden.typed.values.shape == (LEAST_FRAMES, count)
    np.testing.assert_allclose(fusion.scores(golden.portable.values), golden.portable.score, atol=1e-4)
    apart = np.abs(golden.typed.values - golden.portable.values) / fusion.stds
    np.testing.assert_allclose(golden.rounding.values, np.median(apart, axis=0), rtol=1e-4)


def test_the_second_class_is_the_one_that_the_logits_name(calibrated, images):
    golden = golden_verdicts(calibrated, images)
    seen = golden.frames.copy()
    seen[golden.bgr] = seen[golden.bgr][..., ::-1]
    twin = calibrated.graph.model(calibrated.fusion, expose=(LOGITS,))
    logits = GraphRunner(twin, extra_outputs=(LOGITS,)).run(enlarged(seen, golden.size))[-1]
    assert np.array_equal(golden.portable.second, np.argsort(-logits, axis=1)[:, 1])
    assert np.array_equal(golden.typed.second, golden.portable.second)


def test_without_a_number_of_threads_each_graph_gets_what_suits_it(calibrated, images, monkeypatch):
    seen = []

    def opened(model, settings, **options):
        seen.append(settings.threads)
        return open_session(model, settings, **options)

    for module in ("edgeosr.export.golden", "edgeosr.runtime.typed_expected"):
        monkeypatch.setattr(f"{module}.open_session", opened)
    frames = sample_frames(LEAST_FRAMES, seed=7)
    assert calibrated.threads is None
    recorded(calibrated, frames)
    assert len(seen) == 3 and set(seen) == {1}  # small graphs
    seen.clear()
    recorded(replace(calibrated, threads=3), frames)
    assert set(seen) == {3}


@pytest.mark.parametrize("typed", [False, True])
def test_a_bundle_whose_own_verify_could_not_pass_is_not_written(calibrated, images, typed, monkeypatch):
    monkeypatch.setattr("edgeosr.export.golden.TRIED", (32,))
    flat = replace(calibrated.fusion, weights=(0.0,) * len(calibrated.fusion.parts))
    backbone, scorer = calibrated.typed
    if typed:
        other = replace(calibrated, typed=(backbone, replace(scorer, fusion=flat, threshold=0.0)))
        words = r"decides 64 of 64 golden verdicts of backbone\.onnx, more than 25%.*wider precision"
    else:
        model = calibrated.graph.model(flat)
        other = replace(calibrated, fusion=flat, threshold=0.0, model=model, any_size=model, typed=None)
        words = r"rounding \(0\.001\) decides 64 of 64 golden verdicts of model\.onnx.*more and other images"
    with pytest.raises(ExportError, match=words):
        golden_verdicts(other, images)


def test_few_images_are_varied_until_there_are_enough(calibrated):
    few = GoldenImages(known=(images_of(sample_frames(2, seed=3)),), unknown=None)
    golden = golden_verdicts(calibrated, few)
    assert len(golden) == LEAST_FRAMES
    assert len(np.unique(golden.frames.reshape(LEAST_FRAMES, -1), axis=0)) > LEAST_FRAMES * 3 // 4
    copies = varied(sample_frames(3, seed=3), 20)
    assert len(copies) == 20 and np.array_equal(copies, varied(sample_frames(3, seed=3), 20))
    assert len(np.unique(copies.reshape(20, -1), axis=0)) == 20


def test_unreadable_images_are_passed_over_and_none_at_all_is_an_error(calibrated):
    size = (8, 8)
    frames = sample_frames(5, seed=3)
    assert len(pictures(images_of(frames, unreadable=(1, 2)), 5, size)) == 3
    broken = images_of(frames, unreadable=range(5))
    with pytest.raises(DataError, match="none of the images picked as golden frames can be read"):
        golden_verdicts(calibrated, GoldenImages(known=(broken,), unknown=None))


def test_a_twin_that_scores_otherwise_is_no_bundle(calibrated, images):
    other = replace(calibrated.fusion, means=tuple(mean + 0.1 for mean in calibrated.fusion.means))
    twin = calibrated.graph.model(other, frame=(20, 30))
    with pytest.raises(ExportError, match=r"graph for \(20, 30\) frames does not score like the calibrated"):
        golden_verdicts(replace(calibrated, frame=(20, 30), model=twin), images)
    same = calibrated.graph.model(calibrated.fusion, frame=(20, 30))
    assert golden_verdicts(replace(calibrated, frame=(20, 30), model=same), images).size == (20, 30)


def test_grey_images_still_tell_rgb_from_bgr():
    grey = np.repeat(sample_frames(10, seed=3)[..., :1], 3, axis=3)
    made = unknown_looking(grey, 40)
    assert np.array_equal(made, unknown_looking(grey, 40))
    coloured = (made[..., 0] != made[..., 2]).any(axis=(1, 2))
    assert coloured.sum() >= 20
    assert len(np.unique(made.reshape(40, -1), axis=0)) == 40


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        ((16, 16), (16, 16)),
        ((197, 197), (197, 197)),
        ((224, 224), (112, 112)),
        ((480, 640), (160, 214)),
        ((1080, 1920), (135, 240)),
        ((1, 16384), (1, 16384)),
        ((16384, 16384), (196, 196)),
    ],
)
def test_frames_are_stored_as_large_as_the_file_allows(size, stored):
    assert stored_size(size) == stored
    assert LEAST_FRAMES * stored[0] * stored[1] * 3 < LARGEST_GOLDEN


def test_a_frame_too_large_for_every_device_that_verifies_is_refused_before_anything_is_done():
    assert ExportSettings(frame=(4320, 7680)).frame == (4320, 7680)
    with pytest.raises(UsageError, match=r"--frame must be of at most 33554432 pixels; got \(16384, 16384\)"):
        ExportSettings(frame=(16384, 16384))


def test_noise_of_the_largest_stored_size_fits_into_the_file(calibrated):
    frames = np.random.default_rng(0).integers(0, 256, (LEAST_FRAMES, *stored_size((224, 224)), 3), np.uint8)
    data = write_golden(recorded(replace(calibrated, frame=(224, 224), model=calibrated.any_size), frames))
    assert len(data) < LARGEST_GOLDEN


def test_the_bundle_of_a_run_holds_golden_verdicts_that_verify(digits_bundle):
    bundle = read_bundle(digits_bundle)
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    margins = margins_of(golden.portable, bundle.manifest.threshold.value)
    assert min((margins <= 0).sum(), (margins > 0).sum()) >= LEAST_A_SIDE
    report = verify_bundle(digits_bundle, backends=("onnxruntime",))
    assert report.passed and report.checks[0].ties == 0
    with Runtime(digits_bundle) as runtime:
        wrong = [runtime(enlarged(golden.frames, golden.size)[i], color="rgb") for i in range(len(golden))]
    moved = np.abs([verdict.score for verdict in wrong] - golden.portable.score) > 0.01
    assert moved.sum() > 0.1 * len(golden)  # digits are grey: the order would else be proved by nothing


def test_a_typed_bundle_for_one_camera_holds_both_halves_of_enlarged_frames(digits_run, tmp_path):
    out = tmp_path / "fixed.edgeosr"
    export_run(digits_run, ExportSettings(out=out, precision="fp16", frame=(480, 640), min_agreement=0.9))
    bundle = read_bundle(out)
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    assert golden.size == (480, 640) and golden.frames.shape[1:] == (160, 214, 3)
    assert len(bundle.files["golden.npz"]) < LARGEST_GOLDEN
    assert golden.typed is not None and golden.rounding is not None
    assert (golden.typed.label == golden.portable.label).mean() > 0.9
    assert verify_bundle(out, backends=("onnxruntime",)).passed
