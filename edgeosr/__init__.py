"""edgeosr: image classifiers for edge cameras that can say "I don't know".

Importing this package loads nothing heavy: ``Runtime`` and ``Verdict`` are loaded on first use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeosr.runtime.runtime import Runtime
    from edgeosr.verdict import Verdict

__version__ = "0.1.0"
__all__ = ["EdgeosrError", "Runtime", "Verdict", "__version__"]

from edgeosr.errors import EdgeosrError

_HOME = {"Runtime": "edgeosr.runtime.runtime", "Verdict": "edgeosr.verdict"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgeosr' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
