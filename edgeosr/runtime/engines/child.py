"""``python -m edgeosr.runtime.engines.child FOLDER``: one build in a process that may die.

Reads ``backbone.onnx``, ``request.json`` and, if there is one, ``timing.cache``; writes ``plan`` and
``result.json``, prints a line of progress at a time. ``isolated.py`` is the other end.
"""

import json
import logging
import sys
from pathlib import Path

from edgeosr.errors import EdgeosrError
from edgeosr.files import write_bytes, write_text
from edgeosr.runtime.engines.build import build_plan
from edgeosr.runtime.engines.request import BuildRequest
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt

PROGRESS = "progress"


def main(folder: Path) -> int:
    """Build what the folder asks for; 0 done, 1 refused with ``error`` in ``result.json``."""
    asked = json.loads((folder / "request.json").read_text("utf-8"))
    request = BuildRequest.from_json(asked["request"])
    logging.basicConfig(level=asked["log_level"], format="%(message)s", stream=sys.stderr)
    cache = folder / "timing.cache"

    def advance(done: int, total: int, phase: str) -> bool:
        print(f"{PROGRESS}\t{done}\t{total}\t{' '.join(phase.split())}", flush=True)
        return True

    try:
        module = load_tensorrt(request.builder, to_run=request.builder == "tensorrt")
        built = build_plan(
            module,
            (folder / "backbone.onnx").read_bytes(),
            request,
            outputs=asked["outputs"],
            dtype=asked["dtype"],
            timing_cache=cache.read_bytes() if cache.is_file() else None,
            advance=advance,
        )
        write_bytes(folder / "plan", built.plan)
        if built.timing_cache is not None:
            write_bytes(cache, built.timing_cache)
    except EdgeosrError as error:
        write_text(folder / "result.json", json.dumps({"error": str(error)}))
        return 1
    write_text(folder / "result.json", json.dumps({"version": built.version}))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
