"""Whether libedgeosr decides as Python does: ``python -m edgeosr.bench.native_decisions BUNDLE...``.

Frames of random sizes, in every pixel format, with gaps between rows and without, are judged by

    Python on onnxruntime    model.onnx of the RGB frame that a frame stands for
    libedgeosr               on onnxruntime, and on OpenVINO: model.onnx in float32, and of a bundle with a
                             body in f32 this one, whose map the library scores itself (others are left out)

A decision is the class, or unknown. One that differs where Python's score is within 1e-4 of the threshold is
counted apart: there rounding decides. Name bundles of every fit; the frames are shared out among them.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.native_frames import FORMATS, RandomFrame, random_frames
from edgeosr.bench.native_handle import NativeHandle
from edgeosr.bench.option_values import random_seed, whole_number, written_file
from edgeosr.bench.user_errors import user_errors
from edgeosr.bundle.body import F32
from edgeosr.bundle.directory import Bundle, read_bundle, write_bundle
from edgeosr.bundle.manifest import BODY
from edgeosr.errors import InferenceError, UsageError
from edgeosr.files import write_bytes
from edgeosr.program.run import run_program
from edgeosr.runtime.bundle_golden import bundle_golden
from edgeosr.runtime.golden import write_golden
from edgeosr.runtime.native.library import onnxruntime_library, openvino_library
from edgeosr.runtime.runtime import Runtime
from edgeosr.verdict import Verdict

BAND = 1e-4
BODY_ROW = "openvino-body"
# What the library says of a back end that its golden frames refuse, which nobody gets to run.
NOT_VERIFIED = "where it was made"
Report = dict[str, Any]


class Tally:
    """Counts how a back end of the library decides beside Python."""

    def __init__(self) -> None:
        self.frames = self.same_bits = self.differing = self.differing_outside = self.near = 0
        self.largest_distance = 0.0

    def add(self, said: Any, verdict: Verdict) -> None:
        """Compare one frame's verdicts."""
        near = abs(verdict.score - verdict.threshold) <= BAND
        self.frames += 1
        self.near += near
        self.same_bits += np.float32(verdict.score).tobytes() == said["score"].tobytes()
        if np.isfinite(verdict.score) and np.isfinite(said["score"]):
            self.largest_distance = max(self.largest_distance, abs(float(said["score"]) - verdict.score))
        decided = int(said["index"]) if said["accepted"] else -1
        if decided != (verdict.index if verdict.accepted else -1):
            self.differing += 1
            self.differing_outside += not near

    def as_json(self) -> Report:
        """Return plain values."""
        return dict(self.__dict__)


def without_body(bundle: Bundle, folder: Path) -> Bundle:
    """Return the bundle, or a copy in ``folder`` without its body, so that OpenVINO runs ``model.onnx``."""
    manifest = bundle.manifest
    if manifest.body is None:
        return bundle
    golden = bundle_golden(bundle)
    files = {name: data for name, data in bundle.files.items() if name != BODY}
    files["golden.npz"] = write_golden(replace(golden, body=None, body_rounding=None, body_threshold=None))
    path = folder / bundle.path.name
    write_bundle(path, replace(manifest, body=None), files)
    return read_bundle(path)


def compare(bundle: Bundle, plain: Bundle, count: int, seed: int) -> Report:
    """Judge ``count`` frames every way; returns plain values.

    Args:
        bundle: as given.
        plain: the same without its body.
        count: of frames.
        seed: of the frames.
    """
    python = Runtime(bundle.path, backend="onnxruntime", threads=1)
    native = {"onnxruntime": NativeHandle(bundle.path, "onnxruntime", onnxruntime_library())}
    try:
        native["openvino"] = NativeHandle(plain.path, "openvino", openvino_library())
    except InferenceError as error:
        if NOT_VERIFIED not in str(error):
            raise
    refused = "openvino" not in native
    body = bundle.manifest.body
    # One with a fusion of its own has other scores by design.
    if body is not None and body.precision == F32 and body.fusion is None:
        native[BODY_ROW] = NativeHandle(bundle.path, "openvino", openvino_library())
    tallies = {name: Tally() for name in native}
    formats = dict.fromkeys(FORMATS.values(), 0)
    accepted = 0
    for frame in random_frames(bundle, count, seed):
        verdict = _python_verdict(python, frame)
        accepted += verdict.accepted
        formats[FORMATS[frame.pixel_format]] += 1
        for name, handle in native.items():
            tallies[name].add(handle.judge(frame.planes, frame.size, frame.pixel_format), verdict)
    python.close()
    for handle in native.values():
        handle.close()
    manifest = bundle.manifest
    return {
        "network": f"{manifest.name}, input {manifest.preprocessing.height}x{manifest.preprocessing.width}",
        "fit": manifest.preprocessing.fit,
        "parts": list(manifest.parts),
        "frames": count,
        "formats": formats,
        "accepted": accepted,
        "backends": {name: tally.as_json() for name, tally in tallies.items()},
        "refused": ["openvino"] if refused else [],
    }


def _python_verdict(python: Runtime, frame: RandomFrame) -> Verdict:
    verdict = python(frame.rgb)
    assert isinstance(verdict, Verdict), "one frame has one verdict"
    return verdict


def decisions_report(paths: Sequence[Path], *, frames: int, seed: int) -> Report:
    """Compare bundles, ``frames`` in all; returns plain values, with their conditions.

    Raises:
        UsageError: fewer frames than bundles.
    """
    if frames < len(paths):
        raise UsageError(
            f"each bundle must get a frame; got {frames} for {len(paths)}: ask for more --frames"
        )
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for place, path in enumerate(paths):
            inner = Path(folder, str(place))
            inner.mkdir()
            share = frames // len(paths) + (place < frames % len(paths))
            bundle = read_bundle(path)
            found.append(compare(bundle, without_body(bundle, inner), share, seed + place))
    names = dict.fromkeys(name for one in found for name in one["backends"])
    total = {
        name: _summed([one["backends"][name] for one in found if name in one["backends"]]) for name in names
    }
    return {
        "kind": "native-decisions",
        "frames": frames,
        "seed": seed,
        "band": BAND,
        "device": describe_device().as_json(),
        "load": load_average() or 0.0,
        "versions": versions(("edgeosr", "onnxruntime", "openvino")),
        "total": total,
        "bundles": found,
    }


def _summed(tallies: Sequence[Report]) -> Report:
    return {
        key: (max if key == "largest_distance" else sum)(tally[key] for tally in tallies)
        for key in tallies[0]
    }


def as_text(report: Report) -> str:
    """Return the report for a terminal."""
    told = ", ".join(f"{name} {text}" for name, text in report["versions"].items())
    lines = [f"{report['frames']} frames, seed {report['seed']}; {report['device']['cpu']}; {told}"]
    for one in report["bundles"]:
        lines.append(f"{one['network']}, {one['fit']}: {one['frames']} frames, {one['accepted']} accepted")
        lines += [f"  refused, for its golden frames tell that it differs: {name}" for name in one["refused"]]
    lines.append(f"{'libedgeosr on':<16}{'same bits':>10}{'differ':>8}{'of these outside':>18}  scores apart")
    for name, tally in report["total"].items():
        lines.append(
            f"{name:<16}{tally['same_bits']:>10}{tally['differing']:>8}{tally['differing_outside']:>18}"
            f"  {tally['largest_distance']:.1e} at most"
        )
    return "\n".join(lines)


def main() -> int:
    """Compare, print, and write the record; returns 1 if a decision differs outside the band."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m edgeosr.bench.native_decisions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--frames", type=whole_number, default=10_000, help="in all")
    parser.add_argument("--seed", type=random_seed, default=0)
    parser.add_argument("--out", type=written_file, help="write the record here, as JSON")
    given = parser.parse_args()
    with user_errors():
        report = decisions_report(given.bundles, frames=given.frames, seed=given.seed)
        print(as_text(report))
        if given.out is not None:
            write_bytes(given.out, (json.dumps(report, indent=1) + "\n").encode())
    return int(any(tally["differing_outside"] for tally in report["total"].values()))


if __name__ == "__main__":
    run_program(main)
