"""The native front end, built for the tests, and called through ctypes."""

import ctypes
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeosr.preprocessing import FITS, Preprocessing

NATIVE = Path(__file__).resolve().parents[3] / "edgeosr" / "runtime" / "native"
SOURCES = sorted((NATIVE / "src" / "front_end").glob("*.cpp"))
FORMATS = RGB8, BGR8, NV12, YUYV, GRAY8 = range(5)
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def compiled(out: Path, *arguments: str | Path) -> Path:
    subprocess.run([os.environ.get("CXX", "g++"), *FLAGS, *map(str, arguments), "-o", str(out)], check=True)
    return out


class Planes(NamedTuple):
    """A frame's planes; rows may be longer than what is in them."""

    first: NDArray[np.uint8]
    second: NDArray[np.uint8] | None = None


class FrontEndLibrary:
    def __init__(self, folder: Path) -> None:
        driver = NATIVE / "tools" / "front_end_driver.cpp"
        self.calls: Any = ctypes.CDLL(
            str(compiled(folder / "front_end.so", "-O2", "-shared", "-fPIC", driver, *SOURCES))
        )
        self.calls.front_end_new.restype = ctypes.c_void_p
        self.calls.front_end_free.argtypes = [ctypes.c_void_p]
        pair = (ctypes.c_void_p, ctypes.c_size_t)
        self.calls.front_end_run.argtypes = [ctypes.c_void_p, *[ctypes.c_int] * 3, *pair * 2, ctypes.c_void_p]

    def pixels(
        self,
        preprocessing: Preprocessing,
        planes: Planes,
        size: tuple[int, int] | None = None,
        pixel_format: int = RGB8,
    ) -> NDArray[np.float32]:
        """The network's input, float32 ``[3, height, width]``; the frame's size is the first plane's."""
        height, width = size or planes.first.shape[:2]
        numbers = (
            *(preprocessing.height, preprocessing.width, FITS.index(preprocessing.fit)),
            *(preprocessing.resize_to or 0, preprocessing.color == "bgr", height, width),
        )
        reals = (preprocessing.crop_fraction, *preprocessing.mean, *preprocessing.std)
        made = self.calls.front_end_new((ctypes.c_int * 7)(*numbers), (ctypes.c_double * 7)(*reals))
        pixels = np.full((3, preprocessing.height, preprocessing.width), np.nan, np.float32)
        pointers = [
            value
            for plane in planes
            for value in ((None, 0) if plane is None else (plane.ctypes.data, plane.strides[0]))
        ]
        self.calls.front_end_run(made, pixel_format, height, width, *pointers, pixels.ctypes.data)
        self.calls.front_end_free(made)
        return pixels


def wide_rows(plane: NDArray[np.uint8], more: int) -> NDArray[np.uint8]:
    """The same plane in rows that are ``more`` bytes longer."""
    rows = plane.reshape(len(plane), -1)
    longer = np.full((len(rows), rows.shape[1] + more), 77, np.uint8)
    longer[:, : rows.shape[1]] = rows
    return longer[:, : rows.shape[1]].reshape(plane.shape) if plane.ndim == 2 else longer


def rgb_of(y: NDArray[Any], u: NDArray[Any], v: NDArray[Any]) -> NDArray[np.uint8]:
    """BT.601 of limited range in whole numbers, the rule of front_end.h; all ``[height, width]``."""
    y, u, v = (plane.astype(np.int64) - middle for plane, middle in ((y, 16), (u, 128), (v, 128)))
    red = 76309 * y + 104597 * v
    green = 76309 * y - 25675 * u - 53279 * v
    blue = 76309 * y + 132201 * u
    channels = [np.clip((each + 32768) >> 16, 0, 255) for each in (red, green, blue)]
    return np.ascontiguousarray(np.stack(channels, axis=2), np.uint8)
