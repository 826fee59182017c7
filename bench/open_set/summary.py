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

    ``part`` and ``rival`` are the part and the pytorch-ood score with the highest mean AUROC, ``rival_at_5``
    the pytorch-ood score with the fewest false accepts at 5 % false rejects, chosen on the test images
    themselves; None if pytorch-ood was left out. On ``below_rival`` of the lists shipped has a lower AUROC
    than ``rival``; on ``equal_weights`` of them its parts weigh the same.
    """

    protocol: str
    lists: int
    shipped: Mean
    part: Mean
    bound: Mean
    rival: Mean | None
    rival_at_5: Mean | None
    below_rival: int
    equal_weights: int

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


def rows_of(means: dict[str, list[Mean]], cells: Sequence[Cell]) -> list[Row]:
    """Return the rows of the table; scores that some list lacks are no candidates for the best one.

    Args:
        means: of ``cells``.
        cells: of all lists.
    """
    every = {(cell.protocol, cell.score, cell.list): cell for cell in cells}
    rows = []
    for protocol, scores in means.items():
        named = {mean.score: mean for mean in scores}
        shipped = named[SHIPPED]
        whole = [mean for mean in scores if mean.lists == shipped.lists]
        rival = _best(whole, PREFIX)
        own = [cell for cell in cells if (cell.protocol, cell.score) == (protocol, SHIPPED)]
        against = [] if rival is None else [every[protocol, rival.score, cell.list] for cell in own]
        rows.append(
            Row(
                protocol=protocol,
                lists=shipped.lists,
                shipped=shipped,
                part=_best(whole, PART) or shipped,
                bound=named[BOUND],
                rival=rival,
                rival_at_5=min(
                    (mean for mean in whole if mean.score.startswith(PREFIX)),
                    key=lambda mean: mean.false_accepts_at_5,
                    default=None,
                ),
                below_rival=sum(
                    mine.auroc < theirs.auroc for mine, theirs in zip(own, against or own, strict=True)
                ),
                equal_weights=sum(_weighs_equally(cell.note) for cell in own),
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


def _weighs_equally(note: str) -> bool:
    """Tell whether a note such as ``"bank 0.50, max_logit 0.50 (why)"`` has one weight for several parts."""
    weights = [one.rpartition(" ")[2] for one in note.partition(" (")[0].split(", ")]
    return len(weights) > 1 and len(set(weights)) == 1


def _best(means: Sequence[Mean], prefix: str) -> Mean | None:
    named = [mean for mean in means if mean.score.startswith(prefix)]
    return max(named, key=lambda mean: mean.auroc, default=None)
