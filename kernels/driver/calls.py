"""One CUDA driver call: its result, or our error with the call's name.

``Calls`` takes the module ``cuda.bindings.driver`` (cuda-python) or anything that behaves like it: so the
tests reach every branch without a GPU. Not cuda.core (1.2.2, which has wheels for JetPack 6): it calls the
driver from C, and nothing can stand in for a device under it.
"""

from typing import Any

from edgeosr.errors import CudaError


class Calls:
    """Calls of the driver by name."""

    def __init__(self, bindings: Any):
        self.cuda = bindings

    def call(self, name: str, *arguments: Any) -> Any:
        """Call ``name``; return its first result, or None.

        Raises:
            CudaError: it failed.
        """
        code, *results = getattr(self.cuda, name)(*arguments)
        self.require(code, name)
        return results[0] if results else None

    def require(self, code: Any, call: str) -> None:
        """Raise CudaError if ``code`` is not success."""
        if int(code):
            name = code_name(code)
            raise CudaError(f"{call} failed: {name} ({int(code)})", call=call, code=name)


def code_name(code: Any) -> str:
    """Return CUDA's name of a result."""
    return str(getattr(code, "name", code))
