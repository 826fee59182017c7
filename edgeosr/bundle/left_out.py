"""What the left-out classes said about the score parts: the record, its reader, and its words."""

from collections.abc import Collection
from dataclasses import dataclass

from edgeosr.bundle.calibration import PART_NAME
from edgeosr.bundle.checked_json import LARGEST, JsonNode
from edgeosr.scoring.parts import part, unknown_parts
from edgeosr.scoring.thresholds import COMMON
from edgeosr.verdict import MOST_PARTS

MOST_FOLDS = 64
NAMED = 3
# Where weights may lie, see ``LeftOutRecord.strength``.
FREE_SIGNS = 4.0
STRENGTHS = tuple(quarter / 4 for quarter in range(13))
# False-reject rates at which every record holds an estimate, beside the bundle's own.
ESTIMATED_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
# What the estimate is worth: the figures of bench/results/false-accept-estimates.json, as a test says, beside
# what ships (a threshold from the calibrate part), at the one rate that was measured.
BIAS = (
    "a rough guess from few classes, no interval and no promise: in 37 measurements at 5 % it was 13 points "
    "off what the shipped threshold let through of real unknowns, 45 in the worst of these, which is no "
    "bound, and too low 18 times; edgeosr evaluate measures it on unknown images of yours"
)
# Every fold is tried with one threshold.
FOR_COMMON = "for a common threshold; what those of the classes let through, edgeosr evaluate measures"


@dataclass(frozen=True, kw_only=True)
class FalseAccepts:
    """What share of left-out images is accepted at one false-reject rate. An estimate: see ``BIAS``.

    Attributes:
        false_reject: the rate, above 0 and below 0.5.
        mean, low, high: share accepted, over the folds and in the best and the worst of them, 0 to 1.
        folds: how many have images enough for this rate.
    """

    false_reject: float
    mean: float
    low: float
    high: float
    folds: int

    def described(self) -> str:
        """Return ``9.8 % (lowest fold 4.0, highest 18.0)``."""
        return f"{100 * self.mean:.1f} % (lowest fold {100 * self.low:.1f}, highest {100 * self.high:.1f})"


@dataclass(frozen=True, kw_only=True)
class FoldRecord:
    """One fold: a head that never saw some of the known classes, and these as its unknowns.

    Attributes:
        classes: names of the classes left out; empty for real outliers, which older bundles hold as a fold.
        accuracy: on the select images of the classes that it knows, 0 to 1.
        known, unknown: images on either side.
        auroc: of the fused score, its weights made without this fold, 0 to 1; None if it is not used.
        dropped: why it is not used; empty if it is.
    """

    classes: tuple[str, ...]
    accuracy: float
    known: int
    unknown: int
    auroc: float | None
    dropped: str

    @property
    def name(self) -> str:
        """What is unknown to it, for reports."""
        return ", ".join(self.classes) or "real outliers"

    @property
    def short_name(self) -> str:
        """The same, the first of many classes alone."""
        more = len(self.classes) - NAMED
        return f"{', '.join(self.classes[:NAMED])} and {more} more" if more > 0 else self.name


@dataclass(frozen=True, kw_only=True)
class LeftOutRecord:
    """How well each part told left-out classes from known images. Estimates: test images tell.

    Attributes:
        parts: names, those first among which the weights were chosen; empty if no fold could be used.
        auroc, spread: mean and standard deviation over the folds, one a part, 0 to 1.
        strength: where the weights lie: 0 equal weights, 1 fitted ones of the same parts, 2 fitted ones of
            all, 3 one part alone, and between in ``STRENGTHS``; ``FREE_SIGNS`` fitted ones of all with free
            signs; None if no fold could be used.
        false_accepts: by rising false-reject rate, by weights and thresholds made without the fold that is
            tried; a rate for which the folds have too few images is missing.
        folds: all of them.
    """

    parts: tuple[str, ...]
    auroc: tuple[float, ...]
    spread: tuple[float, ...]
    strength: float | None
    false_accepts: tuple[FalseAccepts, ...]
    folds: tuple[FoldRecord, ...]

    @property
    def used(self) -> tuple[FoldRecord, ...]:
        """The folds that the figures come from."""
        return tuple(fold for fold in self.folds if not fold.dropped)

    def score(self) -> tuple[float, float]:
        """Return mean and spread of the fused score's AUROC over the folds that are used, at least one."""
        scores = [fold.auroc for fold in self.used if fold.auroc is not None]
        mean = sum(scores) / len(scores)
        return mean, (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5

    def at(self, false_reject: float) -> FalseAccepts | None:
        """Return the estimate at a false-reject rate; None if that one was not estimated."""
        return next((one for one in self.false_accepts if one.false_reject == false_reject), None)

    def false_accepts_described(self, false_reject: float, rule: str = COMMON) -> str:
        """Return what is estimated at the bundle's own false-reject rate, its bias included.

        Args:
            false_reject: the bundle's rate.
            rule: its threshold rule; every estimate is for the common one, and is said to be.
        """
        said = self._estimated(false_reject)
        return said if rule == COMMON or not self.parts else f"{said}; {FOR_COMMON}"

    def _estimated(self, false_reject: float) -> str:
        found, rate = self.at(false_reject), f"{100 * false_reject:g} % false rejects"
        if not self.parts:
            return "not estimated: no fold of left-out classes is used"
        if found is None:
            why = f"not estimated at {rate}: too few select images in the folds of left-out classes"
            above = next((one for one in self.false_accepts if one.false_reject > false_reject), None)
            if above is None:
                return why
            return f"{why}; at {100 * above.false_reject:g} %: {above.described()}; {BIAS}"
        return f"at {rate}, on left-out classes: {found.described()}; {BIAS}"

    def described(self) -> list[str]:
        """Return one line on what each part won, one on each fold, and one for each that was set aside."""
        lines = []
        if self.parts:
            won = [f"{_title(name)} {mean_spread(*one)}" for name, *one in self._rows()]
            lines.append(
                f"AUROC, mean +- spread of {len(self.used)} folds: {', '.join(won)}; the score "
                f"{mean_spread(*self.score())} (estimates, not test figures; AUROC: how often an unknown "
                "image scores above a known one, 0.5 is guessing; fold: a network without some known classes)"
            )
            each = [f"{fold.short_name}: {fold.auroc:.3f}" for fold in self.used if fold.auroc is not None]
            lines.append(f"the score on what each fold left out: {' | '.join(each)}")
        lines += [f"set aside: {fold.name} ({fold.dropped})" for fold in self.folds if fold.dropped]
        return lines

    def _rows(self) -> list[tuple[str, float, float]]:
        rows = list(zip(self.parts, self.auroc, self.spread, strict=True))
        return sorted(rows, key=lambda row: -row[1])


def mean_spread(mean: float, spread: float) -> str:
    """Return ``0.941 +- 0.020``."""
    return f"{mean:.3f} +- {spread:.3f}"


def _title(name: str) -> str:
    return name if unknown_parts([name]) else part(name).title


def left_out_from_json(node: JsonNode, classes: Collection[str]) -> LeftOutRecord:
    """Check the object of ``left_out``; which parts this edgeosr knows is not looked at.

    Args:
        node: the object.
        classes: names of those that the bundle knows.

    Raises:
        BundleError: a field is not as it must be; the message names it.
    """
    field = node.fields(LeftOutRecord.__dataclass_fields__)
    for item in field["parts"].items(0, MOST_PARTS):
        item.matching(PART_NAME, "a part's name, such as log_jacobian")
    names = field["parts"].texts()
    shares = {
        key: tuple(item.number(0, 1) for item in field[key].items(len(names), len(names)))
        for key in ("auroc", "spread")
    }
    # In older bundles the real outliers are one more.
    folds = tuple(_fold(item, classes) for item in field["folds"].items(0, MOST_FOLDS + 1))
    if bool(names) != any(not fold.dropped for fold in folds):
        field["folds"].fail("a fold that is used for the figures of the parts, and none without them")
    return LeftOutRecord(
        parts=names,
        auroc=shares["auroc"],
        spread=shares["spread"],
        strength=_strength(field["strength"], bool(names)),
        false_accepts=_false_accepts(field["false_accepts"], sum(not fold.dropped for fold in folds)),
        folds=folds,
    )


def _false_accepts(node: JsonNode, folds: int) -> tuple[FalseAccepts, ...]:
    """Check the list of estimates; ``folds`` are used: none gives no estimate."""
    found: list[FalseAccepts] = []
    for item in node.items(0, (len(ESTIMATED_RATES) + 1) if folds else 0):
        field = item.fields(FalseAccepts.__dataclass_fields__)
        rate, mean, low, high = (field[name].number(0, 1) for name in ("false_reject", "mean", "low", "high"))
        if not (found[-1].false_reject if found else 0) < rate < 0.5:
            field["false_reject"].fail("a rate below 0.5, above 0 and above the one before it")
        if not low <= mean <= high:
            field["mean"].fail("a share from low to high")
        count = field["folds"].integer(1, folds)
        found.append(FalseAccepts(false_reject=rate, mean=mean, low=low, high=high, folds=count))
    return tuple(found)


def _strength(node: JsonNode, used: bool) -> float | None:
    """Check the point of the path; null, and only then, if no fold is used."""
    if not used:
        return None if node.is_null else node.fail("null, for no fold is used")
    found = node.number(0, FREE_SIGNS)
    if found not in (*STRENGTHS, FREE_SIGNS):
        node.fail("a quarter from 0 to 3, or 4")
    return found


def _fold(node: JsonNode, classes: Collection[str]) -> FoldRecord:
    field = node.fields(FoldRecord.__dataclass_fields__)
    for item in field["classes"].items(0):
        if item.text() not in classes:
            item.fail("one of the bundle's classes")
    dropped = field["dropped"].text(empty=True)
    if field["auroc"].is_null != bool(dropped):
        field["auroc"].fail("null for a fold that is set aside" if dropped else "a number from 0 to 1")
    return FoldRecord(
        classes=field["classes"].texts(),
        accuracy=field["accuracy"].number(0, 1),
        known=field["known"].integer(0, LARGEST),
        unknown=field["unknown"].integer(0, LARGEST),
        auroc=None if field["auroc"].is_null else field["auroc"].number(0, 1),
        dropped=dropped,
    )
