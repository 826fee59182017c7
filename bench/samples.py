"""Latency samples, the one percentile rule, and how two rows are compared."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PERCENTILE_RULE = (
    "sample at index max(n - 1 - int((1 - p/100) * n), 0) of the ascending list, float32 arithmetic, "
    "no interpolation (trtexec's rule: p99 of 100 samples is their maximum)"
)
UNSTABLE_CV = 0.025


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the ``percent``-th percentile by ``PERCENTILE_RULE`` (trtexec, ``sampleReporting.cpp``).

    Args:
        samples: at least one value, any order.
        percent: 0 to 100.
    """
    n = len(samples)
    if n == 0 or not 0 <= percent <= 100:
        raise ValueError(f"percentile needs samples and 0 <= percent <= 100; got {n} samples, {percent}")
    # float32 as in trtexec: in float64 (1 - 0.99) * 100 is a hair above 1 and would pick another sample.
    excluded = int((np.float32(1) - np.float32(percent) / np.float32(100)) * np.float32(n))
    return float(sorted(samples)[max(n - 1 - excluded, 0)])


def median_interval(samples: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the order-statistic interval of the median: no assumption on the distribution.

    The interval runs from the l-th smallest to the l-th largest sample, l the largest rank with
    P(Binomial(n, 1/2) < l) <= (1 - confidence) / 2. With too few samples (n < 6 at 95 %) it is the whole
    range.
    """
    ordered, n = sorted(samples), len(samples)
    below, rank = 0.0, 0
    while rank < n // 2:
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(rank + 1) - math.lgamma(n - rank + 1) - n * math.log(2)
        )
        if below > (1 - confidence) / 2:
            break
        rank += 1
    lower = max(rank - 1, 0)
    return float(ordered[lower]), float(ordered[n - 1 - lower])


@dataclass(frozen=True)
class Samples:
    """Every timed call of one row, in order.

    Attributes:
        wall_ms: wall time of each call, milliseconds; not empty.
        cpu_ms: process CPU time of each call (all threads together), milliseconds, same length.
    """

    wall_ms: tuple[float, ...]
    cpu_ms: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.wall_ms or len(self.wall_ms) != len(self.cpu_ms):
            raise ValueError("wall_ms and cpu_ms must be of one length and not empty")

    def __len__(self) -> int:
        return len(self.wall_ms)

    @property
    def mean_ms(self) -> float:
        """Mean wall time."""
        return math.fsum(self.wall_ms) / len(self)

    @property
    def variation(self) -> float:
        """Coefficient of variation of the wall time: standard deviation / mean."""
        return float(np.std(np.asarray(self.wall_ms))) / self.mean_ms if self.mean_ms > 0 else 0.0

    def wall(self, percent: float) -> float:
        """Return a percentile of the wall time, milliseconds."""
        return percentile(self.wall_ms, percent)

    def cpu(self, percent: float) -> float:
        """Return a percentile of the process CPU time, milliseconds."""
        return percentile(self.cpu_ms, percent)

    def as_json(self) -> dict[str, Any]:
        """Return the summary and every sample."""
        return {
            "n": len(self),
            "p50_ms": self.wall(50),
            "p50_interval_95_ms": list(median_interval(self.wall_ms)),
            "p90_ms": self.wall(90),
            "p99_ms": self.wall(99),
            "max_ms": max(self.wall_ms),
            "mean_ms": self.mean_ms,
            "variation": self.variation,
            "cpu_p50_ms": self.cpu(50),
            "wall_ms": [round(value, 6) for value in self.wall_ms],
            "cpu_ms": [round(value, 6) for value in self.cpu_ms],
        }


@dataclass(frozen=True)
class Ratio:
    """One row over another, measured in the same turns.

    Attributes:
        of, to: names of the two rows.
        of_medians: median of one over median of the other (wall time).
        paired: median of the ratios turn by turn (wall time).
        interval: 95 % order-statistic interval of ``paired``.
        quartiles: 25th and 75th percentile of the ratios turn by turn: their spread.
        cpu_of_medians, cpu_paired, cpu_interval: the same of process CPU time; NaN if the clock was too
            coarse for it.
        extra_ms, cpu_extra_ms: difference of the medians.
        turns: number of pairs.
    """

    of: str
    to: str
    of_medians: float
    paired: float
    interval: tuple[float, float]
    quartiles: tuple[float, float]
    cpu_of_medians: float
    cpu_paired: float
    cpu_interval: tuple[float, float]
    extra_ms: float
    cpu_extra_ms: float
    turns: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        coarse = math.isnan(self.cpu_paired)
        return {
            "of": self.of,
            "to": self.to,
            "ratio_of_medians": self.of_medians,
            "median_of_paired_ratios": self.paired,
            "paired_interval_95": list(self.interval),
            "paired_quartiles": list(self.quartiles),
            "cpu_ratio_of_medians": None if coarse else self.cpu_of_medians,
            "cpu_median_of_paired_ratios": None if coarse else self.cpu_paired,
            "cpu_paired_interval_95": None if coarse else list(self.cpu_interval),
            "extra_ms": self.extra_ms,
            "cpu_extra_ms": self.cpu_extra_ms,
            "turns": self.turns,
        }


def ratio_from_samples(of: str, to: str, rows: dict[str, Samples]) -> Ratio:
    """Compare row ``of`` with row ``to``; sample i of both was taken in the same turn."""
    one, other = rows[of], rows[to]
    if len(one) != len(other):
        raise ValueError(f"{of} and {to} were not interleaved: {len(one)} and {len(other)} samples")
    pairs = [a / b for a, b in zip(one.wall_ms, other.wall_ms, strict=True)]
    coarse = min(other.cpu_ms) <= 0
    cpu_pairs = [math.nan] if coarse else [a / b for a, b in zip(one.cpu_ms, other.cpu_ms, strict=True)]
    return Ratio(
        of=of,
        to=to,
        of_medians=one.wall(50) / other.wall(50),
        paired=percentile(pairs, 50),
        interval=median_interval(pairs),
        quartiles=(percentile(pairs, 25), percentile(pairs, 75)),
        cpu_of_medians=math.nan if coarse else one.cpu(50) / other.cpu(50),
        cpu_paired=percentile(cpu_pairs, 50),
        cpu_interval=median_interval(cpu_pairs),
        extra_ms=one.wall(50) - other.wall(50),
        cpu_extra_ms=one.cpu(50) - other.cpu(50),
        turns=len(pairs),
    )
