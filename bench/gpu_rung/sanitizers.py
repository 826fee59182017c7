"""compute-sanitizer's four tools over the small cases, and the cases without a tool.

Each case has a process of its own under each tool: one that ends its process takes no other along, and what a
tool says is of one case. Before them each tool is asked whether a launch in clusters is still marked as one.
"""

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
from edgeosr.bench.gpu_rung.small_cases import CASES
from edgeosr.bench.gpu_rung.step_report import SLOWER, NotRunHereError, StepReport, step_main
from edgeosr.bench.gpu_rung.steps import ROOM
from edgeosr.bench.gpu_rung.tools import CRASHED, ENDED_WELL, find_tool, forbidden

# Most valuable first, with options. Together they get ALL_S: less than the rung's limit for the step, so that
# a slow tool is one that was not run and no step that failed.
ALL_S = 120.0
LIMIT_S = 30.0  # of one process
PLAIN = "no tool"
TOOLS: dict[str, tuple[str, ...]] = {
    PLAIN: (),
    "memcheck": (),
    "racecheck": ("--racecheck-report", "all"),
    "initcheck": (),
    "synccheck": (),
}
MARK = "cluster_mark"
_SAID = re.compile(r"^========= (?!\s*Host Frame|\s*Saved host|\s*$).*")
_MOST_SAID, _LONGEST, _LINE = 40, 4000, 300  # lines, letters of all and of a failure of the step
_SUMMARY = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) (?:errors?|hazards?)")


def sanitize(report: StepReport, options: argparse.Namespace) -> None:
    """Run the tools.

    Raises:
        NotRunHereError: compute-sanitizer is missing, or this machine lets none of its tools work.
    """
    program = find_tool("compute-sanitizer")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    slower, began = SLOWER if options.small else 1, time.monotonic()
    cases = CASES[:1] if options.small else CASES
    work = {MARK: [MARK], **{case.name: ["small_cases", "--case", str(at)] for at, case in enumerate(cases)}}
    for tool in TOOLS:
        found[tool] = {}
        for name, words in work.items():
            left = slower * ALL_S - (time.monotonic() - began)
            if left < 3:
                found[tool][name] = {"not_run": f"the tools' {slower * ALL_S:.0f} seconds are over"}
            else:
                found[tool][name] = _judged_run(program, tool, words, min(slower * LIMIT_S, left))
            report.put("tools", found)
            if "failed" in found[tool][name]:
                report.fail(f"{tool}, {name}: {found[tool][name]['failed'][:_LINE]}")
    tools = [one for tool, runs in found.items() if tool != PLAIN for one in runs.values()]
    if all("not_run" in one for one in tools):
        raise NotRunHereError(next(str(one["not_run"]) for one in tools))


def _judged_run(program: str, tool: str, words: list[str], limit_s: float) -> dict[str, Any]:
    ended, kept = _run(program, tool, words, limit_s)
    result = judged_plain(ended) if tool == PLAIN else judged(ended)
    if kept["not_run"] and "failed" not in result:
        result = {"not_run": kept["not_run"]}
    if words[0] == MARK:
        result["marks"] = kept["figures"]
    return {**result, "seconds": round(ended.seconds, 1)}


def judged_plain(ended: Ended) -> dict[str, Any]:
    """Return of a process without a tool what ``judged`` does of one under a tool."""
    if ended.timed_out:
        return {"not_run": f"not over in its {ended.seconds:.0f} seconds"}
    return {"failed": f"exit code {ended.code}: {ended.tail[:_LONGEST]}"} if ended.code else {"errors": 0}


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


def _run(program: str, tool: str, words: list[str], limit_s: float) -> tuple[Ended, dict[str, Any]]:
    """Run one module of the rung under a tool; return how it ended, and what it had kept."""
    with tempfile.TemporaryDirectory() as scratch:
        log, kept = Path(scratch) / "log", Path(scratch) / "kept.json"
        under = [] if tool == PLAIN else [program, "--tool", tool, *TOOLS[tool], "--error-exitcode", "9"]
        module = [*python_words(), "-m", f"{ROOM}.{words[0]}", "--report", str(kept), *words[1:]]
        ended = run_child([*under, *module], limit_s=limit_s, log=log)
        report = kept_in(kept)
        first = [*said(log.read_text("utf-8", "replace")), *report["failures"]]
        if report["figures"] and not report["failures"]:
            first.append(ENDED_WELL)
    return replace(ended, tail="\n".join([*first, ended.tail])), report


def said(printed: str) -> list[str]:
    """Return the first lines that the tool printed of what it found, without stacks of the host."""
    return [line for line in printed.splitlines() if _SAID.match(line)][:_MOST_SAID]


def kept_in(kept: Path) -> dict[str, Any]:
    """Return the report that a process kept; an empty one if it has kept none."""
    if not kept.is_file():
        return {"figures": {}, "failures": [], "not_run": ""}
    found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


if __name__ == "__main__":
    sys.exit(step_main("compute-sanitizer over small cases.", sanitize))
