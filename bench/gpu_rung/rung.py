"""Run the steps one after another; before and after every one the whole record is written.

What a step keeps lies beside the record while the rung runs, in ``RECORD.steps``: where even the rung is
killed, the record says which step was ``running``, and its figures are there.
"""

import contextlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.child import OUTER_GRACE_S, ended_by, ended_by_signals, run_child
from edgeosr.bench.gpu_rung.step_report import SLOWER
from edgeosr.bench.gpu_rung.steps import BUNDLE, MACHINE, PHASES, STEPS, TESTS, Step
from edgeosr.errors import UsageError, require_choice
from edgeosr.files import storage_errors, write_text

KIND = "gpu-rung"
SECONDS = 360.0
LEAST_S = 5.0  # in less a step does not get to its first figure
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
        UsageError: something else than a record of the rung lies where it goes.
        StorageError: the record cannot be written.
    """
    record: dict[str, Any] = {
        "kind": KIND,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "made_up": "a dry run: the card and every time are made of doubles" if settings.small else "",
        "machine": {},
        "seconds": 0.0,
        "steps": [],
        "not_run": {step.name: "not begun" for step in steps},
    }
    started = time.monotonic()
    kept = make_place(settings.out)
    if kept is not None:
        _say(settings, f"the record of an earlier rung is now {kept}")
    work = settings.out.with_name(f"{settings.out.name}.steps")
    with ended_by_signals():
        try:
            _write(settings, record)  # before the first second is spent: it may not be writable
            _empty(work)
            code = _run_steps(settings, record, steps, started, work)
        except KeyboardInterrupt:
            name = record.pop("running", None)
            if name is not None:
                _keep_interrupted(record, name, work, time.monotonic() - started)
            code = INTERRUPTED
            where = f" in {name}" if name else ""
            _say(settings, f"interrupted{where}; what was measured is in {settings.out}")
        _write(settings, record)
        shutil.rmtree(work, ignore_errors=True)
    return code


def _run_steps(
    settings: RungSettings, record: dict[str, Any], steps: Sequence[Step], started: float, work: Path
) -> int:
    slower = SLOWER if settings.small else 1
    record["running"] = MACHINE.name
    _write(settings, record)
    found = _run_step(MACHINE, settings, slower * MACHINE.limit_s, work)
    record.pop("running")
    record["machine"] = found["figures"]
    if found["outcome"] != "passed":
        if not _may_go_on(found):
            return _refused(settings, record, found)
        record["machine"]["trouble"] = f"{found['outcome']}: {found['printed']}"
    _say(settings, machine_line(found["figures"]))
    for step in steps:
        if settings.only and step.name not in settings.only:
            record["not_run"][step.name] = "not asked for"
            continue
        left = settings.seconds - (time.monotonic() - started)
        if left < LEAST_S:
            record["not_run"][step.name] = f"the {settings.seconds:.0f} seconds are over"
            continue
        record["running"] = step.name
        _write(settings, record)
        found = _run_step(step, settings, min(slower * step.limit_s, left), work)
        _keep(record, step, found, time.monotonic() - started)
        _write(settings, record)
        _say(settings, _line(found))
    failed = any(found["gates"] and found["outcome"] in FAILED for found in record["steps"])
    left_out = [name for name, why in record["not_run"].items() if why != "not asked for"]
    words = f", not run: {', '.join(left_out)}" if left_out else ""
    _say(settings, f"{len(record['steps'])} steps in {record['seconds']:.0f} s{words}; {settings.out}")
    if not record["steps"]:
        _say(settings, f"error: no step has run in {settings.seconds:.0f} s; give it more with --seconds")
    return 1 if failed or not record["steps"] else 0


def _may_go_on(machine: dict[str, Any]) -> bool:
    """Whether the card was found fit before the step was too slow, or crashed over what it only describes."""
    slow_or_crashed = machine["outcome"] == "out of time" or machine["code"] < 0
    return slow_or_crashed and "card" in machine["figures"] and not machine["failures"]


def machine_line(figures: dict[str, Any]) -> str:
    """Return what the machine is, for people: card, driver, and which build of the kernel is timed."""
    card = figures.get("card", {})
    words = [str(card.get(name, "?")) for name in ("name", "architecture")]
    words.append(f"driver of CUDA {card.get('driver_cuda', '?')}")
    build = str(figures.get("build", "?"))
    if build.endswith(".ptx"):
        build += ", compiled by the driver: its times are not those of a build for this card"
    return f"{', '.join(words)}; kernel: {build}"


def _run_step(step: Step, settings: RungSettings, limit_s: float, work: Path) -> dict[str, Any]:
    places = {PHASES: "phases", TESTS: "tests/gpu", BUNDLE: "bundles/small.edgeosr"}
    words = [str(settings.folder / places[word]) if word in places else word for word in step.arguments]
    report = work / f"{step.name}.json"
    small = ["--small"] if settings.small else []
    command = ["-m", step.module, "--report", str(report), *small, *words]
    try:
        ended = run_child(
            [*settings.python, *command],
            limit_s=limit_s,
            log=work / f"{step.name}.log",
            grace_s=OUTER_GRACE_S,
        )
    except OSError as error:
        raise UsageError(f"cannot start {settings.python[0]}: {error.strerror}; name a Python") from error
    found = _kept(report)
    outcome = "passed"
    if found["failures"]:  # of a step that was cut short too
        outcome = "failed"
    elif ended.timed_out:
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
        # Of a process that a signal ended without our doing; it may have left no words of its own.
        "ended_by": "" if ended.timed_out else ended_by(ended.code),
        "printed": "" if outcome == "passed" else without_folders(ended.tail),
        "code": ended.code,
    }


def _kept(report: Path) -> dict[str, Any]:
    """Return what a step kept, of one that was killed too; nothing if it never got so far."""
    try:
        found: dict[str, Any] = scrubbed(json.loads(report.read_text("utf-8")))
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
    kept = _kept(work / f"{name}.json")
    if name == MACHINE.name:
        record["machine"] = kept["figures"]
    record["steps"].append({"name": name, "outcome": "interrupted", "gates": True, **kept})
    record["not_run"].pop(name, None)
    record["seconds"] = round(seconds, 1)


def _refused(settings: RungSettings, record: dict[str, Any], found: dict[str, Any]) -> int:
    reason = "; ".join(found["failures"]) or found["printed"] or found["outcome"]
    record["not_run"] = {name: reason for name in record["not_run"]}
    _say(settings, f"error: {reason}")
    return int(found["code"]) if found["code"] > 0 else 1


def _line(found: dict[str, Any]) -> str:
    why = "; ".join(found["failures"][:2]) or found["not_run"]
    if not why and found["ended_by"]:
        why = f"ended by {found['ended_by']}: {' '.join(found['printed'].splitlines()[:3])[:200]}".rstrip(
            ": "
        )
    return f"{found['name']:<11} {found['outcome']:<11} {found['seconds']:6.1f} s" + (
        f"  {why}" if why else ""
    )


def _write(settings: RungSettings, record: dict[str, Any]) -> None:
    write_text(settings.out, json.dumps(record, indent=1) + "\n")


def make_place(out: Path) -> Path | None:
    """Look whether a record can go to ``out``, and move one with measurements that lies there aside.

    Returns:
        Its new path, ``NAME-DATE.json``; None: there was none to keep.

    Raises:
        UsageError: what lies there is no record of the rung.
        StorageError: it cannot be moved.
    """
    if not out.exists() and not out.is_symlink():
        return None
    try:
        found = json.loads(out.read_text("utf-8")) if out.is_file() else None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise UsageError(
            f"{out} must be new, or a record of the hardware rung; it is something else; name another --out"
        )
    if not found.get("steps") or found.get("made_up"):
        return None  # nothing was measured
    date = re.sub(r"[^0-9T]", "", str(found.get("date", ""))[:19]) or "older"
    names = (f"{out.stem}-{date}{suffix}{out.suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    kept = next(path for path in map(out.with_name, names) if not path.exists())
    with storage_errors("write", kept):
        out.rename(kept)
    return kept


def _say(settings: RungSettings, line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone; the record is what counts
        settings.say(line)


def _empty(folder: Path) -> None:
    """Make the folder anew: what an earlier rung left there is no figure of this one."""
    with storage_errors("write", folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()


def scrubbed(value: Any) -> Any:
    """Return decoded JSON with ``without_folders`` of all its texts."""
    if isinstance(value, dict):
        return {without_folders(name): scrubbed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [scrubbed(one) for one in value]
    return without_folders(value) if isinstance(value, str) else value


def without_folders(text: str) -> str:
    """Return ``text`` with ``.../`` for the folder of every absolute path."""
    return _FOLDERS.sub(".../", text)
