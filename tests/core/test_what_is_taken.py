"""What a command takes where nothing is named, and that it says so."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeosr.cli import app as application
from edgeosr.errors import UsageError
from edgeosr.training.settings import TrainSettings

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


@pytest.mark.parametrize(
    ("more", "arch", "told"),
    [
        ((), "efficientnet-lite0", True),
        (("--freeze",), "efficientnet-lite0", True),
        (("--arch", "timm:resnet18"), "timm:resnet18", False),
        (("--arch", "efficientnet-lite0"), "efficientnet-lite0", False),
    ],
)
def test_pretrained_weights_need_no_architecture_and_say_which_they_take(
    more: tuple[str, ...], arch: str, told: bool, edgeosr: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainSettings] = []

    def called(settings: TrainSettings) -> Path:
        seen.append(settings)
        raise UsageError("far enough")

    monkeypatch.setattr("edgeosr.training.train_run.train_run", called)
    _, _, err = edgeosr("train", "--data", "photos", "--pretrained", *more)
    assert [settings.arch for settings in seen] == [arch]
    assert ("network: efficientnet-lite0, which --pretrained takes" in err) == told
