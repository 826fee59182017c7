"""A bundle that the C library has open, for the tables: by ctypes, one frame a call."""

import ctypes
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.runtime.native.library import FRAME, RGB8, VERDICT, Options, load_library, require_ok

Bytes = NDArray[np.uint8]


class NativeHandle:
    """See the module.

    Args:
        path: of the bundle.
        backend: ``onnxruntime`` or ``openvino``.
        place: of the back end's library; None: where the system finds it.

    Raises:
        EdgeosrError: as the library says.
    """

    def __init__(self, path: Path, backend: str, place: str | None) -> None:
        self._library = load_library()
        self._said = np.zeros(1, VERDICT)
        self._frame = np.zeros(1, FRAME)
        self._frame["struct_bytes"] = FRAME.itemsize
        self._handle = ctypes.c_void_p()
        options = Options(
            struct_bytes=ctypes.sizeof(Options),
            backend=backend.encode(),
            backend_library=None if place is None else os.fsencode(place),
        )
        require_ok(
            self._library,
            self._library.edgeosr_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(self._handle)),
        )

    def info(self) -> dict[str, Any]:
        """Return what ``edgeosr_info`` says."""
        room = ctypes.create_string_buffer(1 << 16)
        require_ok(self._library, self._library.edgeosr_info(self._handle, room, len(room), None))
        said: dict[str, Any] = json.loads(room.value)
        return said

    def judge(self, planes: Sequence[Bytes], size: tuple[int, int], pixel_format: int = RGB8) -> Any:
        """Judge a frame.

        Args:
            planes: whose first axes are rows, which may lie apart.
            size: (height, width), pixels.
            pixel_format: of ``edgeosr_format``.

        Returns:
            The verdict, a record of ``VERDICT``; valid until the next call.
        """
        self._frame["format"] = pixel_format
        self._frame["height_px"], self._frame["width_px"] = size
        for place, plane in enumerate(planes):
            self._frame["plane"][0, place] = plane.ctypes.data
            self._frame["stride_bytes"][0, place] = plane.strides[0]
        status = self._library.edgeosr_judge(
            self._handle, self._frame.ctypes.data, 1, self._said.ctypes.data, VERDICT.itemsize
        )
        require_ok(self._library, status)
        return self._said[0]

    def close(self) -> None:
        """Let the bundle go."""
        self._library.edgeosr_close(self._handle)
