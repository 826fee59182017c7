"""compute-sanitizer's four tools over the small cases, each under a limit of its own."""

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.child import Ended, python_words, run_child
from edgeosr.bench.gpu_rung.step_report import SLOWER, NotRunHereError, StepReport, step_main
from edgeosr.bench.gpu_rung.tools import CRASHED, find_tool, forbidden

# Most valuable first, seconds each. Together they get ALL_S: less than the rung's limit for the step, so that
# a slow tool is one that was not run and no step that failed.
ALL_S = 70.0
LIMITS = {"racecheck": 40.0, "memcheck": 25.0, "synccheck": 20.0, "initcheck": 20.0}
CASES = "edgeosr.bench.gpu_rung.small_cases"
_SAID = re.compile(r"^========= (?!\s*Host Frame|\s*Saved host|\s*$).*")
_MOST_SAID, _LONGEST = 40, 5000  # lines, letters
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:errors?|hazards?)")


def sanitize(report: StepReport, options: argparse.Namespace) -> None:
    """Run the tools.

    Raises:
        NotRunHereError: compute-sanitizer is missing, or this machine lets none of its tools work.
    """
    program = find_tool("compute-sanitizer")
    found: dict[str, dict[str, Any]] = {}
    slower, began = SLOWER if options.small else 1, time.monotonic()
    for tool, limit in LIMITS.items():
        started = time.monotonic()
        left = slower * ALL_S - (started - began)
        if left < 3:
            found[tool] = {"not_run": f"the tools' {slower * ALL_S:.0f} seconds are over"}
        else:
            found[tool] = judged(_run(program, tool, min(slower * limit, left), options.small))
            found[tool]["seconds"] = round(time.monotonic() - started, 1)
        report.put("tools", found)
        if found[tool].get("failed"):
            report.fail(f"{tool}: {found[tool]['failed']}")
    if all("not_run" in one for one in found.values()):
        raise NotRunHereError(next(str(one["not_run"]) for one in found.values()))


def judged(ended: Ended) -> dict[str, Any]:
    """Return what a tool found: ``errors``, and ``failed`` if there are any; or why it was ``not_run``."""
    summary = _SUMMARY.search(ended.tail)
    reason = forbidden(ended.tail)
    if summary is None and CRASHED in ended.tail:
        return {"failed": f"the process under it crashed, exit code {ended.code}: {ended.tail[:_LONGEST]}"}
    if summary is None and reason:
        return {"not_run": reason}
    if ended.timed_out:
        return {"not_run": f"not over in its {ended.seconds:.0f} seconds"}
    if summary is None:
        return {"failed": f"no summary; exit code {ended.code}: {ended.tail[:_LONGEST]}"}
    errors = int(summary[1])
    if errors or ended.code:
        return {
            "errors": errors,
            "failed": f"{errors} errors, exit code {ended.code}: {ended.tail[:_LONGEST]}",
        }
    return {"errors": 0}


def _run(program: str, tool: str, limit_s: float, small: bool) -> Ended:
    with tempfile.TemporaryDirectory() as scratch:
        log, kept = Path(scratch) / "log", Path(scratch) / "kept.json"
        words = [*python_words(), "-m", CASES, "--report", str(kept), *(["--small"] if small else [])]
        ended = run_child(
            [program, "--tool", tool, "--error-exitcode", "9", *words], limit_s=limit_s, log=log
        )
        first = [*said(log.read_text("utf-8", "replace")), *failures_in(kept)]
    return replace(ended, tail="\n".join([*first, ended.tail]))


def said(printed: str) -> list[str]:
    """Return the first lines that the tool printed of what it found, without stacks of the host."""
    return [line for line in printed.splitlines() if _SAID.match(line)][:_MOST_SAID]


def failures_in(kept: Path) -> list[str]:
    """Return which cases failed by the report that the process kept; none if it has kept none."""
    if not kept.is_file():
        return []
    found: list[str] = json.loads(kept.read_text("utf-8"))["failures"]
    return found


if __name__ == "__main__":
    sys.exit(step_main("compute-sanitizer over small cases.", sanitize))
