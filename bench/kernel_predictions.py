"""What the model of time says of the workloads on each module, and how far it was off on a card."""

from dataclasses import asdict
from typing import Any

from edgeosr.bench.jetson import MODULES, Module
from edgeosr.bench.kernel_counts import counts_of_source, row_name
from edgeosr.bench.kernel_latency import (
    Compared,
    Device,
    Prediction,
    compared,
    predicted,
    range_by_phase,
    worst,
)
from edgeosr.bench.kernel_model import Workload
from edgeosr.bench.latency_table import TABLE, latencies_of
from edgeosr.bench.phase_table import PhaseTable, measured_tables
from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.counting.counts import LaunchCounts
from edgeosr.kernels.counting.phases import PHASES
from edgeosr.kernels.selftest.cases import SelftestCase

MOST = 1.5  # the error on held-back rows above which the model is called wrong


def case_of(workload: Workload) -> SelftestCase:
    """Return the launch whose machine code was counted for a workload."""
    size = round(workload.positions**0.5)
    return SelftestCase(
        dimension=workload.dimension,
        batch=workload.batch,
        size=size,
        probes=workload.probes,
        half_weights=workload.half,
    )


def counts_for(workload: Workload, architecture: str, multiprocessors: int) -> LaunchCounts:
    """Return the counts of the present source's machine code.

    Raises:
        UsageError: this source, device or launch was not counted.
    """
    rows = counts_of_source(device_source().digest, architecture, multiprocessors)
    name = row_name(case_of(workload))
    if name not in rows:
        raise UsageError(
            f"the counts must have the launch {name!r}; they have {', '.join(rows)}; add it to "
            "MODEL_CASES of bench/kernel_counts.py and count it"
        )
    return rows[name]


def prediction(workload: Workload, module: Module) -> Prediction:
    """Return the model's time of a workload on a module, its weights not in L2 when it starts.

    Raises:
        UsageError: the latency table lacks the module's architecture, or the launch was not counted.
    """
    row = latencies_of(module.architecture)
    many = int(module.multiprocessors.value)
    device = Device(many, module.clock_ghz.value, cold=True)
    return predicted(counts_for(workload, row.architecture, many), row, device)


def held_against() -> list[tuple[PhaseTable, list[Compared]]]:
    """Return each measured table with the model beside it."""
    found = []
    for table in measured_tables():
        counts = counts_of_source(table.counts, table.architecture, table.multiprocessors)
        found.append((table, compared(table, counts, table.source, latencies_of(table.architecture))))
    return found


def held_lines() -> list[str]:
    """Return the tables for a terminal: measured / predicted until the end of each phase."""
    lines: list[str] = []
    for table, rows in held_against():
        held = worst(rows, fitted=False)
        how = f"Fitted on every second row: off by at most x {worst(rows, fitted=True):.2f}; held back"
        if not any(row.fitted for row in rows):
            how = "Fitted on none of these rows; all held back"
        lines += [
            f"the model beside {table.card} (driver {table.driver}, {table.date}, commit {table.commit}): "
            "microseconds until the end of",
            f"each phase, measured / predicted. {how}: x {held:.2f}"
            + (f", more than x {MOST:g}: do not trust a prediction" if held > MOST else ""),
            "There errors of phases cancel. Predicted / measured of one phase alone, held back: x {:.2f} to "
            "{:.2f}.".format(*range_by_phase(rows, fitted=False)),
            f"  {'':34s} {'':5s}" + "".join(f" {name.split(',')[0]:>14s}" for name in PHASES),
        ]
        for row in rows:
            times = zip(row.measured, row.predicted, row.sound, strict=True)
            cells = (f"{us:.1f}{'' if sound else '?'} / {model:.1f}" for us, model, sound in times)
            words = "".join(f" {cell:>14s}" for cell in cells)
            lines.append(f"  {row.name:34s} {'fit' if row.fitted else 'held':5s}{words}")
        if not all(all(row.sound) for row in rows):
            lines.append("  ?: longer than a later phase's end; it cannot be, and is compared with nothing")
    return lines


def latency_lines() -> list[str]:
    """Return the latency table for a terminal."""
    lines = [
        "cycles by architecture: [f] fitted on the card, [H] the H200's fit, carried over, "
        "[p] published, [a] assumed,",
        "[m] measured on the H200 in a micro-benchmark, [M] the same, carried over",
    ]
    for row in TABLE:
        values = {
            "launch us": row.launch_us,
            "x nominal cycles on chip": row.on_chip,
            "L2": row.l2,
            "us DRAM beyond L2": row.dram_us,
            "atomic, fence": row.sync,
            "issue slot": row.slot,
            "mail of a cluster": row.mail,
            "its barrier": row.cluster,
        }
        words = ", ".join(
            f"{value.value:g} {name} [{value.source[0]}]"
            for name, value in values.items()
            if value is not None
        )
        lines.append(f"  {row.architecture}: {words}")
    error, (least, most) = held_back_error()
    return [
        *lines,
        "On a module a prediction is off by at least what it is on the card's rows that were held back:",
        f"x {error:.2f} until the end of a phase, and x {least:.2f} to {most:.2f} of one phase alone",
    ]


def held_back_error() -> tuple[float, tuple[float, float]]:
    """Return how far the model was off on cards: until the end of a phase at worst, and by phase alone."""
    tables = [rows for _, rows in held_against()]
    ranges = [range_by_phase(rows, fitted=False) for rows in tables]
    return (
        max(worst(rows, fitted=False) for rows in tables),
        (min(least for least, _ in ranges), max(most for _, most in ranges)),
    )


def prediction_lines(workload: Workload, floors_us: dict[str, float]) -> list[str]:
    """Return the predicted times of a workload, floors by bytes beside them."""
    lines = [
        f"  {'predicted us':20s} {'floor':>8s} {'time':>8s}   = {'launch':>7s} {'on chip':>8s} "
        f"{'memory':>8s} {'sync':>6s} {'issue':>7s}"
    ]
    for module in MODULES:
        if module.name not in floors_us:
            continue
        try:
            found = prediction(workload, module)
        except UsageError as error:
            if (line := f"  no prediction: {error}") != lines[-1]:
                lines.append(line)
            continue
        parts = (found.on_chip[-1], found.memory[-1], found.sync[-1], found.issue[-1])
        lines.append(
            f"  {module.name:20s} {floors_us[module.name]:8.1f} {found.total[-1]:8.1f}   "
            f"= {found.launch:7.1f} " + "{:8.1f} {:8.1f} {:6.1f} {:7.1f}".format(*parts)
        )
    return lines


def latency_record() -> dict[str, Any]:
    """Return the latency table for JSON, each entry with its source, and the least error of a prediction."""
    error, by_phase = held_back_error()
    return {
        "least_error": error,
        "least_error_of_one_phase_alone": list(by_phase),
        "architectures": [asdict(row) for row in TABLE],
    }


def prediction_record(workload: Workload) -> dict[str, Any] | None:
    """Return the predictions for JSON, None if the launch was not counted."""
    found = {}
    for module in MODULES:
        if module.tensor_flop_per_clock.value or not workload.half:
            try:
                one = prediction(workload, module)
            except UsageError:
                return None
            found[module.name] = {**asdict(one), "total": one.total}
    return found


def held_record() -> list[dict[str, Any]]:
    """Return the comparison with cards for JSON."""
    return [
        {
            "card": table.card,
            "driver": table.driver,
            "date": table.date,
            "commit": table.commit,
            "phases": list(PHASES),
            "fitted_off_by_at_most": worst(rows, fitted=True) if any(row.fitted for row in rows) else None,
            "held_back_off_by_at_most": worst(rows, fitted=False),
            "held_back_of_one_phase_alone": list(range_by_phase(rows, fitted=False)),
            "rows": [asdict(row) for row in rows],
        }
        for table, rows in held_against()
    ]
