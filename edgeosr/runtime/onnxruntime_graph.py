"""The scoring graph on onnxruntime: frames in, label, score and values out."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import CHANNEL_ORDER, FRAMES, LABEL, SCORE, VALUES, channel_order
from edgeosr.errors import BundleError, InferenceError
from edgeosr.runtime.rows import Rows, require_rows
from edgeosr.runtime.sessions import (
    CPU_ONLY,
    SessionSettings,
    let_go_of_memory,
    open_session,
    run_session,
)
from edgeosr.runtime.time_limit import time_limit

_OUTPUTS = {LABEL: "tensor(int64)", SCORE: "tensor(float)", VALUES: "tensor(float)"}


class OnnxRuntimeGraph:
    """A loaded ``model.onnx``. ``run`` may be called from several threads at once.

    Args:
        model: the file's bytes; not kept.
        parts: number of score parts that the bundle lists.
        threads: of one call, None for one a physical core.
        providers: onnxruntime execution providers in order of preference; the CPU runs what is left over.

    Raises:
        BundleError: it is no scoring graph, or one of another number of parts.
        InferenceError: onnxruntime cannot load it.
        MissingDependencyError: onnxruntime is missing, or a wanted provider does not load.
        UsageError: ``threads`` below 1, or a provider this onnxruntime was not built with.
    """

    def __init__(
        self,
        model: bytes,
        *,
        parts: int,
        threads: int | None = None,
        providers: Sequence[str] = CPU_ONLY,
    ) -> None:
        settings = SessionSettings(threads=threads, providers=tuple(providers))
        self._session: Any = open_session(model, settings, name="model.onnx")
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        _require_contract(self._session, parts)
        self._parts = parts
        self._orders = {bgr: channel_order(bgr) for bgr in (False, True)}

    def run(self, frames: NDArray[np.uint8], *, bgr: bool = False) -> Rows:
        """Score a batch.

        Args:
            frames: contiguous uint8 ``[batch, height, width, 3]``, batch >= 1, already checked.
            bgr: the channels come blue first; the graph reorders them after the shrink, without a copy here.

        Raises:
            InferenceError: onnxruntime failed.
            BundleError: the graph gave other than one row a frame.
        """
        return self._rows(frames, bgr, None)

    def warm_up(self, frames: NDArray[np.uint8], *, limit_s: float) -> Rows:
        """Like ``run``, of RGB frames, but ended by an InferenceError after ``limit_s`` seconds."""
        too_slow = InferenceError(
            f"model.onnx did not judge its first frame within {limit_s:.3g} s; it is too slow for "
            "this processor, or made to be: see edgeosr inspect, and set warmup_limit_s of "
            "edgeosr.Runtime to wait longer"
        )
        started = time.perf_counter()
        with time_limit(limit_s) as options:
            try:
                rows = self._rows(frames, False, options)
            except InferenceError as error:
                if not options.terminate:
                    raise
                raise too_slow from error
        # A node that was at work when the time was over may have been the last.
        if time.perf_counter() - started > limit_s:
            raise too_slow
        return rows

    @contextlib.contextmanager
    def briefly(self, frame: NDArray[np.uint8]) -> Iterator[None]:
        """At its end, free what batches took, which the next one takes anew; ``frame``: a batch as any."""
        try:
            yield
        finally:
            feed: dict[str, NDArray[Any]] = {FRAMES: frame, CHANNEL_ORDER: self._orders[False]}
            let_go_of_memory(self._session, tuple(_OUTPUTS), feed)

    def _rows(self, frames: NDArray[np.uint8], bgr: bool, options: Any) -> Rows:
        feed: dict[str, NDArray[Any]] = {FRAMES: frames, CHANNEL_ORDER: self._orders[bgr]}
        rows = Rows(*run_session(self._session, tuple(_OUTPUTS), feed, name="model.onnx", options=options))
        require_rows(rows, len(frames), self._parts)
        return rows


def _require_contract(session: Any, parts: int) -> None:
    """Raise a BundleError unless inputs and outputs are those of a scoring graph."""
    # In older bundles the channel order is an input with a default; it is given all the same.
    declared = (*session.get_inputs(), *session.get_overridable_initializers())
    found = {node.name: node.type for node in declared}
    outputs = {node.name: node.type for node in session.get_outputs()}
    widths = [node.shape[-1:] for node in session.get_outputs() if node.name == VALUES]
    if (
        found != {FRAMES: "tensor(uint8)", CHANNEL_ORDER: "tensor(int64)"}
        or any(outputs.get(name) != kind for name, kind in _OUTPUTS.items())
        or widths != [[parts]]
    ):
        raise BundleError(
            "model.onnx is no edgeosr scoring graph: expected the inputs frames (uint8) and channel_order "
            f"(int64) and the outputs label (int64), score (float), values (float [batch, {parts}]); got "
            f"{found}, {outputs}, values {widths}"
        )
