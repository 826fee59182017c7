"""Compiles a C++ source of ``edgeosr/runtime/native/tools`` for a table; only the bench runs it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import MissingDependencyError
from edgeosr.runtime import runtime

# Beside the module, in a clone and wherever the sources are installed.
NATIVE = Path(runtime.__file__).resolve().parent / "native"


def compiled(tool: str, out: Path, flags: Sequence[str], sources: Sequence[Path] = ()) -> Path:
    """Compile a tool, and return ``out``.

    Args:
        tool: its file's name.
        out: what is made.
        flags: of compiler and linker; libraries go last.
        sources: other files that are compiled with it, all of which must be there.

    Raises:
        MissingDependencyError: there is no C++ compiler, no sources, or it failed.
    """
    driver, compiler = NATIVE / "tools" / tool, os.environ.get("CXX", "g++")
    if not driver.is_file():
        raise MissingDependencyError(
            f"the native sources are not in {NATIVE}; run this in a clone of the repository"
        )
    if shutil.which(compiler) is None:
        raise MissingDependencyError(
            f"{tool} is compiled here, and there is no {compiler}; install a C++17 compiler, "
            "or name one in the variable CXX"
        )
    plain = [flag for flag in flags if not flag.startswith("-l")]
    libraries = [flag for flag in flags if flag.startswith("-l")]
    command = [compiler, "-std=c++17", *plain, str(driver), *map(str, sources), "-o", str(out), *libraries]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise MissingDependencyError(
            f"{compiler} cannot compile {tool}: {words[0] if words else 'it says nothing'}; "
            "name another one in the variable CXX"
        )
    return out
