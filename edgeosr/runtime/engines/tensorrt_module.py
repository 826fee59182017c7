"""Import ``tensorrt`` or ``tensorrt_rtx``, if it is here, safe to touch and of a known version."""

import importlib
import re
from types import ModuleType

from edgeosr.bundle.engines import BUILDERS
from edgeosr.errors import EngineError, MissingDependencyError, require_choice
from edgeosr.runtime.engines.gpu import GpuProbe, probe_gpus

# (oldest, first that is too new): what the code was checked against, see tests/runtime/engines.
VERSIONS = {"tensorrt": ((10, 3), (12, 0)), "tensorrt_rtx": ((1, 4), (2, 0))}
_INSTALL = {
    "tensorrt": (
        "it comes with JetPack (in a virtual environment: python3 -m venv --system-site-packages) or from "
        "NVIDIA's own package source"
    ),
    "tensorrt_rtx": "run: pip install 'edgeosr[rtx]'",
}


def load_tensorrt(builder: str, *, to_run: bool, probe: GpuProbe | None = None) -> ModuleType:
    """Import a builder's module.

    Args:
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        to_run: engines are to run here, or to be built for the GPU here; False: built ahead of time, which
            tensorrt_rtx does without a GPU.
        probe: what the driver said; None: ask it.

    Raises:
        EngineError: there is no GPU, or the version is one that edgeosr does not know.
        MissingDependencyError: it is not installed, or one of its libraries is missing.
        UsageError: there is no such builder.
    """
    require_choice("the builder", builder, BUILDERS)
    if to_run or builder == "tensorrt":
        found = probe_gpus() if probe is None else probe
        if not found.gpus:
            raise EngineError(
                f"{builder} needs an NVIDIA GPU: {found.reason}; run this on the device, or leave it to "
                "onnxruntime"
            )
    try:
        module = importlib.import_module(builder)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"{builder} is not installed; {_INSTALL[builder]}") from error
    except ImportError as error:
        raise MissingDependencyError(
            f"{builder} cannot be loaded: {error}; install it again: {_INSTALL[builder]}"
        ) from error
    version = version_of(module)
    oldest, newest = VERSIONS[builder]
    if not oldest <= version < newest:
        raise EngineError(
            f"{builder} must be {_spelled(oldest)} or later and before {_spelled(newest)}; got "
            f"{module.__version__}; {_INSTALL[builder]}"
        )
    return module


def version_of(module: ModuleType) -> tuple[int, int]:
    """Return (major, minor); (0, 0) if the module does not say."""
    found = re.match(r"(\d+)\.(\d+)", str(getattr(module, "__version__", "")))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _spelled(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
