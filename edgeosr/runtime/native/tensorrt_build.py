"""Builds the plug-in for TensorRT: ``python -m edgeosr.runtime.native.tensorrt_build INCLUDE``.

INCLUDE is the folder of ``NvInferRuntime.h``: ``/usr/include/aarch64-linux-gnu`` on a Jetson. The library
takes CUDA's headers too, and nothing of either is linked: at run time ``libcuda.so.1`` and ``libnvinfer`` are
opened. CMake builds the same (``-DEDGEOSR_TENSORRT_INCLUDE=...``).
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import EdgeosrError, MissingDependencyError
from edgeosr.files import require_place
from edgeosr.kernels.build.sources import FOLDER as KERNEL
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.program.run import run_program
from edgeosr.runtime.native.build import HERE, OBJECTS, PLAIN, build, kept_objects

PLUGIN = HERE / "libedgeosr_tensorrt.so"
OWN = HERE / "tensorrt"
# Of libedgeosr: what the plug-in reads of a bundle, and its words.
SHARED = (
    *("base/failure.cpp", "base/file.cpp", "base/sha256.cpp"),
    *("bundle/json_node.cpp", "bundle/json_parser.cpp", "bundle/npz.cpp", "bundle/unicode.cpp"),
    *("scoring/scorer.cpp", "scoring/scorer_checks.cpp"),
)
# Where CUDA's headers are, on a Jetson and where NVIDIA's packages put them.
CUDA = (Path("/usr/local/cuda/include"), Path("/usr/include"))
_HEADER = "NvInferRuntime.h"


def build_plugin(
    out: Path,
    include: Path,
    *,
    cuda: Path | None = None,
    objects: Path = OBJECTS,
    more: Sequence[Path] = (),
    compiler: Sequence[str] | None = None,
    flags: Sequence[str] = PLAIN,
    extra: Sequence[str] = (),
) -> Path:
    """Compile the plug-in.

    Args:
        out: its file, which is to lie beside ``libedgeosr.so``.
        include: the folder of TensorRT's headers, 10.3 or later.
        cuda: the folder of CUDA's headers; None: the first of ``CUDA``, or nvcc's.
        objects: see ``build``, as are ``more``, ``compiler``, ``flags`` and the errors.
        more: see there.
        compiler: see there.
        flags: see there; those of the library, whose objects are then taken.
        extra: see there.

    Raises:
        MissingDependencyError: there are no such headers.
    """
    if not (include / _HEADER).is_file():
        raise MissingDependencyError(
            f"the plug-in for TensorRT is compiled against its headers, and {include} has no {_HEADER}; name "
            "the folder that has it (JetPack: /usr/include/aarch64-linux-gnu; from NVIDIA's packages: apt "
            "install libnvinfer-headers-dev)"
        )
    # Objects of other headers in the same folder are others.
    headers = hashlib.sha256((include / "NvInferVersion.h").read_bytes()).hexdigest()[:16]
    system = (
        *("-isystem", str(include), "-isystem", str(cuda or _cuda_headers())),
        f"-DEDGEOSR_TENSORRT_HEADERS={headers}",
    )
    return build(
        out,
        objects=objects,
        more=more,
        only=[*sorted(OWN.glob("*.cpp")), *(HERE / "src" / name for name in SHARED)],
        folders=(OWN, KERNEL.parent / "include", KERNEL),
        named=(f"-Wl,-soname,{PLUGIN.name}", f"-Wl,--version-script={OWN / 'libedgeosr_tensorrt.map'}"),
        compiler=compiler,
        flags=flags,
        extra=(*system, f'-DEDGEOSR_KERNEL_SOURCE="{device_source().digest}"', *extra),
    )


def _cuda_headers() -> Path:
    for folder in CUDA:
        if (folder / "cuda.h").is_file():
            return folder
    if shutil.which("nvcc") is None:
        raise MissingDependencyError(
            "the plug-in for TensorRT takes CUDA's headers, and cuda.h is in none of "
            f"{', '.join(map(str, CUDA))}; install the CUDA toolkit, or name its folder with --cuda"
        )
    return Path(find_nvcc().include)


def main() -> int:
    """Build it beside this file, where ``libedgeosr.so`` looks for it."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, prog="python -m edgeosr.runtime.native.tensorrt_build", description=__doc__
    )
    parser.add_argument("include", type=Path, help="the folder of TensorRT's headers")
    parser.add_argument("--cuda", type=Path, help="the folder of CUDA's headers")
    parser.add_argument("--out", type=Path, default=PLUGIN, help="the plug-in's file")
    parser.add_argument(
        "--objects", type=Path, default=kept_objects(), help="a folder for objects; default: %(default)s"
    )
    arguments = parser.parse_args()
    try:
        require_place(arguments.out, folder=False)
        require_place(arguments.objects, folder=True)
        print(build_plugin(arguments.out, arguments.include, cuda=arguments.cuda, objects=arguments.objects))
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    run_program(main)
