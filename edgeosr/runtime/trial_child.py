"""``python -m edgeosr.runtime.trial_child``: load a graph, and judge a black frame, where it may crash.

On standard input: one line of JSON (``trial.py`` says of what), then the graph's bytes. On standard output,
lines of JSON: ``{"ready": true}`` before the graph is looked at, at last ``{"tried": true}``, or an ``error``
with its ``message``. It ends when who started it does, and by SIGALRM when its time is over.
"""

import contextlib
import ctypes
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.errors import EdgeosrError, InferenceError
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.sessions import SessionSettings, open_session

# What small machines have. Above it, all the memory that there is.
LEAST_MEMORY = 4 << 30  # bytes
# Beyond the limit that a frame has, for what stops between two nodes only.
GRACE_S = 30.0
_FIRST_TO_GO = "1000"
_SET_DEATH_SIGNAL, _SET_DUMPABLE = 1, 4  # of prctl(2)


def main() -> int:
    """Try what standard input holds; 0 tried, 1 refused."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the answer alone is an answer

    def say(**answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    _limit_this_process()
    asked = json.loads(sys.stdin.buffer.readline())
    graph = sys.stdin.buffer.read()
    say(ready=True)
    try:
        _try(graph, asked)
    except EdgeosrError as error:
        say(error=type(error).__name__, message=str(error))
        return 1
    except Exception as error:  # no memory, no thread: not for the graph to answer for
        failed = InferenceError(
            f"the graph could not be tried in a process of its own: {type(error).__name__}: {error}; give it "
            "more memory and more threads"
        )
        say(error=InferenceError.__name__, message=str(failed))
        return 1
    say(tried=True)
    return 0


def _try(graphs: bytes, asked: dict[str, Any]) -> None:
    _end_after(asked["load_limit_s"])
    judge = _loaded(graphs[: asked["bytes"]], graphs[asked["bytes"] :], asked)
    if not asked["judge"]:
        return
    limit = math.inf if asked["limit_s"] is None else asked["limit_s"]
    _end_after(limit + GRACE_S)
    height, width = asked["frame"]
    judge(np.zeros((1, height, width, 3), np.uint8), limit_s=min(limit, threading.TIMEOUT_MAX))


def _loaded(graph: bytes, body: bytes, asked: dict[str, Any]) -> Callable[..., object]:
    """Load a graph as ``asked``; return what judges a frame with it."""
    parts, threads = asked["parts"], asked["threads"]
    if asked["on"] == "openvino":
        from edgeosr.runtime.openvino_graph import OpenVinoGraph
        from edgeosr.runtime.openvino_stages import Body

        names = asked["body"]
        within = names and Body(model=body, precision=names[0], outputs=tuple(names[1:]))
        return OpenVinoGraph(graph, parts=parts, threads=threads, body=within).run
    if asked["name"] == "model.onnx":
        return OnnxRuntimeGraph(graph, parts=parts, threads=threads).warm_up
    settings = SessionSettings(threads=threads, optimisation="as-typed")
    session = open_session(graph, settings, name=asked["name"])
    return session.run  # type: ignore[no-any-return]  # of onnxruntime, and never called


def _end_after(seconds: float) -> None:
    """Let the system end this process, for no code of ours is run while onnxruntime is at work."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0 if math.isinf(seconds) else seconds)


def _limit_this_process() -> None:
    """Limit memory, leave no core file, and end with who started this; where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    # Before the next: who leaves no core may not write there.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write(_FIRST_TO_GO)
    with contextlib.suppress(OSError, AttributeError):
        # Where cores go to a program (apport, systemd), their limit is not looked at.
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = max(LEAST_MEMORY, _memory_there())
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _memory_there() -> int:
    """Return bytes of memory of the machine, or of the container if they are fewer."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        return min(machine, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return machine


if __name__ == "__main__":
    sys.exit(main())
