"""What libedgeosr takes over its back end alone: ``python -m edgeosr.bench.native_opening BUNDLE...``.

For each bundle, in turn and each in a process of its own without Python, files read before:

    onnxruntime alone            model.onnx with the session options of the library, one frame
    libedgeosr on onnxruntime    the bundle, one frame
    openvino alone               the body, compiled as the library does, one input
    libedgeosr on openvino       the bundle, one frame; its 128 golden verdicts are judged when it is opened

Told are medians: memory that is resident after the first frame, the same when free heap was given back (which
the library does once it has opened a bundle), and at most; and what opening takes, without loading the shared
libraries. The library judges one black frame when it opens, the back end alone does not. Of the library, the
same is told after ``edgeosr_verify``, and after a swap to the same bundle with a frame: two are open then.
"""

import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeosr.bench.cpp_program import compiled
from edgeosr.bench.device import describe_device, load_average
from edgeosr.bench.table_command import require_frame, table_command
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.manifest import BODY
from edgeosr.errors import InferenceError, MissingDependencyError
from edgeosr.program.run import run_program
from edgeosr.runtime.native.library import load_library, onnxruntime_library, openvino_library

# Taken even when the time is up.
LEAST_TURNS = 5
STAGES = ("load", "open", "judge", "trim")
# Of the library alone.
CHANGES = ("verify", "swap")
VERSION = "version"
Stage = dict[str, float]
Program = tuple[str, ...]


def stages_from(text: str) -> dict[str, Stage]:
    """Read what the program prints: by stage, memory in MiB and time in ms.

    Raises:
        InferenceError: a stage is missing.
    """
    found = {}
    for line in text.splitlines():
        name, *numbers = line.split()
        if name == VERSION:
            continue
        resident, anonymous, peak, cpu, wall = map(float, numbers)
        memory = {"resident_mib": resident / 1024, "anonymous_mib": anonymous / 1024, "peak_mib": peak / 1024}
        found[name] = {**memory, "cpu_ms": cpu, "wall_ms": wall}
    if tuple(found) not in (STAGES, STAGES + CHANGES):
        raise InferenceError(f"the program that opens bundles must tell of {STAGES}; got {tuple(found)}")
    return found


def versions_from(text: str) -> dict[str, str]:
    """Read which libraries the program loaded: names and versions, as they say it themselves."""
    words = [line.split() for line in text.splitlines()]
    return {line[1]: line[2] for line in words if line[:1] == [VERSION]}


class _Symbol(ctypes.Structure):
    """``Dl_info`` of dlfcn.h."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def file_of(library: Any) -> str:
    """Return the file that ``load_library`` loaded; the name alone is looked up anew, perhaps elsewhere."""
    found, function = _Symbol(), ctypes.cast(library.edgeosr_open, ctypes.c_void_p)
    if not ctypes.CDLL(None).dladdr(function, ctypes.byref(found)):
        raise AssertionError("a function that is loaded lies in no file")
    return os.path.abspath(os.fsdecode(found.file or b""))


def programs(
    bundle: Bundle, frame: tuple[int, int], place: tuple[str, str], onnxruntime: str, openvino: str | None
) -> dict[str, Program]:
    """Return the command of each row; ``place``: the program and the library."""
    program, library = place
    size, path = f"{frame[0]}x{frame[1]}", str(bundle.path)
    found: dict[str, Program] = {
        "onnxruntime alone": (program, "onnxruntime", onnxruntime, f"{path}/model.onnx", size),
        "libedgeosr on onnxruntime": (program, "edgeosr", library, path, size, "onnxruntime", onnxruntime),
    }
    body, input_ = bundle.manifest.body, bundle.manifest.preprocessing
    if openvino is not None and body is not None:
        precision = "bf16" if body.precision == "bf16" else "f32"
        pixels = f"{input_.height}x{input_.width}"
        found["openvino alone"] = (program, "openvino", openvino, f"{path}/{BODY}", pixels, precision)
        found["libedgeosr on openvino"] = (program, "edgeosr", library, path, size, "openvino", openvino)
    return found


def run(program: Program) -> str:
    """Run one, and return what it says.

    Raises:
        InferenceError: it failed; with its words.
    """
    done = subprocess.run(program, capture_output=True, text=True)
    if done.returncode:
        raise InferenceError(
            f"the program that opens bundles failed: {done.stderr.strip() or done.returncode}"
        )
    return done.stdout


def measure(
    rows: dict[str, Program], turns: int, limit_s: float
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Run the rows in turn, ``turns`` times or until the time is up; returns records and versions."""
    taken: dict[str, list[dict[str, Stage]]] = {name: [] for name in rows}
    loaded: dict[str, str] = {}
    for program in rows.values():
        loaded |= versions_from(run(program))  # the files are in memory from here on
    started = time.monotonic()
    for turn in range(turns):
        for name, program in rows.items():
            taken[name].append(stages_from(run(program)))
        if turn + 1 >= LEAST_TURNS and time.monotonic() - started > limit_s:
            break

    def median(name: str, stage: str, key: str) -> float:
        return statistics.median(one[stage][key] for one in taken[name])

    found: list[dict[str, Any]] = []
    for name in rows:
        row: dict[str, Any] = {
            "name": name,
            "turns": len(taken[name]),
            "resident_mib": median(name, "judge", "resident_mib"),
            "anonymous_mib": median(name, "judge", "anonymous_mib"),
            "resident_trimmed_mib": median(name, "trim", "resident_mib"),
            "peak_mib": median(name, "judge", "peak_mib"),
            "open_cpu_ms": median(name, "open", "cpu_ms"),
            "open_wall_ms": median(name, "open", "wall_ms"),
            "first_frame_cpu_ms": median(name, "judge", "cpu_ms"),
        }
        if name.startswith("libedgeosr"):
            row["over_mib"] = row["resident_mib"] - found[-1]["resident_mib"]
            row["over_trimmed_mib"] = row["resident_trimmed_mib"] - found[-1]["resident_trimmed_mib"]
            row["over_open_cpu_ms"] = row["open_cpu_ms"] - found[-1]["open_cpu_ms"]
            for change in CHANGES:
                for key in ("resident_mib", "peak_mib", "cpu_ms"):
                    row[f"{change}_{key}"] = median(name, change, key)
        found.append(row)
    return found, loaded


def opening_report(
    paths: Sequence[Path], *, frame: tuple[int, int], turns: int, limit_s: float
) -> dict[str, Any]:
    """Measure bundles, ``limit_s`` for each; returns plain values, with their conditions."""
    onnxruntime, library = onnxruntime_library(), file_of(load_library())
    if onnxruntime is None:
        raise MissingDependencyError(
            "the library of onnxruntime was not found; install onnxruntime, or name libonnxruntime.so in "
            "EDGEOSR_ONNXRUNTIME"
        )
    bundles = [read_bundle(path) for path in paths]
    require_frame(bundles, frame)
    measured, loaded = [], dict[str, str]()
    with tempfile.TemporaryDirectory() as folder:
        flags = ("-O2", "-ldl")
        program = compiled("footprint_driver.cpp", Path(folder) / "footprint", flags)
        for bundle in bundles:
            rows = programs(bundle, frame, (str(program), library), onnxruntime, openvino_library())
            input_ = bundle.manifest.preprocessing
            network = f"{bundle.manifest.name}, input {input_.height}x{input_.width}"
            told, versions = measure(rows, turns, limit_s)
            measured.append({"network": network, "rows": told})
            loaded |= versions
    return {
        "kind": "native-opening",
        "frame": list(frame),
        "device": describe_device().as_json(),
        "load": load_average() or 0.0,
        "versions": dict(sorted(loaded.items())),
        "bundles": measured,
    }


def as_text(report: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    told = ", ".join(f"{name} {text}" for name, text in report["versions"].items())
    lines = [f"{report['device']['cpu']}; load {report['load']:.1f}; {told}"]
    for one in report["bundles"]:
        lines += [
            f"{one['network']}, {report['frame'][0]}x{report['frame'][1]} frames",
            f"{'row':<26}{'MiB':>8}{'over':>7}{'trimmed':>9}{'over':>7}{'peak':>7}"
            f"{'open CPU ms':>13}{'over':>7}{'frame':>7}  turns",
        ]
        for row in one["rows"]:
            memory, trimmed, opening = (
                f"{row[key]:+.1f}" if key in row else ""
                for key in ("over_mib", "over_trimmed_mib", "over_open_cpu_ms")
            )
            lines.append(
                f"{row['name']:<26}{row['resident_mib']:>8.1f}{memory:>7}{row['resident_trimmed_mib']:>9.1f}"
                f"{trimmed:>7}{row['peak_mib']:>7.0f}{row['open_cpu_ms']:>13.0f}{opening:>7}"
                f"{row['first_frame_cpu_ms']:>7.1f}  {row['turns']}"
            )
        lines += [
            f"{row['name']}, then {change}: {row[f'{change}_resident_mib']:.1f} MiB, at most "
            f"{row[f'{change}_peak_mib']:.0f}; {row[f'{change}_cpu_ms']:.0f} ms of CPU"
            for row in one["rows"]
            for change in CHANGES
            if f"{change}_resident_mib" in row
        ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write the record."""
    return table_command(__doc__, opening_report, as_text, least_turns=LEAST_TURNS)


if __name__ == "__main__":
    run_program(main)
