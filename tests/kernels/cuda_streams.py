"""The driver's double with time in it: what is put into a stream runs when the stream is waited for.

So a host buffer that is refilled too early, a copy that nobody waited for, memory freed under a running
kernel and a call that a capture forbids all show, as they would on a device.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from cuda_double import CudaDouble, Launch, Result, fill_words

from edgeosr.kernels.device_verdicts import VERDICT

# What CUDA refuses while this thread captures; the capture is spoilt as well.
FORBIDDEN = {
    "cuMemAlloc", "cuMemFree", "cuMemHostAlloc", "cuMemFreeHost", "cuModuleLoadData", "cuStreamDestroy",
    "cuStreamSynchronize", "cuEventSynchronize", "cuGraphLaunch",
}  # fmt: skip


class CaptureResult(IntEnum):
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


class CaptureMode(IntEnum):
    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1
    CU_STREAM_CAPTURE_MODE_RELAXED = 2


class StreamFlags(IntEnum):
    CU_STREAM_DEFAULT = 0
    CU_STREAM_NON_BLOCKING = 1


@dataclass
class Work:
    """One entry of a stream."""

    what: str
    run: Callable[[], None]


@dataclass
class Stream:
    waiting: list[Work] = field(default_factory=list)
    capture: list[Work] | None = None
    spoilt: bool = False


class QueuedCudaDouble(CudaDouble):
    """See above. ``done`` lists what has run, in order; ``bytes_in`` and ``bytes_out`` count copies."""

    CUstreamCaptureMode = CaptureMode
    CUstream_flags = StreamFlags

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.streams: dict[int, Stream] = {0: Stream()}
        self.graphs: dict[int, list[Work]] = {}
        self.host: dict[int, tuple[Any, int, int]] = {}  # address: memory, size, device address
        self.events: dict[Any, tuple[int, int]] = {}
        self.done: list[str] = []
        self.bytes_in = self.bytes_out = 0
        self.fail_at: dict[tuple[str, int], Any] = {}  # (call, its number from now): result
        self.made: set[Any] = set()  # events
        self.handles = 0x1000
        self.losing: Any = None
        self.lost = False
        self.misused: list[str] = []  # streams that were used when they were gone

    def __getattr__(self, name: str) -> Any:
        plain = super().__getattr__(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            failure = self._failure(name)
            if failure is None and name in FORBIDDEN and self.capturing():
                failure = CaptureResult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
            if failure is None:
                return plain(*arguments)
            self.calls.append((name, *arguments))
            if name == "cuStreamEndCapture":  # whatever it says, the capture is over
                self.of(arguments[0]).capture = None
            self.spoil()
            return (failure, None)

        return call

    def lose_at(self, call: tuple[str, int], result: Any) -> None:
        """Make this call and all later ones fail: the device is lost."""
        self.losing = (call, result)

    def _failure(self, name: str) -> Any:
        if self.lost:
            return self.losing[1]
        if self.losing is not None and self._now(self.losing[0], name):
            self.lost = True
            return self.losing[1]
        if self.losing is not None and self.losing[0][0] == name:
            self.losing = ((name, self.losing[0][1] - 1), self.losing[1])
        for (wanted, number), result in list(self.fail_at.items()):
            if wanted == name:
                del self.fail_at[wanted, number]
                if number == 0:
                    return result
                self.fail_at[wanted, number - 1] = result
        return None

    @staticmethod
    def _now(call: tuple[str, int], name: str) -> bool:
        return call == (name, 0)

    def of(self, stream: int) -> Stream:
        """Return a stream that is there; the driver reads freed memory for any other, and may crash."""
        found = self.streams.get(int(stream))
        if found is None:
            self.misuse(f"stream {int(stream):#x} was used, and is not there")
        assert found is not None, self.misused[-1]
        return found

    def misuse(self, words: str) -> None:
        """Keep it: what is raised here may be swallowed, as in ``__del__``."""
        self.misused.append(words)

    def capturing(self) -> bool:
        return any(stream.capture is not None for stream in self.streams.values())

    def spoil(self) -> None:
        for stream in self.streams.values():
            stream.spoilt = stream.capture is not None

    def put(self, stream: int, what: str, run: Callable[[], None]) -> None:
        """Put work into a stream, as the driver's asynchronous calls and an engine do."""
        found = self.of(stream)
        (found.waiting if found.capture is None else found.capture).append(Work(what, run))

    def drain(self, stream: int, most: int | None = None) -> None:
        waiting = self.of(stream).waiting
        for _ in range(len(waiting) if most is None else min(most, len(waiting))):
            work = waiting.pop(0)
            work.run()
            self.done.append(work.what)

    def idle(self) -> bool:
        return not any(stream.waiting for stream in self.streams.values())

    def on_device(self, address: int, size: int) -> bool:
        """Say whether the device may use these bytes."""
        spans = [(start, len(room) - 256) for start, room in self.memory.items()]
        spans += [(device, room) for _, room, device in self.host.values() if device]
        return any(start <= address and address + size <= start + room for start, room in spans)

    def leaks(self) -> list[str]:
        """Name what was made and not given back, and what was used after that."""
        found = {"memory": self.memory, "host memory": self.host, "graphs": self.graphs, "events": self.made}
        left = [f"{len(things)} x {name}" for name, things in found.items() if things]
        return left + (["streams"] if set(self.streams) != {0} else []) + self.misused

    def _handle(self) -> int:
        self.handles += 1
        return self.handles

    @property
    def stack(self) -> list[int]:
        """What this thread has pushed its contexts on."""
        found: list[int] = self._current.__dict__.setdefault("stack", [])
        return found

    def _CtxPushCurrent(self, context: int) -> None:
        self.stack.append(self.context)
        self.context = context

    def _CtxPopCurrent(self) -> int:
        popped, self.context = self.context, self.stack.pop()
        return popped

    def _StreamCreate(self, flags: int) -> int:
        assert flags == StreamFlags.CU_STREAM_NON_BLOCKING, "the default stream would wait for it"
        handle = self._handle()
        self.streams[handle] = Stream()
        return handle

    def _StreamDestroy(self, stream: int) -> None:
        self.drain(stream)
        del self.streams[stream]

    def _StreamSynchronize(self, stream: int) -> None:
        self.drain(stream)

    def _MemFree(self, address: int) -> None:
        assert self.idle(), "memory freed while work that may use it is waiting"
        super()._MemFree(address)

    def _MemHostAlloc(self, size: int, flags: int) -> int:
        file = os.memfd_create("host")
        os.ftruncate(file, size)
        rooms = [mmap.mmap(file, size) for _ in range(2 if flags & 2 else 1)]  # one place, two addresses
        os.close(file)
        addresses = [ctypes.addressof(ctypes.c_char.from_buffer(room)) for room in rooms]
        self.host[addresses[0]] = (rooms, size, addresses[1] if len(rooms) == 2 else 0)
        return addresses[0]

    def _MemHostGetDevicePointer(self, address: int, flags: int) -> int:
        assert flags == 0 and self.host[address][2], "not mapped"
        return self.host[address][2]

    def _MemFreeHost(self, address: int) -> None:
        assert self.idle(), "host memory freed while work that may use it is waiting"
        self.graveyard = (*getattr(self, "graveyard", ()), self.host.pop(address))

    def _page_locked(self, address: int, size: int) -> bool:
        return any(
            start <= address and address + size <= start + room for start, (_, room, _) in self.host.items()
        )

    def _MemcpyHtoDAsync(self, address: int, data: Any, size: int, stream: int) -> None:
        assert self.on_device(address, size)
        if isinstance(data, bytes):  # pageable: CUDA takes it before it returns
            source = data[:size]
            self.put(stream, f"write {size}", lambda: ctypes.memmove(address, source, size) and None)
            return
        assert self._page_locked(data, size), "an asynchronous copy needs page-locked memory"

        def run() -> None:
            ctypes.memmove(address, data, size)
            self.bytes_in += size

        self.put(stream, f"copy in {size}", run)

    def _MemcpyDtoHAsync(self, into: int, address: int, size: int, stream: int) -> None:
        assert self.on_device(address, size) and self._page_locked(into, size)

        def run() -> None:
            ctypes.memmove(into, address, size)
            self.bytes_out += size

        self.put(stream, f"copy out {size}", run)

    def _MemcpyDtoDAsync(self, into: int, address: int, size: int, stream: int) -> None:
        assert self.on_device(into, size)
        self.put(stream, f"copy {size}", lambda: ctypes.memmove(into, address, size) and None)

    def _MemsetD32Async(self, address: int, value: int, words: int, stream: int) -> None:
        assert self.on_device(address, words * 4)
        self.put(stream, "clear", lambda: fill_words(address, value, words))

    def _EventCreate(self, flags: int) -> Any:
        event = super()._EventCreate(flags)
        self.made.add(event)
        return event

    def _EventDestroy(self, event: Any) -> None:
        self.made.remove(event)

    def _EventRecord(self, event: Any, stream: int) -> None:
        found = self.of(0 if stream == 1 else stream)
        if found.capture is None:
            self.events[event] = (0 if stream == 1 else int(stream), len(found.waiting))

    def _StreamWaitEvent(self, stream: int, event: Any, flags: int) -> None:
        source, position = self.events[event]
        self.put(stream, "wait", lambda: self.drain(source, position))

    def _StreamBeginCapture(self, stream: int, mode: CaptureMode) -> None:
        assert mode == CaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        found = self.of(stream)
        assert found.capture is None
        found.capture, found.spoilt = [], False

    def _StreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        found = self.of(stream)
        recorded, found.capture = found.capture, None
        if found.spoilt:
            return (CaptureResult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None)
        assert recorded is not None
        return (Result.CUDA_SUCCESS, ("recorded", recorded))

    def _GraphInstantiate(self, recorded: Any, flags: int) -> int:
        assert flags == 0
        handle = self._handle()
        self.graphs[handle] = recorded[1]
        return handle

    def _GraphDestroy(self, recorded: Any) -> None:
        assert recorded is None or recorded[0] == "recorded"

    def _GraphLaunch(self, graph: int, stream: int) -> None:
        for work in self.graphs[graph]:
            self.put(stream, work.what, work.run)

    def _GraphExecDestroy(self, graph: int) -> None:
        assert self.idle(), "a graph freed while it is waiting to run"
        del self.graphs[graph]

    def _launched(self, launch: Launch) -> Any:
        params = launch.params
        self.require_launchable(launch)
        # Of the workspace: up to where the first slab's partial sums end.
        assert self.on_device(params.verdicts, params.batch * VERDICT.itemsize), "room for fewer verdicts"
        assert self.on_device(params.workspace, params.partials_at + 4 * params.rows), "a short workspace"
        assert self.on_device(params.input, 1)

        def run() -> None:
            if self.executes:
                launch.emulated()

        self.put(launch.stream, "kernel", run)


def bytes_at(address: int, size: int) -> np.ndarray:
    """Bytes of the double's device memory, writable."""
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)
