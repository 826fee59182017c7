"""What the left-out classes said about the score parts: the record, its reader, and its words."""

from dataclasses import dataclass

from edgeosr.bundle.calibration import PART_NAME
from edgeosr.bundle.checked_json import LARGEST, JsonNode
from edgeosr.scoring.parts import part, unknown_parts
from edgeosr.verdict import MOST_PARTS

MOST_FOLDS = 64


@dataclass(frozen=True, kw_only=True)
class FoldRecord:
    """One fold: a head that never saw some of the known classes, and these as its unknowns.

    Attributes:
        classes: names of the classes left out; empty for the fold of the real outliers.
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


@dataclass(frozen=True, kw_only=True)
class LeftOutRecord:
    """How well each part told left-out classes from known images. Estimates: test images tell.

    Attributes:
        parts: names; empty if no fold could be used.
        auroc, spread: mean and standard deviation over the folds, one a part, 0 to 1.
        strength: where the weights lie: 0 equal weights, 1 fitted ones of the same parts, 2 fitted ones of
            all, 3 one part alone, and between; None if they do not come from the folds.
        folds: all of them.
    """

    parts: tuple[str, ...]
    auroc: tuple[float, ...]
    spread: tuple[float, ...]
    strength: float | None
    folds: tuple[FoldRecord, ...]

    @property
    def used(self) -> tuple[FoldRecord, ...]:
        """The folds that the figures come from."""
        return tuple(fold for fold in self.folds if not fold.dropped)

    def described(self) -> list[str]:
        """Return one line on what each part won, and one for each fold that was set aside."""
        lines = []
        if self.parts:
            scores = [fold.auroc for fold in self.used if fold.auroc is not None]
            mean = sum(scores) / len(scores)
            spread = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5
            won = [f"{_title(name)} {mean_spread(*one)}" for name, *one in self._rows()]
            lines.append(
                f"AUROC, mean +- spread of {len(self.used)} folds: {', '.join(won)}; the score "
                f"{mean_spread(mean, spread)} (estimates, not test figures)"
            )
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


def left_out_from_json(node: JsonNode) -> LeftOutRecord:
    """Check the object of ``left_out``; which parts this edgeosr knows is not looked at."""
    field = node.fields(LeftOutRecord.__dataclass_fields__)
    for item in field["parts"].items(0, MOST_PARTS):
        item.matching(PART_NAME, "a part's name, such as log_jacobian")
    names = field["parts"].texts()
    shares = {
        key: tuple(item.number(0, 1) for item in field[key].items(len(names), len(names)))
        for key in ("auroc", "spread")
    }
    folds = tuple(_fold(item) for item in field["folds"].items(0, MOST_FOLDS))
    if bool(names) != any(not fold.dropped for fold in folds):
        field["folds"].fail("a fold that is used for the figures of the parts, and none without them")
    return LeftOutRecord(
        parts=names,
        auroc=shares["auroc"],
        spread=shares["spread"],
        strength=None if field["strength"].is_null else field["strength"].number(0, 3),
        folds=folds,
    )


def _fold(node: JsonNode) -> FoldRecord:
    field = node.fields(FoldRecord.__dataclass_fields__)
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
