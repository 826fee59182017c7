"""A model of the kernel's time that knows latency: counts of its machine code times an architecture's cycles.

A launch takes, until the end of a phase:

    launch + rounds (sum of each wait's count x cycles + slot x instructions of resident blocks / 4) / clock

The counts are those of the longest chain and of the busiest block. Until the tiles' last blocks go on alone,
and in clusters until the end, blocks share multiprocessors: ``rounds`` of as many as are resident, whose
instructions add up. Clusters do not reach every multiprocessor (``cluster_places``). Nothing is faster than
its compulsory bytes (``kernel_model.floor_of``).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeosr.bench.latency_table import (
    FITTED_ON,
    ON_CHIP,
    RESIDENT,
    SCHEDULERS,
    Latencies,
    cluster_places,
)
from edgeosr.bench.phase_table import PhaseTable, require_source
from edgeosr.errors import UsageError
from edgeosr.kernels.counting.counts import LaunchCounts, PhaseCounts
from edgeosr.kernels.counting.operands import Array
from edgeosr.kernels.counting.timeline import NOMINAL, Wait

SHARED_PHASES = 3  # in these every block works; in the later ones the last of each tile, or its cluster


@dataclass(frozen=True)
class Device:
    """Where a launch runs; ``cold``: its weights are not in L2 when it starts."""

    multiprocessors: int
    clock_ghz: float
    cold: bool


@dataclass(frozen=True)
class Prediction:
    """Microseconds, each from the launch's start to the end of each phase; ``total`` is their sum.

    Attributes:
        launch: of the launch itself.
        on_chip: waits inside a multiprocessor, along the longest chain.
        memory: its loads from L2 and DRAM.
        sync: its atomics and fences, and what it waits for other blocks of its cluster.
        issue: turns that the warps of a multiprocessor take from each other.
    """

    launch: float
    on_chip: tuple[float, ...]
    memory: tuple[float, ...]
    sync: tuple[float, ...]
    issue: tuple[float, ...]

    @property
    def total(self) -> tuple[float, ...]:
        """Until the end of each phase."""
        terms = zip(self.on_chip, self.memory, self.sync, self.issue, strict=True)
        return tuple(self.launch + sum(row) for row in terms)


def predicted(counts: LaunchCounts, row: Latencies, device: Device) -> Prediction:
    """Return the model's time of a launch."""
    before, sums, found = PhaseTerms(), np.zeros(4), []
    clock = device.clock_ghz * 1e3
    clustered = any(phase.waits.get(Wait.CLUSTER.name.lower()) for phase in counts.phases)
    places = cluster_places(device.multiprocessors) if clustered else device.multiprocessors
    for number, phase in enumerate(counts.phases):
        terms = terms_of(phase)
        step, before = terms.minus(before), terms
        share = math.ceil(phase.blocks / places)
        together = min(share, RESIDENT) if number < SHARED_PHASES or clustered else 1
        rounds = math.ceil(share / together)
        dram = row.dram_us.value * step.cold if device.cold else 0.0
        sums = sums + rounds * np.array(
            [
                row.on_chip.value * step.on_chip / clock,
                row.l2.value * step.l2 / clock + dram,
                (row.sync.value * step.sync + _of_clusters(row, step)) / clock,
                row.slot.value * step.slots * together / clock,
            ]
        )
        found.append(sums)
    on_chip, memory, sync, issue = (tuple(float(v) for v in column) for column in np.array(found).T)
    return Prediction(row.launch_us.value, on_chip, memory, sync, issue)


@dataclass(frozen=True)
class PhaseTerms:
    """What the model multiplies, from the launch's start: nominal cycles on the chip, and counts."""

    on_chip: float = 0.0
    l2: float = 0.0
    cold: float = 0.0
    sync: float = 0.0
    slots: float = 0.0
    mail: float = 0.0
    cluster: float = 0.0

    def minus(self, other: "PhaseTerms") -> "PhaseTerms":
        """Return what came since ``other``."""
        return PhaseTerms(*(a - b for a, b in zip(self.as_row(), other.as_row(), strict=True)))

    def as_row(self) -> tuple[float, ...]:
        """Return the terms in order."""
        return (self.on_chip, self.l2, self.cold, self.sync, self.slots, self.mail, self.cluster)


def terms_of(phase: PhaseCounts) -> PhaseTerms:
    """Return the terms of the chain until the end of ``phase``."""
    waits = {wait: phase.waits.get(wait.name.lower(), 0) for wait in Wait}
    return PhaseTerms(
        on_chip=sum(NOMINAL[wait] * waits[wait] for wait in ON_CHIP),
        l2=waits[Wait.FAR] + waits[Wait.COLD],
        cold=waits[Wait.COLD],
        sync=waits[Wait.ATOMIC] + waits[Wait.FENCE],
        slots=phase.busiest / SCHEDULERS,
        mail=waits[Wait.MAIL],
        cluster=waits[Wait.CLUSTER],
    )


def _of_clusters(row: Latencies, step: PhaseTerms) -> float:
    if not step.mail and not step.cluster:
        return 0.0
    if row.mail is None or row.cluster is None:
        raise UsageError(
            f"the latency table must have {row.architecture}'s cycles of a cluster's mail and barrier, for "
            "the counts have some; it has none; count a launch without clusters, or add them to "
            "bench/latency_table.py"
        )
    return row.mail.value * step.mail + row.cluster.value * step.cluster


@dataclass(frozen=True)
class Compared:
    """A row of a phase table beside the model; ``fitted``: its constants were fitted on this row too."""

    name: str
    measured: tuple[float, ...]
    predicted: tuple[float, ...]
    fitted: bool

    @property
    def sound(self) -> tuple[bool, ...]:
        """Which measured times can be: a build that stops earlier is not slower than one that goes on."""
        return tuple(us <= min(self.measured[number:]) for number, us in enumerate(self.measured))

    @property
    def error(self) -> float:
        """The worst ratio of the two, over sound times and either way: 1.5 is half more or a third less."""
        pairs = zip(self.measured, self.predicted, self.sound, strict=True)
        return max(max(a / b, b / a) for a, b, sound in pairs if sound)

    @property
    def by_phase(self) -> tuple[float, ...]:
        """Predicted / measured of each phase alone, the launch in the first: here errors do not cancel.

        A time that cannot be is passed over: two phases are one there.
        """
        kept = np.array(self.sound)
        measured = np.diff(np.array(self.measured)[kept], prepend=0.0)
        model = np.diff(np.array(self.predicted)[kept], prepend=0.0)
        return tuple(float(ratio) for ratio in model / measured)


def compared(
    table: PhaseTable, counts: Mapping[str, LaunchCounts], digest: str, row: Latencies
) -> list[Compared]:
    """Hold the model against a table, row by row, in the table's order.

    Of the table that the constants were fitted on every second row is held back; of others all are.

    Raises:
        UsageError: the table is of another source than the counts (``digest``), or a row was not counted.
    """
    require_source(table, digest)
    device = Device(table.multiprocessors, table.clock_ghz, cold=False)
    found = []
    for number, (name, us) in enumerate(table.rows.items()):
        time = predicted(_counted(counts, name), row, device).total
        found.append(Compared(name, us, time, table.commit == FITTED_ON and number % 2 == 0))
    return found


def fit(table: PhaseTable, counts: Mapping[str, LaunchCounts]) -> Array:
    """Fit (launch us, on-chip factor, cycles of L2, of atomics and fences, of a slot) on every second row.

    Least squares of the relative errors. The blocks of these rows do not share multiprocessors.
    """
    rows, targets = [], []
    for name, us in list(table.rows.items())[::2]:
        for phase, value in zip(_counted(counts, name).phases, us, strict=True):
            terms = terms_of(phase)
            cycles = np.array([terms.on_chip, terms.l2, terms.sync, terms.slots])
            rows.append([1 / value, *(cycles / table.clock_ghz / 1e3 / value)])
            targets.append(1.0)
    found: Array = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    return found


def worst(rows: Sequence[Compared], *, fitted: bool) -> float:
    """Return the worst error of one half; 1 if it has no row."""
    return max((row.error for row in rows if row.fitted == fitted), default=1.0)


def range_by_phase(rows: Sequence[Compared], *, fitted: bool) -> tuple[float, float]:
    """Return the least and the largest ratio of one phase alone, of one half."""
    ratios = [ratio for row in rows if row.fitted == fitted for ratio in row.by_phase]
    return min(ratios), max(ratios)


def _counted(counts: Mapping[str, LaunchCounts], name: str) -> LaunchCounts:
    if name not in counts:
        raise UsageError(
            f"the counts must have the row {name!r} of the phase table; they have {', '.join(counts)}; add "
            "the launch to CASES of bench/kernel_counts.py and count it"
        )
    return counts[name]
