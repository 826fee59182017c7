"""From a record of the rung to a phase table that the model of time can be held against.

python -m edgeosr.bench.gpu_rung.as_phase_table gpu-NAME.json --commit ABC > kernel_phases_NAME.json
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.counters import CASES
from edgeosr.bench.kernel_counts import row_name
from edgeosr.errors import EdgeosrError, UsageError
from edgeosr.kernels.build.phases import NAMES
from edgeosr.program.run import run_program

ROWS = "us_until_the_end_of_each_phase"


def table_from_record(record: Any, commit: str) -> dict[str, Any]:
    """Return the document of ``edgeosr.bench.phase_table`` that a record of the rung holds.

    Args:
        record: the decoded JSON.
        commit: of the source that ran, for people.

    Raises:
        UsageError: it is no record of a rung, of a dry run, or without a phase table.
    """
    try:
        card, smi = record["machine"]["card"], record["machine"].get("nvidia_smi", {})
        steps = {step["name"]: step["figures"] for step in record["steps"]}
        phases, made_up = steps["phases"], record["made_up"]
        rows = {row["row"]: [float(row["us"][name]) for name in NAMES] for row in phases["rows"]}
        found = {
            "card": card["name"],
            "architecture": card["architecture"],
            "multiprocessors": card["multiprocessors"],
            "clock_ghz": _clock_ghz(phases, card),
            "driver": smi.get("driver_version", card["driver_cuda"]),
            "cuda": card["driver_cuda"],
            "date": record["date"][:10],
            "commit": commit,
            "source": phases["source"],
            "how": phases["how"],
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"the record must be one of the hardware rung with its step phases; got {type(error).__name__}: "
            f"{error}; run: make gpu GPU='--only phases'"
        ) from error
    if made_up:
        raise UsageError(f"a phase table must be measured on a card; this record is {made_up}")
    counted = steps.get("counters", {}).get("rows", [])
    names = {case.name: row_name(case) for case in CASES}
    instructions = {
        names[row["case"]]: int(row["warp_instructions"])
        for row in counted
        if row.get("case") in names and row.get("warp_instructions") is not None
    }
    return {**found, "phases": list(NAMES), ROWS: rows, "warp_instructions": instructions}


def _clock_ghz(phases: Any, card: Any) -> float:
    """Return the median clock while the phases were timed; the driver's where nvidia-smi did not tell it."""
    watched = phases.get("clocks", {}).get("clocks.current.sm")
    mhz = float(watched[1]) if watched else float(card["clock_mhz"])
    return round(mhz / 1000, 3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("record", type=Path, help="gpu-NAME.json")
    parser.add_argument("--commit", required=True, help="of the source that ran")
    options = parser.parse_args(arguments)
    try:
        try:
            record = json.loads(options.record.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{options.record} must be a record of the rung; got {error}") from error
        print(json.dumps(table_from_record(record, options.commit), indent=1))
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    run_program(main)
