"""Build the kernel ahead of time for every device of ``module.BUILDS``, into ``cubins/`` beside this file.

    python -m edgeosr.kernels.build_cubins

Needs nvcc 13 and NVRTC 12.6 and 11.8 (the dev extra brings all three); no GPU. A wheel made afterwards
carries the files (``make wheel`` does both). Builds of an older source are taken away first.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import DeviceError, KernelBuildError
from edgeosr.kernels.build.images import BUILDS, CUBINS, SOURCE_FILE, Build, built_from
from edgeosr.kernels.build.nvrtc import newest_nvrtc
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import find_nvcc


def build_file(build: Build, folder: Path) -> Path:
    """Compile one file into ``folder``; an older one is replaced only by a whole new one.

    Raises:
        KernelBuildError: its compiler is missing, of another version, or fails.
    """
    target = folder / build.file_name
    partial = target.with_suffix(".part")
    if build.toolkit >= (13, 0):
        find_nvcc().cubin(build.target, partial)
    else:
        nvrtc = newest_nvrtc(build.toolkit)
        if nvrtc.version != build.toolkit:
            raise KernelBuildError(
                f"{build.file_name} needs NVRTC {build.toolkit[0]}.{build.toolkit[1]}; found "
                f"{nvrtc.version[0]}.{nvrtc.version[1]}; run: pip install 'edgeosr[dev]'"
            )
        partial.write_bytes(nvrtc.compile(device_source(), build.target).image)
    partial.replace(target)
    return target


def prepare_folder(folder: Path) -> None:
    """Make ``folder``, take builds of another source away, and note the digest of the present one."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = device_source().digest
    if built_from(folder) == digest:
        return
    (folder / SOURCE_FILE).unlink(missing_ok=True)  # until the old builds are gone, none of them counts
    for path in folder.glob("fused_score-*"):
        path.unlink()
    (folder / SOURCE_FILE).write_text(digest + "\n", encoding="utf-8")


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
        prepare_folder(options.out)
        for build in BUILDS:
            if not options.only or build.file_name in options.only:
                path = build_file(build, options.out)
                print(f"{path}: {path.stat().st_size} bytes")
    except (OSError, DeviceError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
