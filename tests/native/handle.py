"""An open ``edgeosr_runtime`` for tests, by ctypes; every call is the C function of its name."""

import contextlib
import ctypes
import json
import os
import subprocess
import sys

import numpy as np

from edgeosr.runtime.native.library import (
    FRAME as FRAME_TYPE,
)
from edgeosr.runtime.native.library import (
    RGB8,
    VERDICT,
    Options,
    Verification,
    onnxruntime_library,
    require_ok,
)

# Of edgeosr_status.
ARGUMENT, BUNDLE, FRAME, NO_BACKEND, FAILED, NOT_VERIFIED, MEMORY, _, NO_PREVIOUS = range(1, 10)


def options(**changes):
    given = {"backend_library": os.fsencode(onnxruntime_library()), **changes}
    return Options(**{"struct_bytes": ctypes.sizeof(Options), **given})


_KEPT = []


def frame(*planes, size=None, pixel_format=RGB8, strides=None):
    """One ``edgeosr_frame``, whose planes are kept for good. The size is the first plane's."""
    _KEPT.append(planes)
    made = np.zeros(1, FRAME_TYPE)
    made["struct_bytes"] = FRAME_TYPE.itemsize
    made["format"] = pixel_format
    made["height_px"], made["width_px"] = planes[0].shape[:2] if size is None else size
    for place, plane in enumerate(planes):
        made["plane"][0, place] = plane.ctypes.data
        made["stride_bytes"][0, place] = plane.strides[0] if strides is None else strides[place]
    return made


class Handle:
    def __init__(self, library, path, opened_with=None):
        self.library, self.pointer = library, ctypes.c_void_p()
        chosen = options() if opened_with is None else opened_with
        status = library.edgeosr_open(os.fsencode(path), ctypes.byref(chosen), ctypes.byref(self.pointer))
        require_ok(library, status)

    def status_of(self, frames, *, verdict_bytes=VERDICT.itemsize):
        said = np.zeros(max(len(frames), 1), VERDICT)
        status = self.library.edgeosr_judge(
            self.pointer, frames.ctypes.data, len(frames), said.ctypes.data, verdict_bytes
        )
        return status, said[: len(frames)]

    def judge(self, *frames):
        status, said = self.status_of(np.concatenate(frames))
        require_ok(self.library, status)
        return said

    def set_threshold(self, value):
        require_ok(self.library, self.library.edgeosr_set_threshold(self.pointer, value))

    def set_class_thresholds(self, values):
        array = np.asarray(values, np.float64)
        require_ok(
            self.library,
            self.library.edgeosr_set_class_thresholds(self.pointer, array.ctypes.data, len(array)),
        )

    def thresholds(self):
        count = ctypes.c_size_t()
        require_ok(self.library, self.library.edgeosr_thresholds(self.pointer, None, 0, ctypes.byref(count)))
        room = np.zeros(count.value)
        require_ok(
            self.library,
            self.library.edgeosr_thresholds(self.pointer, room.ctypes.data, len(room), ctypes.byref(count)),
        )
        return room.tolist()

    def swap(self, path):
        require_ok(self.library, self.library.edgeosr_swap(self.pointer, os.fsencode(path)))

    def rollback(self):
        require_ok(self.library, self.library.edgeosr_rollback(self.pointer))

    def verify(self):
        out = Verification(struct_bytes=ctypes.sizeof(Verification))
        return self.library.edgeosr_verify(self.pointer, ctypes.byref(out)), out

    def info(self):
        needed, room = ctypes.c_size_t(1), b""
        while needed.value > len(room):  # it may have grown since it was asked for
            room = ctypes.create_string_buffer(needed.value)
            status = self.library.edgeosr_info(self.pointer, room, len(room), ctypes.byref(needed))
        require_ok(self.library, status)
        return json.loads(room.value)

    def last_error(self):
        return self.library.edgeosr_last_error().decode()

    def close(self):
        self.library.edgeosr_close(self.pointer)


def text_at(address):
    return ctypes.string_at(int(address)).decode()


@contextlib.contextmanager
def opened(library, path, **changes):
    handle = Handle(library, path, options(**changes))
    try:
        yield handle
    finally:
        handle.close()


def said_on_opening(native, path, chosen):
    pointer = ctypes.c_void_p(1)
    given = None if chosen is None else ctypes.byref(chosen)
    status = native.edgeosr_open(None if path is None else os.fsencode(path), given, ctypes.byref(pointer))
    assert not pointer
    return status, native.edgeosr_last_error().decode()


def in_child(program, *arguments, **variables):
    """Run a program of Python with the helpers beside the tests; return its lines."""
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), **variables}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
