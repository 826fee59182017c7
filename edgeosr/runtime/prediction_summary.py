"""What ``edgeosr predict`` reports: a line a verdict while it runs, and counts at its end."""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from edgeosr.printed import json_text
from edgeosr.verdict import Verdict

# A camera may run for weeks: the first hundred thousand calls say enough about latency.
_KEPT_LATENCIES = 100_000


@dataclass(frozen=True, kw_only=True)
class PredictionSummary:
    """What came of a source.

    Attributes:
        source: as the user gave it.
        judged: images or frames with a verdict.
        accepted, unknown: how they were judged.
        failed: images that could not be read or judged.
        labels: count of accepted ones by class, most frequent first.
        threshold: accept if score <= threshold.
        median_latency_ms: of a runtime call, None if nothing was judged.
        written: the drawn video, or the folder of drawn images; None if none was.
        interrupted: True if Ctrl-C ended it.
        ok: False if there were images and every one of them failed.
    """

    source: str
    judged: int
    accepted: int
    unknown: int
    failed: int
    labels: dict[str, int]
    threshold: float
    median_latency_ms: float | None
    written: Path | None
    interrupted: bool
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a threshold that is not finite is null."""
        written = None if self.written is None else str(self.written)
        return {**asdict(self), "written": written, "threshold": _finite(self.threshold)}

    def as_text(self) -> str:
        """Return one or two lines for a terminal."""
        text = f"Judged {self.judged}: {self.accepted} known, {self.unknown} unknown"
        text += f" (threshold {self.threshold:.4g})"
        if self.median_latency_ms is not None:
            text += f"; median latency {self.median_latency_ms:.2f} ms"
        if self.failed:
            text += f"; {self.failed} could not be judged"
        counts = ", ".join(f"{name} {count}" for name, count in list(self.labels.items())[:8])
        return f"{text}\n{counts}" if counts else text


@dataclass
class Tally:
    """Verdicts counted as they come."""

    labels: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    accepted: int = 0
    failed: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.judged += 1
        if verdict.accepted:
            self.accepted += 1
            self.labels[verdict.label] += 1
        if len(self.latencies_ms) < _KEPT_LATENCIES:
            self.latencies_ms.append(verdict.latency_ms)

    def summary(
        self, source: str, *, threshold: float, written: Path | None, interrupted: bool
    ) -> PredictionSummary:
        """Return the counts as a summary."""
        return PredictionSummary(
            source=source,
            judged=self.judged,
            accepted=self.accepted,
            unknown=self.judged - self.accepted,
            failed=self.failed,
            labels=dict(self.labels.most_common()),
            threshold=threshold,
            median_latency_ms=median(self.latencies_ms) if self.latencies_ms else None,
            written=written,
            interrupted=interrupted,
            ok=self.judged > 0 or self.failed == 0,
        )


def json_line(verdict: Verdict, **where: Any) -> str:
    """Return a verdict as one line of strict JSON, ``where`` first; a number that is not finite is null."""
    plain = {**where, **asdict(verdict)}
    plain["score"], plain["threshold"] = _finite(verdict.score), _finite(verdict.threshold)
    plain["parts"] = {name: _finite(value) for name, value in verdict.parts.items()}
    return json_text(plain)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
