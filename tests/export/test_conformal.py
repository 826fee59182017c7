"""The conformal threshold: its definition, and its promise by simulation."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from edgeosr.errors import DataError, UsageError
from edgeosr.export.conformal import conformal_threshold, groups_needed, per_class, require_enough_groups
from edgeosr.scoring.thresholds import margins_of


def singles(count: int) -> np.ndarray:
    return np.arange(count)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.2, 0.5])
@pytest.mark.parametrize("extra", [0, 1, 7, 100])
def test_for_single_images_it_is_the_order_statistic_of_the_textbook(rate, extra):
    from fractions import Fraction

    count = groups_needed(rate) + extra
    scores = np.random.default_rng(count).normal(size=count).astype(np.float32)
    exact = (count + 1) * (1 - Fraction(str(rate)))
    rank = -(-exact.numerator // exact.denominator)
    assert conformal_threshold(scores, singles(count), rate).value == np.sort(scores)[rank - 1]


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.5, 1), (0.07, 14)])
def test_one_group_too_few_is_refused_with_the_number_needed(rate, needed):
    assert conformal_threshold(np.zeros(needed), singles(needed), rate).groups == needed
    with pytest.raises(DataError, match=rf"at least {needed} independent groups.*got {needed - 1}"):
        conformal_threshold(np.zeros(needed - 1), singles(needed - 1), rate)


def test_where_more_images_come_from_is_said_of_the_source_at_hand():
    with pytest.raises(DataError, match=r"into the calibrate part \(more images in --data\)$"):
        require_enough_groups(np.arange(18), 0.05, "more images in --data")


def test_the_rate_that_the_error_proposes_works():
    with pytest.raises(DataError, match=r"ask for --false-reject-rate 0\.077 or more"):
        conformal_threshold(np.arange(12), singles(12), 0.05)
    assert conformal_threshold(np.arange(12), singles(12), 0.077).value == 11


def test_copies_of_an_image_change_nothing_when_they_share_its_group():
    random = np.random.default_rng(0)
    scores = random.normal(size=60).astype(np.float32)
    copies = random.integers(1, 30, size=60)
    alone = conformal_threshold(scores, singles(60), 0.1)
    tracks = conformal_threshold(np.repeat(scores, copies), np.repeat(singles(60), copies), 0.1)
    assert (tracks.value, tracks.interval, tracks.groups) == (alone.value, alone.interval, 60)
    assert tracks.images == copies.sum() and "each group weighs one" in tracks.method


def test_groups_weigh_one_each_whatever_their_names_and_order():
    random = np.random.default_rng(1)
    groups = random.integers(0, 40, size=500)
    scores = (random.normal(size=500) + random.normal(size=40)[groups]).astype(np.float32)
    threshold = conformal_threshold(scores, groups, 0.1)
    names = np.unique(groups)
    pooled = [sum(np.mean(scores[groups == name] <= t) for name in names) for t in np.sort(scores)]
    first = next(i for i, value in enumerate(pooled) if value >= (len(names) + 1) * 0.9 - 1e-9)
    assert threshold.value == np.sort(scores)[first]
    shuffle = random.permutation(500)
    assert conformal_threshold(scores[shuffle], 1000 - 7 * groups[shuffle], 0.1).value == threshold.value


def simulate(draw, rate, rounds):
    """Mean and all rejected shares of a fresh large sample over many calibrations."""
    random = np.random.default_rng(2024)
    thresholds, shares = [], []
    for _ in range(rounds):
        scores, groups, fresh = draw(random)
        thresholds.append(conformal_threshold(scores, groups, rate))
        shares.append(float(np.mean(fresh > thresholds[-1].value)))
    return np.array(shares), thresholds


def test_the_promise_holds_on_average_and_the_interval_holds_95_percent_of_the_time():
    fresh = np.random.default_rng(5).normal(size=20000).astype(np.float32)
    shares, thresholds = simulate(
        lambda random: (random.normal(size=99).astype(np.float32), singles(99), fresh), 0.1, 400
    )
    # E = (k + 1 - r) / (k + 1) = 0.1 exactly here; the standard error of the mean is 0.0015.
    assert shares.mean() == pytest.approx(0.1, abs=0.006)
    low, high = thresholds[0].interval
    assert np.mean((shares >= low) & (shares <= high)) == pytest.approx(0.95, abs=0.03)


def test_the_promise_holds_for_tracks_where_counting_frames_would_break_it():
    def draw(random):
        sizes = np.where(random.random(60) < 0.1, 1, 40)
        centres = random.normal(size=60) + 3.0 * (sizes == 1)  # short tracks look more unknown
        groups = np.repeat(singles(60), sizes)
        scores = centres[groups] + 0.3 * random.normal(size=len(groups))
        few = random.random(2000) < 0.1
        fresh = random.normal(size=2000) + 3.0 * few + 0.3 * random.normal(size=2000)
        return scores.astype(np.float32), groups, fresh

    shares, _ = simulate(draw, 0.1, 300)
    assert shares.mean() <= 0.1 + 0.005
    naive, _ = simulate(lambda random: (lambda s, _g, f: (s, np.arange(len(s)), f))(*draw(random)), 0.1, 100)
    assert naive.mean() > 0.12


def test_ties_only_ever_make_it_reject_less():
    shares, _ = simulate(
        lambda random: (random.integers(0, 5, size=40), singles(40), np.repeat(np.arange(5), 100)), 0.1, 100
    )
    assert shares.mean() <= 0.1
    assert conformal_threshold(np.zeros(30), singles(30), 0.05).value == 0


def test_the_value_is_a_float32_that_is_one_of_the_scores():
    scores = np.random.default_rng(3).normal(size=333) / 3  # float64 on purpose
    value = conformal_threshold(scores, singles(333), 0.05).value
    assert value in scores.astype(np.float32).tolist()
    assert float(np.float32(value)) == value


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_the_most_unknown(bad):
    scores = np.arange(40, dtype=np.float32)
    scores[0] = bad
    # rank 39 of 40 with one at +inf: the 39th of 1 .. 39 is 39.
    assert conformal_threshold(scores, singles(40), 0.05).value == 39
    scores[:3] = bad
    with pytest.raises(DataError, match="3 of 40 calibration scores are not finite"):
        conformal_threshold(scores, singles(40), 0.05)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 5, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(rate):
    with pytest.raises(UsageError, match="between 0 and 1"):
        conformal_threshold(np.zeros(50), singles(50), rate)


def test_scores_and_groups_must_be_of_one_length():
    with pytest.raises(DataError, match="one length"):
        conformal_threshold(np.zeros(50), singles(49), 0.1)
    with pytest.raises(DataError, match=r"at least 9 independent groups.*got 0"):
        conformal_threshold(np.zeros(0), singles(0), 0.1)


def test_a_threshold_is_plain_json():
    plain = json.loads(json.dumps(asdict(conformal_threshold(np.arange(99), singles(99), 0.05))))
    assert plain["value"] == 94 and plain["method"] == "split conformal, rank 95 of 99 groups"
    assert plain["interval"][0] < 0.05 < plain["interval"][1]


def test_importing_the_module_loads_numpy_only():
    import subprocess
    import sys

    code = (
        "import sys, edgeosr.export.conformal;"
        "print([m for m in ('scipy', 'sklearn', 'torch', 'onnx', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def of_classes(scores, groups, predictions, rate, classes):
    """The common threshold with one a class beside it."""
    return per_class(conformal_threshold(scores, groups, rate), scores, groups, predictions, classes)


def test_a_class_s_threshold_is_the_conformal_one_of_the_images_predicted_as_it():
    random = np.random.default_rng(4)
    predictions, groups = random.integers(0, 3, 400), random.integers(0, 250, 400)
    scores = (random.normal(size=400) + predictions).astype(np.float32)
    made = of_classes(scores, groups, predictions, 0.1, 3)
    for label, one in enumerate(made.by_class):
        taken = predictions == label
        alone = conformal_threshold(scores[taken], groups[taken], 0.1)
        expected = (alone.value, alone.interval, alone.groups, alone.images)
        assert (one.value, one.interval, one.groups, one.images) == expected
    assert made.value == conformal_threshold(scores, groups, 0.1).value
    assert made.method.endswith("; per predicted class for 3 of 3 classes")


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.1, 9), (0.3, 3)])
def test_one_group_too_few_and_a_class_takes_the_common_threshold(rate, needed):
    scores = np.arange(300, dtype=np.float32)
    predictions = np.full(300, 2)
    predictions[: needed - 1], predictions[100 : 100 + needed] = 0, 1
    few, enough, _, absent = of_classes(scores, singles(300), predictions, rate, 4).by_class
    common = conformal_threshold(scores, singles(300), rate).value
    assert (few.value, few.own, few.groups) == (common, False, needed - 1)
    assert enough.own and enough.value < common and enough.groups == needed
    assert (absent.value, absent.own, absent.images) == (common, False, 0)


def test_copies_do_not_buy_a_class_a_threshold_of_its_own():
    scores, groups = np.zeros(200), np.concatenate([singles(100), np.full(100, 7)])
    predictions = np.repeat([0, 1], 100)
    one, other = of_classes(scores, groups, predictions, 0.05, 2).by_class
    assert one.own and not other.own and (other.groups, other.images) == (1, 100)


def test_a_class_with_too_few_finite_scores_takes_the_common_threshold():
    scores = np.arange(400, dtype=np.float32)
    scores[:5] = np.nan
    predictions = (np.arange(400) >= 40).astype(int)
    broken, sound = of_classes(scores, singles(400), predictions, 0.05, 2).by_class
    assert not broken.own and np.isfinite(broken.value) and sound.own


def test_the_promise_holds_for_each_predicted_class_and_for_all_together():
    """Classes of unlike scores, a fifth of the images misclassified and then more unknown than others."""
    rate, shares, overall, random = 0.1, [[], [], []], [], np.random.default_rng(11)

    def draw(count):
        shown = random.choice(3, count, p=[0.7, 0.2, 0.1])
        wrong = random.random(count) < 0.2
        taken = np.where(wrong, random.choice(3, count), shown)
        return (random.normal(size=count) * (1 + taken) + 2 * shown + 3 * wrong).astype(np.float32), taken

    for _ in range(300):
        scores, taken = draw(400)
        made = of_classes(scores, singles(400), taken, rate, 3)
        assert all(one.own for one in made.by_class)
        fresh, predicted = draw(3000)
        rejected = margins_of(fresh, made.limit, predicted) > 0
        overall.append(rejected.mean())
        for label in range(3):
            shares[label].append(rejected[predicted == label].mean())
    # Never above; and not far below, for there are no ties: at most 1 / (k + 1) of the images.
    for label in range(3):
        assert rate - 0.03 < np.mean(shares[label]) <= rate + 0.006, label
    assert np.mean(overall) <= rate + 0.003


def test_where_classes_take_the_common_threshold_no_more_than_twice_the_rate_is_rejected():
    """The worst case: a class of few images whose every image is above the common threshold."""
    rate, overall, rare, random = 0.1, [], [], np.random.default_rng(12)

    def draw(count):
        taken = (random.random(count) < 0.07).astype(int)
        return (random.normal(size=count) + 20 * taken).astype(np.float32), taken

    for _ in range(300):
        scores, taken = draw(100)
        made = of_classes(scores, singles(100), taken, rate, 2)
        fresh, predicted = draw(3000)
        rejected = margins_of(fresh, made.limit, predicted) > 0
        overall.append(rejected.mean())
        if not made.by_class[1].own:
            rare.append(rejected[predicted == 1].mean())
    assert len(rare) > 100 and np.mean(rare) > 0.5, "of such a class alone nothing is promised"
    assert rate < np.mean(overall) <= 2 * rate


def test_the_promise_of_a_class_holds_for_tracks_whose_frames_are_predicted_unlike():
    """Of a track only the frames predicted as the class count, in calibration and in the promise alike."""
    rate, shares, random = 0.1, [[], []], np.random.default_rng(13)

    def draw(tracks):
        """Long tracks are easy and mostly predicted as 0; short ones are hard and as often as 1."""
        easy = random.random(tracks) < 0.8
        groups = np.repeat(np.arange(tracks), np.where(easy, 20, 3))
        predictions = (random.random(len(groups)) < np.where(easy, 0.1, 0.5)[groups]).astype(int)
        centres = random.normal(size=tracks) + 3.0 * ~easy
        scores = centres[groups] + predictions + 0.3 * random.normal(size=len(groups))
        return scores.astype(np.float32), groups, predictions

    for _ in range(150):
        made = of_classes(*draw(120), rate, 2)
        fresh, groups, predicted = draw(600)
        rejected = margins_of(fresh, made.limit, predicted) > 0
        for label in range(2):
            taken = predicted == label
            _, index = np.unique(groups[taken], return_inverse=True)
            shares[label].append(np.mean(np.bincount(index, rejected[taken]) / np.bincount(index)))
    for label in range(2):
        assert rate - 0.03 < np.mean(shares[label]) <= rate + 0.008, label
