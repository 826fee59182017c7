"""Import ``openvino``, and ask what this processor can do for it."""

from pathlib import Path
from types import ModuleType
from typing import Any

from edgeosr.bundle.body import BF16, INT8
from edgeosr.errors import MissingDependencyError, import_extra

F32 = "f32"
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
