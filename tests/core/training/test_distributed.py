"""Two processes on this CPU train one run together."""

import json
import os
import subprocess
import sys

import pytest
import torch

from edgeosr.run import read_run
from edgeosr.training.train import train

TRAIN = """
from pathlib import Path
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train import train

if __name__ == "__main__":
    train(TrainSettings(data={data!r}, known=("0", "1", "2"), input_size=16, batch_size=16, epochs=2,
                        discriminator=False, folds=0, threads=1, devices=2,
                        strategy={strategy!r}, out=Path({out!r})))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory, digits_folder):
    """Run directory and standard error by strategy: processes spawned by us, or the script launched twice."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for strategy in ("ddp_spawn", "ddp"):
        script, out = folder / f"{strategy}.py", folder / strategy
        script.write_text(TRAIN.format(data=str(digits_folder), strategy=strategy, out=str(out)))
        # No GPU for the children: two processes on the CPU are what is tested.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, timeout=600, env=environment
        )
        assert done.returncode == 0, done.stderr
        found[strategy] = out, done.stderr
    return found


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp"])
def test_two_processes_train_one_run_that_rank_0_alone_writes(runs, strategy):
    out, errors = runs[strategy]
    record = read_run(out)
    assert record.result["processes"] == 2
    assert record.result["epochs"] == 2
    assert sorted(path.name for path in out.iterdir()) == ["folds", "log.jsonl", "run.json", "weights.pt"]
    assert errors.count("epoch 1/2  loss") == 1, "one process speaks"
    log = [json.loads(line) for line in (out / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["epoch"] for line in log] == [1, 2]
    weights = torch.load(out / "weights.pt", weights_only=True)
    assert not any(key.startswith("module.") for key in weights)


def test_spawned_and_launched_processes_give_the_same_weights(runs):
    first, second = (torch.load(out / "weights.pt", weights_only=True) for out, _ in runs.values())
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_two_processes_use_the_images_and_the_normalisation_that_one_uses(runs, settings, changed):
    together, alone = read_run(runs["ddp_spawn"][0]), read_run(train(changed(settings, epochs=1)))
    assert together.data == alone.data
    assert together.preprocessing == alone.preprocessing
