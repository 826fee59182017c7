"""``libedgeosr`` by ctypes: the structures of ``edgeosr.h``, and where the library is found."""

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.errors import (
    BundleError,
    EdgeosrError,
    FrameError,
    InferenceError,
    MissingDependencyError,
    StorageError,
    UsageError,
)
from edgeosr.printed import LONGEST_NAME, printable, shortened
from edgeosr.verdict import MOST_PARTS

ABI = 1
NAME = "libedgeosr.so"
# Name it, and what it opens; else they are looked for, see ``load_library``, ``onnxruntime_library`` and
# ``openvino_library``.
LIBRARY_VARIABLE, ONNXRUNTIME_VARIABLE = "EDGEOSR_LIBRARY", "EDGEOSR_ONNXRUNTIME"
OPENVINO_VARIABLE = "EDGEOSR_OPENVINO"
_INSTALL = (
    "install a wheel of edgeosr for this platform, build it in a checkout (python -m "
    f"edgeosr.runtime.native.build), or name the file of one that is built in {LIBRARY_VARIABLE}"
)
_NAME_ANOTHER = (
    "name the file of libedgeosr itself there, or unset the variable, for a wheel's own, or build it in a "
    "checkout (python -m edgeosr.runtime.native.build)"
)
RGB8, BGR8, NV12, YUYV, GRAY8 = range(5)  # edgeosr_format
OK, NOT_VERIFIED = 0, 6
# edgeosr_status, as the error that Python raises for it.
ERRORS: dict[int, type[EdgeosrError]] = {
    1: UsageError,
    2: BundleError,
    3: FrameError,
    4: MissingDependencyError,
    5: InferenceError,
    NOT_VERIFIED: InferenceError,
    7: InferenceError,
    8: StorageError,
    9: UsageError,
    10: InferenceError,
}


class Options(ctypes.Structure):
    """``edgeosr_options``."""

    _fields_ = (
        ("struct_bytes", ctypes.c_size_t),
        ("backend", ctypes.c_char_p),
        ("backend_library", ctypes.c_char_p),
        ("threads", ctypes.c_int32),
        ("warmup_frames", ctypes.c_int32),
        ("warmup_limit_s", ctypes.c_double),
        ("verify", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
    )


class Verification(ctypes.Structure):
    """``edgeosr_verification``."""

    _fields_ = (
        ("struct_bytes", ctypes.c_size_t),
        ("verdicts", ctypes.c_int32),
        ("agreed", ctypes.c_int32),
        ("ties", ctypes.c_int32),
        ("differing", ctypes.c_int32),
        ("score_distance", ctypes.c_double),
        ("score_band", ctypes.c_double),
    )


# ``edgeosr_frame`` and ``edgeosr_verdict``, of which there are many in a call.
FRAME = np.dtype(
    [
        ("struct_bytes", np.uintp),
        ("format", np.int32),
        ("height_px", np.int32),
        ("width_px", np.int32),
        ("plane", np.uintp, 2),
        ("stride_bytes", np.uintp, 2),
    ],
    align=True,
)
VERDICT = np.dtype(
    [
        ("accepted", np.int32),
        ("finite", np.int32),
        ("index", np.int32),
        ("part_count", np.int32),
        ("label", np.uintp),
        ("nearest", np.uintp),
        ("threshold", np.float64),
        ("score", np.float32),
        ("generation", np.uint32),
        ("latency_ns", np.int64),
        ("parts", np.float32, MOST_PARTS),
    ],
    align=True,
)


@functools.lru_cache(maxsize=4)
def load_library(path: str | None = None) -> Any:
    """Load the library and declare its functions.

    Args:
        path: of its file; None: ``EDGEOSR_LIBRARY``, the file that a platform wheel or
            ``python -m edgeosr.runtime.native.build`` puts beside this one, or what the system finds.

    Raises:
        MissingDependencyError: it is not there, or cannot be loaded, or is of another ABI.
    """
    beside = Path(__file__).with_name(NAME)
    named = None if path else _named_by(LIBRARY_VARIABLE)
    name = path or named or (str(beside) if beside.exists() else f"{NAME}.{ABI}")
    shown, way_out = (f"{name} of {LIBRARY_VARIABLE}", _NAME_ANOTHER) if named else (name, _INSTALL)
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise MissingDependencyError(
            f"the native backend needs libedgeosr, and {shown} cannot be loaded: {error}; {way_out}"
        ) from error
    try:
        abi = library.edgeosr_abi()
        if abi != ABI:
            raise MissingDependencyError(
                f"the native backend needs libedgeosr of ABI {ABI}; {shown} has {abi}; install both of one "
                f"version, or {way_out}"
            )
        _declare(library)
    except AttributeError as error:  # one of its functions is not there
        raise MissingDependencyError(
            f"the native backend needs libedgeosr of this version, and {shown} is none: {error}; {way_out}"
        ) from error
    return library


def _declare(library: Any) -> None:
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    arguments: dict[str, tuple[Any, ...]] = {
        "open": (text, ctypes.POINTER(Options), ctypes.POINTER(pointer)),
        "judge": (pointer, pointer, size, pointer, size),
        "set_threshold": (pointer, ctypes.c_double),
        "set_class_thresholds": (pointer, pointer, size),
        "thresholds": (pointer, pointer, size, ctypes.POINTER(size)),
        "swap": (pointer, text),
        "rollback": (pointer,),
        "warm_up": (pointer, ctypes.c_int32, ctypes.c_double),
        "verify": (pointer, ctypes.POINTER(Verification)),
        "info": (pointer, pointer, size, ctypes.POINTER(size)),
    }
    for name, types in arguments.items():
        function = getattr(library, f"edgeosr_{name}")
        function.argtypes, function.restype = types, ctypes.c_int
    library.edgeosr_close.argtypes, library.edgeosr_close.restype = (pointer,), None
    library.edgeosr_last_error.restype = text
    library.edgeosr_version.restype = text
    for name in ("part_name", "class_name"):
        function = getattr(library, f"edgeosr_{name}")
        function.argtypes, function.restype = (pointer, size), text


def require_ok(library: Any, status: int) -> None:
    """Raise this thread's last error unless ``status`` is ``OK``; of an unknown status an InferenceError."""
    if status != OK:
        raise ERRORS.get(status, InferenceError)(library.edgeosr_last_error().decode("utf-8", "replace"))


def onnxruntime_library() -> str | None:
    """Return the onnxruntime that Python would use, as a file for the native library; None if there is none.

    ``EDGEOSR_ONNXRUNTIME`` goes first. Its wheels hold ``libonnxruntime.so`` (seen in 1.20 to 1.32).
    """
    return _in_wheel(ONNXRUNTIME_VARIABLE, "onnxruntime", "capi", "libonnxruntime.so*")


def openvino_library() -> str | None:
    """Return the OpenVINO that Python would use, likewise; ``EDGEOSR_OPENVINO`` goes first."""
    return _in_wheel(OPENVINO_VARIABLE, "openvino", "libs", "libopenvino_c.so*")


def _named_by(variable: str) -> str | None:
    """Return the path, or the name for the system to find, of a variable; None if it is not set.

    As the library reads it: a relative path would be another file once the program has changed its folder.
    """
    named = os.environ.get(variable)
    if named and os.path.dirname(named) and not os.path.isabs(named):
        raise MissingDependencyError(
            f"{variable} must be a whole path, or a name without a slash for the system to find; got "
            f"{shortened(printable(named), LONGEST_NAME)}: write the path from / on, which is the same file "
            "wherever the program runs"
        )
    return named or None


def _in_wheel(variable: str, package: str, folder: str, pattern: str) -> str | None:
    named = _named_by(variable)
    if named:
        return named
    found = importlib.util.find_spec(package)
    for place in found.submodule_search_locations or () if found else ():
        for path in sorted(Path(place, folder).glob(pattern)):
            return str(path)
    return None
