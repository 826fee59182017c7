"""What one step found, kept in a file from the first figure on: a step that is ended loses nothing."""

import argparse
import json
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.child import end_with_parent, ended_by_signals
from edgeosr.errors import EdgeosrError
from edgeosr.files import write_text

ENDED = 130  # exit code: by a signal
SLOWER = 6  # a run without a card is given so many times the limits: its machine may be slow, and busy


class NotRunHereError(Exception):
    """This machine cannot run the step; the words say why. Nothing has failed."""


class StepReport:
    """Figures of one step.

    Args:
        path: where they are kept; None: nowhere.

    Attributes:
        figures: what was measured, by name.
        failures: what was wrong, a sentence each.
        not_run: why the step, or the rest of it, was not run; empty if it was.
    """

    def __init__(self, path: Path | None):
        self._path = path
        self.figures: dict[str, Any] = {}
        self.failures: list[str] = []
        self.not_run = ""

    def put(self, name: str, value: Any) -> None:
        """Keep a figure; it is in the file when this returns."""
        self.figures[name] = value
        self.save()

    def fail(self, words: str) -> None:
        """Keep a failure; the step goes on."""
        self.failures.append(words)
        self.save()

    def save(self) -> None:
        """Write all of it."""
        if self._path is not None:
            plain = {"figures": self.figures, "failures": self.failures, "not_run": self.not_run}
            write_text(self._path, json.dumps(without_nan(plain), indent=1, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """Return ``value`` with None for every number that JSON cannot say."""
    if isinstance(value, dict):
        return {name: without_nan(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Work = Callable[[StepReport, argparse.Namespace], None]


def step_main(
    description: str,
    work: Work,
    arguments: Sequence[str] | None = None,
    *,
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Run a step as a command; return its exit code, 0 if it passed or cannot be run here, 130 if ended.

    SIGTERM ends it as Ctrl-C does: what it has started ends with it, and its figures stay. A step that the
    rung has started ends with the rung.

    Args:
        description: for ``--help``.
        work: the step; it may raise ``NotRunHereError``, and an EdgeosrError is a failure in words.
        arguments: None: the process's.
        more: adds options.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, description=description)
    parser.add_argument("--report", type=Path, help="where the figures are kept, as they come; JSON")
    parser.add_argument("--small", action="store_true", help="small cases, for a run without a card")
    more(parser)
    options = parser.parse_args(arguments)
    report, code = StepReport(options.report), 1
    if arguments is None and options.report is not None:
        end_with_parent()
    with ended_by_signals() as came:
        try:
            report.save()
            work(report, options)
            code = 1 if report.failures else 0
        except KeyboardInterrupt:
            code = ENDED
        except NotRunHereError as reason:
            report.not_run, code = str(reason), 1 if report.failures else 0
        except Exception as error:  # whatever a library raises: the rung goes on with the next step
            known = isinstance(error, EdgeosrError)
            if came:  # what goes wrong while work is broken off is no fault of it
                code = ENDED
            else:
                report.failures.append(str(error) if known else f"{type(error).__name__}: {error}")
                code = error.exit_code if isinstance(error, EdgeosrError) else 1
            if not known:
                traceback.print_exc()
        report.save()
    for words in [*report.failures, *([f"not run: {report.not_run}"] if report.not_run else [])]:
        print(words, file=sys.stderr)
    if options.report is None:
        print(json.dumps(report.figures, indent=1))
    return code
