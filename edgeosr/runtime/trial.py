"""The first time that a stranger's graph is loaded, it is loaded in a process of its own.

What onnxruntime does while it loads a graph cannot be stopped, nor its abort be caught: some graphs of listed
operators end the process. So a bundle that was not made here is tried in a child first, with limits of time
and memory, and a crash is an error message here. What was tried once, with this onnxruntime, is noted and not
tried again.
"""

import hashlib
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.made_here import was_made_here
from edgeosr.bundle.notes import Notes
from edgeosr.child_python import child_command
from edgeosr.errors import BundleError, InferenceError
from edgeosr.printed import LONGEST_REASON, shortened
from edgeosr.runtime.sessions import load_onnxruntime

MODEL = "model.onnx"
# Python, NumPy and onnxruntime start, and a graph of the largest size that is read is loaded.
LOAD_LIMIT_S = 90.0
_MODULE = "edgeosr.runtime.trial_child"
_TRIED = Notes("tried")
# Each thread of them takes address space, which has a limit there.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_TRUST = "if you trust whoever made it, open it with edgeosr.Runtime(..., trial=False)"


def require_tried(bundle: Bundle, name: str = MODEL, *, limit_s: float, trial: bool | None = None) -> None:
    """Load a graph of a bundle in a process of its own first, unless it need not be.

    Args:
        bundle: as read.
        name: ``model.onnx``, which also judges a black frame there; or ``backbone.onnx``, which is loaded.
        limit_s: seconds that the frame may take; ``math.inf`` for any time.
        trial: None: if the bundle was not made on this machine by this user, and the graph was not tried with
            this onnxruntime before. False: never. True: in any case.

    Raises:
        BundleError: the process was ended by the graph, or it took too long; or the graph is no bundle's.
        InferenceError: onnxruntime cannot load it, the frame took too long, or no process can be started.
        MissingDependencyError: onnxruntime is missing.
    """
    if trial is False or (trial is None and was_made_here(bundle.manifest_data)):
        return
    onnxruntime = load_onnxruntime().__version__
    digest = hashlib.sha256(f"{name} {bundle.manifest.files[name].sha256} {onnxruntime}".encode()).hexdigest()
    if trial is None and _TRIED.has(digest):
        return
    preprocessing = bundle.manifest.preprocessing
    height, width = bundle.manifest.frame or (preprocessing.height, preprocessing.width)
    asked = {
        "judge": name == MODEL,
        "parts": len(bundle.manifest.parts),
        "frame": [height, width],
        "limit_s": None if math.isinf(limit_s) else limit_s,
    }
    _try(bundle.path, name, asked, bundle.files[name], limit_s, onnxruntime)
    _TRIED.remember(digest)


def _try(
    path: Path, name: str, asked: dict[str, Any], graph: bytes, limit_s: float, onnxruntime: str
) -> None:
    command = child_command(_MODULE)
    if command is None:
        raise InferenceError(
            f"{path} was not made here, so its graph is tried in a Python process of its own first; but this "
            f"Python is a part of another program and cannot be started alone; {_TRUST}"
        )
    longest = None if math.isinf(limit_s) else LOAD_LIMIT_S + limit_s
    try:
        ended = subprocess.run(
            command,
            input=json.dumps(asked).encode() + b"\n" + graph,
            capture_output=True,
            env={**os.environ, **_ONE_THREAD},
            timeout=longest,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(
            f"{path / name} was not loaded within {longest:.3g} s in a process of its own, which was ended; "
            "it is too much for this machine, or made to be; do not open it unless you trust whoever made it"
        ) from None
    except OSError as error:
        raise InferenceError(
            f"{path} was not made here, so its graph is tried in a process of its own first, which cannot be "
            f"started: {error}; {_TRUST}"
        ) from error
    answer = _answer(ended.stdout)
    # Not the exit code: where an app ignores SIGCHLD it is lost, and reads as 0.
    if answer == {"tried": True}:
        return
    if answer is not None and "error" in answer:
        kind = BundleError if answer["error"] == BundleError.__name__ else InferenceError
        raise kind(str(answer.get("message")))
    how = f"by signal {-ended.returncode}" if ended.returncode < 0 else f"with exit code {ended.returncode}"
    words = ended.stderr.decode("utf-8", errors="replace").strip()
    said = f"; its last words: {shortened(words[-LONGEST_REASON:], LONGEST_REASON)}" if words else ""
    raise BundleError(
        f"{path / name} crashed the process that tried it first ({how}), while onnxruntime {onnxruntime} "
        f"loaded or ran it{said}; do not open it: it was made to do so, or this onnxruntime has a fault"
    )


def _answer(said: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(said)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
