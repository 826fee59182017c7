"""Builds of the kernel with one line changed."""

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from largest_row import DEFINE, HEADER
from simt_build import CACHE, DEVICE, Build, built, compiled_in_parallel

QUICK = Build(kernel=("-O1", "-w"))  # a fault may leave a variable unused


@dataclass(frozen=True)
class Mutant:
    """In ``file``, ``before`` (once; white space is free) becomes ``after``."""

    name: str
    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Entry:
    """A kernel: its name behind ``fused_score_``, and the constants of EDGEOSR_ENTRY."""

    name: str
    constants: str

    def __str__(self) -> str:
        return f"EDGEOSR_ENTRY({', '.join(self.name.split('_'))}, {self.constants})"


def pattern(mutant: Mutant) -> str:
    return r"\s+".join(map(re.escape, re.split(r"\s+", mutant.before)))


def occurrences(mutant: Mutant | None) -> int:
    """How often the source holds what the mutant changes; 1 for None, the right kernel."""
    return len(re.findall(pattern(mutant), (DEVICE / mutant.file).read_text("utf-8"))) if mutant else 1


def compiled(
    mutants: Sequence[Mutant], entries: Sequence[Entry], defines: Sequence[str] = ()
) -> dict[Mutant | None, Path | AssertionError]:
    """Compile the right kernel (None) and every mutant whose line is there once, with these entries alone."""
    jobs = {}
    for mutant in (None, *mutants):
        if occurrences(mutant) != 1:
            continue  # its own test says so
        folder = _mutated(mutant, entries)
        jobs[mutant] = functools.partial(
            built, folder / "run.cpp", QUICK, device=folder, defines=tuple(defines)
        )
    next(iter(jobs.values()))()  # compiles the runtime once, before two compile at a time
    return dict(zip(jobs, compiled_in_parallel(list(jobs.values())), strict=True))


def _mutated(mutant: Mutant | None, entries: Sequence[Entry]) -> Path:
    """The folder of the mutant's sources, and its run file.

    Files that are right stay, so that processes that make the same one do not disturb one another.
    """
    name = re.sub(r"\W+", "-", mutant.name if mutant else "none")
    folder = CACHE / "mutants" / "-".join(entry.name for entry in entries) / name
    folder.mkdir(parents=True, exist_ok=True)
    texts = {HEADER.name: HEADER.read_text("utf-8")}
    for path in DEVICE.glob("*.cu*"):
        text = path.read_text("utf-8")
        if path.name == "fused_score.cu":
            text = re.sub(r"^EDGEOSR_ENTRY\((.*)\)$", "", text, flags=re.M) + "\n"
            text += "\n".join(map(str, entries)) + "\n"
        if mutant and path.name == mutant.file:
            text = re.sub(pattern(mutant), lambda _: mutant.after, text)
        texts[path.name] = text
    names = [f"fused_score_{entry.name}" for entry in entries]
    table = [f"EDGEOSR_SIMT_ENTRY({name}, edgeosr::FusedScoreParams)," for name in names]
    lines = [
        f"#define {DEFINE.replace('=', ' ')}",
        '#include "fused_score.cu"',
        '#include "harness.h"',
        f"const simt::Entry simt::entries[] = {{{' '.join(table)} {{nullptr, nullptr, 0}}}};",
    ]
    texts["run.cpp"] = "\n".join(lines) + "\n"
    for stale in {path.name for path in folder.glob("*.c*")} - set(texts):
        (folder / stale).unlink(missing_ok=True)
    for file, text in texts.items():
        place = folder / file
        if not place.exists() or place.read_text("utf-8") != text:
            partial = place.with_name(f"{file}.{os.getpid()}.part")
            partial.write_text(text, "utf-8")
            partial.replace(place)
    return folder
