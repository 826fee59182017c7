"""The figures of one list: every score of a network, on the same images and by the same rule."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edgeosr.bench.open_set.observed import Observed, Scored, Side, scored
from edgeosr.bench.open_set.rivals import LeftOut
from edgeosr.errors import DataError
from edgeosr.export.conformal import conformal_threshold
from edgeosr.export.fold_weights import logistic_weights
from edgeosr.metrics import acceptance_rate, auroc, fpr_at_95_tpr, rejection_rate
from edgeosr.scoring.fusion import Fusion

SHIPPED, BOUND, BOUND_OF_ALL = "shipped", "bound", "bound (all parts)"
PART = "part:"
FALSE_REJECT_RATE = 0.05


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One score on one list.

    Attributes:
        protocol, list: which network and images.
        score: ``shipped``, ``part:NAME``, ``pytorch-ood:NAME``, ``bound``: the parts that left-out classes
            weighed (all parts where there were no folds), weighed on the test unknowns instead; or
            ``bound (all parts)``.
        auroc: of known against unknown test images, unknown positive, 0 to 1.
        false_accepts_at_5: share of the unknown test images accepted by the strictest threshold that accepts
            95 % of the known test images, 0 to 1: no threshold that anybody could have chosen, but the same
            false rejects for every score.
        false_accepts: share of the unknown test images accepted at the threshold, which is split-conformal
            for 5 % false rejects on the calibrate part; of ``shipped`` it is the one that ships, which was
            made so. Images of a group weigh one together.
        false_rejects: share of the known test images rejected there.
        closed_accuracy: of the head that the score belongs to, nothing rejected.
        known, unknown: test images.
        seed: of the parts and of training.
        note: what it was made from, where that is not plain.
        command: how to do it again.
        versions: of the packages.
    """

    protocol: str
    list: int
    score: str
    auroc: float
    false_accepts_at_5: float
    false_accepts: float
    false_rejects: float
    closed_accuracy: float
    known: int
    unknown: int
    seed: int
    note: str
    command: str
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def own_scores(network: Observed) -> Iterator[Scored]:
    """Yield the score that ships, every part alone, and the bounds."""
    fusion = network.fusion
    used = ", ".join(f"{name} {weight:.2f}" for name, weight in fusion.used().items())
    yield scored(
        SHIPPED,
        lambda side: side.scores,
        network,
        threshold=network.threshold,
        note=f"{used} ({fusion.note})",
    )
    for column, name in enumerate(fusion.parts):

        def value(side: Side, column: int = column) -> np.ndarray:
            return side.values[:, column]

        yield scored(f"{PART}{name}", value, network)
    for title, parts in ((BOUND, network.weighed or fusion.parts), (BOUND_OF_ALL, fusion.parts)):
        best = _fitted_on_test(network, parts)
        used = ", ".join(f"{name} {weight:.2f}" for name, weight in best.used().items())
        yield scored(title, lambda side, best=best: best.scores(side.values), network, note=used)  # type: ignore[misc]  # mypy cannot infer a lambda's default


def _fitted_on_test(network: Observed, parts: Sequence[str]) -> Fusion:
    """Return the fusion whose weights on ``parts`` are fitted on the test images themselves."""
    fusion = network.fusion
    columns = [fusion.parts.index(name) for name in parts]
    sides = []
    for side in (network.test, network.unknown):
        values = (side.values.astype(np.float64) - fusion.means) / fusion.stds
        sides.append(values[np.isfinite(values).all(axis=1)][:, columns])
    weights = np.zeros(len(fusion.parts))
    weights[columns] = logistic_weights([(sides[0], sides[1])])
    return replace(fusion, weights=tuple(weights.tolist()))


def cell_from_score(
    score: Scored, network: Observed, *, protocol: str, number: int, seed: int, command: str,
    versions: dict[str, str],
) -> Cell | LeftOut:  # fmt: skip
    """Return a score's figures; a LeftOut if no threshold can be calibrated for it."""
    threshold = score.threshold
    if threshold is None:
        try:
            made = conformal_threshold(score.calibrate, network.calibrate.groups, FALSE_REJECT_RATE)
        except DataError as error:
            return LeftOut(score.name, str(error))
        threshold = made.value
    return Cell(
        protocol=protocol,
        list=number,
        score=score.name,
        auroc=auroc(score.test, score.unknown),
        false_accepts_at_5=fpr_at_95_tpr(score.test, score.unknown)[0],
        false_accepts=acceptance_rate(score.unknown, threshold, network.unknown.groups).value,
        false_rejects=rejection_rate(score.test, threshold, network.test.groups).value,
        closed_accuracy=score.accuracy,
        known=len(score.test),
        unknown=len(score.unknown),
        seed=seed,
        note=score.note,
        command=command,
        versions=versions,
    )
