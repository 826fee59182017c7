"""Why the parts weigh what they weigh, in words; and a figure for parts that were not to be weighed."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.bundle.left_out import FREE_SIGNS, FoldRecord, LeftOutRecord
from edgeosr.export.fold import NOTHING, Fold, PartValues
from edgeosr.export.fold_weights import FoldFit, first_not_beaten
from edgeosr.export.left_out import _fitted as fitted
from edgeosr.export.left_out import candidates_for, decide_weights, weighed_in
from edgeosr.metrics import auroc

PARTS = ("bank", "relative_mahalanobis", "movr_loss")


def fit(
    *, alone: tuple[float, ...], scores: tuple[float, ...], best: float, strength: float = 0.0
) -> FoldFit:
    return FoldFit(
        weights=np.full(3, 1 / 3),
        strength=strength,
        auroc=np.array([best, 0.9, 0.8]),
        spread=np.zeros(3),
        scores=np.array(scores),
        alone=np.array(alone),
        false_accepts=(),
    )


def test_a_part_that_does_as_well_alone_is_named_with_the_reason_why_it_does_not_decide():
    note = fitted(fit(alone=(0.96, 0.99), scores=(0.97, 0.97), best=0.985), PARTS, 2).note
    assert "; not the nearest known image alone (0.985), which was picked on these very classes: " in note
    said = "the best part of the other folds was 0.005 better than the mix on each fold's own (standard error"
    assert note.endswith(f"{said} 0.015), no more than chance")
    below = fitted(fit(alone=(0.94, 0.95), scores=(0.97, 0.97), best=0.968), PARTS, 2).note
    assert below.endswith("was 0.025 worse than the mix on each fold's own (standard error 0.005)")


def test_nothing_is_said_of_a_part_that_is_worse_or_decides_alone():
    worse = fit(alone=(0.96, 0.96), scores=(0.97, 0.97), best=0.96)
    assert "alone" not in fitted(worse, PARTS, 2).note
    only = fit(alone=(0.97, 0.97), scores=(0.97, 0.97), best=0.97, strength=3.0)
    only = replace(only, weights=np.array([1.0, 0, 0]))
    assert " alone (" not in fitted(only, PARTS, 2).note
    signs = fit(alone=(0.96, 0.96), scores=(0.97, 0.97), best=0.97, strength=FREE_SIGNS)
    assert "not the nearest known image alone (0.970)" in fitted(signs, PARTS, 2).note


def test_a_part_that_beats_the_mix_beyond_chance_is_not_said_to_miss_that():
    """The best point of the path may be another mix, whose gain differs more from fold to fold."""
    rows = np.array([(0.90, 0.90, 0.90), (0.99, 0.90, 0.90), (0.91, 0.912, 0.911)])
    assert first_not_beaten(rows) == 0
    surely = fitted(fit(alone=tuple(rows[2]), scores=tuple(rows[0]), best=0.911), PARTS, 3).note
    assert surely.endswith("error 0.001), but the best mix beats this one by no more than chance")
    unsure = fitted(fit(alone=(0.95, 0.90, 0.89), scores=tuple(rows[0]), best=0.911), PARTS, 3).note
    assert unsure.endswith(", no more than chance")


def test_a_fold_that_leaves_many_classes_out_is_named_by_the_first_of_them():
    names = ("ant", "bee", "cat", "dog", "eel")
    fold = FoldRecord(classes=names, accuracy=0.9, known=9, unknown=9, auroc=0.9, dropped="")
    assert fold.short_name == "ant, bee, cat and 2 more"
    assert replace(fold, classes=names[:3]).short_name == "ant, bee, cat"
    assert replace(fold, classes=()).short_name == "real outliers"


def side(shifts: dict[str, float], *, seed: int) -> PartValues:
    random = np.random.default_rng(seed)
    return PartValues(
        correct=np.ones(60, np.bool_),
        by_part={name: random.normal(shift, 1.0, 60) for name, shift in shifts.items()},
    )


def three_folds(shifts: dict[str, float]) -> list[Fold]:
    return [
        Fold(
            left_out=(label,), classes=2, known=side(dict.fromkeys(shifts, 0.0), seed=label),
            unknown=side(shifts, seed=10 + label), full_accuracy=1.0,
        )
        for label in range(3)
    ]  # fmt: skip


def record_of(folds: list[Fold]) -> LeftOutRecord:
    full = side(dict.fromkeys(folds[0].known.by_part, 0.0), seed=9)
    found = decide_weights(
        folds,
        Fold(left_out=(), classes=3, known=full, unknown=NOTHING),
        candidates_for("movr_loss", frozen=True),
        classes=("ant", "bee", "cat"),
        why_none="",
    ).record
    assert found is not None
    return found


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_part_that_is_only_shown_and_is_not_finite_in_one_fold_is_not_shown_and_changes_nothing(bad):
    shifts = {"bank": 1.5, "relative_mahalanobis": 1.5, "movr_loss": 1.5, "log_norm": 0.5}
    alone, both = record_of(three_folds(shifts)), three_folds({**shifts, "log_jacobian": 0.5})
    for fold, one in zip(both, three_folds(shifts), strict=True):
        fold.known.by_part.update(one.known.by_part)
        fold.unknown.by_part.update(one.unknown.by_part)
    both[1].known.by_part["log_jacobian"][:] = bad
    assert record_of(both) == alone
    both[1].known.by_part["log_jacobian"][:8] = np.arange(8)
    assert record_of(both).parts == (*alone.parts, "log_jacobian")
    assert record_of(both).auroc[:-1] == alone.auroc  # of all images, not of eight


def test_a_part_that_is_not_weighed_has_a_figure_too_if_every_fold_has_the_part():
    shifts = {"bank": 1.5, "relative_mahalanobis": 1.5, "movr_loss": 1.5, "max_logit": 1.0, "log_norm": 0.0}
    full = side({**dict.fromkeys(shifts, 0.0), "discriminator": 0.0}, seed=9)
    folds = three_folds(shifts)
    found = decide_weights(
        folds,
        Fold(left_out=(), classes=3, known=full, unknown=NOTHING),
        candidates_for("movr_loss", frozen=True),
        classes=("ant", "bee", "cat"),
        why_none="",
    )
    assert found.record is not None and found.given is not None
    assert found.record.parts == ("bank", "relative_mahalanobis", "movr_loss", "max_logit", "log_norm")
    assert "max_logit" not in found.given.weights
    assert weighed_in(found.record, frozen=True) == PARTS and weighed_in(None, frozen=True) == ()
    for name in ("max_logit", "log_norm"):
        each = [auroc(fold.known.by_part[name], fold.unknown.by_part[name]) for fold in folds]
        at = found.record.parts.index(name)
        assert found.record.auroc[at] == pytest.approx(np.mean(each))
        assert found.record.spread[at] == pytest.approx(np.std(each))
