"""``python -m edgeosr.bench.reliability``: what is promised of bundles and frames, tried many times."""

import argparse
import json
import shlex
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from edgeosr.bench.device import versions
from edgeosr.bench.option_values import random_seed, whole_number, written_file
from edgeosr.bench.reliability.hostile_bundles import try_hostile_bundles
from edgeosr.bench.reliability.killed_commands import kill_command
from edgeosr.bench.reliability.killed_replacement import kill_at_every_step, kill_at_random
from edgeosr.bench.reliability.many_frames import try_frames
from edgeosr.errors import EdgeosrError, UsageError, require_choice
from edgeosr.files import write_text
from edgeosr.program.run import run_program


def main() -> int:
    """Run one trial, print its counts as JSON, and return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.bench.reliability", description=__doc__
    )
    parser.add_argument("trial", choices=("bundles", "frames", "kills", "commands"))
    parser.add_argument(
        "bundle", type=Path, nargs="?",
        help="a good bundle; for frames one with a backbone in fp32; commands make their own, and a run",
    )  # fmt: skip
    parser.add_argument(
        "--count", type=whole_number, default=1000,
        help="bundles, frames or kills, or kills of each command; default 1000",
    )  # fmt: skip
    parser.add_argument("--only", help="commands: some of them, separated by commas")
    parser.add_argument("--seed", type=random_seed, default=0)
    parser.add_argument("--first", type=int, default=0, help="bundles: number of the first one")
    parser.add_argument("--json", type=written_file, help="write the counts here too")
    arguments = parser.parse_args()
    started = time.monotonic()
    try:
        counts, passed = _tried(arguments)
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    document = {
        "trial": arguments.trial,
        "passed": passed,
        "counts": counts,
        "command": shlex.join(["python", "-m", "edgeosr.bench.reliability", *sys.argv[1:]]),
        "seconds": round(time.monotonic() - started, 1),
        "date": date.today().isoformat(),
        "versions": versions(),
    }
    text = json.dumps(document, indent=1)
    print(text)
    if arguments.json is not None:
        write_text(arguments.json, text + "\n")
    return 0 if passed else 1


def _tried(arguments: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    if arguments.trial == "commands":
        return _commands(arguments)
    if arguments.bundle is None:
        raise UsageError(f"{arguments.trial} needs a bundle; name one, or make one with small_bundle")
    if arguments.trial == "bundles":
        hostile = try_hostile_bundles(
            arguments.bundle, arguments.count, seed=arguments.seed, first=arguments.first
        )
        # asdict makes pairs of a Counter's keys.
        found_hostile = {**vars(hostile), "done": dict(hostile.done), "refused": dict(hostile.refused)}
        return found_hostile, not hostile.failures
    if arguments.trial == "frames":
        frames = try_frames(arguments.bundle, arguments.count, seed=arguments.seed)
        return asdict(frames), not frames.wrong
    found, passed = {}, True
    for exchange in (True, False):
        way = "by exchange" if exchange else "in two moves"
        for name, trial in (("at every step", kill_at_every_step), ("at random", None)):
            with tempfile.TemporaryDirectory() as folder:
                counts = (
                    trial(arguments.bundle, Path(folder), exchange=exchange)
                    if trial is not None
                    else kill_at_random(
                        arguments.bundle,
                        Path(folder),
                        arguments.count // 2,
                        exchange=exchange,
                        seed=arguments.seed,
                    )
                )
            found[f"{name}, {way}"] = asdict(counts)
            passed = passed and counts.passed
    return found, passed


def _commands(arguments: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    from edgeosr.bench.reliability.material import Material
    from edgeosr.bench.reliability.writing_commands import load_commands, writing_commands

    load_commands(training=arguments.bundle is None)
    found, passed = {}, True
    with tempfile.TemporaryDirectory() as folder:
        commands = writing_commands(Material(Path(folder), arguments.bundle))
        for name in arguments.only.split(",") if arguments.only else commands:
            require_choice("--only", name, commands)
            with tempfile.TemporaryDirectory() as work:
                counts = kill_command(commands[name], Path(work), arguments.count, seed=arguments.seed)
            found[name] = {**vars(counts), "found": dict(counts.found), "seconds": round(counts.seconds, 2)}
            passed = passed and counts.passed
            print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found, passed


if __name__ == "__main__":
    run_program(main)
