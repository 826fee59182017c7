"""The product's own commands as a step runs them: each a process, its printed JSON returned."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.child import python_words, run_child
from edgeosr.bench.gpu_rung.step_report import SLOWER, StepReport
from edgeosr.errors import UsageError

LIMIT_S = 40.0


def run_command(
    report: StepReport, options: argparse.Namespace, folder: Path, *words: str
) -> dict[str, Any] | None:
    """Run ``edgeosr WORDS --json``; keep its seconds; return its document, None if it failed.

    Args:
        report: takes ``WORDS[0]_seconds``, and the failure if there is one.
        options: the step's; ``small`` lengthens the limit, for a run without a card may be on a slow machine.
        folder: for what it prints.
        words: the command and its options.
    """
    limit_s = LIMIT_S * (SLOWER if options.small else 1)
    started, log = time.monotonic(), folder / f"{words[0]}.log"
    script = ["-m", "edgeosr.cli.app", *words, "--json"]
    ended = run_child([*python_words(), *script], limit_s=limit_s, log=log)
    report.put(f"{words[0]}_seconds", round(time.monotonic() - started, 1))
    if ended.timed_out or ended.code:
        why = f"was not over in {limit_s:.0f} s" if ended.timed_out else f"ended with exit code {ended.code}"
        report.fail(f"edgeosr {words[0]} {why}: {ended.tail[:1200]}")
        return None
    return document_in(log.read_text("utf-8", errors="replace"))


def document_in(printed: str) -> dict[str, Any]:
    """Return the JSON document among lines of progress.

    Raises:
        UsageError: there is none.
    """
    lines = printed.splitlines()
    for at, line in enumerate(lines):
        if line.startswith("{"):
            try:
                found, _ = json.JSONDecoder().raw_decode("\n".join(lines[at:]))
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    raise UsageError(f"the command must print a JSON document with --json; got {printed[-200:]!r}")
