"""``edgeosr selftest``."""

from typing import Annotated

import typer

from edgeosr.cli.options import Bundle, Json, RuntimeThreads
from edgeosr.cli.output import command_line, results_only, show


def selftest(
    bundle: Bundle = None,
    device: Annotated[
        bool,
        typer.Option(
            "--device",
            help="Prove the GPU's part: kernel, engine (built if need be), golden frames through it.",
        ),
    ] = False,
    threads: RuntimeThreads = None,
    json: Json = False,
) -> None:
    """Prove what can be proved on this machine.

    The exit code is 0 only if all of it holds.

    Examples:
        edgeosr selftest                                    the newest bundle, on the CPU
        edgeosr selftest cats.edgeosr --device              on the device: some minutes if it has to build
    """
    from edgeosr.cli.newest import bundle_or_newest
    from edgeosr.runtime.selftest import selftest as run

    path = bundle_or_newest(bundle)
    with results_only():
        report = run(path, device=device, threads=threads)
    then = command_line("edgeosr", "verify", path)
    show(text=report.as_text(), document=report.as_json(), json=json, written=None, then=then)
    raise typer.Exit(0 if report.passed else 1)
