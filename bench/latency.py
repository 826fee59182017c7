"""Latency of a bundle: the Runtime call, its bare graph and the plain classifier, measured in one run."""

import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.fresh_process import measure_cold_start, measure_memory
from edgeosr.bench.latency_report import (
    CLASSIFIER,
    FRONT_END,
    PILLOW,
    RUNTIME,
    SESSION,
    BatchLatency,
    LatencyReport,
    PreprocessingLatency,
)
from edgeosr.bench.session import open_session
from edgeosr.bench.settings import LatencySettings
from edgeosr.bench.subgraph import front_end, plain_classifier
from edgeosr.bench.timer import MINIMUM_TURNS, Candidate, Clock, Paced, interleave, pace
from edgeosr.bench.torch_baseline import TorchLatency, first_jacobian, measure_torch
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.manifest import Manifest
from edgeosr.bundle.tensors import LABEL, LOGITS, SCORE, VALUES, feed_of
from edgeosr.errors import BundleError, EdgeosrError, FrameError
from edgeosr.preprocessing import Preprocessing
from edgeosr.progress import progress
from edgeosr.runtime.runtime import WARMUP_LIMIT_S, Runtime
from edgeosr.runtime.sessions import run_session
from edgeosr.runtime.trial import Trial, require_tried

Frames = NDArray[np.uint8]
INPUTS = 8  # distinct inputs that the timed calls cycle through
CAMERA = (480, 640)
PILLOW_CALLS = 100
PHASE_STEPS = 100
TOLERANCE = 1e-4


def measure_latency(
    bundle_path: Path, settings: LatencySettings | None = None, *, clock: Clock | None = None
) -> LatencyReport:
    """Measure a bundle on the CPU provider of onnxruntime.

    Nothing is timed before the Runtime, the bare session and the plain classifier have given the same
    labels (and the first two the same scores) on the very inputs that will be timed.

    Args:
        bundle_path: a ``.edgeosr`` directory.
        settings: defaults of ``LatencySettings`` if None.
        clock: replaces the real clock (tests).

    Raises:
        BundleError: the bundle cannot be used, or its graphs disagree.
        FrameError: another frame size than the bundle's fixed one is asked for.
        MissingDependencyError: onnx is not installed (extra ``export``).
    """
    settings = settings or LatencySettings()
    device = describe_device()
    bundle = read_bundle(bundle_path)
    manifest = bundle.manifest
    size = frame_size(manifest, settings.frame)
    require_tried(bundle, Trial(limit_s=WARMUP_LIMIT_S), threads=settings.threads)
    model = bundle.files["model.onnx"]
    session = open_session(model, settings.threads)
    classifier = open_session(plain_classifier(model), settings.threads)
    front = open_session(front_end(model), settings.threads)
    frames = frames_from_bundle(bundle, size, settings.seed)
    extra = _preprocessed_sizes(manifest, size)
    phases = len(settings.batches) * (2 if settings.rate_hz else 1) + len(extra)
    with Runtime(bundle_path, backend="onnxruntime", threads=settings.threads) as runtime, progress(
        "timing", phases * PHASE_STEPS, background=False
    ) as advance:  # fmt: skip
        inputs = {batch: _batches(frames, batch) for batch in settings.batches}
        for batch in settings.batches:
            require_equal_verdicts(runtime, session, classifier, inputs[batch])
        batches = tuple(
            _measure_batch(runtime, session, classifier, inputs[batch], settings, clock, advance)
            for batch in settings.batches
        )
        parts = tuple(
            measure_preprocessing(
                front,
                manifest.preprocessing,
                frames_from_bundle(bundle, part, settings.seed),
                settings,
                clock,
                _phase(advance),
            )
            for part in extra
        )
    torch, note = _torch(session, manifest, frames, settings)
    return LatencyReport(
        bundle=manifest.name,
        about=_about(manifest),
        frame=size,
        network=(manifest.preprocessing.height, manifest.preprocessing.width),
        settings=settings,
        device=device,
        versions=versions(),
        providers=tuple(session.get_providers()),
        checked=len(frames),
        batches=batches,
        preprocessing=parts,
        torch=torch,
        torch_note=note,
        cold=measure_cold_start(bundle_path, size, threads=settings.threads, repeats=settings.processes)
        if settings.processes
        else None,
        memory=measure_memory(bundle_path, size, threads=settings.threads, repeats=settings.processes)
        if settings.processes
        else None,
        files={name: record.bytes for name, record in manifest.files.items()},
        load_after=load_average(),
    )


def frame_size(manifest: Manifest, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Return the (height, width) to measure with; raises FrameError if the bundle takes another only."""
    fixed = manifest.frame
    if fixed is not None and wanted is not None and wanted != fixed:
        raise FrameError(
            f"this bundle takes frames of {fixed[0]}x{fixed[1]} only; got {wanted[0]}x{wanted[1]}; leave the "
            "frame size out, or export again with --frame"
        )
    return wanted or fixed or (manifest.preprocessing.height, manifest.preprocessing.width)


def frames_from_bundle(bundle: Bundle, size: tuple[int, int], seed: int) -> Frames:
    """Return ``INPUTS`` frames uint8 ``[n, height, width, 3]``: the golden ones, then smooth noise."""
    from PIL import Image

    with np.load(io.BytesIO(bundle.files["golden.npz"]), allow_pickle=False) as golden:
        images = list(golden["frames"][:INPUTS])
    noise = np.random.default_rng(seed).integers(0, 256, (INPUTS - len(images), 12, 16, 3), np.uint8)
    resized = [
        np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        for image in (*images, *noise)
    ]
    return np.stack(resized)


def require_equal_verdicts(
    runtime: Runtime, session: Any, classifier: Any, batches: Sequence[Frames]
) -> None:
    """Refuse to time graphs that do not say the same.

    Raises:
        BundleError: the Runtime and the bare session differ in a label or a score, or the plain classifier
            names another class (where its two best logits are not a tie within rounding).
    """
    for frames in batches:
        verdicts = runtime(list(frames))
        label, score = run_session(session, [LABEL, SCORE], feed_of(frames), name="model.onnx")
        plain, logits = run_session(classifier, [LABEL, LOGITS], feed_of(frames), name="the classifier")
        indices = np.array([verdict.index for verdict in verdicts])
        scores = np.array([verdict.score for verdict in verdicts])
        if not np.array_equal(indices, label) or not np.allclose(
            scores, score, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True
        ):
            raise BundleError(
                f"the Runtime says classes {indices.tolist()}, its model.onnx {label.tolist()}, or their "
                "scores differ: nothing is timed; export the bundle again"
            )
        best = np.sort(logits, axis=1)[:, -2:]
        tied = best[:, -1] - best[:, 0] <= TOLERANCE * np.maximum(1, np.abs(best[:, -1]))
        if not np.all((plain == label) | tied):
            raise BundleError(
                f"the plain classifier cut out of model.onnx says classes {plain.tolist()}, the whole graph "
                f"{label.tolist()}: nothing is timed; export the bundle again"
            )


def _measure_batch(
    runtime: Runtime,
    session: Any,
    classifier: Any,
    inputs: Sequence[Frames],
    settings: LatencySettings,
    clock: Clock | None,
    advance: Callable[..., None],
) -> BatchLatency:
    batch = len(inputs[0])
    single = [frames[0] for frames in inputs] if batch == 1 else list(inputs)
    call_runtime = Candidate(RUNTIME, lambda i: runtime(single[i % len(single)]))
    rows = interleave(
        [
            call_runtime,
            Candidate(SESSION, _bare_call(session, inputs)),
            Candidate(CLASSIFIER, _bare_call(classifier, inputs)),
        ],
        turns=settings.runs,
        warmup=settings.warmup,
        limit_s=settings.duration_s,
        clock=clock,
        advance=_phase(advance),
    )
    paced: Paced | None = None
    if settings.rate_hz:
        rate = settings.rate_hz / batch
        paced = pace(
            call_runtime,
            rate_hz=rate,
            calls=_paced_calls(settings, batch),
            clock=clock,
            advance=_phase(advance),
        )
    return BatchLatency(batch, rows, paced)


def measure_preprocessing(
    front: Any,
    preprocessing: Preprocessing,
    frames: Frames,
    settings: LatencySettings,
    clock: Clock | None = None,
    advance: Callable[[float], object] | None = None,
) -> PreprocessingLatency:
    """Time the front end of a graph beside Pillow's resize of the same frames, one frame a call.

    Args:
        front: session of ``subgraph.front_end``.
        preprocessing: the bundle's.
        frames: uint8 ``[n, height, width, 3]``.
        settings: ``warmup`` and ``duration_s`` count; at most ``PILLOW_CALLS`` calls are timed.
        clock: replaces the real clock (tests).
        advance: told the share that is done, 0 to 1.
    """
    rows = interleave(
        [
            Candidate(FRONT_END, _bare_call(front, [frame[None] for frame in frames])),
            Candidate(PILLOW, lambda i: preprocessing.resize(frames[i % len(frames)])),
        ],
        turns=min(settings.runs, PILLOW_CALLS),
        warmup=min(settings.warmup, 3),
        limit_s=settings.duration_s,
        clock=clock,
        advance=advance,
    )
    return PreprocessingLatency((frames.shape[1], frames.shape[2]), rows)


def _torch(
    session: Any, manifest: Manifest, frames: Frames, settings: LatencySettings
) -> tuple[TorchLatency | None, str]:
    if not settings.baseline_torch:
        return None, ""
    if settings.run is None:
        return None, "not taken, it needs the run directory the bundle was exported from"
    label, values = run_session(session, [LABEL, VALUES], feed_of(frames), name="model.onnx")
    try:
        measured = measure_torch(
            settings.run,
            manifest.preprocessing,
            frames,
            labels=label.tolist(),
            jacobian=first_jacobian(manifest, values),
            threads=settings.threads,
            seconds=settings.torch_s,
        )
    except EdgeosrError as error:
        return None, f"not taken: {error}"
    return measured, ""


def _bare_call(session: Any, inputs: Sequence[Frames]) -> Callable[[int], object]:
    feeds = [feed_of(np.ascontiguousarray(frames)) for frames in inputs]
    return lambda i: session.run(None, feeds[i % len(feeds)])


def _batches(frames: Frames, batch: int) -> list[Frames]:
    """Return ``INPUTS`` batches, each starting at another frame."""
    endless = itertools.cycle(range(len(frames)))
    return [frames[[next(endless) for _ in range(batch)]] for _ in range(INPUTS if batch <= 8 else 2)]


def _preprocessed_sizes(manifest: Manifest, size: tuple[int, int]) -> list[tuple[int, int]]:
    if manifest.frame is not None:
        return [size]
    # At the network's own size nothing is resized, so there is nothing to compare.
    network = (manifest.preprocessing.height, manifest.preprocessing.width)
    return list(dict.fromkeys(part for part in (size, CAMERA) if part != network))


def _paced_calls(settings: LatencySettings, batch: int) -> int:
    return max(MINIMUM_TURNS, min(settings.runs, int(settings.duration_s * settings.rate_hz / batch)))


def _phase(advance: Callable[..., None]) -> Callable[[float], None]:
    """Return what moves the bar by ``PHASE_STEPS`` while the share it is told grows from 0 to 1."""
    done = 0

    def move(share: float) -> None:
        nonlocal done
        steps = int(share * PHASE_STEPS) - done
        done += steps
        advance(steps)

    return move


def _about(manifest: Manifest) -> str:
    layers = manifest.discriminator.layers if manifest.discriminator else ()
    discriminator = f", discriminator {'-'.join(map(str, layers))}" if layers else ""
    probes = manifest.jacobian.probes
    at_cut = "" if probes is None else f" ({probes.K} {probes.family} at {probes.cut})"
    return (
        f"{len(manifest.classes)} classes, Jacobian {manifest.jacobian.method}{at_cut}{discriminator}, "
        f"score parts {', '.join(manifest.parts)}"
    )
