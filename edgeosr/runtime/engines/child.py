"""``python -m edgeosr.runtime.engines.child FOLDER``: one build in a process that may die.

Reads ``backbone.onnx``, ``request.json`` and, if there is one, ``timing.cache``; writes ``plan`` and at the
end ``answer.json`` (the ``version`` of the builder, or an ``error``). It speaks in lines on standard output,
fields apart by tabs: ``progress`` and ``log``. ``isolated.py`` is the other end.
"""

import json
import logging
import sys
import threading
from pathlib import Path

from edgeosr.errors import EdgeosrError
from edgeosr.files import write_bytes
from edgeosr.runtime.engines.build import build_plan
from edgeosr.runtime.engines.request import BuildRequest
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt

# The answer is a file, for the builder's libraries may write into standard output between its lines.
PROGRESS, LOG, ANSWER = "progress", "log", "answer.json"
_speaking = threading.Lock()


def say(kind: str, *fields: object) -> None:
    """Print one line; builders report from several threads."""
    line = "\t".join([kind, *(" ".join(str(field).split()) for field in fields)])
    with _speaking:
        print(line, flush=True)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(LOG, record.levelno, record.getMessage())


def main(folder: Path) -> int:
    """Build what the folder asks for; 0 done, 1 refused."""

    def answer(**plain: str) -> None:
        write_bytes(folder / ANSWER, json.dumps(plain).encode())

    asked = json.loads((folder / "request.json").read_text("utf-8"))
    request = BuildRequest.from_json(asked["request"])
    logging.basicConfig(level=asked["log_level"], handlers=[_Lines()])
    try:
        version = _build(folder, request, asked["outputs"], asked["dtype"])
    except EdgeosrError as error:
        answer(error=str(error))
        return 1
    except Exception as error:  # whatever the bindings raise: pybind's TypeError, MemoryError
        logging.getLogger(__name__).debug("the build failed", exc_info=True)
        what = f"{request.builder} failed while it built the engine: {type(error).__name__}: {error}"
        answer(error=f"{what}; check that its libraries are of one version")
        return 1
    answer(version=version)
    return 0


def _build(folder: Path, request: BuildRequest, outputs: list[str], dtype: str) -> str:
    cache = folder / "timing.cache"

    def advance(done: int, total: int, phase: str) -> bool:
        say(PROGRESS, done, total, phase)
        return True

    built = build_plan(
        load_tensorrt(request.builder, to_run=request.builder == "tensorrt"),
        (folder / "backbone.onnx").read_bytes(),
        request,
        outputs=outputs,
        dtype=dtype,
        timing_cache=cache.read_bytes() if cache.is_file() else None,
        advance=advance,
    )
    write_bytes(folder / "plan", built.plan)
    if built.timing_cache is not None:
        write_bytes(cache, built.timing_cache)
    return built.version


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
