"""A time limit for one run of an onnxruntime session."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from edgeosr.runtime.sessions import load_onnxruntime


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[Any]:
    """Yield the RunOptions of a run that ends with an error after ``seconds``.

    onnxruntime looks between two nodes of the graph: a run ends when the node that is at work then is done.
    What it computes while it loads a graph is not limited by this.
    """
    options = load_onnxruntime().RunOptions()
    timer = threading.Timer(max(0.0, seconds), setattr, (options, "terminate", True))
    timer.daemon = True  # it must not keep a process that ends
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()
