import math
import statistics

import numpy as np
import pytest

from edgeosr.bench.samples import Samples, median_interval, percentile, ratio_from_samples


def samples(*wall: float, cpu: float = 1.0) -> Samples:
    return Samples(wall, (cpu,) * len(wall))


def test_p99_of_a_hundred_samples_is_their_maximum_as_in_trtexec() -> None:
    assert percentile(list(range(100, 0, -1)), 99) == 100


@pytest.mark.parametrize(
    ("n", "percent", "index"),
    # Worked by hand: n - 1 - int((1 - p/100) * n).
    [(1, 50, 0), (2, 50, 0), (3, 50, 1), (10, 90, 9 - 1), (200, 99, 198), (200, 90, 179), (1000, 99, 990),
     (7, 0, 0), (7, 100, 6), (300, 50, 149)],
)  # fmt: skip
def test_percentiles_pick_a_sample_by_index_without_interpolation(n, percent, index) -> None:
    # 200 and 99: (1 - 0.99f) * 200 = 1.9999993 in float32, so one sample is left out, not two.
    shuffled = np.random.default_rng(0).permutation(n)
    assert percentile(list(shuffled), percent) == index


@pytest.mark.parametrize(("values", "percent"), [([], 50), ([1.0], -1), ([1.0], 100.5)])
def test_no_samples_or_no_such_percentile_is_a_bug_of_ours(values, percent) -> None:
    with pytest.raises(ValueError, match="percentile needs"):
        percentile(values, percent)


def test_the_median_interval_covers_the_true_median_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    trials = 2000
    inside = 0
    for _ in range(trials):
        low, high = median_interval(random.lognormal(0, 1, 30))
        inside += low <= 1 <= high
    # Order statistics are conservative: at least 95 %, and for n = 30 the exact coverage is 95.7 %.
    assert 0.945 <= inside / trials <= 0.97


def test_the_median_interval_of_ten_runs_from_the_second_to_the_ninth() -> None:
    # Tables of the sign test: P(Binomial(10, 1/2) <= 1) = 0.0107, <= 2 is 0.0547 > 0.025.
    assert median_interval(range(10)) == (1, 8)


def test_too_few_samples_give_the_whole_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_a_summary_keeps_every_sample_and_says_how_much_they_vary() -> None:
    row = samples(1.0, 2.0, 3.0, 4.0, 10.0)
    summary = row.as_json()
    assert summary["wall_ms"] == [1.0, 2.0, 3.0, 4.0, 10.0]
    assert summary["n"] == 5
    assert summary["p50_ms"] == 3.0
    assert summary["max_ms"] == summary["p99_ms"] == 10.0
    assert summary["mean_ms"] == pytest.approx(4.0)
    assert row.variation == pytest.approx(statistics.pstdev([1, 2, 3, 4, 10]) / 4)


def test_samples_without_values_or_of_two_lengths_are_refused() -> None:
    for wall, cpu in (((), ()), ((1.0,), (1.0, 2.0))):
        with pytest.raises(ValueError, match="one length"):
            Samples(wall, cpu)


def test_a_drift_that_both_rows_share_cancels_in_the_paired_ratio() -> None:
    drift = np.linspace(1, 3, 101)
    rows = {"whole": samples(*(1.02 * drift)), "plain": samples(*drift)}
    ratio = ratio_from_samples("whole", "plain", rows)
    assert ratio.paired == pytest.approx(1.02)
    assert ratio.quartiles == pytest.approx((1.02, 1.02))
    assert ratio.interval == pytest.approx((1.02, 1.02))
    assert ratio.of_medians == pytest.approx(1.02)
    assert ratio.extra_ms == pytest.approx(0.04)
    assert ratio.turns == 101


def test_a_disturbed_turn_moves_neither_ratio() -> None:
    plain = [1.0] * 20 + [50.0]
    whole = [1.1] * 20 + [1.1]
    ratio = ratio_from_samples("whole", "plain", {"whole": samples(*whole), "plain": samples(*plain)})
    assert ratio.of_medians == ratio.paired == pytest.approx(1.1)


def test_rows_of_two_lengths_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="not interleaved"):
        ratio_from_samples("a", "b", {"a": samples(1.0), "b": samples(1.0, 2.0)})


def test_a_cpu_clock_too_coarse_for_the_calls_gives_no_cpu_ratio() -> None:
    rows = {"a": samples(1.0, cpu=0.0), "b": samples(1.0, cpu=0.0)}
    ratio = ratio_from_samples("a", "b", rows)
    assert math.isnan(ratio.cpu_of_medians) and math.isnan(ratio.cpu_paired)
    assert ratio.as_json()["cpu_ratio_of_medians"] is None
