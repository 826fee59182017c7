"""The hardware rung without a card: every step, on small cases, on the doubles of dry_machine.py.

    python tests/gpu/dry_run.py [--out FILE] [--only STEP]

What it proves: that the steps run from end to end and find the kernel right. No time in its record is real.
"""

import argparse
import os
import stat
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeosr.bench.gpu_rung.rung import RungSettings, run_rung
from edgeosr.kernels.build.ahead import SOURCE_FILE, Build
from edgeosr.kernels.build.phases import MACRO, PHASES
from edgeosr.kernels.build.sources import device_source

HERE = Path(__file__).resolve().parent
DRY_MACHINE = HERE / "dry_machine.py"


def dry_folder(folder: Path) -> Path:
    """Lay out what the archive holds: the tests, a bundle in name only, builds that name their macro."""
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "gpu").symlink_to(HERE)
    bundle = folder / "bundles" / "small.edgeosr"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}\n", "utf-8")
    for stop in PHASES:
        place = folder / "phases" / f"stop{stop}"
        place.mkdir(parents=True)
        (place / SOURCE_FILE).write_text(device_source().digest + "\n", "utf-8")
        (place / Build((9, 0), (13, 0)).file_name).write_text(f"{MACRO}={stop}", "utf-8")
    return folder


def tools_that_find_nothing(folder: Path) -> Path:
    """Doubles of NVIDIA's tools: they run what they are given and report as the tools do."""
    folder.mkdir()
    for name in ("compute-sanitizer", "ncu", "nvidia-smi"):
        path = folder / name
        path.write_text(f"#!{sys.executable}\n" + (HERE / "tool_double.py").read_text("utf-8"), "utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/gpu-dry-run.json"))
    parser.add_argument("--only", action="append", default=[], metavar="STEP")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        tools = tools_that_find_nothing(folder / "tools")
        os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"
        settings = RungSettings(
            out=options.out,
            folder=dry_folder(folder / "archive"),
            seconds=options.seconds,
            only=tuple(options.only),
            python=(sys.executable, str(DRY_MACHINE)),
            small=True,
            say=lambda line: print(line, flush=True),
        )
        return run_rung(settings)


if __name__ == "__main__":
    sys.exit(main())
