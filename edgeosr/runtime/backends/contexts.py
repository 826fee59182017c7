"""Execution contexts of one TensorRT engine, all on one piece of activation memory.

They run one after another on one stream, so the memory is never used twice at a time.
"""

from typing import Any, Protocol

from edgeosr.errors import EngineRunError


class Contexts(Protocol):
    """Makes an engine's contexts; each has to be given its activation memory."""

    def make(self, *, captured: bool) -> Any:
        """Return an IExecutionContext without memory; ``captured``: it will be captured in our graph."""

    def capturable(self, context: Any, stream: int) -> bool:
        """Say whether a run of ``context`` with its shapes set can be captured."""

    def warmed(self) -> None:
        """Note that a context has run for the first time."""


class TensorRTContexts:
    """Contexts of TensorRT 10.3 and later."""

    def __init__(self, trt: Any, engine: Any):
        self._trt, self._engine = trt, engine

    def make(self, *, captured: bool) -> Any:
        """Return a context; captured or not, it is the same."""
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        return made(self._engine.create_execution_context(strategy))

    def capturable(self, context: Any, stream: int) -> bool:
        """Say yes; a capture that fails all the same is run without."""
        return True

    def warmed(self) -> None:
        """Nothing is compiled at run time."""


def made(context: Any) -> Any:
    """Return ``context``; raise an EngineRunError for the None that TensorRT gives on failure."""
    if context is None:
        raise EngineRunError(
            "TensorRT made no execution context (its log says why, often memory); close other programs on "
            "the GPU, or build the engine with a smaller --batch"
        )
    return context
