"""The native front end through ctypes, built from the sources of a clone: for timing alone."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import MissingDependencyError
from edgeosr.preprocessing import FITS, Preprocessing
from edgeosr.runtime import runtime

# Beside the module, in a clone and wherever the sources are installed.
NATIVE = Path(runtime.__file__).resolve().parent / "native"
_FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC")


def build_front_end(folder: Path) -> Path:
    """Compile the front end with its driver, and return the library.

    Args:
        folder: where it is put.

    Raises:
        MissingDependencyError: there is no C++ compiler, no sources, or it failed.
    """
    driver, compiler = NATIVE / "tools" / "front_end_driver.cpp", os.environ.get("CXX", "g++")
    sources = sorted((NATIVE / "src" / "front_end").glob("*.cpp"))
    if not driver.is_file() or not sources:
        raise MissingDependencyError(
            f"the sources of the native front end are not in {NATIVE}; run this in a clone of the repository"
        )
    if shutil.which(compiler) is None:
        raise MissingDependencyError(
            f"the native front end is compiled here, and there is no {compiler}; install a C++17 compiler, "
            "or name one in the variable CXX"
        )
    out = folder / "front_end.so"
    done = subprocess.run(
        [compiler, *_FLAGS, str(driver), *map(str, sources), "-o", str(out)], capture_output=True, text=True
    )
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise MissingDependencyError(
            f"{compiler} cannot compile the native front end: {words[0] if words else 'it says nothing'}; "
            "name another one in the variable CXX"
        )
    return out


class NativeFrontEnd:
    """Makes the network's input of RGB frames of one size, one frame a call.

    Args:
        library: what ``build_front_end`` made.
        preprocessing: of the bundle.
        size: (height, width) of the frames.
    """

    def __init__(self, library: Path, preprocessing: Preprocessing, size: tuple[int, int]) -> None:
        self._calls: Any = ctypes.CDLL(str(library))
        self._calls.front_end_new.restype = ctypes.c_void_p
        self._calls.front_end_free.argtypes = [ctypes.c_void_p]
        self._calls.front_end_instructions.restype = ctypes.c_char_p
        pointer, size_type, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        plane: list[Any] = [pointer, size_type]
        self._calls.front_end_run.argtypes = [pointer, number, number, number, *plane, *plane, pointer]
        numbers = (
            *(preprocessing.height, preprocessing.width, FITS.index(preprocessing.fit)),
            *(preprocessing.resize_to or 0, int(preprocessing.color == "bgr"), *size),
        )
        reals = (preprocessing.crop_fraction, *preprocessing.mean, *preprocessing.std)
        self._made = self._calls.front_end_new((ctypes.c_int * 7)(*numbers), (ctypes.c_double * 7)(*reals))
        if not self._made:
            raise MemoryError("the native front end has no memory for its tables")
        self._size = size
        self.pixels: NDArray[np.float32] = np.empty(
            (1, 3, preprocessing.height, preprocessing.width), np.float32
        )

    @property
    def instructions(self) -> str:
        """The instruction set that it runs on here."""
        return str(self._calls.front_end_instructions().decode())

    def run(self, frame: NDArray[np.uint8]) -> None:
        """Fill ``pixels`` from a contiguous RGB frame ``[height, width, 3]`` of its size."""
        self._calls.front_end_run(
            *(self._made, 0, *self._size, frame.ctypes.data, frame.strides[0], None, 0),
            self.pixels.ctypes.data,
        )

    def close(self) -> None:
        """Free it; calling it twice is fine."""
        made, self._made = self._made, None
        self._calls.front_end_free(made)
