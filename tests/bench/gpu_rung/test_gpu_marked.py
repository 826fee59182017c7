"""How the tests marked gpu are judged: on a card each of them runs, and a signal is no failure of theirs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = """
import os, signal, pytest
pytestmark = pytest.mark.gpu
def test_that_passes(record_property):
    assert os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] == "1", "an image's plugins are for another pytest"
    record_property("frames", 3)
def test_that_is_skipped():
    pytest.skip("no such thing here")
"""
ENDED = "def test_that_is_ended():\n    os.kill(os.getpid(), signal.SIGTERM)\n    signal.pause()\n"
BROKEN = "import no_such_module\n"


@pytest.mark.parametrize(
    ("more", "code", "failures"),
    [
        ("", 1, ["test_that_is_skipped was not run: Skipped: no such thing here"]),
        (ENDED, 130, []),
        (BROKEN, 1, ["No module named 'no_such_module'", "must hold tests marked gpu"]),
    ],
    ids=["skipped", "ended", "broken"],
)
def test_a_skipped_test_is_a_failure_and_one_that_a_signal_ended_is_none(
    tmp_path: Path, more: str, code: int, failures: list[str]
) -> None:
    (tmp_path / "test_on_a_card.py").write_text(TESTS + more, "utf-8")
    report = tmp_path / "report.json"
    words = ["-m", "edgeosr.bench.gpu_rung.gpu_marked", "--report", str(report), "--tests", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    kept: dict[str, Any] = json.loads(report.read_text("utf-8"))
    assert len(kept["failures"]) == len(failures)
    assert all(words in found for words, found in zip(failures, kept["failures"], strict=True))
    if more != BROKEN:
        first, second = kept["figures"]["tests"][:2]
        assert first["outcome"] == "passed" and first["figures"] == {"frames": 3}
        assert second["outcome"] == "not run"
