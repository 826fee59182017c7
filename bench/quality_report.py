"""The report of an open-set evaluation: text for people, JSON for machines."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.bundle.manifest import Manifest
from edgeosr.metrics import OpenSetMetrics, Rate
from edgeosr.scoring.parts import part

_COLUMNS = (
    ("AUROC", "auroc"),
    ("AUPR unk+", "aupr_unknown_positive"),
    ("AUPR kn+", "aupr_known_positive"),
    ("FPR95 kn+", "fpr_at_95_tpr_known_positive"),
    ("FPR95 unk+", "fpr_at_95_tpr_unknown_positive"),
    ("OSCR", "oscr"),
)


@dataclass(frozen=True, kw_only=True)
class PartRow:
    """Metrics of one score: ``fused``, or the name of a part."""

    name: str
    metrics: OpenSetMetrics


@dataclass(frozen=True, kw_only=True)
class QualityReport:
    """Open-set quality of one bundle.

    Attributes:
        bundle: path as given.
        created: UTC time, ISO 8601.
        edgeosr: version that measured.
        known, unknown: what the test images are.
        skipped: test images that could not be read.
        rows: the fused score first, then every part the bundle carries.
        manifest: the bundle's.
        out: folder of report.json and the plots.
        plots: PNG files.
    """

    bundle: str
    created: str
    edgeosr: str
    known: str
    unknown: str
    skipped: int
    rows: tuple[PartRow, ...]
    manifest: Manifest
    out: Path
    plots: tuple[Path, ...]

    @property
    def fused(self) -> OpenSetMetrics:
        """Metrics of the score that is compared with the threshold."""
        return self.rows[0].metrics

    def as_json(self) -> str:
        """Return one JSON document."""
        manifest = self.manifest
        plain: dict[str, Any] = {
            "kind": "quality",
            "bundle": self.bundle,
            "created": self.created,
            "edgeosr": self.edgeosr,
            "known": self.known,
            "unknown": self.unknown,
            "skipped": self.skipped,
            "sign": "larger score = more unknown; unknown is the positive class of AUROC",
            "scores": {row.name: row.metrics.as_json() for row in self.rows},
            "threshold": manifest.as_json()["threshold"],
            "fusion": manifest.as_json()["fusion"],
            "jacobian": manifest.as_json()["jacobian"],
            "data": manifest.as_json()["data"],
            "outliers": manifest.as_json()["outliers"],
            "training": manifest.training,
            "versions": manifest.versions,
            "model_sha256": manifest.files["model.onnx"].sha256,
            "plots": [path.name for path in self.plots],
        }
        return json.dumps(plain, indent=1)

    def as_text(self) -> str:
        """Return tables with their conditions."""
        fused, threshold = self.fused, self.manifest.threshold
        low, high = threshold.interval
        return "\n".join(
            [
                f"known    {fused.known:,} images: {self.known}",
                f"unknown  {fused.unknown:,} images: {self.unknown}",
                *([f"skipped  {self.skipped} unreadable images"] if self.skipped else []),
                "",
                _table(self.rows, self.manifest),
                "kn+ / unk+: known / unknown is the positive class. The fused score is the one that decides.",
                "",
                f"at the shipped threshold {threshold.value:.4g}",
                f"  false-reject rate  {_rate(fused.false_reject)}, target "
                f"{threshold.target_false_reject_rate:.1%}, "
                f"calibrated interval {low:.1%} to {high:.1%}: {self._verdict()}",
                f"  false-accept rate  {_rate(fused.false_accept)}",
                f"  macro-F1 (K+1)     {_number(fused.macro_f1)}",
                f"  closed accuracy    {fused.closed_accuracy:.4f} (nothing rejected)",
            ]
        )

    def _verdict(self) -> str:
        rate, (low, high) = self.fused.false_reject, self.manifest.threshold.interval
        if rate is None:
            return "not measured"
        # The calibrated interval is for the rate itself; a test set measures it with an error of its own.
        return "they overlap" if rate.high >= low and rate.low <= high else "they do NOT overlap"


def _table(rows: tuple[PartRow, ...], manifest: Manifest) -> str:
    weights = dict(zip(manifest.parts, manifest.fusion.weights, strict=True))
    width = max(15, *(len(row.name) + 2 for row in rows))
    lines = [f"{'score':<{width}}{'weight':>8}" + "".join(f"{title:>12}" for title, _ in _COLUMNS)]
    for row in rows:
        weight = weights.get(row.name)
        cells = "".join(f"{getattr(row.metrics, field):>12.4f}" for _, field in _COLUMNS)
        shown, title = ("", "") if weight is None else (f"{weight:.3g}", f"  {part(row.name).title}")
        lines.append(f"{row.name:<{width}}{shown:>8}{cells}{title}")
    return "\n".join(lines)


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "not measured"
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}, n = {rate.samples:,})"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
