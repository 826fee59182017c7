"""How fast ``edgeosr train`` is here: images a second, on made-up pictures of CIFAR-10's size and form."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgeosr.bench.gpu_rung.command import run_command
from edgeosr.bench.gpu_rung.step_report import NotRunHereError, StepReport, step_main

FILES, IMAGES = 5, 10_000  # of the official binary form
OLDEST = (3, 11)  # Python that trains


def measure_training(report: StepReport, options: argparse.Namespace) -> None:
    """Train classifier32 for some epochs, the first of which is not counted.

    Raises:
        NotRunHereError: this Python is too old to train.
    """
    require_training()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = write_pictures(folder / "pictures", 20 if options.small else IMAGES)
        words = ["--data", str(data), "--arch", "classifier32", "--no-discriminator", "--folds", "0"]
        words += ["--groups", "none", "--epochs", "2" if options.small else "8", "--max-minutes", "0.4"]
        if options.small:
            words += ["--input-size", "16", "--rotation-weight", "0", "--threads", "1"]
        words += ["--known", "airplane,bird,cat,deer", "--batch-size", "128", "--out", str(folder / "run")]
        found = run_command(report, options, folder, "train", *words)
        if found is not None:
            report.put("result", found["result"])
            report.put("images_per_second_by_epoch", images_per_second(folder / "run"))


def images_per_second(run: Path) -> list[float]:
    """Return each epoch's speed; the first one holds what begins once."""
    lines = (run / "log.jsonl").read_text("utf-8").splitlines()
    return [float(json.loads(line)["images_per_second"]) for line in lines]


def require_training() -> None:
    """Raise NotRunHereError where Python is too old to train."""
    if sys.version_info < OLDEST:
        raise NotRunHereError(f"training needs Python {OLDEST[0]}.{OLDEST[1]} or later")


def write_pictures(folder: Path, images: int, *, seed: int = 0) -> Path:
    """Write ``FILES`` files of ``images`` pictures and one of test pictures, as CIFAR-10's binary form."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    (folder / "batches.meta.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    for name in (*(f"data_batch_{number}.bin" for number in range(1, FILES + 1)), "test_batch.bin"):
        records = rng.integers(0, 256, (images, 1 + 3072), np.uint8)
        records[:, 0] = np.arange(images) % len(names)
        (folder / name).write_bytes(records.tobytes())
    return folder


if __name__ == "__main__":
    sys.exit(step_main("How fast edgeosr train is here.", measure_training))
