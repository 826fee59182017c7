"""``edgeosr bench``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeosr.cli.options import Bundle, Json, RuntimeThreads, numbers_from, settings_from, size_from
from edgeosr.cli.output import command_line, results_only, show
from edgeosr.errors import UsageError, require_extra
from edgeosr.files import require_place

if TYPE_CHECKING:
    from edgeosr.bench.latency_report import LatencyReport
    from edgeosr.bench.settings import LatencySettings


def bench(
    ctx: typer.Context,
    bundle: Bundle = None,
    batches: Annotated[
        str, typer.Option("--batches", "--batch", metavar="1,8", help="Batch sizes to time.")
    ] = "1",
    runs: Annotated[int, typer.Option("--runs", "--iterations", help="Most timed calls of each row.")] = 200,
    warmup: Annotated[int, typer.Option(help="Calls before timing.")] = 10,
    duration_s: Annotated[
        float, typer.Option("--duration", help="Most seconds for the rows of one batch size.")
    ] = 10.0,
    threads: RuntimeThreads = None,
    rate_hz: Annotated[
        float, typer.Option("--rate", help="Frames a second of the camera row; 0 = none.")
    ] = 30.0,
    frame: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the frames. Default: the network's.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="For the torch baseline. Default: the run BUNDLE lies in."),
    ] = None,
    baseline_torch: Annotated[
        bool,
        typer.Option("--torch/--no-torch", help="Time torch with the exact Jacobian, if there is a run."),
    ] = True,
    torch_s: Annotated[float, typer.Option("--torch-duration", help="Most seconds for it.")] = 5.0,
    processes: Annotated[
        int, typer.Option(help="Fresh processes for cold start and for memory; 0 = leave them out.")
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of the noise frames.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="NAME.json", help="Write the samples here, and a picture beside it."),
    ] = None,
    kernel_model: Annotated[
        bool,
        typer.Option(
            "--kernel-model",
            help="Print the CUDA kernel's lower bounds and predicted times on Jetsons; times nothing.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Time a bundle beside the plain classifier.

    The difference is what its "I don't know" costs.

    Examples:
        edgeosr bench                                       the newest bundle, batch 1
        edgeosr bench cats.edgeosr --batches 1,8 --threads 1 --frame 480x640
        edgeosr bench --json > latency.json
        edgeosr bench --kernel-model                        what the CUDA kernel should cost, by device
    """
    from edgeosr.bench.latency import measure_latency

    if kernel_model:
        return _show_kernel_model(ctx, json=json)
    _require_json(out)
    _require_run(run, baseline_torch=baseline_torch)
    path, settings = _settings(
        bundle, batches, frame, run, runs=runs, warmup=warmup, duration_s=duration_s, threads=threads,
        rate_hz=rate_hz, baseline_torch=baseline_torch, torch_s=torch_s, processes=processes, seed=seed,
    )  # fmt: skip
    with results_only():
        report = measure_latency(path, settings)
        _write(report, out)
    then = command_line("edgeosr", "predict", path, "IMAGE")
    show(text=report.as_text(), document=report.as_json(), json=json, written=out, then=then)


def _settings(
    bundle: Path | None, batches: str, frame: str | None, run: Path | None, **values: Any
) -> tuple[Path, "LatencySettings"]:
    from edgeosr.bench.settings import LatencySettings
    from edgeosr.cli.newest import bundle_or_newest

    sizes = {"batches": numbers_from("--batches", batches), "frame": size_from(frame)}
    path = bundle_or_newest(bundle)
    if run is None and os.path.isfile(path.parent / "run.json"):
        run = path.parent
    return path, settings_from(LatencySettings, run=run, **sizes, **values)


def _require_run(run: Path | None, *, baseline_torch: bool) -> None:
    """Look at the run that was named, before anything is timed."""
    from edgeosr.run import read_run

    if run is None:
        return
    if not baseline_torch:
        raise UsageError(
            "--run is for the torch baseline, which --no-torch leaves out; give only one of them"
        )
    read_run(run)


def _show_kernel_model(ctx: typer.Context, *, json: bool) -> None:
    # Compared by name: older versions of typer take this enumeration from click, newer ones bring their own.
    given = [
        param.opts[0] if param.opts[0].startswith("-") else param.opts[0].upper()
        for param in ctx.command.params
        if param.name not in ("kernel_model", "json")
        and getattr(ctx.get_parameter_source(param.name or ""), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"--kernel-model times nothing and writes nothing, for any bundle; leave out {', '.join(given)}"
        )
    from edgeosr.bench.kernel_report import kernel_model_json, kernel_model_text

    document, text = (kernel_model_json(), "") if json else ("", kernel_model_text())
    then = command_line("python", "-m", "edgeosr.kernels.selftest") + "   (on the device: times it)"
    show(text=text, document=document, json=json, written=None, then=then)


def _require_json(out: Path | None) -> None:
    """Refuse another suffix, and miss matplotlib, before seconds of timing: a picture is drawn beside it."""
    if out is not None and out.suffix != ".json":
        raise UsageError(
            f"bench's --out must end in .json, for a picture is written beside it; got {out}; write "
            "--out latency.json"
        )
    if out is not None:
        for written in (out, out.with_suffix(".png")):
            require_place(written, folder=False)
        require_extra("matplotlib", extra="export", purpose="--out, which draws the latency,")


def _write(report: "LatencyReport", out: Path | None) -> None:
    if out is None:
        return
    from edgeosr.bench.latency_plot import draw_latency
    from edgeosr.files import write_text

    write_text(out, report.as_json())
    draw_latency(report, out.with_suffix(".png"))
