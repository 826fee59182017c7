"""The native backend: ``libedgeosr``, the C library, by ctypes: what an application in C gets."""

import contextlib
import ctypes
import json
import os
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from edgeosr.bundle.directory import Bundle
from edgeosr.errors import BundleError
from edgeosr.files import sha256_of
from edgeosr.runtime.backends.backend import NATIVE
from edgeosr.runtime.native.library import (
    BGR8,
    FRAME,
    RGB8,
    VERDICT,
    Options,
    load_library,
    onnxruntime_library,
    openvino_library,
    require_ok,
)
from edgeosr.runtime.rows import Rows


class NativeBackend:
    """See ``Backend``. The library reads and checks the bundle once more, by itself.

    Args:
        bundle: checked; at its path must still lie the same one.
        on: ``onnxruntime``, which runs ``model.onnx``; or ``openvino``, which runs the body if this processor
            is for it, and has judged the golden frames then.
        threads: of one inference; None for one a physical core on onnxruntime, for one on openvino.

    Attributes:
        graph: the file of the bundle that runs; the scores are for its threshold.

    Raises:
        MissingDependencyError: the library is missing, or the back end that it opens.
        BundleError: the bundle was replaced meanwhile.
        InferenceError: the back end cannot load the network, or decides otherwise than it must.
    """

    name = NATIVE
    takes_cuda_arrays = False

    def __init__(self, bundle: Bundle, *, on: str = "onnxruntime", threads: int | None = None) -> None:
        self._library = load_library()
        self._handle: _Handle | None = _Handle(self._library, bundle, on, threads)
        self._parts = len(bundle.manifest.parts)
        said = self._handle.info()
        if said["manifest_sha256"] != sha256_of(bundle.manifest_data):
            raise BundleError(f"the bundle at {bundle.path} was replaced while it was opened; open it again")
        if said["backend"] != on:
            raise AssertionError(f"the library was to run on {on} and runs on {said['backend']}")
        self.graph: str = said["graph"]
        self.providers: tuple[str, ...] = (f"{self.graph} on {said['backend_library']}",)

    def run(self, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        """Judge a batch; decisions are left to the caller."""
        handle = self._handle  # closed when the last call that holds it ends
        if handle is None:
            raise AssertionError("a closed backend was run")
        count, height, width, _ = frames.shape
        given, said = np.zeros(count, FRAME), np.zeros(count, VERDICT)
        given["struct_bytes"] = FRAME.itemsize
        given["format"] = BGR8 if bgr else RGB8
        given["height_px"], given["width_px"] = height, width
        given["plane"][:, 0] = frames.ctypes.data + np.arange(count, dtype=np.uintp) * (height * width * 3)
        status = self._library.edgeosr_judge(
            handle.pointer, given.ctypes.data, count, said.ctypes.data, VERDICT.itemsize
        )
        require_ok(self._library, status)
        return Rows(
            said["index"].astype(np.int64), said["score"].copy(), said["parts"][:, : self._parts].copy()
        )

    def warm_up(self, frames: Any, *, threshold: float, limit_s: float) -> Rows:
        """Judge a black frame within ``limit_s`` seconds, then this batch."""
        handle = self._handle
        if handle is None:
            raise AssertionError("a closed backend was run")
        require_ok(self._library, self._library.edgeosr_warm_up(handle.pointer, 1, limit_s))
        return self.run(frames, bgr=False, threshold=threshold)

    def briefly(self, frame: Any) -> AbstractContextManager[None]:
        """Nothing: the library lets go of what golden frames took by itself."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Let the bundle go when the last call in another thread ends."""
        self._handle = None


class _Handle:
    """An ``edgeosr_runtime``, closed when nobody holds it any more."""

    def __init__(self, library: Any, bundle: Bundle, on: str, threads: int | None) -> None:
        self.pointer = ctypes.c_void_p()
        self._library = library
        found = openvino_library() if on == "openvino" else onnxruntime_library()
        all_cores = threads is None and on == "onnxruntime"
        options = Options(
            struct_bytes=ctypes.sizeof(Options),
            # Never "auto": with no onnxruntime found here it could run a body, which has another threshold.
            backend=on.encode(),
            backend_library=None if found is None else os.fsencode(found),
            threads=-1 if all_cores else threads or 0,
            warmup_frames=-1,
        )
        path = os.fsencode(bundle.path)
        require_ok(library, library.edgeosr_open(path, ctypes.byref(options), ctypes.byref(self.pointer)))

    def info(self) -> dict[str, Any]:
        needed, room, size = ctypes.c_size_t(), None, 0
        while True:
            status = self._library.edgeosr_info(self.pointer, room, size, ctypes.byref(needed))
            if needed.value <= size:
                break
            # Asked for only, or longer by now: ``why`` may have gained a reason.
            size = needed.value
            room = ctypes.create_string_buffer(size)
        require_ok(self._library, status)
        assert room is not None, "the library needed no bytes, and did not fail"
        said: dict[str, Any] = json.loads(room.value)
        return said

    def __del__(self) -> None:
        if self.pointer:
            self._library.edgeosr_close(self.pointer)
