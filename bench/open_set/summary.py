"""Means over the lists of a protocol, and the row that people read first."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeosr.bench.open_set.cells import BOUND, PART, SHIPPED, Cell
from edgeosr.bench.open_set.rivals import PREFIX

# Protocols that differ in --outliers alone.
WITH_OUTLIERS = {"neu-outliers": "neu-frozen", "digits-outliers": "digits"}


@dataclass(frozen=True, kw_only=True)
class Mean:
    """One score over the lists that have it; all 0 to 1.

    Attributes:
        score: its name.
        lists: how many.
        auroc, spread: mean and standard deviation.
        false_accepts_at_5, false_accepts, false_rejects, closed_accuracy: means, see ``Cell``.
    """

    score: str
    lists: int
    auroc: float
    spread: float
    false_accepts_at_5: float
    false_accepts: float
    false_rejects: float
    closed_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """A protocol in one line: means over its lists.

    ``part`` and ``rival`` are the part and the pytorch-ood score with the highest mean AUROC, chosen on the
    test images themselves; ``rival`` is None if pytorch-ood was left out.
    """

    protocol: str
    lists: int
    shipped: Mean
    part: Mean
    bound: Mean
    rival: Mean | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def means_of(cells: Iterable[Cell]) -> dict[str, list[Mean]]:
    """Return by protocol the mean of every score, in the order in which they came."""
    found: dict[str, dict[str, list[Cell]]] = {}
    for cell in cells:
        found.setdefault(cell.protocol, {}).setdefault(cell.score, []).append(cell)
    return {
        protocol: [_mean(name, group) for name, group in scores.items()] for protocol, scores in found.items()
    }


def rows_of(means: dict[str, list[Mean]]) -> list[Row]:
    """Return the rows of the table; scores that some list lacks are no candidates for the best one."""
    rows = []
    for protocol, scores in means.items():
        named = {mean.score: mean for mean in scores}
        shipped = named[SHIPPED]
        whole = [mean for mean in scores if mean.lists == shipped.lists]
        rows.append(
            Row(
                protocol=protocol,
                lists=shipped.lists,
                shipped=shipped,
                part=_best(whole, PART) or shipped,
                bound=named[BOUND],
                rival=_best(whole, PREFIX),
            )
        )
    return rows


def outliers_worth(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Return what real outliers did to the AUROC of the shipped score, on the lists that have both.

    Each entry: ``protocol``, ``beside`` (the same without outliers), ``lists``, and the means ``with``,
    ``without``, and of the false accepts ``with_at_5``, ``without_at_5``.
    """
    shipped = {(cell.protocol, cell.list): cell for cell in cells if cell.score == SHIPPED}
    found = []
    for name, beside in WITH_OUTLIERS.items():
        pairs = [
            (cell, shipped[beside, number])
            for (protocol, number), cell in shipped.items()
            if protocol == name and (beside, number) in shipped
        ]
        if pairs:
            means = np.mean([[(one.auroc, one.false_accepts_at_5) for one in pair] for pair in pairs], axis=0)
            found.append(
                {
                    "protocol": name,
                    "beside": beside,
                    "lists": [given.list for given, _ in pairs],
                    "with": float(means[0, 0]),
                    "without": float(means[1, 0]),
                    "with_at_5": float(means[0, 1]),
                    "without_at_5": float(means[1, 1]),
                }
            )
    return found


def _mean(name: str, cells: Sequence[Cell]) -> Mean:
    scores = [cell.auroc for cell in cells]
    return Mean(
        score=name,
        lists=len(cells),
        auroc=float(np.mean(scores)),
        spread=float(np.std(scores)),
        false_accepts_at_5=float(np.mean([cell.false_accepts_at_5 for cell in cells])),
        false_accepts=float(np.mean([cell.false_accepts for cell in cells])),
        false_rejects=float(np.mean([cell.false_rejects for cell in cells])),
        closed_accuracy=float(np.mean([cell.closed_accuracy for cell in cells])),
    )


def _best(means: Sequence[Mean], prefix: str) -> Mean | None:
    named = [mean for mean in means if mean.score.startswith(prefix)]
    return max(named, key=lambda mean: mean.auroc, default=None)
