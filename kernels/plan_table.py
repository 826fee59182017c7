"""The plan table: how many samples a tile has, by device and shape, where a row says better than the rule.

``plan_table.json`` ships beside this file. A row holds for one device and a range of shapes, of one source of
the kernel. Rows measured on a card decide. Rows predicted by the model are there to be read and decide
nothing: the model was up to 1.33 times off (docs/kernel.md), more than plans differ. Where no row decides,
the rule of ``sharing.py`` does. No row changes a verdict's bits. ``python -m edgeosr.bench.plan_table`` makes
rows; ``src/plan_table.inc``, which it makes too, holds those that decide for C++.
"""

import functools
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.packing import PackedScorer
from edgeosr.kernels.sharing import (
    CLASS_WARPS,
    KEPT_CLASSES,
    LARGEST_BATCH,
    MOST_MULTIPROCESSORS,
    MOST_SLABS,
    TILE_FULL,
    TILE_HALF,
    Tiling,
)
from edgeosr.printed import brief
from edgeosr.scoring.limits import KERNEL_LIMITS

FILE = Path(__file__).with_name("plan_table.json")
VERSION = 1
PREDICTED = "predicted by the model"
MEASURED = "measured on "  # and the device's name
RULE = "rule"
MAKE = "python -m edgeosr.bench.plan_table"
WEIGHTS = ("fp16", "fp32")
# What the kernel can take: least and most.
RANGES = {
    "dimension": (1, KERNEL_LIMITS.dimension),
    "positions": (0, KERNEL_LIMITS.positions),
    "batch": (1, LARGEST_BATCH),
}
_MOST = {"multiprocessors": MOST_MULTIPROCESSORS, "slabs": MOST_SLABS}
_ARCHITECTURE = re.compile(r"sm_[1-9][0-9]{1,2}")  # an int of C++
_LONGEST = 120  # characters of an origin


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """What one device does best with a range of shapes.

    Attributes:
        architecture: ``sm_90``.
        multiprocessors: of the device.
        weights: ``fp16`` or ``fp32``.
        dimension: least and largest D.
        positions: least and largest Q; both 0: z and tangents.
        batch: least and largest B.
        slabs: into how many D is cut; a scorer that is cut otherwise has no row here.
        samples: of a tile, a power of two.
        class_warps: that classes and parts have for themselves, 0 or 4; in clusters nothing follows from it.
        origin: ``measured on NAME``, or ``predicted by the model``; ASCII, for it becomes a string of C++.
        us: microseconds of the launch that the row was made from, with this plan.
        rule_us: with the rule's plan.
    """

    architecture: str
    multiprocessors: int
    weights: str
    dimension: tuple[int, int]
    positions: tuple[int, int]
    batch: tuple[int, int]
    slabs: int
    samples: int
    class_warps: int
    origin: str
    us: float
    rule_us: float

    def __post_init__(self) -> None:
        if not _ARCHITECTURE.fullmatch(self.architecture):
            raise ValueError(f"architecture must be as sm_90; got {self.architecture!r}")
        for name, (first, last) in RANGES.items():
            least, most = getattr(self, name)
            if not first <= least <= most <= last:
                raise ValueError(
                    f"{name} must be a range of whole numbers, [least, most], from {first} to {last}; got "
                    f"{least}, {most}"
                )
        allowed = {
            "weights": WEIGHTS,
            "samples": (1, 2, 4, 8),
            "class_warps": (0, CLASS_WARPS),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                words = ", ".join(map(str, values))
                raise ValueError(f"{name} must be one of {words}; got {getattr(self, name)!r}")
        for name, last in _MOST.items():
            if not 1 <= getattr(self, name) <= last:
                raise ValueError(f"{name} must be from 1 to {last}; got {getattr(self, name)}")
        plain = self.origin.isascii() and self.origin.isprintable()
        if not (self.decides or self.origin == PREDICTED) or not plain:
            raise ValueError(
                f"origin must be {PREDICTED!r} or {MEASURED!r} and a name in ASCII; got {self.origin!r}"
            )
        # Compared, not converted: a whole number of JSON may be larger than any float.
        if not all(0 < us <= sys.float_info.max for us in (self.us, self.rule_us)):
            raise ValueError("us and rule_us must be microseconds above 0")

    @property
    def decides(self) -> bool:
        """Whether it was measured."""
        return self.origin.startswith(MEASURED) and len(MEASURED) < len(self.origin) <= _LONGEST

    def holds_for(self, launch: "Asked") -> bool:
        """Return whether the row is of the launch's device and shape."""
        return (
            self.multiprocessors == launch.multiprocessors
            and self.architecture == launch.architecture
            and self.weights == WEIGHTS[not launch.packed.half]
            and self.dimension[0] <= launch.packed.dimension <= self.dimension[1]
            and self.positions[0] <= launch.positions <= self.positions[1]
            and self.batch[0] <= launch.batch <= self.batch[1]
            and self.slabs == launch.slabs
        )

    def fits(self, launch: "Asked") -> bool:
        """Return whether the kernel can take the row's plan for this scorer and batch."""
        half = launch.packed.half
        few = half and launch.packed.classes <= KEPT_CLASSES
        most = TILE_HALF if half else TILE_FULL
        return self.samples <= most and self.samples < 2 * launch.batch and (few or not self.class_warps)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A launch whose plan is looked up; ``positions`` is 0 for z and tangents."""

    packed: PackedScorer
    architecture: str
    multiprocessors: int
    positions: int
    batch: int
    slabs: int


@dataclass(frozen=True)
class PlanTable:
    """The rows that may be used, and why there are none.

    Attributes:
        rows: in the order they are looked through; the first that holds is taken.
        source: digest of the kernel's source that they were made for.
        refused: why no row may be used; empty: they may.
        tried: what every launch gets, whatever the rows say; for measuring it.
    """

    rows: tuple[PlanRow, ...] = ()
    source: str = ""
    refused: str = ""
    tried: Tiling | None = None

    def choice(self, launch: Asked) -> Tiling:
        """Return what the table says of a launch: no samples: the rule does; and why."""
        if self.tried is not None:
            return self.tried
        if not launch.architecture or not launch.multiprocessors:
            return Tiling(origin=RULE, why="the device's architecture or multiprocessors are not known")
        if self.refused:
            return Tiling(origin=RULE, why=self.refused)
        where = f"{launch.architecture} with {launch.multiprocessors} multiprocessors"
        held = [row for row in self.rows if row.holds_for(launch)]
        row = next((row for row in held if row.decides), None)
        if row is None:
            why = f"the plan table has no row of this shape on {where}"
            if held:
                why = (
                    f"the plan table only predicts tiles of {held[0].samples} here, and what is predicted "
                    "decides nothing"
                )
            return Tiling(origin=RULE, why=why)
        if not row.fits(launch):
            return Tiling(origin=RULE, why=f"the plan table's tiles of {row.samples} do not fit this launch")
        return Tiling(
            origin=f"table, {row.origin}",
            why=f"{row.us:g} us there, {row.rule_us:g} with the rule's plan",
            samples=row.samples,
            class_warps=row.class_warps,
        )


def read_plan_table(text: str) -> tuple[str, tuple[PlanRow, ...]]:
    """Return the digest of the source that a table was made for, and its rows.

    Args:
        text: JSON, as ``plan_table_text`` writes it.

    Raises:
        UsageError: it is damaged or of another version.
    """
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError(f"version must be {VERSION}; got {document['version']!r}")
        source = document["source"]
        if not isinstance(source, str):
            raise TypeError(f"source must be a digest; got {source!r}")
        rows = tuple(_row(entry) for entry in document["rows"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"the plan table is damaged ({type(error).__name__}: {error}); make it again: {MAKE}"
        ) from error
    return source, rows


def plan_table_text(source: str, rows: tuple[PlanRow, ...]) -> str:
    """Return a table as it is kept: JSON, a row a line."""
    lines = ",\n".join(f"  {json.dumps(asdict(row))}" for row in rows)
    body = f"[\n{lines}\n ]" if rows else "[]"
    return f'{{\n "version": {VERSION},\n "source": {json.dumps(source)},\n "rows": {body}\n}}\n'


def usable_table(path: Path, digest: str) -> PlanTable:
    """Return the table in ``path``, refused if it is damaged or of another source than ``digest``."""
    try:
        source, rows = read_plan_table(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        return PlanTable(refused=f"the plan table cannot be read ({error})")
    except UsageError as error:
        return PlanTable(refused=str(error))
    if source != digest:
        return PlanTable(
            source=source,
            refused=f"the plan table is of the kernel source {source[:12]}, and this one is {digest[:12]}",
        )
    return PlanTable(rows=rows, source=source)


@functools.cache
def installed_table() -> PlanTable:
    """Return the table that ships with the kernel; read once a process."""
    return usable_table(FILE, device_source().digest)


def inc_text(table: PlanTable) -> str:
    """Return ``src/plan_table.inc``: the rows that decide, for C++."""
    lines = [
        f"// Made from plan_table.json by {MAKE}: the rows that were measured. PlanRow of plan.h.",
        *(
            f"{{{int(row.architecture.removeprefix('sm_'))}, {row.multiprocessors}, "
            f"{int(row.weights == 'fp16')}, {{{row.dimension[0]}, {row.dimension[1]}}}, "
            f"{{{row.positions[0]}, {row.positions[1]}}}, {{{row.batch[0]}, {row.batch[1]}}}, {row.slabs}, "
            f"{row.samples}, {row.class_warps}, {json.dumps(f'table, {row.origin}')}}},"
            for row in table.rows
            if row.decides
        ),
    ]
    return "\n".join(lines) + "\n"


def _row(entry: Mapping[str, Any]) -> PlanRow:
    names = {field.name: field.type for field in fields(PlanRow)}
    if not isinstance(entry, dict) or set(entry) != set(names):
        raise ValueError(f"a row must have {', '.join(names)}; got {brief(entry)}")
    values = dict(entry)
    for name in RANGES:
        least, most = values[name]
        values[name] = (_whole(name, least), _whole(name, most))
    for name in ("multiprocessors", "slabs", "samples", "class_warps"):
        _whole(name, values[name])
    for name in ("architecture", "weights", "origin"):
        if not isinstance(values[name], str):
            raise TypeError(f"{name} must be a string; got {values[name]!r}")
    for name in ("us", "rule_us"):
        if isinstance(values[name], bool) or not isinstance(values[name], (int, float)):
            raise TypeError(f"{name} must be a number; got {values[name]!r}")
    return PlanRow(**values)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    return value
