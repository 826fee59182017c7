"""One promised figure: its target, what was measured, and under which conditions."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure with its target.

    Attributes:
        name: what it is.
        target: in words, with its unit.
        measured: in words, with its unit; or why it could not be measured.
        reached: None if it could not be measured here.
        conditions: threads, clock, number of samples and the like.
        detail: numbers for machines.
    """

    name: str
    target: str
    measured: str
    reached: bool | None
    conditions: str
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """``reached``, ``missed`` or ``not measured``."""
        return "not measured" if self.reached is None else "reached" if self.reached else "missed"

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "name": self.name,
            "target": self.target,
            "measured": self.measured,
            "verdict": self.verdict,
            "conditions": self.conditions,
            "detail": self.detail,
        }


def not_measured(name: str, target: str, reason: str) -> Figure:
    """Return a figure that could not be taken here."""
    return Figure(name=name, target=target, measured="-", reached=None, conditions=reason)


def table_from_figures(figures: Sequence[Figure]) -> str:
    """Return lines for a terminal, ``WIDTH`` columns wide; each figure's conditions stand under it."""
    lines = [_cells("figure", "target", "measured", "verdict"), "-" * WIDTH]
    for figure in figures:
        lines.append(_cells(figure.name, figure.target, figure.measured, figure.verdict))
        lines += textwrap.wrap(figure.conditions, WIDTH, initial_indent="    ", subsequent_indent="    ")
    counts = [sum(figure.verdict == verdict for figure in figures) for verdict in _VERDICTS]
    lines.append("-" * WIDTH)
    lines.append(", ".join(f"{count} {verdict}" for count, verdict in zip(counts, _VERDICTS, strict=True)))
    return "\n".join(line.rstrip() for line in lines) + "\n"


_VERDICTS = ("reached", "missed", "not measured")


def _cells(name: str, target: str, measured: str, verdict: str) -> str:
    return f"{name:<45}{target:<22}{measured:<19}{verdict:>14}"
