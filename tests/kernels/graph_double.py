"""The driver's double with streams and CUDA graphs: what is captured runs at each replay and not before."""

from collections.abc import Callable
from enum import IntEnum
from typing import Any

from cuda_double import CudaDouble, Launch, Result

CAPTURED = ("MemsetD32Async", "EventRecord", "StreamWaitEvent")
REFUSED = ("MemAlloc", "StreamSynchronize", "EventSynchronize", "MemcpyDtoHAsync")


class StreamFlags(IntEnum):
    CU_STREAM_NON_BLOCKING = 1


class CaptureMode(IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class GraphDouble(CudaDouble):
    CUstream_flags = StreamFlags
    CUstreamCaptureMode = CaptureMode

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.capturing: list[Callable[[], Any]] | None = None
        self.graphs: dict[str, list[Callable[[], Any]]] = {}
        self.streams: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        call = super().__getattr__(name)
        inner = name[2:]
        if self.__dict__.get("capturing") is None or inner not in (*CAPTURED, *REFUSED):
            return call

        def captured(*arguments: Any) -> tuple[Any, ...]:
            if inner in REFUSED:
                self.calls.append((name, *arguments))
                return (Result.CUDA_ERROR_INVALID_VALUE, None)
            self.capture(lambda: getattr(self, f"_{inner}")(*arguments))
            return (Result.CUDA_SUCCESS, None)

        return captured

    def capture(self, work: Callable[[], Any]) -> None:
        """What another library enqueues: now, or into the graph under capture."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def _launched(self, launch: Launch) -> None:
        whole = super()._launched
        self.capture(lambda: whole(launch))

    def _StreamCreate(self, flags: int) -> int:
        assert flags == StreamFlags.CU_STREAM_NON_BLOCKING
        self.streams.add(len(self.streams) + 100)
        return len(self.streams) + 99

    def _StreamDestroy(self, stream: int) -> None:
        self.streams.remove(stream)

    def _StreamBeginCapture(self, stream: int, mode: CaptureMode) -> None:
        assert stream in self.streams and self.capturing is None
        self.capturing = []

    def _StreamEndCapture(self, stream: int) -> Any:
        graph, self.capturing = self.capturing, None
        return graph

    def _GraphInstantiate(self, graph: list[Callable[[], Any]], flags: int) -> str:
        assert flags == 0
        name = f"graph {self.count('cuGraphInstantiate')}"
        self.graphs[name] = graph
        return name

    def _GraphDestroy(self, graph: list[Callable[[], Any]]) -> None:
        pass

    def _GraphLaunch(self, graph: str, stream: int) -> None:
        assert stream in self.streams
        for work in self.graphs[graph]:
            work()

    def _GraphExecDestroy(self, graph: str) -> None:
        del self.graphs[graph]
