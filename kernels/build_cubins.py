"""Build the kernel ahead of time for every device of ``build/ahead.py``, into ``cubins/`` beside this file.

    python -m edgeosr.kernels.build_cubins

Needs nvcc 13 and NVRTC 12.6 and 11.8 (the dev extra brings all three); no GPU. A wheel made afterwards
carries the files (``make wheel`` does both). Builds of an older source are taken away first.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import DeviceError
from edgeosr.kernels.build.ahead import BUILDS, CUBINS, build_ahead


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeosr.kernels.build_cubins", description="Build the fused kernel ahead of time."
    )
    names = [build.file_name for build in BUILDS]
    parser.add_argument("--only", choices=names, action="append", help="this file (may be repeated)")
    parser.add_argument("--out", type=Path, default=CUBINS, help="folder")
    options = parser.parse_args(arguments)
    try:
        wanted = [build for build in BUILDS if not options.only or build.file_name in options.only]
        for path in build_ahead(options.out, wanted):
            print(f"{path}: {path.stat().st_size} bytes")
    except (OSError, DeviceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
