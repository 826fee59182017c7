"""What a command takes where nothing is named, and that it says so."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeosr.errors import UsageError
from edgeosr.export.settings import ExportSettings
from edgeosr.training.settings import TrainSettings

Run = Callable[..., tuple[int, str, str]]


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


def finished(folder: Path, names: list[str]) -> None:
    for age, name in enumerate(names):
        record = folder / "runs" / name / "run.json"
        record.parent.mkdir(parents=True)
        record.write_text("{}")
        os.utime(record, (1e9 + age, 1e9 + age))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["cats"], "taking runs/cats, the only run here\n"),
        (["dogs", "cats"], "taking runs/cats, the newest of 2 runs here\n"),
        (["cats", "demo"], "taking runs/cats, the only run here but the demo's\n"),
        (["dogs", "cats", "demo"], "taking runs/cats, the newest of 2 runs here but the demo's\n"),
    ],
)
def test_export_says_which_run_it_takes_and_takes_no_demo_for_it(
    names: list[str], told: str, edgeosr: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Path] = []

    def called(run: Path, settings: ExportSettings) -> Path:
        seen.append(run)
        raise UsageError("far enough")

    monkeypatch.setattr("edgeosr.export.export_run.export_run", called)
    finished(tmp_path, names)
    if "demo" in names:
        (tmp_path / "runs" / "demo" / "demo.json").touch()
    _, _, err = edgeosr("export")
    assert err.startswith(told) and seen == [Path("runs/cats")]
    assert "taking" not in edgeosr("export", "runs/cats")[2], "nothing is told of what was named"


def test_a_command_says_which_bundle_it_takes(edgeosr: Run, tmp_path: Path) -> None:
    (tmp_path / "small.edgeosr").mkdir()
    sample = Path(__file__).parent / "bundle" / "sample_manifest.json"
    (tmp_path / "small.edgeosr" / "manifest.json").write_bytes(sample.read_bytes())
    code, _, err = edgeosr("inspect")
    assert code == 1 and err.startswith("taking small.edgeosr, the only bundle here\n")
    demo = tmp_path / "runs" / "demo"
    shutil.copytree(tmp_path / "small.edgeosr", demo / "digits.edgeosr")
    (demo / "demo.json").touch()
    assert edgeosr("inspect")[2].startswith("taking small.edgeosr, the only bundle here but the demo's\n")
    shutil.rmtree(tmp_path / "small.edgeosr")
    told = "taking runs/demo/digits.edgeosr, the only bundle here\n"
    assert edgeosr("inspect")[2].startswith(told)
