"""The scoring graph on OpenVINO: frames in, label, score and values out."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.body import F32
from edgeosr.bundle.tensors import CHANNEL_ORDER, FRAMES, LABEL, SCORE, VALUES, channel_order
from edgeosr.errors import InferenceError
from edgeosr.runtime.openvino_module import Core, load_openvino
from edgeosr.runtime.openvino_stages import (
    Body,
    Stage,
    cannot,
    compiled,
    front_for,
    stages_of,
    takes_any_size,
)
from edgeosr.runtime.rows import Rows, require_rows
from edgeosr.scoring.fusion import Fusion
from edgeosr.usable_processors import usable_processors

# Of a frame that is judged alone: threads that wait for one another cost more than they bring, and a camera
# application has work for the other processors.
ALONE = 1
# It takes milliseconds in 32 bits.
MOST_SECONDS = 2e6
Size = tuple[int, int]
# Of frames, that have a front end of their own.
MOST_SIZES = 4


class OpenVinoGraph:
    """A loaded ``model.onnx``. ``run`` may be called from several threads at once; openvino queues them.

    A frame alone runs on a network compiled for one frame, a batch on another one that is compiled when the
    first batch comes (``briefly``: that of golden frames does not count), while frames alone go on. The
    second frame of a size in a row has a front end compiled for that size: a camera's frames are all alike,
    and a folder of pictures would wait at each.

    Args:
        model: the file's bytes; not kept.
        parts: number of score parts that the bundle lists.
        threads: of one call; None: one for a frame alone, all that we may use for a batch.
        body: runs in the place of the network between the ends; None: float32 throughout.
        fusion: what the score is made of with this body; None: as in the graph.
        expose: names of further tensors that ``run_exposed`` gives; the graph is one that was exported.

    Attributes:
        precision: ``f32``, or the body's.
        version: of openvino.

    Raises:
        BundleError: it lacks the tensors that the body goes between.
        InferenceError: openvino cannot load it.
        MissingDependencyError: openvino is missing.
    """

    def __init__(
        self,
        model: bytes,
        *,
        parts: int,
        threads: int | None = None,
        body: Body | None = None,
        fusion: Fusion | None = None,
        expose: tuple[str, ...] = (),
    ) -> None:
        self._openvino: Any = load_openvino()
        self._core = Core()
        self.version = str(self._openvino.__version__).split("-")[0]
        self.precision = F32 if body is None else body.precision
        self._stages: tuple[Stage, ...] = stages_of(self._openvino, self._core, model, body, expose)
        self._parts, self._fusion = parts, fusion
        self._threads = {False: threads or ALONE, True: threads or usable_processors()}
        self._orders = {bgr: channel_order(bgr) for bgr in (False, True)}
        # Batches wait for the first one's networks, frames alone for no batch.
        self._making, self._making_of_batches = threading.Lock(), threading.Lock()
        self._brief = False
        self._compiled: dict[bool, tuple[Any, ...]] = {}
        # Requests that nobody uses, by whether they are for a batch, or by the size of their front end.
        self._idle: dict[bool | Size, list[tuple[Any, ...]]] = {}
        cut = len(self._stages) > 1
        # A copy: a front end and the networks for batches may be compiled at once.
        front = self._stages[0]
        self._front = replace(front, model=front.model.clone()) if cut and takes_any_size(front) else None
        self._fronts: dict[Size, Any] = {}
        self._size: Size | None = None
        self._compiled[False] = self._networks(self._stages, False)

    def run(self, frames: NDArray[np.uint8], *, bgr: bool = False, limit_s: float | None = None) -> Rows:
        """Score a batch.

        Args:
            frames: contiguous uint8 ``[batch, height, width, 3]``, batch >= 1, already checked.
            bgr: the channels come blue first.
            limit_s: seconds after which it is ended; None for any time.

        Raises:
            InferenceError: openvino failed, or it took longer.
            BundleError: the graph gave other than one row a frame.
        """
        return self.run_exposed(frames, bgr=bgr, limit_s=limit_s)[0]

    def run_exposed(
        self, frames: NDArray[np.uint8], *, bgr: bool = False, limit_s: float | None = None
    ) -> tuple[Rows, list[NDArray[Any]]]:
        """Like ``run``, with the exposed tensors beside it."""
        networks, idle = self._chain(frames)
        try:
            requests = idle.pop()  # atomic, as append is
        except IndexError:
            requests = tuple(network.create_infer_request() for network in networks)
        try:
            rows, exposed = self._rows(requests, frames, bgr, limit_s)
        except (InferenceError, MemoryError):
            raise
        except Exception as error:  # openvino raises RuntimeError, and others of its own
            raise cannot(self._openvino, f"run model.onnx on frames {list(frames.shape)}", error) from error
        idle.append(requests)  # one that failed is dropped
        require_rows(rows, len(frames), self._parts)
        return rows, exposed

    @contextlib.contextmanager
    def briefly(self) -> Iterator[None]:
        """Within it, networks for batches are compiled for these alone, and freed at its end."""
        with self._making:
            self._brief = True
        try:
            yield
        finally:
            with self._making:
                self._brief = False
                if self._stages:  # or they could not be compiled again
                    self._compiled.pop(True, None)
                    self._idle.pop(True, None)

    def _rows(
        self, requests: tuple[Any, ...], frames: NDArray[np.uint8], bgr: bool, limit_s: float | None
    ) -> tuple[Rows, list[NDArray[Any]]]:
        ends = None if limit_s is None else time.perf_counter() + limit_s
        first, last = requests[0], requests[-1]
        shared = frames if frames.flags.writeable else frames.copy()
        first.set_tensor(FRAMES, self._openvino.Tensor(shared, shared_memory=True))
        first.set_tensor(CHANNEL_ORDER, self._openvino.Tensor(self._orders[bgr]))
        _infer(first, ends, limit_s)
        for before, request in itertools.pairwise(requests):
            for index in range(len(request.input_tensors)):
                request.set_input_tensor(index, before.get_output_tensor(index))
            _infer(request, ends, limit_s)
        # Copies: the tensors are the next call's.
        label, score, values = (np.array(last.get_tensor(name).data) for name in (LABEL, SCORE, VALUES))
        if self._fusion is not None:
            fused = self._fusion.scores(values)
            score = np.where(np.isfinite(score), fused, np.float32(np.nan)).astype(np.float32)
        exposed = [np.array(tensor.data) for tensor in list(last.output_tensors)[3:]]
        return Rows(label, score, values), exposed

    def _chain(self, frames: NDArray[np.uint8]) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
        """Return the compiled stages for these frames, and their idle requests."""
        if len(frames) > 1:
            return self._chain_of_batches()
        size = (frames.shape[1], frames.shape[2])
        with self._making:
            networks = self._compiled[False]
            if self._front is None:
                return networks, self._idle.setdefault(False, [])
            seen, self._size = self._size, size
            if size not in self._fronts:
                if seen != size:
                    return networks, self._idle.setdefault(False, [])
                front = front_for(self._openvino, self._core, self._front, size, threads=self._threads[False])
                if len(self._fronts) == MOST_SIZES:
                    oldest = next(iter(self._fronts))
                    del self._fronts[oldest]
                    self._idle.pop(oldest, None)
                self._fronts[size] = front
            return (self._fronts[size], *networks[1:]), self._idle.setdefault(size, [])

    def _chain_of_batches(self) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
        with self._making_of_batches:
            with self._making:
                networks, stages = self._compiled.get(True), self._stages
            if networks is None:
                networks = self._networks(stages, True)
            with self._making:
                self._compiled[True] = networks
                if not self._brief:
                    self._stages = ()  # their weights are needed no more
                return networks, self._idle.setdefault(True, [])

    def _networks(self, stages: tuple[Stage, ...], batch: bool) -> tuple[Any, ...]:
        """Return the compiled stages for a frame alone, or for any batch."""
        # The front stays open for frames of any size; what follows is faster for one frame alone.
        return tuple(
            compiled(
                self._openvino,
                self._core,
                stage,
                threads=self._threads[batch],
                alone=index > 0 and not batch,
            )
            for index, stage in enumerate(stages)
        )


def _infer(request: Any, ends: float | None, limit_s: float | None) -> None:
    """Run a request, and end it when its time is over."""
    if ends is None or limit_s is None:
        request.infer()
        return
    request.start_async()
    left = ends - time.perf_counter()
    if left > 0 and request.wait_for(int(min(left, MOST_SECONDS) * 1000) + 1):
        return
    request.cancel()
    raise InferenceError(
        f"model.onnx did not judge its first frame within {limit_s:.3g} s on openvino; it is too slow for "
        "this processor, or made to be: see edgeosr inspect, and set warmup_limit_s of edgeosr.Runtime to "
        "wait longer"
    )
