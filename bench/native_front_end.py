"""The native front end through ctypes, built from the sources of a clone: for timing alone."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.cpp_program import NATIVE, compiled
from edgeosr.preprocessing import FITS, Preprocessing


def build_front_end(folder: Path) -> Path:
    """Compile the front end with its driver, and return the library.

    Args:
        folder: where it is put.

    Raises:
        MissingDependencyError: there is no C++ compiler, no sources, or it failed.
    """
    sources = sorted((NATIVE / "src" / "front_end").glob("*.cpp"))
    return compiled("front_end_driver.cpp", folder / "front_end.so", ("-O3", "-shared", "-fPIC"), sources)


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
