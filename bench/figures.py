"""The figures that edgeosr promises, measured without any trained bundle.

    python -m edgeosr.bench.figures [--only overhead,preprocessing] [--seconds 20] [--json figures.json]

Networks have random weights (their cost does not depend on them); everything else is the product's own
code. Ratios are taken from interleaved calls, on one thread, and judged by process CPU time, since other
processes on the machine disturb it least; wall time stands beside it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgeosr.bench.device import describe_device, load_average, versions
from edgeosr.bench.figure import Figure, not_measured, table_from_figures
from edgeosr.bench.fresh_process import measure_memory, time_import, time_program
from edgeosr.bench.latency import frames_from_bundle, measure_latency, measure_preprocessing
from edgeosr.bench.latency_report import thread_words
from edgeosr.bench.option_values import written_file
from edgeosr.bench.random_bundle import write_random_bundle
from edgeosr.bench.samples import Ratio, Samples, percentile
from edgeosr.bench.session import open_session
from edgeosr.bench.settings import LatencySettings
from edgeosr.bench.subgraph import front_end
from edgeosr.bench.user_errors import user_errors
from edgeosr.bundle.directory import read_bundle
from edgeosr.errors import EdgeosrError, UsageError, require_choice
from edgeosr.files import write_text
from edgeosr.program.run import run_program

CAMERAS = {(480, 640): 2.0, (720, 1280): 2.0, (1080, 1920): 2.5}
SIZE = 224
CLASSES = "0,1,2,3,4,5"


def overhead_figures(folder: Path, seconds: float) -> Iterator[Figure]:
    """Yield the open-set overheads, every part in the graph, and what the Runtime adds to a bare session."""
    for arch, size, limit, extra_ms in (
        ("resnet18-32", 112, 1.02, 0.0),
        ("efficientnet-lite0", SIZE, 1.05, 0.6),
    ):
        report = measure_latency(_bundle(folder, arch, size), _settings(seconds))
        batch = report.batches[0]
        ratio = batch.overhead
        target = f"<= x{limit}" + (f" or +{extra_ms} ms" if extra_ms else "")
        yield Figure(
            name=f"open-set overhead, {arch} {size} px",
            target=target,
            measured=_measured(ratio),
            reached=ratio.cpu_paired <= limit or 0 < ratio.cpu_extra_ms <= extra_ms,
            conditions=_conditions(ratio, batch.rows[ratio.to]),
            detail=ratio.as_json(),
        )
        if size == SIZE:
            ratio = batch.runtime_overhead
            yield Figure(
                name=f"Runtime over session.run, {size} px",
                target="<= x1.05",
                measured=_measured(ratio),
                reached=ratio.cpu_paired <= 1.05,
                conditions=_conditions(ratio, batch.rows[ratio.to]),
                detail=ratio.as_json(),
            )


def preprocessing_figures(folder: Path, seconds: float) -> Iterator[Figure]:
    """Yield the graph's preprocessing over Pillow's for three camera sizes."""
    bundle = read_bundle(_bundle(folder, "efficientnet-lite0", SIZE))
    front = open_session(front_end(bundle.files["model.onnx"]), 1)
    for size, limit in CAMERAS.items():
        frames = frames_from_bundle(bundle, size, seed=0)
        part = measure_preprocessing(front, bundle.manifest.preprocessing, frames, _settings(seconds))
        yield Figure(
            name=f"preprocessing {size[0]}x{size[1]} to {SIZE}",
            target=f"<= x{limit} of Pillow",
            measured=_measured(part.ratio),
            reached=part.ratio.cpu_paired <= limit,
            conditions=_conditions(part.ratio, part.rows[part.ratio.to]),
            detail=part.ratio.as_json(),
        )


def memory_figures(folder: Path, seconds: float) -> Iterator[Figure]:
    """Yield the Runtime's own steady memory."""
    del seconds
    memory = measure_memory(_bundle(folder, "efficientnet-lite0", SIZE), (SIZE, SIZE), threads=1, repeats=3)
    own_mb = memory.own_mib * 2**20 / 1e6
    yield Figure(
        name="Runtime's own steady memory",
        target="<= 30 MB",
        measured=f"{own_mb:+.1f} MB",
        reached=own_mb <= 30,
        conditions=f"resident memory {memory.runtime_mib:.1f} MiB against {memory.session_mib:.1f} MiB of a "
        f"bare session, efficientnet-lite0 {SIZE} px, medians of {memory.repeats} fresh processes each",
        detail=memory.as_json(),
    )


def startup_figures(folder: Path, seconds: float) -> Iterator[Figure]:
    """Yield the time of ``edgeosr --help`` and of ``import edgeosr``."""
    del folder, seconds
    for name, limit, samples in (
        ("edgeosr --help", 0.4, time_program(["--help"], repeats=9)),
        ("import edgeosr", 0.15, time_import(repeats=9)),
    ):
        middle = samples.wall(50) / 1e3
        yield Figure(
            name=name,
            target=f"< {limit} s",
            measured=f"{middle:.3f} s",
            reached=middle < limit,
            conditions=f"wall, median of {len(samples)} fresh processes (fastest "
            f"{min(samples.wall_ms) / 1e3:.3f} s, CPU median {samples.cpu(50) / 1e3:.3f} s), files "
            "in the page cache",
            detail=samples.as_json(),
        )


def training_figures(folder: Path, seconds: float) -> Iterator[Figure]:
    """Yield classifier32's training speed without and with the rotation auxiliary."""
    del seconds
    from edgeosr.run import read_run
    from edgeosr.training.processors import cpu_has_bf16
    from edgeosr.training.settings import TrainSettings
    from edgeosr.training.train import train

    for weight, name, limit in ((0.0, "without rotation", 500), (0.1, "with rotation", 300)):
        settings = TrainSettings(
            data="digits",
            known=tuple(CLASSES.split(",")),
            epochs=4,
            rotation_weight=weight,
            discriminator=False,
            folds=0,
            out=folder / f"run-{weight}",
            threads=2,
            devices=1,
        )
        run = train(settings)
        result = read_run(run).result
        rates = epoch_rates(run)
        rate = percentile(rates[1:], 50)
        bf16 = cpu_has_bf16()
        yield Figure(
            name=f"classifier32 training {name}",
            target=f">= {limit} images/s, bf16",
            measured=f"{rate:.0f} images/s",
            # The target is one for processors with bfloat16; others are about three times slower.
            reached=rate >= limit if bf16 else None,
            conditions=f"median of epochs 2 to {settings.epochs}, batch {settings.batch_size}, 32 px, "
            f"{thread_words(settings.threads)}, precision {result['precision']}"
            + ("" if bf16 else "; this processor has no bfloat16"),
            detail={"epochs_images_per_second": rates, "precision": result["precision"]},
        )


def epoch_rates(run: Path) -> list[float]:
    """Return the images per second of each epoch; the first one also warms up."""
    from edgeosr.run import LOG

    lines = (run / LOG).read_text(encoding="utf-8").splitlines()
    return [
        float(entry["images_per_second"]) for entry in map(json.loads, lines) if "images_per_second" in entry
    ]


GROUPS: dict[str, Callable[[Path, float], Iterator[Figure]]] = {
    "overhead": overhead_figures,
    "preprocessing": preprocessing_figures,
    "memory": memory_figures,
    "startup": startup_figures,
    "training": training_figures,
}


def measure_figures(groups: Sequence[str], seconds: float) -> list[Figure]:
    """Measure the named groups of figures; what cannot be measured here says why.

    Args:
        groups: names of ``GROUPS``.
        seconds: most seconds for each set of interleaved rows.
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="edgeosr-figures-") as folder:
        for name in groups:
            print(f"measuring {name} ...", file=sys.stderr, flush=True)
            try:
                figures += GROUPS[name](Path(folder), seconds)
            except EdgeosrError as error:
                figures.append(not_measured(name, "-", str(error)))
    return figures


def _bundle(folder: Path, arch: str, size: int) -> Path:
    path = folder / f"{arch}-{size}.edgeosr"
    return path if path.exists() else write_random_bundle(path, arch, size)


def _settings(seconds: float) -> LatencySettings:
    return LatencySettings(
        runs=1000, warmup=5, duration_s=seconds, threads=1, rate_hz=0, processes=0, baseline_torch=False
    )


def _measured(ratio: Ratio) -> str:
    return f"x{ratio.cpu_paired:.3f}, {ratio.cpu_extra_ms:+.2f} ms"


def _conditions(ratio: Ratio, base: Samples) -> str:
    return (
        f"CPU time, median of {ratio.turns} paired ratios [95 %: {ratio.cpu_interval[0]:.3f}, "
        f"{ratio.cpu_interval[1]:.3f}], over {ratio.to} at {base.cpu(50):.2f} ms, batch 1, 1 thread; "
        f"wall: paired x{ratio.paired:.3f} [95 %: {ratio.interval[0]:.3f}, {ratio.interval[1]:.3f}]"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and, on request, write JSON."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.bench.figures", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--only", default=",".join(GROUPS), metavar="A,B", help=f"some of {', '.join(GROUPS)}"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="most seconds for each set of rows")
    parser.add_argument("--json", type=written_file, metavar="FILE", help="write the figures here too")
    options = parser.parse_args(arguments)
    with user_errors():
        if not 0 < options.seconds <= 3600:
            raise UsageError(f"--seconds must be above 0 and at most 3600; got {options.seconds}")
        groups = [require_choice("--only", name.strip(), GROUPS) for name in options.only.split(",")]
        device, load = describe_device(), load_average()
        figures = measure_figures(groups, options.seconds)
        document = {
            "kind": "figures",
            "device": device.as_json(),
            "load_after": load_average(),
            "versions": versions(),
            "figures": [figure.as_json() for figure in figures],
        }
        print(table_from_figures(figures), end="")
        print(
            f"{device.cpu}, {device.cores} cores, load {load} before and {document['load_after']} after; ",
            end="",
        )
        print(", ".join(f"{name} {version}" for name, version in versions().items()))
        if options.json is not None:
            write_text(options.json, json.dumps(document, indent=1) + "\n")
            print(f"Wrote {options.json}")


if __name__ == "__main__":
    run_program(main)
