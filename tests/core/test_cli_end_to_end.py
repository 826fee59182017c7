"""The commands one after the other, as a new user types them, on the digits that scikit-learn bundles."""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.cli import app as application
from edgeosr.data.catalogue import open_image_set
from edgeosr.training import opengan_settings

README = Path(__file__).resolve().parents[2] / "README.md"
KNOWN = ("2", "4", "5")
# Small on purpose: 16 pixels, three classes and a few epochs take seconds and still learn.
TRAIN = ["--input-size", "16", "--epochs", "4", "--batch", "32", "--rotation-weight", "0", "--threads", "2"]
TRAIN += ["--folds", "0"]  # minutes on a busy machine; they have tests of their own
QUICK_BENCH = [
    "--runs",
    "10",
    "--duration",
    "1",
    "--rate",
    "0",
    "--processes",
    "1",
    "--torch-duration",
    "0.5",
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with six pictures of digits, in which every command below runs."""
    folder = tmp_path_factory.mktemp("home")
    digits = open_image_set("digits").train
    for name, wanted in (("known", 2), ("unknown", 7)):
        (folder / name).mkdir()
        for i in np.flatnonzero(digits.labels == wanted)[:3].tolist():
            Image.fromarray(digits.read(i)).resize((64, 48)).save(folder / name / f"{i}.png")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def edgeosr(*arguments: str) -> str:
    """Run the command line in this process and return its standard output; it must succeed."""
    before, sys.argv = sys.argv, ["edgeosr", *arguments]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit) as end:
            application.main()
    finally:
        sys.argv = before
    assert end.value.code in (0, None), f"edgeosr {' '.join(arguments)}: exit code {end.value.code}"
    return out.getvalue()


@dataclass(frozen=True, kw_only=True)
class QuickOpenGan(opengan_settings.OpenGanSettings):
    """Few steps: what a discriminator learns in all of them has tests of its own."""

    epochs: int = 3
    steps: int = 10


@pytest.fixture(scope="module")
def trained(home: Path) -> str:
    """What training printed; it wrote runs/first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opengan_settings, "OpenGanSettings", QuickOpenGan)
        return edgeosr("train", "--data", "digits", "--known", ",".join(KNOWN), *TRAIN, "--out", "runs/first")


@pytest.fixture(scope="module")
def exported(trained: str) -> str:
    """What exporting the newest run printed."""
    return edgeosr("export")


def last_line(out: str) -> str:
    return out.rstrip("\n").splitlines()[-1]


def test_train_writes_a_run_and_names_the_next_command(home: Path, trained: str) -> None:
    assert last_line(trained) == "Wrote runs/first. Next: edgeosr export runs/first"
    record = json.loads((home / "runs/first/run.json").read_text("utf-8"))
    assert record["data"]["known"] == list(KNOWN)
    assert record["discriminator"] is not None
    assert f"{100 * record['result']['select_accuracy']:.1f} %" in trained


def test_export_without_arguments_takes_the_newest_run(home: Path, exported: str) -> None:
    bundle = "runs/first/first.edgeosr"
    assert last_line(exported) == f"Wrote {bundle}. Next: edgeosr evaluate {bundle}"
    assert {path.name for path in (home / bundle).iterdir()} == {
        "manifest.json",
        "model.onnx",
        "scorer.npz",
        "golden.npz",
    }


def test_inspect_says_what_the_manifest_holds(home: Path, exported: str) -> None:
    manifest = json.loads((home / "runs/first/first.edgeosr/manifest.json").read_text("utf-8"))
    out = edgeosr("inspect")
    assert "3: 2, 4, 5" in out
    assert f"accept if score <= {manifest['threshold']['value']:.4g}" in out
    assert re.match(r"Next: edgeosr predict runs/first/first\.edgeosr", last_line(out))
    document = json.loads(edgeosr("inspect", "--json"))
    assert document.pop("path") == "runs/first/first.edgeosr"
    assert document == manifest


def test_evaluate_measures_the_classes_left_out_and_another_set(home: Path, exported: str) -> None:
    out = edgeosr("evaluate")
    assert "AUROC" in out
    assert "Next: edgeosr predict" in last_line(out)
    document = json.loads(edgeosr("evaluate", "--unknown", "digits:7", "--json"))
    assert document


def test_predict_judges_pictures_like_the_runtime(home: Path, exported: str) -> None:
    from edgeosr import Runtime

    out = edgeosr("predict", "known")
    assert out.count(".png") == 3
    assert last_line(out) == "Next: edgeosr bench runs/first/first.edgeosr"
    document = json.loads(edgeosr("predict", "runs/first/first.edgeosr", "unknown/*.png", "--json"))
    lines = edgeosr("predict", "unknown", "--jsonl").splitlines()
    assert len(lines) == len(document["verdicts"]) == 3
    with Runtime("runs/first/first.edgeosr") as runtime:
        for verdict, line in zip(document["verdicts"], lines, strict=True):
            expected = runtime(np.asarray(Image.open(verdict["source"]).convert("RGB")))
            assert not isinstance(expected, list)
            assert verdict["label"] == json.loads(line)["label"] == expected.label
            assert verdict["score"] == pytest.approx(expected.score, abs=1e-5)


def test_predict_fails_only_if_not_one_picture_can_be_read(home: Path, exported: str) -> None:
    (home / "mixed").mkdir()
    (home / "mixed/broken.png").write_bytes(b"no picture")
    with pytest.raises(AssertionError, match="exit code 1"):
        edgeosr("predict", "mixed", "--json")
    (home / "mixed/whole.png").write_bytes(next((home / "known").iterdir()).read_bytes())
    document = json.loads(edgeosr("predict", "mixed", "--json"))
    assert (document["judged"], document["failed"], document["ok"]) == (1, 1, True)


def test_a_threshold_given_to_predict_accepts_everything(home: Path, exported: str) -> None:
    document = json.loads(edgeosr("predict", "unknown", "--threshold", "1e9", "--json"))
    assert document["accepted"] == 3


def test_bench_prints_the_overhead_and_writes_samples_and_picture(home: Path, exported: str) -> None:
    out = edgeosr("bench", *QUICK_BENCH, "--out", "latency.json")
    assert "overhead" in out
    assert last_line(out).startswith("Wrote latency.json. Next: edgeosr predict")
    document = json.loads((home / "latency.json").read_text("utf-8"))
    assert document["torch"] is not None, document["torch_note"]
    with Image.open(home / "latency.png") as picture:
        assert picture.width > 500


@pytest.mark.parametrize("out", ["latency.txt", "latency", "picture.png", "."])
def test_bench_refuses_an_out_that_is_no_json_before_it_times(home: Path, exported: str, out: str) -> None:
    with (
        contextlib.redirect_stderr(io.StringIO()) as said,
        pytest.raises(AssertionError, match="exit code 2"),
    ):
        edgeosr("bench", *QUICK_BENCH, "--out", out)
    assert f"--out must end in .json, for a picture is written beside it; got {out}; write" in said.getvalue()
    assert not (home / out).is_file()


def test_json_on_standard_output_is_one_document_and_nothing_else(home: Path, trained: str) -> None:
    known = ["--data", "digits", "--known", "0,1", "--no-discriminator"]
    run = json.loads(edgeosr("train", *known, *TRAIN, "--out", "runs/second", "--json"))
    assert run["path"] == "runs/second"
    assert json.loads(edgeosr("export", "runs/second", "--json"))
    timed = json.loads(edgeosr("bench", "runs/second/second.edgeosr", "--no-torch", *QUICK_BENCH, "--json"))
    assert timed["kind"] == "latency"


def test_the_python_of_the_readme_runs(home: Path, exported: str) -> None:
    block, *_ = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (home / "digits.edgeosr").symlink_to(home / "runs/first/first.edgeosr", target_is_directory=True)
    frame = np.asarray(Image.open(next((home / "known").iterdir())).convert("RGB"))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block, str(README), "exec"), {"frame": frame})
    label, score = out.getvalue().split()
    assert label in {*KNOWN, "unknown"}
    assert np.isfinite(float(score))
