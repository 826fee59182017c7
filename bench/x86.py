"""What OpenVINO and the native front end bring on x86 processors: ``python -m edgeosr.bench.x86 BUNDLE``.

The bundles hold bodies for OpenVINO and are exports of one network. Timed in turn, one frame a call, are

    onnxruntime, f32                 model.onnx, as the Runtime runs it
    openvino, f32 | bf16 | int8      the same on OpenVINO, with the bundle's body
    native + f32 | bf16 | int8       the native front end in place of the graph's

Before anything is timed each row judges the bundles' golden frames, which lie near the threshold on purpose;
beside it stands what the decision gate found on known and unknown images when the body was exported.
"""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.native_front_end import NativeFrontEnd, build_front_end
from edgeosr.bench.samples import ratio_from_samples
from edgeosr.bench.session import open_session
from edgeosr.bench.subgraph import front_end
from edgeosr.bench.table_command import faster_than, require_frame, require_one_network, table_command
from edgeosr.bench.timer import Candidate, interleave
from edgeosr.bundle.body import F32, BodyRecord
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.manifest import BODY
from edgeosr.bundle.tensors import LABEL, SCORE, VALUES, feed_of
from edgeosr.errors import BundleError
from edgeosr.program.run import run_program
from edgeosr.runtime.bundle_golden import bundle_golden
from edgeosr.runtime.golden import enlarged
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.openvino_module import BF16_FLAGS, VNNI_FLAGS, Core, load_openvino, processor_flags
from edgeosr.runtime.openvino_stages import Body, compiled, stages_of
from edgeosr.runtime.sessions import run_session
from edgeosr.scoring.fusion import Fusion

Frame = NDArray[np.uint8]
Judge = Callable[[Frame], tuple[int, float]]
BASE = "onnxruntime, f32"
CAMERAS = ((480, 640), (720, 1280), (1080, 1920))
WARMUP = 5


@dataclass(frozen=True)
class Row:
    """One way to run the network: ``judge`` takes a frame ``[1, h, w, 3]`` and gives class and score.

    ``body``: of the bundle, with what its decision gate found; None in float32.
    """

    name: str
    judge: Judge
    threshold: float
    body: BodyRecord | None = None


class NativeChain:
    """The native front end, then the rest of ``model.onnx`` on OpenVINO; without a ``body`` in float32."""

    def __init__(
        self, front: NativeFrontEnd, bundle: Bundle, body: Body | None, fusion: Fusion | None
    ) -> None:
        openvino: Any = load_openvino()
        core = Core()
        stages = stages_of(openvino, core, bundle.files["model.onnx"], body)[1:]
        networks = [compiled(openvino, core, stage, threads=1, alone=True) for stage in stages]
        self._requests = [network.create_infer_request() for network in networks]
        self._front, self._fusion = front, fusion
        self._requests[0].set_input_tensor(0, openvino.Tensor(front.pixels, shared_memory=True))
        for before, request in itertools.pairwise(self._requests):
            for index in range(len(request.input_tensors)):
                request.set_input_tensor(index, before.get_output_tensor(index))

    def __call__(self, frame: Frame) -> tuple[int, float]:
        """Judge a frame ``[1, height, width, 3]``."""
        self._front.run(frame[0])
        for request in self._requests:
            request.infer()
        last = self._requests[-1]
        label, score, values = (last.get_tensor(name).data for name in (LABEL, SCORE, VALUES))
        return int(label[0]), float(score[0] if self._fusion is None else self._fusion.scores(values)[0])


def rows_of(bundles: Sequence[Bundle], front: NativeFrontEnd) -> list[Row]:
    """Return all rows, the base first."""
    require_one_network(bundles)
    first, parts = bundles[0], len(bundles[0].manifest.parts)
    model, limit = first.files["model.onnx"], first.manifest.threshold.value

    def portable(graph: OnnxRuntimeGraph | OpenVinoGraph) -> Judge:
        def judge(frame: Frame) -> tuple[int, float]:
            rows = graph.run(frame)
            return int(rows.label[0]), float(rows.score[0])

        return judge

    rows = [
        Row(BASE, portable(OnnxRuntimeGraph(model, parts=parts, threads=1)), limit),
        Row("openvino, f32", portable(OpenVinoGraph(model, parts=parts, threads=1)), limit),
    ]
    native: list[Row] = []
    for bundle in bundles:
        record = bundle.manifest.body
        if record is None:
            raise BundleError(
                f"{bundle.path} holds no body for OpenVINO; export it with: --precision bf16 --for openvino"
            )
        body = Body(model=bundle.files[BODY], precision=record.precision, outputs=record.outputs)
        own = limit if record.threshold is None else record.threshold.value
        graph = OpenVinoGraph(model, parts=parts, threads=1, body=body, fusion=record.fusion)
        name = "f32 body" if record.precision == F32 else record.precision  # beside model.onnx in f32
        rows.append(Row(f"openvino, {name}", portable(graph), own, record))
        chain = NativeChain(front, bundle, body, record.fusion)
        native.append(Row(f"native + {name}", chain, own, record))
    # Not a body in float32: the biases of one for bf16 are made for that.
    return [*rows, Row("native + f32", NativeChain(front, first, None, None), limit), *native]


def decisions(row: Row, frames: Frame) -> NDArray[np.int64]:
    """Return the class of each frame, -1 for unknown."""
    said = [row.judge(frames[i : i + 1]) for i in range(len(frames))]
    return np.array([label if score <= row.threshold else -1 for label, score in said], np.int64)


def golden_frames(bundle: Bundle, size: tuple[int, int]) -> Frame:
    """Return its golden frames as RGB, enlarged."""
    golden = bundle_golden(bundle)
    frames = golden.frames.copy()
    frames[golden.bgr] = frames[golden.bgr][..., ::-1]
    return enlarged(frames, size)


def measure(
    bundles: Sequence[Bundle], front: NativeFrontEnd, frames: Frame, turns: int, limit_s: float
) -> Any:
    """Judge and then time every row; returns a list of plain records."""
    rows = rows_of(bundles, front)
    said = {row.name: decisions(row, frames) for row in rows}
    timed = frames[:8]

    def call(row: Row) -> Candidate:
        return Candidate(row.name, lambda i: row.judge(timed[i % len(timed) :][:1]))

    samples = interleave([call(row) for row in rows], turns=turns, warmup=WARMUP, limit_s=limit_s)
    found = []
    for row in rows:
        found.append(
            {
                "name": row.name,
                **faster_than(BASE, row.name, samples),
                "golden_frames_decided_alike": float(np.mean(said[row.name] == said[BASE])),
                "gate": "" if row.body is None else row.body.gate.agreements(),
                "body": None if row.body is None else _found_at_export(row.body),
            }
        )
    return found


def _found_at_export(body: BodyRecord) -> dict[str, Any]:
    return {"converter": body.converter, "gate": asdict(body.gate)}


def measure_front_ends(bundle: Bundle, library: Path, turns: int, limit_s: float) -> Any:
    """Time the native front end beside the graph's own on onnxruntime, one thread; returns plain records."""
    session, found = open_session(front_end(bundle.files["model.onnx"]), 1), []
    fixed = bundle.manifest.frame
    for size in CAMERAS if fixed is None else (fixed,):
        frames = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
        native = NativeFrontEnd(library, bundle.manifest.preprocessing, size)

        def run_native(i: int, front: NativeFrontEnd = native, inputs: Frame = frames) -> None:
            front.run(inputs[i % len(inputs)])

        def run_graph(i: int, inputs: Frame = frames) -> None:
            run_session(session, None, feed_of(inputs[i % len(inputs) :][:1]), name="the front end")

        candidates = [Candidate("graph", run_graph), Candidate("native", run_native)]
        samples = interleave(candidates, turns=turns, warmup=WARMUP, limit_s=limit_s)
        ratio = ratio_from_samples("native", "graph", samples)
        found.append(
            {
                "frame": list(size),
                "graph_cpu_ms": samples["graph"].cpu(50),
                "native_cpu_ms": samples["native"].cpu(50),
                "native_over_graph": ratio.cpu_paired,
            }
        )
        native.close()
    return found


def as_text(report: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    processor = report["processor"]
    height, width = report["frame"]
    lines = [
        f"{report['network']}, {height}x{width} frames, one frame a call, one thread",
        f"{processor['name']}: {', '.join(processor['has']) or 'neither bf16 nor VNNI'}; load "
        f"{report['load']:.1f}; {', '.join(f'{name} {text}' for name, text in report['versions'].items())}",
        f"{'row':<20}{'CPU ms':>8}{'faster (CPU)':>14}{'(wall)':>9}  golden frames alike; decision gate",
    ]
    for row in report["rows"]:
        lines.append(
            f"{row['name']:<20}{row['cpu_ms']:>8.2f}{row['faster_cpu']:>13.2f}x{row['faster_wall']:>8.2f}x"
            f"  {row['golden_frames_decided_alike']:.1%}{'; ' * bool(row['gate'])}{row['gate']}"
        )
    lines.append(f"front ends: native ({processor['front_end']}) over the graph's on onnxruntime, CPU time")
    for one in report["front_ends"]:
        height, width = one["frame"]
        lines.append(
            f"  {height}x{width:<6}{one['native_cpu_ms']:>8.3f} ms of {one['graph_cpu_ms']:.3f} ms: "
            f"{one['native_over_graph']:.2f}"
        )
    return "\n".join(lines)


def x86_report(
    paths: Sequence[Path], *, frame: tuple[int, int], turns: int, limit_s: float
) -> dict[str, Any]:
    """Measure exports of one network; returns plain values, with their conditions."""
    bundles = [read_bundle(path) for path in paths]
    require_frame(bundles, frame)
    manifest, flags = bundles[0].manifest, processor_flags()
    with tempfile.TemporaryDirectory(prefix="edgeosr-x86-") as folder:
        library = build_front_end(Path(folder))
        front = NativeFrontEnd(library, manifest.preprocessing, frame)
        rows = measure(bundles, front, golden_frames(bundles[0], frame), turns, limit_s)
        front_ends = measure_front_ends(bundles[0], library, turns, limit_s)
        instructions = front.instructions
        front.close()
    known = versions()
    return {
        "kind": "x86",
        "network": f"{manifest.name}, input {manifest.preprocessing.height}x{manifest.preprocessing.width}",
        "frame": list(frame),
        "device": describe_device().as_json(),
        "processor": {
            "name": describe_device().cpu,
            "has": [flag for flag in (*BF16_FLAGS, *VNNI_FLAGS) if flag in flags],
            "front_end": instructions,
        },
        "load": load_average() or 0.0,
        "versions": {name: known[name] for name in ("edgeosr", "onnxruntime") if name in known}
        | {"openvino": str(load_openvino().__version__).split("-")[0]},
        "rows": rows,
        "front_ends": front_ends,
    }


def main() -> int:
    """Measure, print, and write the record."""
    return table_command(__doc__, x86_report, as_text)


if __name__ == "__main__":
    run_program(main)
