"""One engine run prepared for one shape, colour order and place of the frames: context, buffers, CUDA graph.

What goes into the stream: frames to the device, engine, fused kernel, verdicts to the host. The first time it
goes in one by one (TensorRT finishes its set-up in that run, which no capture would allow); then it is
captured and replayed with one call.
"""

import contextlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import CHANNEL_ORDER, EMBEDDING, FRAMES, LOGITS, MAP, TANGENTS
from edgeosr.errors import CudaError, EngineRunError, UsageError
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.runtime.backends.contexts import Contexts
from edgeosr.runtime.backends.cuda_frames import CudaFrames
from edgeosr.runtime.backends.device_buffers import DeviceTensor, FrameBuffer, VerdictBuffer
from edgeosr.runtime.backends.device_failure import is_capture_failure
from edgeosr.runtime.backends.engine_io import EngineIo

_log = logging.getLogger(__name__)
ALIGNMENT = 256  # bytes, of an address that TensorRT takes


@dataclass(frozen=True)
class Machinery:
    """What all slots of a runner share.

    Attributes:
        driver: of the device; its context is current.
        scorer: the fused kernel with its weights.
        contexts: makes execution contexts.
        io: the engine's inputs and outputs.
        stream: everything runs on it.
        memory: address and bytes of the activation memory.
        orders: address of the channel order, by bgr.
        mapped: the device works in the host's memory.
    """

    driver: Driver
    scorer: FusedScorer
    contexts: Contexts
    io: EngineIo
    stream: int
    memory: tuple[int, int]
    orders: dict[bool, int]
    mapped: bool


class EngineSlot:
    """See above. The caller synchronises the stream between ``launch`` and ``verdicts``.

    Args:
        shared: the runner's.
        shape: ``[batch, height, width, 3]``.
        bgr: the channels come blue first.
        on_device: frames come in the device's memory.

    Raises:
        EngineRunError: TensorRT refuses the shape or fails.
        CudaError: a driver call failed. Whatever was made is freed again.
    """

    def __init__(self, shared: Machinery, shape: tuple[int, ...], *, bgr: bool, on_device: bool):
        self._shared, self._shape, self._on_device = shared, shape, on_device
        self._held = contextlib.ExitStack()
        self._graph: Graph | None = None
        self._context: Any = None
        self._captured = True
        self._graph_at = self._last_at = 0
        self._frames: FrameBuffer | None = None
        try:
            self._prepare(bgr)
        except BaseException:
            with contextlib.suppress(CudaError):
                shared.driver.synchronize(shared.stream)  # a first run may be under way in these buffers
            with contextlib.suppress(CudaError):
                self.close()
            raise

    def load(self, frames: NDArray[np.uint8]) -> None:
        """Take frames from the host's memory; the stream must be synchronised."""
        assert self._frames is not None
        self._frames.fill(frames)

    def load_from_device(self, frames: CudaFrames, first: int) -> None:
        """Use frames where they lie, from number ``first`` on; copied on the device if TensorRT cannot.

        Raises:
            UsageError: they lie on another device.
        """
        shared = self._shared
        address, ready_on, device = frames.located(shared.stream)
        ordinal = shared.scorer.device.ordinal
        if device is not None and device != ordinal:
            raise UsageError(f"the engine is on device {ordinal}, but the frames are on device {device}")
        if ready_on is not None:
            shared.driver.follow(shared.stream, ready_on)
        address += first * int(np.prod(self._shape[1:]))
        if address % ALIGNMENT:
            size = int(np.prod(self._shape))
            shared.driver.copy_on_device(self._place, address, size, shared.stream)
            address = self._place
        if address != self._last_at and address != self._graph_at:
            self._set_address(FRAMES, address)
        self._last_at, previous = address, self._last_at
        # A second time at one address: a capture pays. With a new one each time it would not.
        if self._captured and address == previous and address != self._graph_at:
            self._set_address(FRAMES, address)
            self._capture()
            self._graph_at = address

    def launch(self) -> None:
        """Put the run into the stream."""
        self._verdicts.room.expect()
        if self._graph is not None and (not self._on_device or self._graph_at == self._last_at):
            self._graph.replay()
        else:
            self._enqueue()

    def verdicts(self) -> NDArray[Any]:
        """Return the verdicts, ``[batch]`` of ``VERDICT``; the stream must be synchronised."""
        return self._verdicts.read()

    def close(self) -> None:
        """Free everything; the stream must be synchronised."""
        self._context = None
        self._held.close()

    def _prepare(self, bgr: bool) -> None:
        shared = self._shared
        driver, stream = shared.driver, shared.stream
        self._held.callback(self._drop_graph)
        size = int(np.prod(self._shape))
        self._verdicts = VerdictBuffer(driver, shared.scorer, self._shape[0], mapped=shared.mapped)
        self._held.callback(self._verdicts.close)
        if self._on_device:
            # Any bytes will do for the first run; later for frames at an address that TensorRT does not take.
            self._place = driver.allocate(size)
            self._held.callback(driver.free, self._place)
        else:
            self._frames = FrameBuffer(driver, size, mapped=shared.mapped)
            self._held.callback(self._frames.close)
            self._place = self._frames.address
        self._outputs: dict[str, DeviceTensor] = {}
        self._open_context(bgr, captured=True)
        if not shared.contexts.capturable(self._context, stream):
            self._captured = False
            self._open_context(bgr, captured=False)
        self._enqueue()
        driver.synchronize(stream)
        shared.contexts.warmed()
        if self._captured and not self._on_device:
            self._capture()

    def _open_context(self, bgr: bool, *, captured: bool) -> None:
        shared = self._shared
        self._context = None  # the one before goes first
        self._context = shared.contexts.make(captured=captured)
        self._context.set_device_memory(*shared.memory)
        if not self._context.set_input_shape(FRAMES, self._shape):
            raise EngineRunError(
                f"TensorRT refused frames of {list(self._shape)}, which the profile has; its log says why"
            )
        self._set_address(FRAMES, self._place)
        self._set_address(CHANNEL_ORDER, shared.orders[bgr])
        for name, typestr in shared.io.outputs.items():
            if name not in self._outputs:
                shape = tuple(self._context.get_tensor_shape(name))
                if -1 in shape:
                    raise EngineRunError(
                        f"the shape of the engine's {name} depends on its values: {shape}; build it again: "
                        "edgeosr build BUNDLE"
                    )
                # Rows become verdicts in room for this slot's frames, and are read as theirs.
                if shape[name == TANGENTS :][:1] != self._shape[:1]:  # [K, B, D], or [B, ...]
                    raise EngineRunError(
                        f"the shape of the engine's {name} must have a row for each of {self._shape[0]} "
                        f"frame(s); got {list(shape)}; build it again: edgeosr build BUNDLE"
                    )
                self._outputs[name] = DeviceTensor(shared.driver, shape, typestr)
                self._held.callback(self._outputs[name].close)
            self._set_address(name, self._outputs[name].address)

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise EngineRunError(f"TensorRT refused the address {address:#x} for {name}; its log says why")

    def _enqueue(self) -> None:
        shared, stream = self._shared, self._shared.stream
        if self._frames is not None:
            self._frames.upload(stream)
        if not self._context.execute_async_v3(stream):
            raise EngineRunError(
                f"TensorRT could not run the engine on frames {list(self._shape)}; its log says why"
            )
        outputs, into = dict(self._outputs), self._verdicts.room
        logits = outputs.pop(LOGITS, None)
        if MAP in outputs:
            shared.scorer.score_map(outputs[MAP], logits=logits, stream=stream, into=into)
        else:
            shared.scorer.score(
                outputs[EMBEDDING], outputs.get(TANGENTS), logits=logits, stream=stream, into=into
            )
        self._verdicts.download(stream)

    def _capture(self) -> None:
        self._drop_graph()
        try:
            self._graph = Graph(self._shared.driver, self._shared.stream, self._enqueue)
        except (CudaError, EngineRunError) as error:
            if isinstance(error, CudaError) and not is_capture_failure(error):
                raise
            self._captured = False
            _log.warning("frames %s run without a CUDA graph: %s", list(self._shape), error)

    def _drop_graph(self) -> None:
        graph, self._graph, self._graph_at = self._graph, None, 0
        if graph is not None:
            graph.close()
