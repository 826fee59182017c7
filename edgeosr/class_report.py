"""What is told of a bundle's classes: a short table, what to warn of, and everything as JSON."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeosr.class_figures import RARE, ClassFigures, RareClass, rare_classes
from edgeosr.errors import import_extra
from edgeosr.metrics import CONFIDENCE, Rate
from edgeosr.scoring.thresholds import Threshold

# A table has all classes up to so many; of more, the worst ones.
WHOLE_TABLE = 12
WORST = 6
LISTED = 8
LONGEST_NAME = 28
# With fewer groups nothing is said of all of them.
FEWEST_REJECTED = 3
# How often a warning may come by chance, over all classes together, where each of them keeps its rate.
BY_CHANCE = 1 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """All classes.

    Attributes:
        part: what the figures were measured on: ``calibrate part`` or ``test images``.
        in_sample: the images chose the threshold too.
        figures: by class, in the bundle's order.
        rare: classes with fewer than ``RARE`` groups of images, of those with any.
        rare_of: what they were counted on.
        target: the promised false-reject rate.
        needed: groups that a threshold of its own takes.
        per_class: the bundle's threshold rule is per class.
        made_of: what ``edgeosr export`` takes to make the bundle again, in words.
    """

    part: str
    in_sample: bool
    figures: tuple[ClassFigures, ...]
    rare: tuple[RareClass, ...]
    rare_of: str
    target: float
    needed: int
    per_class: bool
    made_of: str = "RUN"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the classes' figures say against using the bundle as it is; empty if nothing."""
        return tuple(_warnings(self))

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {**asdict(self), "confidence": CONFIDENCE}
        del values["made_of"]
        return values

    def as_lines(self) -> list[str]:
        """Return the table: all classes of a few, of many the worst; warnings name others."""
        shown = list(self.figures)
        if len(shown) > WHOLE_TABLE:
            shown = sorted(shown, key=_badness, reverse=True)[:WORST]
        note = "; this part chose the threshold: in-sample" if self.in_sample else ""
        lines = [f"{self.part}, 95 % intervals, near copies count once{note}"]
        width = max(6, *(len(_short(one.name)) for one in shown)) + 2
        titles = (
            "images",
            "named right",
            "rejected",
            *(("threshold", "rejected if predicted") * self.per_class),
        )
        lines.append(f"{'class':<{width}}" + _row(titles))
        for one in shown:
            cells = [f"{one.images:,}", _share(one.accuracy), _share(one.false_reject)]
            if self.per_class:
                own = f"{one.threshold:.4g}{'' if one.own_threshold else ' (common)'}"
                cells += [own, _share(one.false_reject_predicted)]
            lines.append(f"{_short(one.name):<{width}}" + _row(cells))
        if len(shown) < len(self.figures):
            lines.append(f"the worst {len(shown)} of {len(self.figures)} classes; --json has all of them")
        return lines


def class_report(
    figures: tuple[ClassFigures, ...],
    threshold: Threshold,
    *,
    part: str,
    in_sample: bool,
    needed: int,
    rare: tuple[tuple[RareClass, ...], str] | None = None,
    made_of: str = "RUN",
) -> ClassReport:
    """Return the report on the figures of all classes.

    Args:
        figures: by class, in the bundle's order.
        threshold: the bundle's.
        part: see ``ClassReport``, as are ``in_sample`` and ``needed``.
        in_sample: see there.
        needed: see there.
        rare: the classes with few images and what they were counted on; None: counted in ``figures``.
        made_of: see ``ClassReport``.
    """
    found, of = (rare_classes(figures), f"({part})") if rare is None else rare
    return ClassReport(
        part=part,
        in_sample=in_sample,
        figures=figures,
        rare=found,
        rare_of=of,
        target=threshold.target_false_reject_rate,
        needed=needed,
        per_class=bool(threshold.by_class),
        made_of=made_of,
    )


def _warnings(report: ClassReport) -> Iterator[str]:
    figures, part = report.figures, report.part
    if report.rare:
        rare = sorted(report.rare, key=lambda one: -one.rejected / one.images)
        # Where most classes are like this, the worst ones say enough.
        most = 3 if 2 * len(rare) > len(figures) else LISTED
        has = "has" if len(rare) == 1 else "have"
        yield (
            f"{len(rare)} of {len(figures)} classes {has} fewer than {RARE} images {report.rare_of}, "
            f"near copies counted once: {_listed([_few(one) for one in rare], most)}. Too few to "
            "say how often such a class is rejected: add images, or leave it out"
        )
    if report.per_class:
        advice = "look at the images of it that are rejected"
    else:
        advice = (
            f"edgeosr export {report.made_of} --threshold-rule per-class gives a threshold of its own to a "
            f"class that at least {report.needed} independent groups of the calibrate part are predicted as"
        )
    advice = f"Give such a class more, and more varied, images; {advice}"
    every: tuple[ClassFigures | RareClass, ...] = (*figures, *report.rare)
    if any(one.named_unknown for one in every):
        advice += ". No threshold accepts what the model itself names an output that means unknown"
    never = _never(report)
    if never:
        causes = {one.name: _cause(one) for one in every}
        said = [
            f"{_short(name)} ({count} of {count} rejected{causes[name]})" for name, count in never.items()
        ]
        yield f"no image of the class is accepted: {_listed(said)}. {advice}"
    broken = [one for one in figures if _breaks_its_promise(one, report)]
    if broken:
        said = [f"{_short(one.name)} ({one.predicted_rejected} of {one.predicted})" for one in broken]
        yield (
            "of the known images predicted as the class more are rejected than the promised "
            f"{report.target:.1%} ({part}): {_listed(said)}. If these images are taken as those in use will "
            "be, and the calibration images were not, export again with such images"
        )
    told = {*never, *(one.name for one in broken)}
    far = [one for one in figures if one.name not in told and _far_above(one, report)]
    if far:
        covers = "the images predicted as a class" if report.per_class else "all classes together"
        said = [_rejections(one) for one in sorted(far, key=_badness, reverse=True)]
        yield (
            f"rejected far more often than the promised {report.target:.1%}, which holds for {covers} "
            f"({part}): {_listed(said)}. {advice}"
        )
    chance = 1 / len(figures)
    wrong = [one for one in figures if _named_by_chance(one.accuracy, len(figures))]
    if report.in_sample:  # none of them: two classes may have changed names
        wrong = [one for one in wrong if not one.right]
    if wrong:
        said = [f"{_short(one.name)} {one.right} of {one.images}{_cause(one)}" for one in wrong]
        yield (
            f"not named right more often than by chance ({chance:.1%}; {part}): {_listed(said)}. Look "
            "whether the images are labelled right, and the classes are in the order of the network's outputs"
        )
    absent = [_short(one.name) for one in figures if not one.images]
    if absent:
        yield f"no image in the {part}, so nothing is known here of the class: {_listed(absent)}"
    common = [_short(one.name) for one in figures if not one.own_threshold]
    if report.per_class and common and report.in_sample:
        yield (
            f"the common threshold is taken by a class that fewer than {report.needed} independent groups of "
            "the calibrate part are predicted as, or too few with a finite score, and nothing is promised of "
            f"it alone: {_listed(common)}"
        )


def _few(one: RareClass) -> str:
    apart = f", {one.groups} apart from copies" if one.groups < one.images else ""
    right = f"{one.right} named right{_cause(one)}"
    return f"{_short(one.name)} ({one.rejected} of {one.images} rejected, {right}{apart})"


def _cause(one: ClassFigures | RareClass) -> str:
    """Return how many images the model itself rejects; empty of none."""
    count = one.named_unknown
    return f", {count} named an output that means unknown by the model itself" if count else ""


def _never(report: ClassReport) -> dict[str, int]:
    """Return the classes of which no image is accepted, with their images: all of a class with few.

    Where so few groups are rejected that this comes by chance, of one or two above all, nothing is said:
    their counts stand among those of the classes that have too few.
    """
    level = BY_CHANCE / len(report.figures)
    groups = {
        one.name: (one.images, one.rejected, one.false_reject.samples)
        for one in report.figures
        if one.false_reject is not None
    }
    groups |= {one.name: (one.images, one.rejected, one.groups) for one in report.rare}
    return {
        name: images
        for name, (images, rejected, count) in groups.items()
        if images == rejected and count >= FEWEST_REJECTED and report.target**count < level
    }


def _named_by_chance(accuracy: Rate | None, classes: int) -> bool:
    """Tell whether a class is named right no more often than by chance, and not for want of images.

    It is not clearly above chance, and would be right more often but for the chance that is allowed, shared
    by all classes, if it were right half way between chance and always.
    """
    if accuracy is None:
        return False
    binom = import_extra("scipy.stats", extra="export", purpose="evaluation").binom
    # A group that is named right in part counts as one.
    right, chance = math.ceil(accuracy.value * accuracy.samples - 1e-9), 1 / classes
    above = binom.sf(right - 1, accuracy.samples, chance)
    missed = binom.cdf(right, accuracy.samples, (1 + chance) / 2)
    return bool(above > BY_CHANCE and missed < BY_CHANCE / classes)


def _far_above(one: ClassFigures, report: ClassReport) -> bool:
    return _beyond_chance(one.false_reject, one, report)


def _breaks_its_promise(one: ClassFigures, report: ClassReport) -> bool:
    # In-sample it is kept by construction.
    return (
        one.own_threshold and not report.in_sample and _beyond_chance(one.false_reject_predicted, one, report)
    )


def _beyond_chance(rate: Rate | None, one: ClassFigures, report: ClassReport) -> bool:
    """Tell whether so many rejections are too many for a class that keeps its rate.

    The rate is promised on average over calibration sets. That of one threshold, of k groups, has the law
    Beta(a, k + 1 - a), a = the whole part of (k + 1) target, which is wide where k is small: what is rejected
    of new groups is beta-binomial. On the very groups that chose the threshold it is no wider than binomial.
    The chance that is allowed is shared by all classes. A group that is rejected in part counts less than
    one, and the sum is rounded down.
    """
    if rate is None:
        return False
    stats = import_extra("scipy.stats", extra="export", purpose="evaluation")
    hits, k = math.floor(rate.value * rate.samples + 1e-9), one.threshold_groups
    if report.in_sample:
        chance = stats.binom.sf(hits - 1, rate.samples, report.target)
    else:
        # As export/conformal.py rounds it; a foreign manifest may state fewer groups than any promise takes.
        first = max(1, math.floor((k + 1) * (report.target + 1e-9)))
        chance = stats.betabinom.sf(hits - 1, rate.samples, first, max(1, k + 1 - first))
    return bool(chance < BY_CHANCE / len(report.figures))


def _rejections(one: ClassFigures) -> str:
    assert one.false_reject is not None
    return (
        f"{_short(one.name)} ({one.rejected} of {one.images} rejected{_cause(one)}; "
        f"{100 * one.false_reject.low:.1f} to {100 * one.false_reject.high:.1f} %)"
    )


def _badness(one: ClassFigures) -> tuple[float, float, float]:
    """Return what sorts classes, the worst largest: the surest rejections first, then the least accuracy."""
    if one.false_reject is None or one.accuracy is None:
        return (-1.0, 0.0, 0.0)
    return (one.false_reject.low, one.false_reject.value, -one.accuracy.value)


def _listed(items: Sequence[str], most: int = LISTED) -> str:
    more = f" and {len(items) - most} more (--json has all)" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def _row(cells: Sequence[str]) -> str:
    widths = (9, 26, 26, 18, 26)
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=False)).rstrip()


def _share(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f} %)"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "..."
