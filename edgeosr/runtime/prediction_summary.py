"""What ``edgeosr predict`` reports: a line a verdict while it runs, and counts at its end."""

import contextlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from edgeosr import printed
from edgeosr.printed import json_text
from edgeosr.runtime.thresholds import RuntimeThreshold
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
        threshold: accept if score <= threshold; one number, or one a class by its name.
        median_latency_ms: of a runtime call, None if nothing was judged.
        written: the drawn video, or the folder of drawn images; None if none was.
        announced: frames that the file of a video says it has; None where it does not count them.
        time_from: where most frames of a video have their time from: ``container``, ``frame rate`` or
            ``clock``; None for images.
        errors: what went wrong after the first verdict, in sentences: a video that is cut or damaged, a
            drawing that cannot be written, a failure that ended it.
        interrupted: True if Ctrl-C, SIGTERM or SIGHUP ended it.
        ok: False if there were images and every one of them failed, and if there are ``errors``.
    """

    source: str
    judged: int
    accepted: int
    unknown: int
    failed: int
    labels: dict[str, int]
    threshold: RuntimeThreshold
    median_latency_ms: float | None
    written: Path | None
    announced: int | None
    time_from: str | None
    errors: tuple[str, ...]
    interrupted: bool
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a threshold that is not finite is null."""
        threshold = _plain(self.threshold)
        written = None if self.written is None else str(self.written)
        fields = {**vars(self), "labels": dict(self.labels)}
        return {**fields, "written": written, "threshold": threshold}

    def as_text(self) -> str:
        """Return one or two lines for a terminal."""
        of = "" if self.announced in (None, self.judged) else f" of {self.announced} frames"
        text = f"Judged {self.judged}{of}: {self.accepted} known, {self.unknown} unknown"
        text += f" ({_described(self.threshold)})"
        if self.median_latency_ms is not None:
            text += f"; median latency {self.median_latency_ms:.2f} ms"
        if self.failed:
            text += f"; {self.failed} could not be judged"
        counts = ", ".join(f"{name} {count}" for name, count in list(self.labels.items())[:8])
        return f"{text}\n{counts}" if counts else text


@dataclass
class Tally:
    """Verdicts counted as they come, and what else became of the source."""

    labels: Counter[str] = field(default_factory=Counter)
    judged: int = 0
    accepted: int = 0
    failed: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    times: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    announced: int | None = None
    written: Path | None = None
    interrupted: bool = False

    def tell(self, problem: str) -> None:
        """Keep what went wrong, and say it at once on standard error."""
        self.errors.append(problem)
        say(f"error: {problem}")

    def add(self, verdict: Verdict, *, time_from: str | None = None) -> None:
        """Count one verdict."""
        self.judged += 1
        if time_from is not None:
            self.times[time_from] += 1
        if verdict.accepted:
            self.accepted += 1
            self.labels[verdict.label] += 1
        if len(self.latencies_ms) < _KEPT_LATENCIES:
            self.latencies_ms.append(verdict.latency_ms)

    def summary(self, source: str, *, threshold: RuntimeThreshold) -> PredictionSummary:
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
            written=self.written,
            announced=self.announced,
            time_from=self.times.most_common(1)[0][0] if self.times else None,
            errors=tuple(self.errors),
            interrupted=self.interrupted,
            ok=not self.errors and (self.judged > 0 or self.failed == 0),
        )


def say(line: str) -> None:
    """Print a line on standard error; a full disk behind it must not end what is being judged."""
    with contextlib.suppress(OSError):
        printed.say(line)


def json_line(verdict: Verdict, **where: Any) -> str:
    """Return a verdict as one line of strict JSON, ``where`` first; a number that is not finite is null."""
    plain = {**where, **asdict(verdict)}
    plain["score"], plain["threshold"] = _finite(verdict.score), _finite(verdict.threshold)
    plain["parts"] = {name: _finite(value) for name, value in verdict.parts.items()}
    return json_text(plain)


def _plain(threshold: RuntimeThreshold) -> float | dict[str, float | None] | None:
    if isinstance(threshold, Mapping):
        return {name: _finite(value) for name, value in threshold.items()}
    return _finite(threshold)


def _described(threshold: RuntimeThreshold) -> str:
    if isinstance(threshold, Mapping):
        values = threshold.values()
        return f"thresholds per class, {min(values):.4g} to {max(values):.4g}"
    return f"threshold {threshold:.4g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
