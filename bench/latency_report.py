"""Latency figures with their conditions: the report, as a table and as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeosr.bench.device import Device
from edgeosr.bench.fresh_process import ColdStart, Memory
from edgeosr.bench.samples import PERCENTILE_RULE, UNSTABLE_CV, Ratio, Samples, ratio_from_samples
from edgeosr.bench.settings import LatencySettings
from edgeosr.bench.timer import Paced
from edgeosr.bench.torch_baseline import TorchLatency
from edgeosr.bundle.manifest import BODY
from edgeosr.printed import json_text

RUNTIME = "Runtime call"
SESSION = "bare session.run"
CLASSIFIER = "plain classifier"
FRONT_END = "preprocessing in the graph"
PILLOW = "Pillow's resize alone"
WIDTH = 98
TIMED = "model.onnx on onnxruntime"


@dataclass(frozen=True)
class BatchLatency:
    """One batch size.

    Attributes:
        batch: frames a call.
        rows: ``RUNTIME``, ``SESSION`` and ``CLASSIFIER``, interleaved; one length.
        paced: the Runtime call at the camera's rate, or None if not asked for.
    """

    batch: int
    rows: dict[str, Samples]
    paced: Paced | None

    @property
    def overhead(self) -> Ratio:
        """The open-set overhead: the bundle's graph over the plain classifier's, both as bare sessions."""
        return ratio_from_samples(SESSION, CLASSIFIER, self.rows)

    @property
    def runtime_overhead(self) -> Ratio:
        """The Runtime call over the bare session on the same graph."""
        return ratio_from_samples(RUNTIME, SESSION, self.rows)


@dataclass(frozen=True)
class PreprocessingLatency:
    """The front end of the graph beside Pillow, one frame of (height, width) at a time."""

    frame: tuple[int, int]
    rows: dict[str, Samples]

    @property
    def ratio(self) -> Ratio:
        """The front end over Pillow's resize (which neither normalises nor transposes)."""
        return ratio_from_samples(FRONT_END, PILLOW, self.rows)


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """Everything ``measure_latency`` found.

    Attributes:
        bundle: its name; about: one line on what is in it.
        frame: (height, width) of the frames; network: of the network's input.
        settings, device, versions: the conditions. providers: what the session says it runs on.
        threads: intra-op threads as asked for, None = onnxruntime's choice.
        load_after: load average at the end.
        checked: frames on which all graphs agreed before anything was timed.
        batches, preprocessing: see their classes.
        torch: the eager baseline, or None; torch_note: why it is not there, or how it was taken.
        cold, memory: from fresh processes, or None if not asked for.
        files: bytes by name.
    """

    bundle: str
    about: str
    frame: tuple[int, int]
    network: tuple[int, int]
    settings: LatencySettings
    device: Device
    versions: dict[str, str]
    providers: tuple[str, ...]
    load_after: float | None
    checked: int
    batches: tuple[BatchLatency, ...]
    preprocessing: tuple[PreprocessingLatency, ...]
    torch: TorchLatency | None
    torch_note: str
    cold: ColdStart | None
    memory: Memory | None
    files: dict[str, int]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the figures less than firm; empty if nothing was seen."""
        return tuple(_warnings(self))

    def as_json(self) -> str:
        """Return the whole report with every sample as JSON text."""
        return json_text(self.as_dict(), indent=1)

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report with every sample as plain values."""
        return {
            "kind": "latency",
            "bundle": self.bundle,
            "about": self.about,
            "frame": list(self.frame),
            "network_input": list(self.network),
            "settings": self.settings.as_json(),
            "device": self.device.as_json(),
            "load_after": self.load_after,
            "versions": self.versions,
            "timed": TIMED,
            "providers": list(self.providers),
            "percentile_rule": PERCENTILE_RULE,
            "checked_frames": self.checked,
            "batches": [
                {
                    "batch": batch.batch,
                    "saturated": {name: row.as_json() for name, row in batch.rows.items()},
                    "paced": None
                    if batch.paced is None
                    else {
                        "rate_hz": self.settings.rate_hz,
                        "late": batch.paced.late,
                        **batch.paced.samples.as_json(),
                    },
                    "open_set_overhead": batch.overhead.as_json(),
                    "runtime_over_session": batch.runtime_overhead.as_json(),
                }
                for batch in self.batches
            ],
            "preprocessing": [
                {
                    "frame": list(part.frame),
                    "rows": {name: row.as_json() for name, row in part.rows.items()},
                    "over_pillow": part.ratio.as_json(),
                }
                for part in self.preprocessing
            ],
            "torch": None if self.torch is None else self.torch.as_json(),
            "torch_note": self.torch_note,
            "cold_start": None if self.cold is None else self.cold.as_json(),
            "memory": None if self.memory is None else self.memory.as_json(),
            "file_bytes": self.files,
            "warnings": list(self.warnings),
        }

    def as_text(self) -> str:
        """Return the report as text, at most ``WIDTH`` columns wide."""
        return "\n".join(line.rstrip() for line in _table(self)) + "\n"


def _warnings(report: LatencyReport) -> Iterator[str]:
    device = report.device
    if BODY in report.files:
        yield (
            f"timed is {TIMED}; edgeosr.Runtime runs {BODY} on openvino where it can: "
            "python -m edgeosr.bench.x86 BUNDLE times that"
        )
    loads = [load for load in (device.load, report.load_after) if load is not None]
    # Our own measurement puts up to one core's worth of load on the machine, plus its worker threads.
    if device.load is not None and device.load > device.cores:
        yield f"load average {device.load} on {device.cores} cores before the run: something else is running"
    elif loads and max(loads) > device.cores + 1:
        yield f"load average rose to {max(loads)} on {device.cores} cores: something else is running"
    unstable = [
        f"{name}, batch {batch.batch}: {100 * row.variation:.1f} %"
        for batch in report.batches
        for name, row in batch.rows.items()
        if row.variation > UNSTABLE_CV
    ]
    if unstable:
        yield f"unstable (standard deviation / mean above {100 * UNSTABLE_CV} %): " + "; ".join(unstable)
    if device.governor not in ("performance", "not visible"):
        yield f"CPU governor {device.governor!r}: clocks are not held; set 'performance' to compare runs"
    for batch in report.batches:
        if batch.paced is not None and batch.paced.late:
            yield (
                f"batch {batch.batch} at {report.settings.rate_hz:g} Hz: {batch.paced.late} of "
                f"{len(batch.paced.samples)} calls started late"
            )
    fewest = min(len(batch.rows[RUNTIME]) for batch in report.batches)
    if fewest < 100:
        yield f"p99 of {fewest} samples is their maximum"


def _table(report: LatencyReport) -> Iterator[str]:
    device, settings = report.device, report.settings
    threads = thread_words(settings.threads)
    yield from _wrapped(f"{report.bundle}: {report.about}")
    yield from _wrapped(
        f"on {device.cpu}{', ' + device.board if device.board else ''}, {device.cores} of "
        f"{device.machine_cores} cores, governor {device.governor}, memory {device.memory_mib} MiB, "
        f"load {device.load} before and {report.load_after} after, container {device.container}, "
        f"GPU {device.gpu}; {device.system}, Python {device.python}"
    )
    yield from _wrapped(
        ", ".join(f"{name} {version}" for name, version in report.versions.items())
        + f"; timed: {TIMED}, {', '.join(report.providers)}, {threads}; frame {_size(report.frame)}, network "
        f"input {_size(report.network)}; warm-up {settings.warmup} calls; outputs equal on "
        f"{report.checked} frames"
    )
    yield ""
    yield _cells("latency, ms", "batch", "p50", "p90", "p99", "max", "mean", "CPU p50", "n")
    yield "-" * WIDTH
    for batch in report.batches:
        for name, row in batch.rows.items():
            yield _row(name, batch.batch, row)
        if batch.paced is not None:
            yield _row(f"{RUNTIME} at {settings.rate_hz:g} Hz", batch.batch, batch.paced.samples)
    for part in report.preprocessing:
        for name, row in part.rows.items():
            yield _row(f"{name}, {_size(part.frame)}", 1, row)
    if report.torch is not None:
        yield _row("torch eager, no Jacobian", 1, report.torch.plain)
    yield ""
    yield _ratio_cells("ratio", "medians", "extra ms", "paired", "95 % interval", "quartiles", "CPU")
    yield "-" * WIDTH
    for batch in report.batches:
        yield _ratio_row(f"open-set overhead, batch {batch.batch}", batch.overhead)
        yield _ratio_row(f"Runtime over session, batch {batch.batch}", batch.runtime_overhead)
    for part in report.preprocessing:
        yield _ratio_row(f"preprocessing over Pillow, {_size(part.frame)}", part.ratio)
    yield ""
    yield from _torch_lines(report)
    if report.cold is not None:
        cold = report.cold
        yield (
            f"cold start: {cold.process_ms:.0f} ms from process start to first verdict (imports "
            f"{cold.import_ms:.0f}, open {cold.open_ms:.0f}, first verdict {cold.first_verdict_ms:.1f})"
        )
    if report.memory is not None:
        memory = report.memory
        yield (
            f"steady memory: {memory.runtime_mib:.1f} MiB, of which {memory.own_mib:+.1f} MiB over a bare "
            "onnxruntime session"
        )
    yield "files: " + ", ".join(f"{name} {_bytes(size)}" for name, size in report.files.items())
    for warning in report.warnings:
        yield from _wrapped(f"warning: {warning}")


def _torch_lines(report: LatencyReport) -> Iterator[str]:
    if report.torch is not None:
        base = report.batches[0].rows[RUNTIME].wall(50)
        for jacobian in report.torch.jacobians:
            scaled = (
                ""
                if jacobian.timed_rows == jacobian.rows
                else f", scaled from {jacobian.timed_rows} of {jacobian.rows} rows"
            )
            yield (
                f"torch autograd, exact Jacobian at {jacobian.with_respect_to}: {jacobian.total_ms:,.0f} ms "
                f"= {jacobian.total_ms / base:,.0f} Runtime calls{scaled}"
            )
        if report.torch.jacobian_error is not None:
            yield f"autograd's J_z agrees with the bundle's to {report.torch.jacobian_error:.1g} (relative)"
    if report.torch_note:
        yield from _wrapped(f"torch baseline: {report.torch_note}")


def thread_words(threads: int | None) -> str:
    """Return ``"1 thread"``, ``"2 threads"``, or what None stands for."""
    if threads is None:
        return "one thread a physical core"
    return f"{threads} thread{'s' if threads > 1 else ''}"


def _row(name: str, batch: int, row: Samples) -> str:
    times = (row.wall(50), row.wall(90), row.wall(99), max(row.wall_ms), row.mean_ms, row.cpu(50))
    return _cells(name, str(batch), *(_ms(time) for time in times), str(len(row)))


def _cells(name: str, *cells: str) -> str:
    return f"{name:<38}{cells[0]:>6}" + "".join(f"{cell:>8}" for cell in cells[1:-1]) + f"{cells[-1]:>6}"


def _ratio_row(name: str, ratio: Ratio) -> str:
    return _ratio_cells(
        name,
        f"x{ratio.of_medians:.3f}",
        f"{ratio.extra_ms:+.3f}",
        f"x{ratio.paired:.3f}",
        "{:.3f}-{:.3f}".format(*ratio.interval),
        "{:.3f}-{:.3f}".format(*ratio.quartiles),
        f"x{ratio.cpu_paired:.3f}",
    )


def _ratio_cells(name: str, *cells: str) -> str:
    widths = (8, 9, 8, 14, 14, 8)
    return f"{name:<37}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _bytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 1024:.1f} KiB"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False)
