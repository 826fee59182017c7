"""``edgeosr verify``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeosr.cli.options import Bundle, Json, RuntimeThreads, names_from
from edgeosr.cli.output import command_line, results_only, show

if TYPE_CHECKING:
    from edgeosr.runtime.verify_report import VerifyReport


def verify(
    bundle: Bundle = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Check only these: onnxruntime, openvino, tensorrt, tensorrt_rtx, native (libedgeosr); they "
            "must be available.",
        ),
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Check libedgeosr too, the C library; it must be available.")
    ] = False,
    threads: RuntimeThreads = None,
    json: Json = False,
) -> None:
    """Check that a bundle decides here as where it was made.

    Its golden frames go through every backend that runs here, one by one and as a batch. The exit code is 0
    if every verdict is the expected one, and 1 if not.

    Examples:
        edgeosr verify                                      the newest bundle
        edgeosr verify cats.edgeosr --backend tensorrt      fails if the engine cannot run here
        edgeosr verify cats.edgeosr --native                libedgeosr decides alike, too
        edgeosr verify cats.edgeosr --json || exit 1        in a provisioning script
    """
    from edgeosr.cli.newest import bundle_or_newest
    from edgeosr.runtime.verify import verify_bundle

    path = bundle_or_newest(bundle)
    with results_only():
        report = verify_bundle(path, backends=names_from(backend) or (), native=native, threads=threads)
    then = _next(path, report)
    show(text=report.as_text(), document=report.as_json(), json=json, written=None, then=then)
    raise typer.Exit(0 if report.passed else 1)


def _next(path: Path, report: "VerifyReport") -> str:
    """Return what to type next: where the C library was asked for and cannot run, how it comes here."""
    from edgeosr.errors import MissingDependencyError
    from edgeosr.runtime.backends.backend import NATIVE
    from edgeosr.runtime.native.library import LIBRARY_VARIABLE, ONNXRUNTIME_VARIABLE, load_library

    missing = [check for check in report.checks if check.backend == NATIVE and not check.available]
    if missing:
        try:
            load_library()
        except MissingDependencyError:
            if os.environ.get(LIBRARY_VARIABLE):
                return command_line("unset", LIBRARY_VARIABLE)
            return command_line("python", "-m", "edgeosr.runtime.native.build")
        named = os.environ.get(ONNXRUNTIME_VARIABLE)
        if named and named in missing[0].detail:
            return command_line("unset", ONNXRUNTIME_VARIABLE)
    return command_line("edgeosr", *(("predict", path, "IMAGE") if report.passed else ("inspect", path)))
