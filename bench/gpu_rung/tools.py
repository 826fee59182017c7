"""NVIDIA's tools around a process of ours: where they are, and whether a machine lets them work."""

import re
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
    "permission",
    "failed to initialize",
)
# This they say of a process that crashed too. Of one that came to its end it says that they did not get in.
_NEVER_IN = "Target application terminated before first instrumented API call"
ENDED_WELL = '"passed": true'  # in the figures of small_cases
_OWN_LINE = re.compile(r"^(==(ERROR|WARNING|PROF)==|={9})")
CRASHED = "Traceback (most recent call last)"


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
    """Return the tool's own line that says that the machine does not let it work, or an empty text.

    Lines of the process under it do not count, whatever words they hold; nor does anything where that process
    crashed in Python, for then it is the crash that has to be looked at.
    """
    if CRASHED in printed:
        return ""
    wanted = (*_FORBIDDEN, *([_NEVER_IN] if ENDED_WELL in printed else []))
    lines = [line.strip(" =") for line in printed.splitlines() if _OWN_LINE.match(line)]
    return next((line[:200] for line in lines for words in wanted if words.lower() in line.lower()), "")
