"""Runs one engine and the fused kernel on one stream: the TensorRT and TensorRT-RTX backends."""

import contextlib
import math
import threading
from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from edgeosr.bundle.manifest import BACKBONE
from edgeosr.bundle.tensors import channel_order
from edgeosr.errors import CudaError, DeviceLostError, UsageError
from edgeosr.kernels.device_verdicts import ACCEPTED
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.runtime.backends.backend import float32_below
from edgeosr.runtime.backends.contexts import Contexts
from edgeosr.runtime.backends.cuda_frames import CudaFrames
from edgeosr.runtime.backends.device_failure import OUT_OF_MEMORY, is_fatal, worded
from edgeosr.runtime.backends.engine_io import EngineIo
from edgeosr.runtime.backends.engine_slot import EngineSlot, Machinery
from edgeosr.runtime.rows import Rows

# Prepared shapes that are kept; a camera app uses one to three. Each has a context, buffers and a graph.
MOST_SLOTS = 8


class EngineRunner:
    """See ``Backend``. Calls from several threads run one after another.

    Args:
        name: of the backend.
        driver: of the device, whose context is current.
        scorer: the fused kernel with the bundle's weights, on the same device; closed with the runner.
        engine: whatever must live as long as the contexts: the ICudaEngine and what it hangs on.
        activation_bytes: activation memory of one context.
        contexts: makes its execution contexts.
        io: its inputs and outputs.
        label: what runs, for reports.
        most_slots: prepared shapes kept; the least recently used goes first.

    Raises:
        DeviceError: there is no memory, or a driver call failed; nothing is left behind.
    """

    takes_cuda_arrays = True
    graph = BACKBONE

    def __init__(
        self,
        name: str,
        *,
        driver: Driver,
        scorer: FusedScorer,
        engine: Any,
        activation_bytes: int,
        contexts: Contexts,
        io: EngineIo,
        label: str,
        most_slots: int = MOST_SLOTS,
    ) -> None:
        self.name = name
        self.providers: tuple[str, ...] = (label,)
        self._driver, self._scorer, self._engine, self._io = driver, scorer, engine, io
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[Any, ...], EngineSlot] = OrderedDict()
        self._most_slots = most_slots
        self._threshold = scorer.scorer.threshold
        self._busy = False
        self._closed: str | None = None
        self._held = contextlib.ExitStack()
        self._context = driver.current_context()
        self._held.callback(scorer.close)
        try:
            self._shared = self._machinery(contexts, activation_bytes)
        except BaseException as error:
            self._closed = "it could not be prepared"  # or __del__ would wait for a stream that is gone
            self._release()
            if isinstance(error, CudaError):
                raise worded(error, "the engine is prepared") from error
            raise

    def run(self, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        """Judge a batch; one larger than the engine's profile goes through in pieces.

        Raises:
            FrameError: the engine takes no such frames.
            DeviceMemoryError, EngineRunError: this call failed; the next may work.
            DeviceLostError: the device failed, or had failed before: closed for good.
            UsageError: closed.
        """
        shape = tuple(frames.shape)
        most = self._io.largest_batch
        with self._lock:
            self._require_open()
            for first in range(0, shape[0], most):
                self._io.require_frames((min(most, shape[0] - first), *shape[1:]))
            try:
                with self._driver.within(self._context):
                    found = [
                        self._run_piece(frames, first, min(first + most, shape[0]), bgr, threshold)
                        for first in range(0, shape[0], most)
                    ]
            except CudaError as error:
                raise self._failed(error, f"frames {list(shape)} are judged") from error
        return _rows(np.concatenate(found), len(self._scorer.scorer.fusion.parts))

    def warm_up(self, frames: Any, *, threshold: float, limit_s: float) -> Rows:
        """Judge a first batch. TensorRT cannot be stopped, so ``limit_s`` is not kept."""
        return self.run(frames, bgr=False, threshold=threshold)

    def briefly(self, frame: Any) -> AbstractContextManager[None]:
        """Nothing: an engine has the memory of its largest batch from the start."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Free everything; a call that runs in another thread finishes first. Calling it twice is fine."""
        with self._lock:
            if self._closed is None:
                self._closed = "it was closed; make a new edgeosr.Runtime"
                self._release()

    def __del__(self) -> None:
        # Device memory has no owner that the interpreter knows. Nothing can be told from here.
        if hasattr(self, "_held"):
            with contextlib.suppress(Exception):
                self.close()

    def _machinery(self, contexts: Contexts, size: int) -> Machinery:
        driver, held = self._driver, self._held
        stream = driver.stream()
        held.callback(driver.destroy_stream, stream)
        self._stream, self._busy = stream, True
        memory = driver.allocate(size)
        held.callback(driver.free, memory)
        orders = {}
        for bgr in (False, True):
            data = channel_order(bgr).tobytes()
            orders[bgr] = driver.allocate(len(data))
            held.callback(driver.free, orders[bgr])
            driver.write(orders[bgr], data, stream)
        driver.synchronize(stream)
        self._busy = False
        mapped = self._scorer.device.integrated
        return Machinery(driver, self._scorer, contexts, self._io, stream, (memory, size), orders, mapped)

    def _run_piece(self, frames: Any, first: int, end: int, bgr: bool, threshold: float) -> Any:
        driver, stream = self._driver, self._stream
        if self._busy:  # a call was interrupted while it waited: its buffers are still in use
            driver.synchronize(stream)
            self._busy = False
        on_device = isinstance(frames, CudaFrames)
        slot = self._slot((end - first, *frames.shape[1:]), bgr, on_device)
        limit = float32_below(threshold)
        self._busy = True
        if limit != self._threshold:
            self._threshold = math.nan  # unknown until the write is under way
            self._scorer.set_threshold(limit, stream=stream)
            self._threshold = limit
        if isinstance(frames, CudaFrames):
            slot.load_from_device(frames, first)
        else:
            slot.load(frames[first:end])
        slot.launch()
        driver.synchronize(stream)
        self._busy = False
        return slot.verdicts()

    def _slot(self, shape: tuple[int, ...], bgr: bool, on_device: bool) -> EngineSlot:
        key = (shape, bgr, on_device)
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            return slot
        while len(self._slots) >= self._most_slots:
            self._slots.popitem(last=False)[1].close()
        self._busy = True  # the first run of a slot uses the stream too
        try:
            slot = EngineSlot(self._shared, shape, bgr=bgr, on_device=on_device)
        except CudaError as error:
            if error.code != OUT_OF_MEMORY or not self._slots:
                raise
            while self._slots:
                self._slots.popitem()[1].close()
            slot = EngineSlot(self._shared, shape, bgr=bgr, on_device=on_device)
        self._busy = False
        self._slots[key] = slot
        return slot

    def _failed(self, error: CudaError, doing: str) -> Exception:
        if is_fatal(error):
            self._closed = str(worded(error, doing))
            self._release()
        return worded(error, doing)

    def _require_open(self) -> None:
        if self._closed is None:
            return
        if self._closed.startswith("it was closed"):
            raise UsageError(f"this backend is closed: {self._closed}")
        raise DeviceLostError(self._closed)

    def _release(self) -> None:
        """Free all that can be freed; on a lost device every call fails, and that is no news.

        Once only, so ``_closed`` is set first: the driver may crash on a stream that it has destroyed.
        """
        slots, self._slots = list(self._slots.values()), OrderedDict()
        with contextlib.suppress(CudaError), self._driver.within(self._context):
            if self._busy:
                with contextlib.suppress(CudaError):
                    self._driver.synchronize(self._stream)
            for slot in slots:
                with contextlib.suppress(CudaError):
                    slot.close()
            with contextlib.suppress(CudaError):
                self._held.close()
        self._shared = None  # type: ignore[assignment]  # closed: nothing reads it again
        self._engine = None


def _rows(verdicts: Any, parts: int) -> Rows:
    return Rows(
        verdicts["label"].astype(np.int64),
        verdicts["score"].copy(),
        verdicts["values"][:, :parts].copy(),
        (verdicts["flags"] & ACCEPTED) > 0,
    )
