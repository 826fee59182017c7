"""The first time that a stranger's graph is loaded, it is loaded in a process of its own.

What onnxruntime does while it loads a graph cannot be stopped, nor its abort be caught: some graphs of listed
operators end the process. So a bundle that was not made here is tried in a child first, with limits of time
and memory, and a crash is an error message here. What was tried once is noted and not tried again, as long
as what runs it, the number of its threads, the frame and the parts are the same: each of them changes what a
graph does.
"""

import json
import math
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeosr import __version__
from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.made_here import was_made_here
from edgeosr.bundle.manifest import BODY
from edgeosr.bundle.notes import Notes
from edgeosr.child_python import child_command
from edgeosr.errors import BundleError, EdgeosrError, InferenceError
from edgeosr.files import sha256_of
from edgeosr.printed import LONGEST_REASON, shortened
from edgeosr.runtime.openvino_module import load_openvino
from edgeosr.runtime.openvino_stages import Body
from edgeosr.runtime.sessions import load_onnxruntime

MODEL = "model.onnx"
# A graph of the largest size that is read is loaded in less, on a small board.
LOAD_LIMIT_S = 90.0
# Python, NumPy and onnxruntime start, from a slow card.
START_LIMIT_S = 60.0
_MODULE = "edgeosr.runtime.trial_child"
_TRIED = Notes("tried")
# Each thread of them, and each arena, takes address space, which has a limit there.
_LITTLE_SPACE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}
_TOLD_TO_END = ("SIGINT", "SIGTERM", "SIGHUP")
_WAY_OUT = (
    "of a bundle that you trust, leave the trial out: edgeosr.Runtime(..., trial=False); or have it tried "
    "once by edgeosr verify, as the same user and with the same --threads"
)
_WITHOUT_BODY = (
    "model.onnx, which is tried by itself, runs without it: edgeosr.Runtime(..., backend='onnxruntime')"
)


@dataclass(frozen=True)
class Trial:
    """What is asked of the trial.

    Attributes:
        wanted: None: if the bundle was not made on this machine by this user, and the graph was not tried
            before. False: never. True: in any case.
        limit_s: seconds that ``model.onnx`` may take to judge a black frame there; ``math.inf`` for any time;
            None: it is only loaded.
    """

    wanted: bool | None = None
    limit_s: float | None = None


AS_USUAL = Trial()


def require_tried(
    bundle: Bundle,
    trial: Trial,
    *,
    threads: int | None,
    name: str = MODEL,
    on: str = "onnxruntime",
    body: Body | None = None,
) -> None:
    """Load a graph of a bundle in a process of its own first, unless it need not be.

    Args:
        bundle: as read.
        trial: when, and for how long.
        threads: as the graph will be run here.
        name: ``model.onnx``; or ``backbone.onnx``, which is only loaded.
        on: ``onnxruntime`` or ``openvino``.
        body: that openvino will run.

    Raises:
        BundleError: the process crashed, or loading took too long; or the graph is no bundle's.
        InferenceError: the graph cannot be loaded, the frame took too long, or the process could not be
            started or was ended from outside. Of a body, whatever keeps it from being tried to the end: the
            bundle has another graph.
        MissingDependencyError: onnxruntime or openvino is missing.
    """
    if trial.wanted is False or (trial.wanted is None and was_made_here(bundle.manifest_data)):
        return
    version = (load_openvino() if on == "openvino" else load_onnxruntime()).__version__
    preprocessing = bundle.manifest.preprocessing
    same = {
        "on": on,
        "name": name,
        "parts": len(bundle.manifest.parts),
        "frame": bundle.manifest.frame or (preprocessing.height, preprocessing.width),
        "threads": threads,
        "body": None if body is None else [body.precision, *body.outputs],
    }
    graphs = [bundle.files[name], b"" if body is None else body.model]
    known = [same, *map(sha256_of, graphs), version, __version__]
    digests = {judged: sha256_of(json.dumps([judged, known]).encode()) for judged in (True, False)}
    judge = name == MODEL and trial.limit_s is not None
    # One that judged a frame was loaded too.
    if trial.wanted is None and any(_TRIED.has(digests[judged]) for judged in {True, judge}):
        return
    longest = math.inf if trial.limit_s is None else trial.limit_s
    asked = {
        **same,
        "judge": judge,
        "limit_s": None if math.isinf(longest) else longest,
        "load_limit_s": LOAD_LIMIT_S,
        "bytes": len(graphs[0]),
    }
    _try(bundle.path / (name if body is None else BODY), asked, b"".join(graphs), f"{on} {version}")
    _TRIED.remember(digests[judge])


def _try(path: Path, asked: dict[str, Any], graphs: bytes, by: str) -> None:
    command = child_command(_MODULE)
    if command is None:
        raise _no_process(path, "this Python is a part of another program and cannot be started alone")
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **_LITTLE_SPACE},
        )
    except (OSError, ValueError) as error:
        raise _no_process(path, f"it cannot be started: {error}") from error
    # The child ends itself before; this is for one that cannot (another system than Linux).
    frame_s = 0.0 if not asked["judge"] else math.inf if asked["limit_s"] is None else asked["limit_s"]
    longest = START_LIMIT_S + LOAD_LIMIT_S + frame_s
    with child:
        try:
            said, words = child.communicate(
                json.dumps(asked).encode() + b"\n" + graphs, None if math.isinf(longest) else longest
            )
        except subprocess.TimeoutExpired:
            child.kill()
            raise _too_slow(path, by) from None
        except BaseException:
            child.kill()
            raise
    answers = [answer for line in said.splitlines() if (answer := _answer(line)) is not None]
    # Not the exit code: where an app ignores SIGCHLD it is lost, and reads as 0.
    if answers[-1:] == [{"tried": True}]:
        return
    raise _refused(path, answers, child.returncode, words.decode("utf-8", errors="replace"), by)


def _refused(path: Path, answers: list[dict[str, Any]], code: int, words: str, runs: str) -> EdgeosrError:
    """Return what to say of a child that did not say that the graph was tried."""
    last = shortened((words.strip().splitlines() or [""])[-1], LONGEST_REASON)
    said = f"; its last words: {last}" if last else ""
    if not answers:
        return _no_process(path, f"it ended with code {code} before it came to the graph{said}")
    answer = answers[-1]
    if "error" in answer:
        kind = BundleError if answer["error"] == BundleError.__name__ else InferenceError
        return kind(str(answer.get("message")))
    by = signal.Signals(-code).name if code < 0 else ""
    if by == "SIGALRM":
        return _too_slow(path, runs)
    if by in _TOLD_TO_END:
        return _no_process(path, f"it was told to end by {by}")
    if by == "SIGKILL":
        return _no_process(path, "it was ended by SIGKILL, perhaps for lack of memory")
    how = f"by {by}" if by else f"with exit code {code}"
    if path.name == BODY:
        return InferenceError(
            f"{path} crashed the process that tried it first ({how}), while {runs} loaded or "
            f"ran it{said}; it was made to do so, or {runs} has a fault; {_WITHOUT_BODY}"
        )
    return BundleError(
        f"{path} crashed the process that tried it first ({how}), while {runs} loaded or "
        f"ran it{said}; do not open it: it was made to do so, or {runs} has a fault"
    )


def _too_slow(path: Path, runs: str) -> EdgeosrError:
    took = f"{LOAD_LIMIT_S:.3g} s for {runs} to load it"
    if path.name == BODY:
        return InferenceError(
            f"{path} was not loaded and judged in time in a process of its own, which was ended ({took}); it "
            f"is too much for this machine, or made to be; {_WITHOUT_BODY}"
        )
    return BundleError(
        f"{path} was not loaded and judged in time in a process of its own, which was ended ({took}); it is "
        "too much for this machine, or made to be; do not open it unless you trust whoever made it"
    )


def _no_process(path: Path, why: str) -> InferenceError:
    return InferenceError(
        f"{path} was not made here, so a Python process of its own tries it first, but {why}; {_WAY_OUT}"
    )


def _answer(line: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
