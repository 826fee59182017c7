"""What an export made, for people and for machines."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from edgeosr.bundle.left_out import LeftOutRecord
from edgeosr.bundle.made_of import export_again
from edgeosr.bundle.manifest import Manifest
from edgeosr.bundle.network import JacobianRecord
from edgeosr.class_report import ClassReport
from edgeosr.data.outlier_weighing import FEWEST_OUTLIERS
from edgeosr.export.foreign.known_check import KnownCheck
from edgeosr.printed import json_text
from edgeosr.scoring.decides import decides
from edgeosr.scoring.parts import part
from edgeosr.scoring.thresholds import Threshold

WIDTH = 110
# Means over the same lists of known classes, with and without; a test compares bench/results/open-set.json.
OUTLIERS_WORTH = (
    "brought little or nothing in our two tests (AUROC +0.006, part of it by another cut of the images, and "
    "-0.001): what yours bring, edgeosr evaluate says"
)


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What an export made.

    Attributes:
        path: the bundle.
        manifest: as written.
        select_accuracy, calibrate_accuracy: closed-set accuracy of the exported graph, 0 to 1.
        by_class: figures of each class on the calibrate part, and what they warn of.
        select_auroc: of the fused score on the select part against the open validation images, by which its
            weights were chosen (so it flatters) if they are enough; None without such images.
        too_few_outliers: why these images weigh nothing, in words; empty if they do, or there are none.
        without_discriminator: the run, if it should have a discriminator whose training was stopped.
        estimate_picture: PNG of the false accepts that left-out classes let expect; None without them, or
            if it could not be written.
        threshold_is_largest: the common threshold is the largest of the calibrate part's scores.
        notes: what was found in a foreign model and is worth telling, a sentence each.
        replaced: the bundle that was there before, in words; empty without one.
        known_check: what the known images of a deployed model say of its wrapping; None for a run.
    """

    path: Path
    manifest: Manifest
    select_accuracy: float
    calibrate_accuracy: float
    by_class: ClassReport
    select_auroc: float | None
    too_few_outliers: str = ""
    without_discriminator: Path | None = None
    estimate_picture: Path | None = None
    threshold_is_largest: bool = False
    notes: tuple[str, ...] = ()
    replaced: str = ""
    known_check: KnownCheck | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that was warned of: of a deployed model first, then of its classes."""
        of_model = () if self.known_check is None else self.known_check.warnings
        return (*of_model, *self.by_class.warnings)

    def as_json(self) -> str:
        """Return one JSON document."""
        return json_text(
            {
                "kind": "export",
                "bundle": str(self.path),
                "select_accuracy": self.select_accuracy,
                "calibrate_accuracy": self.calibrate_accuracy,
                "by_class": self.by_class.as_json(),
                "select_auroc": self.select_auroc,
                "too_few_outliers": self.too_few_outliers,
                "warnings": list(self.warnings),
                "threshold_is_largest": self.threshold_is_largest,
                "estimate_picture": None if self.estimate_picture is None else str(self.estimate_picture),
                "notes": list(self.notes),
                "replaced": self.replaced,
                "known_check": None if self.known_check is None else self.known_check.as_json(),
                "manifest": self.manifest.as_json(),
            },
            indent=1,
        )

    def as_text(self) -> str:
        """Return what a user wants to know before trusting the bundle."""
        manifest, threshold = self.manifest, self.manifest.threshold
        lines = [
            f"classes          {len(manifest.classes)}: {_shortened(manifest.classes)}",
            *(
                []
                if manifest.data.groups is None
                else [f"images           {manifest.data.groups.described()}"]
            ),
            *_labelled("model", self.notes),
            f"closed accuracy  {self.select_accuracy:.1%} select, {self.calibrate_accuracy:.1%} calibrate "
            "(exported graph)",
            *_labelled("preprocessing", [] if self.known_check is None else self.known_check.described()),
            f"Jacobian norm    {_jacobian(manifest.jacobian)}",
            f"score parts      {_parts(manifest.parts)}",
            f"decides          {decides(manifest.fusion)} (share of the score)",
            *(f"{'':<16} {line}" for line in _wrapped(manifest.fusion.note)),
            *_left_out(manifest.left_out),
            *_threshold(manifest.classes, threshold, largest=self.threshold_is_largest),
            *_false_accepts(manifest, self.estimate_picture),
            *_labelled("per class", self.by_class.as_lines()),
        ]
        if self.too_few_outliers not in manifest.fusion.note:  # else it is said above
            lines += _labelled("outliers", _wrapped(self.too_few_outliers.removeprefix("the outliers ")))
        if self.select_auroc is not None:
            who = "outliers" if self.too_few_outliers else "outliers that chose the weights"
            lines.append(
                f"select AUROC     {self.select_auroc:.3f} between known select images and the {who}; "
                "not a test figure"
            )
        if manifest.outliers is None:
            lines += _labelled("outliers", _wrapped(_outliers_worth(manifest)))
        if self.without_discriminator is not None:
            again = f"edgeosr train --resume {quote(str(self.without_discriminator))}"
            lines.append(
                "discriminator    none: its training was stopped, or still runs; if it was stopped, add it "
                f"with: {again}, then export again"
            )
        if manifest.backbone is not None:
            lines.append(f"backbone         {manifest.backbone.described()}")
            lines.append(f"decision gate    {manifest.backbone.gate.described()}")
            lines += _own_threshold("its threshold", manifest.backbone.threshold)
        if manifest.body is not None:
            lines.append(f"body             {manifest.body.described()}; on {manifest.body.processor}")
            lines.append(f"body's gate      {manifest.body.gate.described()}")
            lines += _own_threshold("body's threshold", manifest.body.threshold)
        size = sum(record.bytes for record in manifest.files.values())
        lines += _labelled("replaced", _wrapped(self.replaced))
        lines.append(f"size             {size / 1e6:.1f} MB in {len(manifest.files)} files")
        for warning in self.by_class.warnings:
            lines += textwrap.wrap(f"warning          {warning}", WIDTH, subsequent_indent=" " * 17)
        return "\n".join(lines)


def _jacobian(record: JacobianRecord) -> str:
    if record.method == "none":
        return "none"
    probes = record.probes
    if probes is None:
        weighed = ", channels by 1 / their variance within classes" if record.kind == "J_w" else ""
        return f"{record.kind}, closed form{weighed}, by {record.with_respect_to}"
    count = f"{probes.K} {probes.family} probe{'s' * (probes.K > 1)}"
    lines = [f"{record.kind}, {count}, by {record.with_respect_to}"]
    if probes.errors:
        tried = ", ".join(f"{error:.2f} ({count})" for count, error in probes.errors)
        lines.append(f"noise of the probes, as a share of log J_u's spread over select images: {tried}")
        aim = probes.largest_error or 0.0
        if probes.errors[-1][1] > aim and probes.n != probes.K:
            lines.append(f"more than the {aim:g} aimed at: a deeper --cut needs fewer probes")
    return "\n                 ".join(lines)


def _common(threshold: Threshold) -> list[str]:
    low, high = threshold.interval
    rate = f"{threshold.target_false_reject_rate:.1%}"
    interval = f"{threshold.confidence:.0%} interval of that rate: {low:.1%} to {high:.1%}"
    return [
        f"{threshold.value:.4g}, for at most {rate} of known images rejected",
        f"({interval}, from {threshold.groups} independent groups)",
    ]


def _own_threshold(label: str, threshold: Threshold | None) -> list[str]:
    """Return the lines of what a typed graph was calibrated with; none where it takes the bundle's."""
    return [] if threshold is None else _labelled(label, _common(threshold))


def _threshold(classes: Sequence[str], threshold: Threshold, *, largest: bool) -> list[str]:
    rate = f"{threshold.target_false_reject_rate:.1%}"
    own = len(classes) - len(threshold.without_own(classes)) if threshold.by_class else 0
    common = _common(threshold)
    if largest:
        common += _wrapped(
            "it is the largest score of these groups, so a single odd image sets it and much that is unknown "
            "may pass: add known images, or ask for a higher --false-reject-rate"
        )
    if not threshold.by_class:
        return _labelled("threshold", common)
    if not own:
        return _labelled("threshold", [*common, "for all classes: none has enough images for one of its own"])
    values = [one.value for one in threshold.by_class if one.own]
    lines = [
        f"of their own for {own} of {len(classes)} classes, {_between(values)}: at most {rate} rejected of "
        "the known images",
        "predicted as each of them (an image of another class that is taken for it counts there)",
    ]
    if own < len(classes):
        lines += [f"the others the common one: {common[0]}", common[1]]
    return _labelled("threshold", lines)


def _between(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def _labelled(label: str, lines: Sequence[str]) -> list[str]:
    return [f"{'' if i else label:<16} {line}" for i, line in enumerate(lines)]


def _parts(names: tuple[str, ...]) -> str:
    width = max(map(len, names), default=0)
    return "\n                 ".join(f"{name:<{width}}  {part(name).title}" for name in names)


def _left_out(record: LeftOutRecord | None) -> list[str]:
    said = [] if record is None else record.described()
    return _labelled("left-out classes", [line for one in said for line in _wrapped(one)])


def _false_accepts(manifest: Manifest, picture: Path | None) -> list[str]:
    if manifest.left_out is None:
        return []
    rate = manifest.threshold.target_false_reject_rate
    lines = _wrapped(manifest.left_out.false_accepts_described(rate, manifest.threshold.rule))
    return _labelled("false accepts", lines if picture is None else [*lines, f"other rates: {picture}"])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 17, break_long_words=False, break_on_hyphens=False)


def _outliers_worth(manifest: Manifest) -> str:
    """Return what pictures of other things would bring, where none were given."""
    ask = "edgeosr train --outliers FOLDER"
    if manifest.training is None:
        ask = export_again(manifest, "--outliers OTHERS")
    return f"none given; pictures of other things ({ask}; {FEWEST_OUTLIERS} or more) {OUTLIERS_WORTH}"


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
