"""The report of an open-set evaluation: text for people, JSON for machines."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr.bench.quality_graph import MeasuredGraph
from edgeosr.bench.trade_off import TradeOffRow
from edgeosr.bundle.left_out import LeftOutRecord, mean_spread
from edgeosr.bundle.made_of import export_again
from edgeosr.bundle.manifest import Manifest
from edgeosr.class_report import ClassReport
from edgeosr.data.outlier_weighing import FEWEST_OUTLIERS, WEIGH_NOTHING
from edgeosr.metrics import OpenSetMetrics, Rate
from edgeosr.printed import counted, json_text
from edgeosr.scoring.parts import part
from edgeosr.scoring.thresholds import Threshold

_COLUMNS = (
    ("AUROC", "auroc"),
    ("AUPR unk+", "aupr_unknown_positive"),
    ("AUPR kn+", "aupr_known_positive"),
    ("FPR95 kn+", "fpr_at_95_tpr_known_positive"),
    ("FPR95 unk+", "fpr_at_95_tpr_unknown_positive"),
    ("OSCR", "oscr"),
)
# From this share of accepted unknown images on there is hardly an "I don't know" left.
NEARLY_ALL = 0.9
WIDTH = 110
# Standard deviations that chance passes one time in twenty.
ONE_SIDED = 1.645


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
        by_class: every known class on the known test images, and what that warns of.
        trade_off: what other thresholds give, by rising false-reject rate.
        graph: which of the bundle's was measured, and on what.
        manifest: the bundle's, with the fusion and the threshold of that graph.
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
    by_class: ClassReport
    trade_off: tuple[TradeOffRow, ...]
    graph: MeasuredGraph
    manifest: Manifest
    out: Path
    plots: tuple[Path, ...]

    @property
    def fused(self) -> OpenSetMetrics:
        """Metrics of the score that is compared with the threshold."""
        return self.rows[0].metrics

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the bundle useless on these images, and what to do; empty if nothing does."""
        return (*_warnings(self), *self.by_class.warnings)

    def as_json(self) -> str:
        """Return one JSON document."""
        manifest, written = self.manifest, self.manifest.as_json()
        plain: dict[str, Any] = {
            "kind": "quality",
            "bundle": self.bundle,
            "created": self.created,
            "edgeosr": self.edgeosr,
            "known": self.known,
            "unknown": self.unknown,
            "skipped": self.skipped,
            "measured": self.graph.as_json(),
            "sign": "larger score = more unknown; unknown is the positive class of AUROC",
            "scores": {row.name: row.metrics.as_json() for row in self.rows},
            "threshold": written["threshold"],
            "decides": "score minus the threshold of the predicted class; a threshold of trade_off shifts all"
            if manifest.threshold.by_class
            else "score",
            "by_class": self.by_class.as_json(),
            "trade_off": [row.as_json() for row in self.trade_off],
            "left_out": written["left_out"],
            "warnings": list(self.warnings),
            **{name: written[name] for name in ("fusion", "jacobian", "data", "outliers")},
            "training": manifest.training,
            "versions": manifest.versions,
            "model_sha256": manifest.files["model.onnx"].sha256,
            "plots": [path.name for path in self.plots],
        }
        return json_text(plain, indent=1)

    def as_text(self) -> str:
        """Return tables with their conditions."""
        fused, threshold, record = self.fused, self.manifest.threshold, self.manifest.left_out
        return "\n".join(
            [
                f"known    {counted(fused.known, 'image')}: {self.known}",
                f"unknown  {counted(fused.unknown, 'image')}: {self.unknown}",
                *(
                    [f"skipped  {self.skipped} unreadable image{'s' * (self.skipped > 1)}"]
                    if self.skipped
                    else []
                ),
                *self.graph.as_lines(WIDTH),
                "",
                _table(self.rows, self.manifest),
                "kn+ / unk+: known / unknown is the positive class. The fused score is the one that decides.",
                "AUROC: how often an unknown image scores above a known one; 0.5 is guessing.",
                *_left_out_lines(self.manifest),
                "",
                _shipped(self.manifest),
                f"  false-reject rate  {_rate(fused.false_reject)}, target "
                f"{threshold.target_false_reject_rate:.1%}{self._verdict()}",
                f"  false-accept rate  {_rate(fused.false_accept)}",
                *([] if record is None else _wrapped("  estimated          ", record, threshold)),
                f"  macro-F1 (K+1)     {_number(fused.macro_f1)}",
                f"  closed accuracy    {fused.closed_accuracy:.4f} (nothing rejected)",
                "",
                *self.by_class.as_lines(),
                "",
                *_trade_off_lines(self),
                *(
                    line
                    for warning in self.warnings
                    for line in ("", *textwrap.wrap(f"warning: {warning}", WIDTH, subsequent_indent="    "))
                ),
            ]
        )

    def _verdict(self) -> str:
        rate, (low, high) = self.fused.false_reject, self.manifest.threshold.interval
        if self.manifest.threshold.by_class:
            return " of the images predicted as a class that has its own: last column below"
        interval = f", calibrated interval {low:.1%} to {high:.1%}"
        if rate is None:
            return f"{interval}: not measured"
        # The calibrated interval is for the rate itself; a test set measures it with an error of its own.
        overlap = rate.high >= low and rate.low <= high
        return f"{interval}: they {'overlap' if overlap else 'do NOT overlap'}"


def _warnings(report: QualityReport) -> Iterator[str]:
    auroc, accepted = report.fused.auroc, report.fused.false_accept
    look = (
        "look whether the unknown images show known things after all, and whether both sides were taken "
        "alike (camera, size, light)"
    )
    again = export_again(report.manifest, "--outliers OTHERS")
    more = f"export with pictures of other things ({again})"
    given = report.manifest.outliers
    if report.manifest.training is not None:
        more = "train with pictures of other things (edgeosr train --outliers FOLDER), or longer"
    if given is not None:
        had = given.train + given.select
        do = "export" if report.manifest.training is None else "train"
        more = f"{do} with more pictures of other things, nearer to what will come than the {had} that it had"
        if WEIGH_NOTHING in report.manifest.fusion.note:
            more += f" (too few, which weigh nothing: {FEWEST_OUTLIERS} separate ones are enough)"
    if _clearly_below_half(report.fused):
        yield (
            f"the AUROC of the score that decides is {auroc:.4f}, below 0.5: it takes known images for more "
            f"unknown than the unknown ones. First {look}. Then see in the column AUROC whether any part "
            f"does better here, and {more}."
        )
    record, rate = report.manifest.left_out, report.manifest.threshold.target_false_reject_rate
    estimate = None if record is None else record.at(rate)
    if accepted is not None and estimate is not None and accepted.low > estimate.high:
        yield (
            f"{accepted.value:.1%} of these unknown images are accepted, more than in any fold of left-out "
            f"classes ({estimate.low:.1%} to {estimate.high:.1%}): the estimate says nothing of images like "
            "these; take what is measured here."
        )
    if accepted is not None and accepted.value >= NEARLY_ALL and accepted.low >= 0.5:
        yield (
            f"{accepted.value:.0%} of the unknown images are accepted at the shipped threshold: to this "
            f"bundle such images are known. First {look}. The table of thresholds above says what a higher "
            f"rate ({export_again(report.manifest, '--false-reject-rate')}) would change. If that is not "
            f"enough, {more}."
        )


def _clearly_below_half(fused: OpenSetMetrics) -> bool:
    """Tell whether an AUROC is below 0.5, and not for want of images.

    Of so few images a score half way between chance and always, 0.75, would reach it one time in twenty.
    """
    known, unknown = fused.known, fused.unknown
    spread = math.sqrt((known + unknown + 1) / (12 * known * unknown)) if known and unknown else math.inf
    return fused.auroc < min(0.5, 0.75 - ONE_SIDED * spread)


def _left_out_lines(manifest: Manifest) -> list[str]:
    """Return what the column of the estimates is, and the folds that are not in it."""
    record = manifest.left_out
    if record is None:
        return []
    aside = record.described()[1 if record.parts else 0 :]
    if not record.parts:
        return aside
    none = [name for name in manifest.parts if name not in record.parts]
    return [
        f"left-out: AUROC on classes left out at export, mean +- spread of {len(record.used)} folds: an "
        "estimate (fold: a network without some known classes).",
        *([f"  -: no fold has a figure for {', '.join(none)}."] if none else []),
        *aside,
    ]


def _shipped(manifest: Manifest) -> str:
    threshold = manifest.threshold
    if not threshold.by_class:
        return f"at the shipped threshold {threshold.value:.4g}"
    values, common = threshold.class_values, threshold.without_own(manifest.classes)
    others = f"; the common one, {threshold.value:.4g}, for {len(common)} of {len(values)}" if common else ""
    return (
        f"at the shipped thresholds, one a predicted class, {min(values):.4g} to {max(values):.4g}{others}\n"
        "  (here and above the fused score is the score minus that threshold)"
    )


def _wrapped(margin: str, record: LeftOutRecord, threshold: Threshold) -> list[str]:
    text = record.false_accepts_described(threshold.target_false_reject_rate, threshold.rule)
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=" " * len(margin))


def _trade_off_lines(report: QualityReport) -> list[str]:
    """Return the table of other thresholds."""
    record = report.manifest.left_out
    estimates = {} if record is None else {one.false_reject: one for one in record.false_accepts}
    shift = bool(report.manifest.threshold.by_class)
    limit = "shift of all" if shift else "threshold"
    titles = ("known rejected", "measured", "unknown accepted", limit, "estimated on left-out classes")
    widths = (17, 26, 26, 12, 0)
    lines = [[*titles[:4], *(titles[4:] if estimates else ())]]
    for row in report.trade_off:
        found = estimates.get(row.at_most)
        lines.append(
            [
                f"at most {100 * row.at_most:g} %",
                _share(row.false_reject),
                _share(row.false_accept),
                f"{row.threshold:+.4g}" if shift else f"{row.threshold:.4g}",
                *([] if not estimates else ["-" if found is None else found.described()]),
            ]
        )
    one = "all thresholds shifted alike, by what was" if shift else "other thresholds,"
    return [
        f"{one} found on these test images (to ship one: "
        f"{export_again(report.manifest, '--false-reject-rate')} RATE)",
        *(
            "  " + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip()
            for cells in lines
        ),
    ]


def _table(rows: tuple[PartRow, ...], manifest: Manifest) -> str:
    weights = dict(zip(manifest.parts, manifest.fusion.weights, strict=True))
    estimates = _estimates(manifest)
    width = max(15, *(len(row.name) + 2 for row in rows))
    estimated = f"{'left-out':>18}" if estimates else ""
    lines = [f"{'score':<{width}}{'weight':>8}{estimated}" + "".join(f"{title:>12}" for title, _ in _COLUMNS)]
    for row in rows:
        weight = weights.get(row.name)
        cells = f"{estimates.get(row.name, '-'):>18}" if estimates else ""
        cells += "".join(f"{getattr(row.metrics, field):>12.4f}" for _, field in _COLUMNS)
        shown, title = ("", "") if weight is None else (f"{weight:.3g}", f"  {part(row.name).title}")
        lines.append(f"{row.name:<{width}}{shown:>8}{cells}{title}")
    return "\n".join(lines)


def _estimates(manifest: Manifest) -> dict[str, str]:
    """Return what each score won on left-out classes; empty if none is known."""
    record = manifest.left_out
    if record is None or not record.parts:
        return {}
    won = zip(record.parts, record.auroc, record.spread, strict=True)
    return {"fused": mean_spread(*record.score()), **{name: mean_spread(*one) for name, *one in won}}


def _share(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f} %)"


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return "not measured"
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%}, n = {rate.samples:,})"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
