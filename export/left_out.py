"""Weights without a single outlier: every fold leaves known classes out, and these are its unknowns.

``frozen_folds.py`` and ``trained_folds.py`` make and measure the folds, ``fold_weights.py`` makes weights of
them; here it is decided which folds count, which parts are weighed, and what ships without folds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeosr.bundle.left_out import ESTIMATED_RATES, STRENGTHS, FoldRecord, LeftOutRecord
from edgeosr.data.class_folds import (
    FEWEST_CLASSES,
    FEWEST_IMAGES,
    KEPT_ACCURACY,
    above_chance,
    has_collapsed,
)
from edgeosr.data.outlier_weighing import too_few_to_weigh
from edgeosr.export.fold import Fold
from edgeosr.export.fold_weights import FEWEST_FOLDS, FoldFit, alone_over_folds, beats, fit_over_folds
from edgeosr.export.weights import DISCRIMINATOR, GivenWeights, settled_by_outliers
from edgeosr.printed import counted
from edgeosr.scoring.parts import part

# The points of the path of ``fold_weights.py``, in words.
POINTS = (
    "equal weights",
    "fitted weights",
    "weights fitted to all parts",
    "the best part alone",
    "free signs",
)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Parts that may be weighed; few on purpose: choosing among many loses more than it wins.

    Attributes:
        companions: share the weight at the end of the path where nothing is fitted.
        others: may join them where folds say so.
        unchecked: share the weight where there are no folds to say anything.
        alone: decides where classes are too few to leave one out.
    """

    companions: tuple[str, ...]
    others: tuple[str, ...]
    unchecked: tuple[str, ...]
    alone: str

    @property
    def weighed(self) -> tuple[str, ...]:
        """All that folds may give a weight."""
        return (*self.companions, *self.others, DISCRIMINATOR)


# AUROC by which a part alone may stay below the mix and still be worth a word.
ABOUT_AS_WELL = 0.005
# Of one image a class there is no spread within classes, and most parts beside the head's need it.
FEW_TRAINED = "no class has two images in the train part, which it takes for the"


def candidates_for(default_part: str, *, frozen: bool) -> Candidates:
    """Return the parts that were measured to be sound on one kind of network.

    Args:
        default_part: the loss of the head, or its largest logit.
        frozen: its backbone is pretrained and was kept as it is; else it was trained with the head.
    """
    if frozen:
        three = ("bank", "relative_mahalanobis", default_part)
        return Candidates(
            companions=three, others=("ovr_loss", "raw_jacobian"), unchecked=three, alone=default_part
        )
    # Each loss is weak on some trained networks, the largest logit on none. The bank is weak on many: there
    # folds take its weight away, and without them it has none.
    two = ("max_logit", "relative_mahalanobis")
    others = ("ovr_loss", "raw_jacobian", "class_jacobian")
    loss = () if default_part == "max_logit" else (default_part,)
    return Candidates(companions=(*two, "bank"), others=(*others, *loss), unchecked=two, alone=default_part)


def weighed_in(record: LeftOutRecord | None, *, frozen: bool) -> tuple[str, ...]:
    """Return the parts of a record of an m-OvR network among which its weights were chosen; empty without."""
    candidates = candidates_for("movr_loss", frozen=frozen)
    return () if record is None else tuple(name for name in record.parts if name in candidates.weighed)


@dataclass(frozen=True)
class Decided:
    """``given``: the weights, None for the rule without folds; ``record``: None where no fold was tried."""

    given: GivenWeights | None
    record: LeftOutRecord | None


def decide_weights(
    folds: Sequence[Fold],
    full: Fold,
    candidates: Candidates,
    *,
    classes: Sequence[str],
    why_none: str,
    false_reject_rate: float = 0.05,
) -> Decided:
    """Decide the weights of the parts.

    Args:
        folds: each as its own network scores it; empty without any.
        full: the full network; its unknown images are real outliers, none if there are none. They are no
            fold: what learnt from them is in no fold's network, so they settle what folds cannot.
        candidates: the parts to weigh; those that the full network does not have are left out.
        classes: names of the known classes.
        why_none: why there are no folds, in words.
        false_reject_rate: at which false accepts are estimated, beside ``ESTIMATED_RATES``.
    """
    if full.classes < FEWEST_CLASSES:
        return Decided(_alone(candidates.alone, full), None)
    unchecked = [name for name in candidates.unchecked if name in full.known.by_part]
    if not folds:
        return Decided(_equal_weights(unchecked, full, why_none, candidates), None)
    weighed = _weighed(folds, full, candidates)
    dropped = [_dropped(fold, weighed) for fold in folds]
    used = [fold for fold, why in zip(folds, dropped, strict=True) if not why]
    fit, parts = None, _weighed(used, full, candidates)
    share = [parts.index(name) for name in candidates.companions if name in parts]
    if len(used) >= FEWEST_FOLDS and share:
        fit = fit_over_folds(
            [fold.of(parts) for fold in used], share, sorted({*ESTIMATED_RATES, false_reject_rate})
        )
    scores = iter([] if fit is None else fit.scores.tolist())
    records = []
    for fold, gone in zip(folds, dropped, strict=True):
        why = gone or ("" if fit is not None else "alone it cannot be checked")
        names = tuple(classes[label] for label in fold.left_out)
        records.append(_record(fold, names, None if why else next(scores), why))
    if fit is None:
        why = f"{len(used)} of {len(folds)} folds could be used"
        return Decided(_equal_weights(unchecked, full, why, candidates), _record_of(None, (), records))
    given = _fitted(fit, parts, len(used))
    if len(full.unknown):
        given = _settled(given, full)
    return Decided(given, _with_others(_record_of(fit, parts, records), used, full))


def _dropped(fold: Fold, parts: Sequence[str]) -> str:
    """Return why a fold is set aside; empty if it is not."""
    if fold.classes < 2:
        return "it leaves fewer than 2 classes to know"
    # A track counts as one image.
    smallest = min(len(fold.known), len(fold.unknown))
    usable = min(fold.known.usable(parts), fold.unknown.usable(parts))
    if usable < FEWEST_IMAGES:
        kind = ("image", "images")
        if usable != smallest:
            kind = ("independent image with finite score parts", "independent images with finite score parts")
        return f"{counted(usable, *kind)} on one side, {FEWEST_IMAGES} are needed"
    assert fold.full_accuracy is not None, "how the full network does on its images"
    if not has_collapsed(fold.accuracy, fold.full_accuracy, fold.classes):
        return ""
    own, full = (
        f"{accuracy:.1%} ({100 * above_chance(accuracy, fold.classes):.0f} % of the way from guessing)"
        for accuracy in (fold.accuracy, fold.full_accuracy)
    )
    return (
        f"it learnt too little: select accuracy {own}, the full network among the same classes {full}; a "
        f"fold counts from {KEPT_ACCURACY:.0%} of the full network's way on"
    )


def _weighed(folds: Sequence[Fold], full: Fold, candidates: Candidates) -> list[str]:
    """Return the parts to weigh: the full network and some fold have them."""
    there = [name for name in candidates.weighed if name in full.known.by_part]
    return [name for name in there if any(name in fold.known.by_part for fold in folds)]


def _equal_weights(equal: Sequence[str], full: Fold, why: str, candidates: Candidates) -> GivenWeights | None:
    """Return equal weights, or all of it on one part; None where real outliers decide without folds."""
    if len(equal) < 2:
        missing = ", ".join(part(name).title for name in candidates.unchecked if name not in equal)
        alone = candidates.alone
        note = f"weight 1 on {alone}: {why}, and {FEW_TRAINED} {missing}"
        return _unless_outliers(GivenWeights({alone: 1.0}, note), full)
    given = GivenWeights(dict.fromkeys(equal, 1 / len(equal)), f"equal weights: {why}")
    return _unless_outliers(given, full)


def _alone(part: str, full: Fold) -> GivenWeights | None:
    """Return one part alone; None where real outliers decide."""
    note = f"weight 1 on {part}: fewer than {FEWEST_CLASSES} known classes"
    return _unless_outliers(GivenWeights({part: 1.0}, note), full)


def _unless_outliers(given: GivenWeights, full: Fold) -> GivenWeights | None:
    """Return what ships without folds; None where there are real outliers enough to decide instead."""
    known, unknown = full.known, full.unknown
    if not len(unknown):
        return given
    few = too_few_to_weigh(len(known), len(unknown), known.groups, unknown.groups)
    return replace(given, note=f"{given.note}; {few}") if few else None


def _settled(given: GivenWeights, full: Fold) -> GivenWeights:
    parts = list(full.known.by_part)
    known, unknown = (
        np.stack([side.by_part[name] for name in parts], axis=1) for side in (full.known, full.unknown)
    )
    return settled_by_outliers(
        given,
        parts,
        known,
        unknown,
        known_groups=full.known.groups,
        open_groups=full.unknown.groups,
    )


def _fitted(fit: FoldFit, parts: Sequence[str], folds: int) -> GivenWeights:
    leg, share = int(fit.strength), fit.strength % 1
    where = f"{share:.0%} of the way from {POINTS[leg]} to {POINTS[leg + 1]}" if share else POINTS[leg]
    where += "" if fit.strength else " (no others won by more than chance)"
    note = (
        f"weighed on left-out classes, {folds} folds: {where}; AUROC {fit.scores.mean():.3f} +- "
        f"{fit.scores.std():.3f} there, an estimate{_why_not_alone(fit, parts)}"
    )
    return GivenWeights(dict(zip(parts, fit.weights.tolist(), strict=True)), note)


def _why_not_alone(fit: FoldFit, parts: Sequence[str]) -> str:
    """Return why the best part does not decide alone, where on the left-out classes it did about as well."""
    best, mixed = float(fit.auroc.max()), float(fit.scores.mean())
    if STRENGTHS[-1] == fit.strength or best < mixed - ABOUT_AS_WELL or np.count_nonzero(fit.weights) < 2:
        return ""
    gain = fit.alone - fit.scores
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    title = part(parts[int(fit.auroc.argmax())]).title
    told = (
        f"; not the {title} alone ({best:.3f}), which was picked on these very classes: the best part of the "
        f"other folds was {abs(gain.mean()):.3f} {'better' if gain.mean() > 0 else 'worse'} than the mix on "
        f"each fold's own (standard error {error:.3f})"
    )
    # The mix is the first point of the path that the best point does not beat by more than chance; one part
    # alone may beat it all the same where that best point is another mix, whose gain differs more by fold.
    why = (
        "no more than chance"
        if not beats(fit.alone, fit.scores)
        else "but the best mix beats this one by no more than chance"
    )
    return f"{told}, {why}" if gain.mean() > 0 else told


def _with_others(record: LeftOutRecord, used: Sequence[Fold], full: Fold) -> LeftOutRecord:
    """Return the record with the parts that are shown but were not to be weighed, behind those that were.

    Each is told by its own finite values alone. One that has too few of them in a fold is not shown.
    """
    for name in full.known.by_part:
        if name in record.parts or not all(_tells(fold, name) for fold in used):
            continue
        auroc, spread = alone_over_folds([fold.of([name]) for fold in used])
        record = replace(
            record,
            parts=(*record.parts, name),
            auroc=(*record.auroc, *auroc.tolist()),
            spread=(*record.spread, *spread.tolist()),
        )
    return record


def _tells(fold: Fold, name: str) -> bool:
    sides = fold.known, fold.unknown
    return all(name in side.by_part and side.usable([name]) >= FEWEST_IMAGES for side in sides)


def _record(fold: Fold, classes: tuple[str, ...], auroc: float | None, dropped: str) -> FoldRecord:
    return FoldRecord(
        classes=classes,
        accuracy=fold.accuracy,
        known=len(fold.known),
        unknown=len(fold.unknown),
        auroc=auroc,
        dropped=dropped,
    )


def _record_of(fit: FoldFit | None, parts: Sequence[str], folds: list[FoldRecord]) -> LeftOutRecord:
    return LeftOutRecord(
        parts=tuple(parts),
        auroc=() if fit is None else tuple(fit.auroc.tolist()),
        spread=() if fit is None else tuple(fit.spread.tolist()),
        strength=None if fit is None else fit.strength,
        false_accepts=() if fit is None else fit.false_accepts,
        folds=tuple(folds),
    )
