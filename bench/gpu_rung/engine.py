"""A real TensorRT engine of the archive's small bundle, where TensorRT is installed: built, run, compared."""

import argparse
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from edgeosr.bench.gpu_rung.command import run_command
from edgeosr.bench.gpu_rung.step_report import NotRunHereError, StepReport, step_main

BUILDERS = ("tensorrt", "tensorrt_rtx")


def prove_engine(report: StepReport, options: argparse.Namespace) -> None:
    """Run ``edgeosr selftest --device`` on a copy of the bundle, into which the engine is built.

    Raises:
        NotRunHereError: TensorRT is not installed, or there is no bundle.
    """
    found = [name for name in BUILDERS if importlib.util.find_spec(name) is not None]
    if not found:
        raise NotRunHereError(f"neither {' nor '.join(BUILDERS)} is installed")
    if not options.bundle.is_dir():
        raise NotRunHereError("the archive has no bundle")
    report.put("builders", found)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = shutil.copytree(options.bundle, folder / options.bundle.name)
        proved = run_command(report, options, folder, "selftest", str(bundle), "--device")
        if proved is not None:
            report.put("selftest", proved)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, required=True, help="a bundle with a typed backbone")


if __name__ == "__main__":
    sys.exit(step_main("A real TensorRT engine, where TensorRT is installed.", prove_engine, more=_more))
