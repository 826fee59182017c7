"""Import ``openvino``, and ask what this processor can do for it."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeosr.bundle.body import BF16, INT8
from edgeosr.errors import MissingDependencyError, import_extra

# Any of these, as Linux writes them.
BF16_FLAGS = ("avx512_bf16", "amx_bf16")
VNNI_FLAGS = ("avx512_vnni", "avx_vnni", "amx_int8")


def load_openvino() -> ModuleType:
    """Import openvino.

    Raises:
        MissingDependencyError: it is missing, or does not load; holds the line that fixes it.
    """
    try:
        return import_extra("openvino", extra="openvino", purpose="the backend openvino")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"openvino is installed, but does not load: {error}; run: pip install --force-reinstall openvino"
        ) from error


class Core:
    """``openvino.Core`` that leaves the calling thread's stack for signals alone.

    OpenVINO puts a stack of its own in its place, and unmaps it when the core goes: from another thread, this
    one keeps an address where nothing is, and the next Ctrl-C or SIGTERM ends the process (SIGSEGV, OpenVINO
    2026.4 on x86 Linux). Python's own is large enough for what the processor saves there.

    Raises:
        MissingDependencyError: openvino is missing, or does not load.
    """

    def __init__(self) -> None:
        openvino = load_openvino()
        with _same_signal_stack():
            self._core: Any = openvino.Core()

    def get_property(self, device: str, name: str) -> Any:
        """Ask a device."""
        with _same_signal_stack():
            return self._core.get_property(device, name)

    def read_model(self, model: Any) -> Any:
        """Read a graph's bytes."""
        with _same_signal_stack():
            return self._core.read_model(model)

    def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
        """Compile what was read."""
        with _same_signal_stack():
            return self._core.compile_model(model, device, options)


class _SignalStack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _same_signal_stack() -> Iterator[None]:
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), _SignalStack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


def processor_flags() -> frozenset[str]:
    """Return the instruction sets that Linux lists of the first processor; empty where it lists none."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(next((words.split() for name, _, words in lines if name.strip() == "flags"), ()))


def processor_name(core: Any) -> str:
    """Return what the processor calls itself; ``core``: of openvino."""
    return str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()


def why_not(precision: str, core: Any) -> str:
    """Return why this processor is not for a body in ``precision``, a sentence; empty if it is.

    Without bf16 instructions such a body is slower than in float32. Without VNNI pairs of 8-bit products
    saturate at 16 bits, and scores are others than those that were calibrated.

    Args:
        precision: ``f32``, ``bf16`` or ``int8``.
        core: of openvino.
    """
    name = processor_name(core)
    if precision == BF16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return f"the processor ({name}) has no bf16 instructions ({' or '.join(BF16_FLAGS)})"
    flags = processor_flags()
    if precision == INT8 and flags and not flags & set(VNNI_FLAGS):
        return f"the processor ({name}) has no VNNI ({', '.join(VNNI_FLAGS[:-1])} or {VNNI_FLAGS[-1]})"
    return ""
