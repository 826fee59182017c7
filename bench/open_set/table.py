"""The tables in Markdown, as docs/results.md holds them: behind every figure stands its place in the JSON."""

from collections.abc import Sequence
from typing import Any

from edgeosr.bench.open_set.rivals import PREFIX

COLUMNS = ("protocol", "lists", "equal weights", "AUROC, shipped", "best part", "bound",
           "best of pytorch-ood", "lists below it")  # fmt: skip
RATES = ("protocol", "false accepts at 5 % false rejects", "the same, pytorch-ood's best by AUROC",
         "the same, the fewest of pytorch-ood", "at the shipped threshold", "false rejects there",
         "closed accuracy")  # fmt: skip


def tables(document: dict[str, Any], tag: str = "") -> str:
    """Return both tables of a document as ``__main__.py`` writes it.

    Args:
        document: ``rows`` and ``means`` are read.
        tag: the page's short name of the JSON file, for tags that tests follow; empty for none.
    """
    rows = document["rows"]
    first = [COLUMNS, *(_aurocs(row, f"rows/{place}", tag) for place, row in enumerate(rows))]
    second = [RATES, *(_rates(row, f"rows/{place}", tag) for place, row in enumerate(rows))]
    return "\n".join([_table(first), "", _table(second)])


def every_score(document: dict[str, Any], protocol: str) -> str:
    """Return the means of all scores of a protocol, the best first, as plain text for a terminal."""
    means = sorted(document["means"][protocol], key=lambda mean: -mean["auroc"])
    width = max(len(mean["score"]) for mean in means) + 2
    head = f"{protocol:<{width}}{'AUROC':>8}{'spread':>8}{'FA at 5 % FR':>14}"
    head += f"{'false accepts':>15}{'false rejects':>15}{'lists':>7}"
    return "\n".join(
        [head]
        + [
            f"{mean['score']:<{width}}{mean['auroc']:>8.3f}{mean['spread']:>8.3f}"
            f"{mean['false_accepts_at_5']:>14.1%}{mean['false_accepts']:>15.1%}{mean['false_rejects']:>15.1%}{mean['lists']:>7}"
            for mean in means
        ]
    )


def _aurocs(row: dict[str, Any], place: str, tag: str) -> list[str]:
    def cell(key: str, *, named: bool) -> str:
        mean = row[key]
        if mean is None:
            return ""
        figure = _figure(mean["auroc"], 3, f"{place}/{key}/auroc", tag)
        name = f"{short_name(mean['score'])} " if named else ""
        if mean["lists"] == 1:  # no spread
            return name + figure
        return f"{name}{figure} +- {_figure(mean['spread'], 3, f'{place}/{key}/spread', tag)}"

    return [
        row["protocol"],
        _figure(row["lists"], 0, f"{place}/lists", tag),
        _figure(row["equal_weights"], 0, f"{place}/equal_weights", tag),
        cell("shipped", named=False),
        cell("part", named=True),
        cell("bound", named=False),
        cell("rival", named=True),
        "" if row["rival"] is None else _figure(row["below_rival"], 0, f"{place}/below_rival", tag),
    ]


def _rates(row: dict[str, Any], place: str, tag: str) -> list[str]:
    def cell(key: str, field: str) -> str:
        mean = row[key]
        if mean is None:
            return ""
        name = f"{short_name(mean['score'])} " if key == "rival_at_5" else ""
        return name + _percent(mean[field], f"{place}/{key}/{field}", tag)

    return [
        row["protocol"],
        cell("shipped", "false_accepts_at_5"),
        cell("rival", "false_accepts_at_5"),
        cell("rival_at_5", "false_accepts_at_5"),
        cell("shipped", "false_accepts"),
        cell("shipped", "false_rejects"),
        cell("shipped", "closed_accuracy"),
    ]


def short_name(score: str) -> str:
    """Return a score's name without what says whose it is."""
    return score.removeprefix(PREFIX).removeprefix("part:")


def _figure(value: float, digits: int, place: str, tag: str) -> str:
    return f"{value:.{digits}f}" + (f"<!--{tag}:{place}-->" if tag else "")


def _percent(value: float, place: str, tag: str) -> str:
    return f"{100 * value:.1f}" + (f"<!--{tag}:{place}*100-->" if tag else "") + " %"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
