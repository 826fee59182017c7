"""The conformal threshold: its definition, and its promise by simulation."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from edgeosr.errors import DataError, UsageError
from edgeosr.export.conformal import conformal_threshold, groups_needed


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
