"""A small bundle to try things on: ``python -m edgeosr.bench.reliability.small_bundle NAME.edgeosr``."""

import argparse
import sys
import tempfile
from pathlib import Path

from edgeosr.errors import EdgeosrError
from edgeosr.export.export_run import export_run
from edgeosr.export.settings import ExportSettings
from edgeosr.program.run import run_program
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train_run import train_run


def make_small_bundle(out: Path) -> Path:
    """Train on six scanned digits for a minute, and export with a backbone in fp32; return the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(
            data="digits",
            split=0,
            input_size=16,
            batch_size=16,
            epochs=8,
            rotation_weight=0.0,
            folds=0,
            threads=1,
            out=Path(folder) / "run",
        )
        return export_run(train_run(settings), ExportSettings(precision="fp32", out=out)).path


def main() -> int:
    """Make it."""
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("out", type=Path)
    try:
        print(make_small_bundle(parser.parse_args().out))
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    run_program(main)
