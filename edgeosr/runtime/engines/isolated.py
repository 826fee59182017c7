"""Run a build in a child process: its death is an error message here, and Ctrl-C ends it."""

import json
import logging
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeosr.child_python import child_command
from edgeosr.errors import EngineError
from edgeosr.files import storage_errors
from edgeosr.progress import progress
from edgeosr.runtime.engines.build import BuiltPlan
from edgeosr.runtime.engines.child import ANSWER, LOG, PROGRESS
from edgeosr.runtime.engines.request import BuildRequest

_MODULE = "edgeosr.runtime.engines.child"
_SHOWN = 1500  # characters of what the child said before it died
_log = logging.getLogger(__name__)


def build_isolated(
    backbone: bytes,
    request: BuildRequest,
    *,
    outputs: Sequence[str],
    dtype: str,
    timing_cache: bytes | None = None,
    module: str = _MODULE,
) -> BuiltPlan:
    """Build a plan in a child process, with a progress bar; see ``build.build_plan``.

    Args:
        backbone: ``backbone.onnx``.
        request: what is asked for.
        outputs: names of its outputs.
        dtype: of them.
        timing_cache: of an earlier build.
        module: what the child runs; for tests.

    Raises:
        EngineError: the builder refused, or its process died.
        StorageError: there is no room for the files in between.
    """
    with tempfile.TemporaryDirectory(prefix="edgeosr-build-") as name:
        folder = Path(name)
        asked = {
            "request": request.as_json(),
            "outputs": list(outputs),
            "dtype": dtype,
            "log_level": logging.getLogger("edgeosr").getEffectiveLevel(),
        }
        with storage_errors("write", folder):
            (folder / "backbone.onnx").write_bytes(backbone)
            (folder / "request.json").write_text(json.dumps(asked), encoding="utf-8")
            if timing_cache is not None:
                (folder / "timing.cache").write_bytes(timing_cache)
        code, answer, said = _run(module, folder, request)
        if answer is None:
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            raise EngineError(
                f"the process of {request.builder} died {how} while it built the engine"
                + (f"; its last words: {said[-_SHOWN:].strip()}" if said.strip() else "")
                + ". Too little memory is the commonest reason; a smaller --batch or --frame needs less"
            )
        if "error" in answer:
            raise EngineError(answer["error"])
        cache = folder / "timing.cache"
        with storage_errors("read", folder):
            return BuiltPlan(
                plan=(folder / "plan").read_bytes(),
                version=answer["version"],
                timing_cache=cache.read_bytes() if request.builder == "tensorrt" else None,
            )


def _run(module: str, folder: Path, request: BuildRequest) -> tuple[int, dict[str, Any] | None, str]:
    """Return (exit code, answer, standard error) of the child; it is killed if this is interrupted."""
    errors, answer = folder / "errors.txt", folder / ANSWER
    command = child_command(module, str(folder))
    if command is None:
        raise EngineError(
            f"{request.builder} builds in a Python process of its own, but this Python is a part of another "
            "program and cannot be started alone; build with: edgeosr build BUNDLE"
        )
    with errors.open("wb") as sink:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sink,
            encoding="utf-8",
            errors="replace",
            env=_environment(request),
        )
        try:
            assert child.stdout is not None
            with progress(f"building with {request.builder}", None) as advance:
                done = 0
                for line in child.stdout:
                    kind, *fields = line.rstrip("\n").split("\t")
                    if kind == PROGRESS and len(fields) == 3:
                        advance(int(fields[0]) - done, fields[2])
                        done = int(fields[0])
                    elif kind == LOG and len(fields) == 2:
                        _log.log(int(fields[0]), "%s", fields[1])
            code = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()
    with storage_errors("read", folder):
        answered = json.loads(answer.read_bytes()) if answer.is_file() else None
        return code, answered, errors.read_text("utf-8", errors="replace")


def _environment(request: BuildRequest) -> dict[str, str]:
    """TensorRT builds for the first GPU it sees, so the child sees one."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if request.builder == "tensorrt":
        visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
        # The driver numbers GPUs among those that the user lets it see.
        environment["CUDA_VISIBLE_DEVICES"] = (
            visible[request.device] if request.device < len(visible) else str(request.device)
        )
    return environment
