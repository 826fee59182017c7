"""What tests of the command line share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeosr.cli import app as application

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def edgeosr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line in an empty folder: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["edgeosr", *arguments])
        code = 0
        try:
            application.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
