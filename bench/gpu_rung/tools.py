"""NVIDIA's tools around a process of ours: where they are, and whether a machine lets them work."""

import shutil
from pathlib import Path

from edgeosr.bench.gpu_rung.step_report import NotRunHereError

_FOLDERS = (Path("/usr/local/cuda/bin"), Path("/usr/local/cuda/compute-sanitizer"))
# What the tools say where a container or a driver forbids them: nothing of ours is wrong then.
_FORBIDDEN = (
    "ERR_NVGPUCTRPERM",
    "not supported",
    "Unable to find injection",
    "debugger",
    "Device busy",
    "Profiling failed",
    "No kernels were profiled",
    "permission",
    "failed to initialize",
    "Target application terminated before first instrumented API call",
)


def find_tool(name: str) -> str:
    """Return the tool's path.

    Raises:
        NotRunHereError: it is not installed.
    """
    found = shutil.which(name) or next((str(f / name) for f in _FOLDERS if (f / name).is_file()), None)
    if found is None:
        raise NotRunHereError(f"{name} is not on the PATH")
    return found


def forbidden(printed: str) -> str:
    """Return the tool's own line that says that the machine does not let it work, or an empty text."""
    lines = [line.strip(" =") for line in printed.splitlines()]
    return next((line[:200] for line in lines for words in _FORBIDDEN if words.lower() in line.lower()), "")
