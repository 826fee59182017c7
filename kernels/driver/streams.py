"""Streams, and the events by which one waits for another or is timed."""

import contextlib
from collections.abc import Iterator
from typing import Any

from edgeosr.kernels.driver.calls import Calls


class StreamCalls(Calls):
    """Streams are plain handles: those of other libraries serve as well (``arrays.stream_handle``)."""

    def stream(self) -> int:
        """Return a new stream that does not wait for the default one."""
        return int(self.call("cuStreamCreate", int(self.cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back; what it still holds runs to its end."""
        self.call("cuStreamDestroy", stream)

    @contextlib.contextmanager
    def own_stream(self) -> Iterator[int]:
        """Lend a new stream for the length of a block."""
        stream = self.stream()
        try:
            yield stream
        finally:
            self.destroy_stream(stream)

    def synchronize(self, stream: int) -> None:
        """Wait for the stream."""
        self.call("cuStreamSynchronize", stream)

    def follow(self, later: int, earlier: int) -> None:
        """Make the stream ``later`` wait for all that ``earlier`` holds now; the host does not wait."""
        event = self.event()
        self.record(event, earlier)
        self.wait(later, event)
        self.destroy_event(event)  # CUDA keeps it until it has happened

    def event(self) -> Any:
        """Return a new event without a time stamp."""
        return self.call("cuEventCreate", int(self.cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING))

    def timed_event(self) -> Any:
        """Return a new event with a time stamp."""
        return self.call("cuEventCreate", int(self.cuda.CUevent_flags.CU_EVENT_DEFAULT))

    def destroy_event(self, event: Any) -> None:
        """Give an event back."""
        self.call("cuEventDestroy", event)

    def record(self, event: Any, stream: int) -> None:
        """Record ``event`` in the stream."""
        self.call("cuEventRecord", event, stream)

    def wait(self, stream: int, event: Any) -> None:
        """Let the stream wait for ``event``."""
        self.call("cuStreamWaitEvent", stream, event, 0)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Wait for ``end``; return the milliseconds since ``start``."""
        self.call("cuEventSynchronize", end)
        return float(self.call("cuEventElapsedTime", start, end))
