"""``python -m edgeosr.bench.gpu_rung``: all steps on this machine's card; one JSON record."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeosr.bench.gpu_rung.rung import SECONDS, RungSettings, run_rung
from edgeosr.bench.gpu_rung.steps import STEPS
from edgeosr.errors import EdgeosrError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    names = "\n".join(f"  {step.name:<11} {step.limit_s:4.0f} s at most  {step.what}" for step in STEPS)
    parser = argparse.ArgumentParser(
        prog="python -m edgeosr.bench.gpu_rung",
        description=f"{__doc__}\n\nsteps, in this order:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # start_here.py must know --out from what it hands on
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the record")
    parser.add_argument("--folder", type=Path, default=Path(), help="holds phases/, tests/gpu/ and bundles/")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of all steps together")
    parser.add_argument("--only", action="append", default=[], metavar="STEP", help="this step (repeat)")
    options = parser.parse_args(arguments)
    try:
        settings = RungSettings(
            out=options.out,
            folder=options.folder.resolve(),
            seconds=options.seconds,
            only=tuple(options.only),
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        return run_rung(settings)
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
