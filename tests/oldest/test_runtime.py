"""What a device does with a bundle. Runs with the lowest versions too, so it needs the base install alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeosr

COMMANDS = (
    "train", "export", "build", "evaluate", "predict", "bench", "inspect", "verify", "selftest", "demo",
)  # fmt: skip
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Type a command line in an empty folder."""

    def typed(*words: str | Path) -> "subprocess.CompletedProcess[str]":
        command = [str(Path(sys.executable).with_name("edgeosr")), *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return typed


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_printed(command: str, run: Run) -> None:
    done = run(*([command] if command else []), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: edgeosr {command}".rstrip() in done.stdout


def test_a_wrong_option_is_refused_with_the_usage(run: Run) -> None:
    done = run("predict", "--treshold", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage: edgeosr predict" in done.stderr
    assert "Traceback" not in done.stderr


def test_inspect_reads_the_whole_bundle(newest_bundle: Path, run: Run) -> None:
    done = run("inspect", newest_bundle, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["classes"]


def test_verify_finds_the_verdicts_of_the_newest_versions(newest_bundle: Path, run: Run) -> None:
    done = run("verify", newest_bundle, "--backend", "onnxruntime", "--threads", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert run("selftest", newest_bundle, "--threads", "1").returncode == 0


def test_predict_takes_every_kind_of_option(newest_bundle: Path, picture: Path, run: Run) -> None:
    drawn = picture.parents[1] / "drawn"
    done = run(
        "predict", newest_bundle, picture, "--out", drawn, "--threshold", "1e9", "--limit", "1", "--threads",
        "1", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (verdict,) = json.loads(done.stdout)["verdicts"]
    assert verdict["accepted"]
    assert (drawn / "noise.png.png").is_file()


def test_the_runtime_judges_a_frame_a_batch_and_both_colour_orders(newest_bundle: Path) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (3, 40, 56, 3), np.uint8)
    with edgeosr.Runtime(newest_bundle, threads=1) as runtime:
        batch = runtime(list(frames))
        for frame, verdict in zip(frames, batch, strict=True):
            one = runtime(frame)
            turned = runtime(np.ascontiguousarray(frame[..., ::-1]), color="bgr")
            assert isinstance(one, edgeosr.Verdict) and isinstance(turned, edgeosr.Verdict)
            assert one.index == turned.index == verdict.index
            assert one.score == pytest.approx(verdict.score, abs=1e-4)
            assert turned.score == pytest.approx(verdict.score, abs=1e-4)
            assert set(one.parts) == set(runtime.manifest.parts)
