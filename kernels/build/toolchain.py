"""nvcc, wherever it is: for building ahead of time. Nothing of this is needed to run the kernel."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.sources import FOLDER, MAIN

FLAGS = ("-std=c++17", "-O3", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror")
PTXAS_FLAGS = ("-Xptxas", "-v,-warn-spills,-warn-lmem-usage")


@dataclass(frozen=True)
class Nvcc:
    """An nvcc; ``include`` holds the CUDA headers, ``library`` the runtime to link with."""

    path: Path
    version: str
    include: Path
    library: Path

    def cubin(
        self, architecture: str, target: Path, folder: Path = FOLDER, *, defines: Sequence[str] = ()
    ) -> str:
        """Compile ``fused_score.cu`` of ``folder``, every warning an error; return ptxas's report.

        ``defines``: macros, NAME=VALUE.

        Raises:
            KernelBuildError: the compiler's own message, trimmed.
        """
        flags = (
            *FLAGS,
            *PTXAS_FLAGS,
            f"-arch={architecture}",
            "-cubin",
            *(f"-D{define}" for define in defines),
        )
        done = run_tool([self.path, *flags, folder / MAIN, "-o", target])
        if done.returncode:
            raise KernelBuildError(
                f"nvcc {self.version} could not compile {MAIN} for {architecture}:\n{trimmed(done.stderr)}"
            )
        return done.stderr


def find_nvcc() -> Nvcc:
    """Find nvcc: ``$EDGEOSR_NVCC``, the PyPI wheels of this Python, then the PATH; 13.0 or later.

    Raises:
        KernelBuildError: none, or too old; the message holds the install line.
    """
    named = os.environ.get("EDGEOSR_NVCC")
    candidates = [Path(named)] if named else [*_in_wheels("bin/nvcc"), *_on_path("nvcc")]
    seen = []
    for path in candidates:
        done = run_tool([path, "--version"]) if path.is_file() else None
        match = re.search(r"release (\d+\.\d+)", done.stdout) if done else None
        if match and int(match[1].split(".")[0]) >= 13:
            root = _toolkit_of(path)
            libraries = next((root / name for name in ("lib64", "lib") if (root / name).is_dir()), root)
            return Nvcc(path, match[1], root / "include", libraries)
        seen.append(f"{path} ({match[1] if match else 'does not run'})")
    raise KernelBuildError(
        f"building the fused kernel needs nvcc 13.0 or later; found {', '.join(seen) or 'none'}; run: "
        "pip install nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 "
        "nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85, or name one in EDGEOSR_NVCC"
    )


def trimmed(text: str, lines: int = 12) -> str:
    """Return the first ``lines`` lines that are not empty of a compiler's output, and how many were cut."""
    kept = [line.rstrip() for line in text.splitlines() if line.strip()]
    more = len(kept) - lines
    return "\n".join([*kept[:lines], *([f"... {more} more lines"] if more > 0 else [])])


def run_tool(arguments: "list[Path | str]") -> "subprocess.CompletedProcess[str]":
    """Run a compiler; a missing one is an exit code with words, like any other failure."""
    words = [str(argument) for argument in arguments]
    try:
        return subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, "", str(error))


def _toolkit_of(nvcc: Path) -> Path:
    """Ask nvcc for the folder of include/ and lib64/ (wheels: lib/): on the PATH it may be a script."""
    done = run_tool([nvcc, "-dryrun", "-c", "none.cu"])
    match = re.search(r"^#\$ TOP=(.*)$", done.stderr, re.MULTILINE)
    return (Path(match[1]) if match else nvcc.parent.parent).resolve()


def _in_wheels(inside: str) -> list[Path]:
    found = (Path(root) / "nvidia" / "cu13" / inside for root in sys.path)
    return [path for path in found if path.is_file()]


def _on_path(name: str) -> list[Path]:
    found = shutil.which(name)
    return [Path(found)] if found else []
