"""Run the steps one after another; after every one the whole record is written."""

import contextlib
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.child import run_child
from edgeosr.bench.gpu_rung.step_report import SLOWER
from edgeosr.bench.gpu_rung.steps import BUNDLE, MACHINE, PHASES, STEPS, TESTS, Step
from edgeosr.errors import UsageError, require_choice
from edgeosr.files import write_text

SECONDS = 360.0
INTERRUPTED = 130  # exit code
FAILED = ("failed", "out of time")  # outcomes; the others are passed, not run and cut short
# A folder of one machine has no place in a record that is committed.
_FOLDERS = re.compile(r"(?<![\w.:/])/(?:[^\s/'\":,;()]+/)+")


@dataclass(frozen=True, kw_only=True)
class RungSettings:
    """What to run, and where.

    Attributes:
        out: the record, JSON.
        folder: holds ``phases/``, ``tests/gpu/`` and ``bundles/``, as the archive does.
        seconds: of all steps together; what does not begin in time is listed as not run.
        only: names of steps; empty: all.
        python: the words that start a Python; without a card it is one whose card is made of doubles.
        small: small cases, for a run without a card.
        say: takes a line for the user.
    """

    out: Path
    folder: Path
    seconds: float = SECONDS
    only: tuple[str, ...] = ()
    python: tuple[str, ...] = (sys.executable,)
    small: bool = False
    say: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        for name in self.only:
            require_choice("--only", name, (step.name for step in STEPS))
        if not self.seconds > 0:
            raise UsageError(f"--seconds must be above 0; got {self.seconds!r}; try {SECONDS:.0f}")


def run_rung(settings: RungSettings, steps: Sequence[Step] = STEPS) -> int:
    """Run it; return 0 if every gating step passed, 1 if not, 130 if it was interrupted.

    A machine that cannot take the rung ends it with the exit code of what is wrong.

    Raises:
        StorageError: the record cannot be written.
    """
    record: dict[str, Any] = {
        "kind": "gpu-rung",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_up": "a dry run: the card and every time are made of doubles" if settings.small else "",
        "machine": {},
        "seconds": 0.0,
        "steps": [],
        "not_run": {step.name: "not begun" for step in steps},
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, _ended_by_sigterm():
        work = Path(scratch)
        try:
            slower = SLOWER if settings.small else 1
            found = _run_step(MACHINE, settings, slower * MACHINE.limit_s, work)
            record["machine"] = found["figures"]
            if found["outcome"] != "passed":
                return _refused(settings, record, found)
            for step in steps:
                if settings.only and step.name not in settings.only:
                    record["not_run"][step.name] = "not asked for"
                    continue
                left = settings.seconds - (time.monotonic() - started)
                if left < 5:
                    record["not_run"][step.name] = f"the {settings.seconds:.0f} seconds are over"
                    continue
                record["running"] = step.name
                found = _run_step(step, settings, min(slower * step.limit_s, left), work)
                _keep(record, step, found, time.monotonic() - started)
                _write(settings, record)
                settings.say(_line(found))
        except KeyboardInterrupt:
            name = record.pop("running", MACHINE.name)
            _keep_interrupted(record, name, work, time.monotonic() - started)
            _write(settings, record)
            settings.say(f"interrupted in {name}; what was measured is in {settings.out}")
            return INTERRUPTED
    _write(settings, record)
    failed = any(found["gates"] and found["outcome"] in FAILED for found in record["steps"])
    settings.say(f"{len(record['steps'])} steps in {record['seconds']:.0f} s; {settings.out}")
    return 1 if failed else 0


def _run_step(step: Step, settings: RungSettings, limit_s: float, work: Path) -> dict[str, Any]:
    places = {PHASES: "phases", TESTS: "tests/gpu", BUNDLE: "bundles/small.edgeosr"}
    words = [str(settings.folder / places[word]) if word in places else word for word in step.arguments]
    report = work / f"{step.name}.json"
    small = ["--small"] if settings.small else []
    command = ["-m", step.module, "--report", str(report), *small, *words]
    try:
        ended = run_child([*settings.python, *command], limit_s=limit_s, log=work / f"{step.name}.log")
    except OSError as error:
        raise UsageError(f"cannot start {settings.python[0]}: {error.strerror}; name a Python") from error
    found = _kept(report)
    outcome = "passed"
    if ended.timed_out:
        # The step's own limit, or what was left of the rung's time: the latter is no fault of it.
        own = step.limit_s * (SLOWER if settings.small else 1)
        outcome = "out of time" if limit_s >= own else "cut short"
    elif ended.code:
        outcome = "failed"
    elif found["not_run"]:
        outcome = "not run"
    return {
        "name": step.name,
        "what": step.what,
        "gates": step.gates,
        "command": without_folders(" ".join(["python", *command])),
        "limit_s": round(limit_s, 1),
        "seconds": round(ended.seconds, 1),
        "processor_seconds": round(ended.processor_seconds, 1),
        "outcome": outcome,
        **found,
        "printed": "" if outcome == "passed" else without_folders(ended.tail),
        "code": ended.code,
    }


def _kept(report: Path) -> dict[str, Any]:
    """Return what a step kept, of one that was killed too; nothing if it never got so far."""
    try:
        text = without_folders(report.read_text("utf-8"))
        found: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return {"figures": {}, "failures": [], "not_run": ""}
    return found


def _keep(record: dict[str, Any], step: Step, found: dict[str, Any], seconds: float) -> None:
    record.pop("running", None)
    record["not_run"].pop(step.name, None)
    record["steps"].append({name: value for name, value in found.items() if name != "code"})
    if found["not_run"]:
        record["not_run"][step.name] = found["not_run"]
    record["seconds"] = round(seconds, 1)


def _keep_interrupted(record: dict[str, Any], name: str, work: Path, seconds: float) -> None:
    found = {"name": name, "outcome": "interrupted", "gates": True, **_kept(work / f"{name}.json")}
    record["steps"].append(found)
    record["not_run"].pop(name, None)
    record["seconds"] = round(seconds, 1)


def _refused(settings: RungSettings, record: dict[str, Any], found: dict[str, Any]) -> int:
    reason = "; ".join(found["failures"]) or found["printed"] or found["outcome"]
    record["not_run"] = {name: reason for name in record["not_run"]}
    _write(settings, record)
    settings.say(f"error: {reason}")
    return int(found["code"]) if found["code"] > 0 else 1


def _line(found: dict[str, Any]) -> str:
    why = "; ".join(found["failures"][:2]) or found["not_run"]
    return f"{found['name']:<11} {found['outcome']:<11} {found['seconds']:6.1f} s" + (
        f"  {why}" if why else ""
    )


def _write(settings: RungSettings, record: dict[str, Any]) -> None:
    write_text(settings.out, json.dumps(record, indent=1) + "\n")


def without_folders(text: str) -> str:
    """Return ``text`` with ``.../`` for the folder of every absolute path."""
    return _FOLDERS.sub(".../", text)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C: what was measured is written before the process ends."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
