"""The tests marked ``gpu``, run by pytest; each one's outcome is kept as it comes."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.errors import DataError, import_extra


class _Keeper:
    """A pytest plugin: outcome, seconds and recorded figures of every test."""

    def __init__(self, report: StepReport):
        self._report = report
        self.tests: list[dict[str, Any]] = []
        self.broken = False

    def pytest_collectreport(self, report: Any) -> None:
        """Keep why a file's tests could not be found."""
        if report.failed:
            self.broken = True
            self._report.fail(f"{report.nodeid}: {_last_words(report)}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep a test once it has run, or could not begin."""
        if report.when != "call" and report.passed:
            return
        name = report.nodeid.partition("::")[2]
        found: dict[str, Any] = {
            "test": name,
            "outcome": "not run" if report.skipped else report.outcome,
            "seconds": round(report.duration, 2),
        }
        if report.user_properties:
            found["figures"] = dict(report.user_properties)
        if report.failed:
            self._report.fail(f"{name}: {_last_words(report)}")
        elif report.skipped:
            found["why"] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else "")[:300]
        self.tests.append(found)
        self._report.put("tests", self.tests)


def run_tests(report: StepReport, options: argparse.Namespace) -> None:
    """Run them.

    Raises:
        DataError: the folder has no tests.
        MissingDependencyError: pytest is not installed.
    """
    pytest = import_extra("pytest", extra="dev", purpose="running the tests marked gpu")
    # An image's own plugins were made for another pytest than the archive's.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    keeper = _Keeper(report)
    words = [
        str(options.tests),
        "-m",
        "gpu",
        "-q",
        "--tb=short",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
    ]
    # Nothing of a configuration that lies round the folder: it may be another project's.
    words += ["-c", os.devnull, "--rootdir", str(options.tests), "-o", "markers=gpu: needs an NVIDIA device"]
    code = int(pytest.main(words, plugins=[keeper]))
    if code == pytest.ExitCode.INTERRUPTED and not keeper.broken:
        raise KeyboardInterrupt  # by a signal, which pytest takes for its own
    if not keeper.tests:
        raise DataError(
            f"{options.tests} must hold tests marked gpu; pytest found none; make the archive again"
        )
    if code not in (0, 1):
        report.fail(f"pytest ended with exit code {code}")
    for found in keeper.tests:  # the card was there a moment ago: each of them runs on it
        if found["outcome"] == "not run":
            report.fail(f"{found['test']} was not run: {found.get('why', '')}")


def _last_words(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(getattr(crash, "message", report.longrepr)).strip()[:400]


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tests", type=Path, required=True, help="folder of the tests")


if __name__ == "__main__":
    sys.exit(step_main("The tests marked gpu.", run_tests, more=_more))
