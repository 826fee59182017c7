"""libedgeosr beside Python's onnxruntime: ``python -m edgeosr.bench.native BUNDLE...``.

The bundles are exports of one network. Timed in turn, one frame a call, one thread, are

    python, onnxruntime        model.onnx in float32, what everything is compared with
    native, onnxruntime        the same through the C library
    native, GRAPH PRECISION    each bundle through it on OpenVINO: its body, or model.onnx in float32

Before anything is timed each row judges the golden frames of the first bundle, which lie near the threshold
on purpose. What opening a bundle takes is measured beside it, its files read before and the libraries loaded;
on OpenVINO the golden frames are judged then, alone and in batches.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.native_handle import NativeHandle
from edgeosr.bench.table_command import faster_than, require_frame, require_one_network, table_command
from edgeosr.bench.timer import Candidate, interleave
from edgeosr.bench.x86 import WARMUP, golden_frames
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.program.run import run_program
from edgeosr.runtime.native.library import onnxruntime_library, openvino_library
from edgeosr.runtime.openvino_module import BF16_FLAGS, VNNI_FLAGS, processor_flags
from edgeosr.runtime.runtime import Runtime
from edgeosr.verdict import Verdict

Frame = NDArray[np.uint8]
BASE = "python, onnxruntime"
OPENED = 5  # times, of which the median is told


class NativeRow:
    """A bundle that the C library has open on a back end; ``open_ms``: CPU time of opening it.

    Args:
        path: of the bundle.
        backend: ``onnxruntime`` or ``openvino``.
        place: of the back end's library; None: where the system finds it.
    """

    def __init__(self, path: Path, backend: str, place: str | None) -> None:
        taken = []
        for _ in range(OPENED):
            started = time.process_time()
            handle = NativeHandle(path, backend, place)
            taken.append(1e3 * (time.process_time() - started))
            handle.close()
        self.open_ms = statistics.median(taken)
        self._handle = NativeHandle(path, backend, place)
        info = self._handle.info()
        precision = info["backend_library"].rstrip(")").rpartition(" ")[2]
        graph = backend if backend == "onnxruntime" else f"{info['graph']} {precision}"
        self.name = f"native, {graph}"

    def __call__(self, frame: Frame) -> int:
        """Judge a frame ``[height, width, 3]``; returns its class, -1 for unknown."""
        said = self._handle.judge([frame], (frame.shape[0], frame.shape[1]))
        return int(said["index"]) if said["accepted"] else -1

    def close(self) -> None:
        """Let the bundle go."""
        self._handle.close()


@dataclass(frozen=True)
class PythonRow:
    """The bundle as Python runs it on onnxruntime."""

    runtime: Runtime
    name: str = BASE
    open_ms: float | None = None

    def __call__(self, frame: Frame) -> int:
        """See ``NativeRow``."""
        verdict = self.runtime(frame)
        assert isinstance(verdict, Verdict), "one frame has one verdict"
        return verdict.index if verdict.accepted else -1

    def close(self) -> None:
        """See ``NativeRow``."""
        self.runtime.close()


def measure(bundles: Sequence[Bundle], frames: Frame, turns: int, limit_s: float) -> list[dict[str, Any]]:
    """Judge and then time every row; returns plain records."""
    first = bundles[0].path
    rows: list[PythonRow | NativeRow] = [
        PythonRow(Runtime(first, backend="onnxruntime", threads=1)),
        NativeRow(first, "onnxruntime", onnxruntime_library()),
        *(NativeRow(bundle.path, "openvino", openvino_library()) for bundle in bundles),
    ]
    said = {row.name: np.array([row(frame) for frame in frames]) for row in rows}
    timed = frames[:8]

    def call(row: PythonRow | NativeRow) -> Candidate:
        return Candidate(row.name, lambda i: row(timed[i % len(timed)]))

    samples = interleave([call(row) for row in rows], turns=turns, warmup=WARMUP, limit_s=limit_s)
    found = []
    for row in rows:
        found.append(
            {
                "name": row.name,
                "open_cpu_ms": row.open_ms,
                **faster_than(BASE, row.name, samples),
                "golden_frames_decided_alike": float(np.mean(said[row.name] == said[BASE])),
            }
        )
        row.close()
    return found


def native_report(
    paths: Sequence[Path], *, frame: tuple[int, int], turns: int, limit_s: float
) -> dict[str, Any]:
    """Measure exports of one network; returns plain values, with their conditions."""
    bundles = [read_bundle(path) for path in paths]
    require_one_network(bundles)
    require_frame(bundles, frame)
    manifest, flags = bundles[0].manifest, processor_flags()
    rows = measure(bundles, golden_frames(bundles[0], frame), turns, limit_s)
    return {
        "kind": "native",
        "network": f"{manifest.name}, input {manifest.preprocessing.height}x{manifest.preprocessing.width}",
        "frame": list(frame),
        "device": describe_device().as_json(),
        "has": [flag for flag in (*BF16_FLAGS, *VNNI_FLAGS) if flag in flags],
        "load": load_average() or 0.0,
        "versions": versions(("edgeosr", "onnxruntime", "openvino")),
        "rows": rows,
    }


def as_text(report: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    height, width = report["frame"]
    lines = [
        f"{report['network']}, {height}x{width} frames, one frame a call, one thread",
        f"{report['device']['cpu']}: {', '.join(report['has']) or 'neither bf16 nor VNNI'}; load "
        f"{report['load']:.1f}; {', '.join(f'{name} {text}' for name, text in report['versions'].items())}",
        f"{'row':<26}{'CPU ms':>8}{'faster (CPU)':>14}{'(wall)':>9}{'open CPU ms':>12}  golden frames alike",
    ]
    for row in report["rows"]:
        opened = "" if row["open_cpu_ms"] is None else f"{row['open_cpu_ms']:.0f}"
        lines.append(
            f"{row['name']:<26}{row['cpu_ms']:>8.2f}{row['faster_cpu']:>13.2f}x{row['faster_wall']:>8.2f}x"
            f"{opened:>12}  {row['golden_frames_decided_alike']:.1%}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write the record."""
    return table_command(__doc__, native_report, as_text)


if __name__ == "__main__":
    run_program(main)
