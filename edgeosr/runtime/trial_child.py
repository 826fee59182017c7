"""``python -m edgeosr.runtime.trial_child``: load a graph, and judge a black frame, where it may crash.

On standard input: one line of JSON (``judge``, ``parts``, ``frame``, ``limit_s``), then the graph's bytes. On
standard output: one line of JSON, ``{"tried": true}`` or an ``error`` with its ``message``. ``trial.py`` is
the other end.
"""

import contextlib
import json
import math
import os
import sys
import threading
from typing import Any

import numpy as np

from edgeosr.errors import EdgeosrError
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.sessions import SessionSettings, open_session

# What small machines have. Above it, all the memory that there is.
LEAST_MEMORY = 4 << 30  # bytes
_FIRST_TO_GO = "1000"


def main() -> int:
    """Try what standard input holds; 0 tried, 1 refused."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the answer alone is an answer
    asked = json.loads(sys.stdin.buffer.readline())
    graph = sys.stdin.buffer.read()
    _limit_this_process()
    try:
        _try(graph, asked)
        answer: dict[str, Any] = {"tried": True}
    except EdgeosrError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    answers.write(json.dumps(answer))
    answers.flush()
    return 0 if "tried" in answer else 1


def _try(graph: bytes, asked: dict[str, Any]) -> None:
    if not asked["judge"]:
        open_session(graph, SessionSettings(threads=1, optimisation="as-typed"), name="backbone.onnx")
        return
    height, width = asked["frame"]
    loaded = OnnxRuntimeGraph(graph, parts=asked["parts"], threads=1)
    black = np.zeros((1, height, width, 3), np.uint8)
    longest = math.inf if asked["limit_s"] is None else asked["limit_s"]
    loaded.warm_up(black, limit_s=min(longest, threading.TIMEOUT_MAX))


def _limit_this_process() -> None:
    """Limit memory where the system can, and be the first that it ends when it has none left."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write(_FIRST_TO_GO)
    # No core files of what is expected to die.
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        most = max(LEAST_MEMORY, there)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


if __name__ == "__main__":
    sys.exit(main())
