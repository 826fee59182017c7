"""The process that trains one fold: ``python -m edgeosr.training.fold_worker``, of ``fold_processes``.

It reads one line of JSON (``fold_plan.as_order``) from standard input, trains, and writes one line of JSON to
standard output: ``{"error": ...}`` in words, or ``{}``. What training says for people goes to standard error.
Standard input stays open as long as the process that wants the fold lives: its end is this one's, so that
nothing goes on unseen, whatever became of that process.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

STANDARD_INPUT = 0


def main() -> None:
    """Train the fold; exit code 1 if it could not be."""
    # A terminal sends Ctrl-C to both processes; the other one decides, and its SIGTERM closes files in order.
    # So does a terminal that is closed, its SIGHUP.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    order = json.loads(_line())
    threading.Thread(target=_end_with_the_other_process, daemon=True).start()
    answer, sys.stdout = sys.stdout, sys.stderr
    error = _trained(order)
    answer.write(json.dumps({} if error is None else {"error": error}) + "\n")
    answer.flush()
    sys.exit(0 if error is None else 1)


def _trained(order: dict[str, Any]) -> str | None:
    """Train as told; return what went wrong in a way that users can meet."""
    from edgeosr.errors import EdgeosrError
    from edgeosr.training.settings import settings_from_json
    from edgeosr.training.train import train

    try:
        train(
            settings_from_json(
                order["settings"],
                data_root=None if order["data_root"] is None else Path(order["data_root"]),
                out=Path(order["out"]),
                resume=order["resume"],
                threads=order["threads"],
                folds=0,
            )
        )
    except EdgeosrError as error:
        return str(error)
    except KeyboardInterrupt:
        os._exit(1)  # everything is written; taking torch down would take seconds
    return None


def _line() -> str:
    """Read one line from the bare file: a buffer of Python would be locked by the thread that waits on it."""
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(STANDARD_INPUT, 1 << 16)
        if not more:
            sys.exit(1)
        line += more
    return line.decode("utf-8")


def _end_with_the_other_process() -> None:
    while os.read(STANDARD_INPUT, 1 << 16):
        pass
    os._exit(1)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
