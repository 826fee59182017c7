"""The run record: written whole, read strictly."""

import dataclasses
import itertools
import json
import os

import numpy as np
import pytest

from edgeosr.errors import DataError, StorageError, UsageError
from edgeosr.preprocessing import Preprocessing
from edgeosr.run import (
    RunRecord,
    finished_runs,
    fold_directory,
    fold_runs,
    newest_run,
    read_discriminator,
    read_run,
    write_discriminator,
    write_run,
)


@pytest.fixture
def record():
    return RunRecord(
        name="digits",
        created="2026-01-31T12:00:00+00:00",
        version="0.1.0",
        data={
            "source": "digits",
            "title": "digits",
            "known": ["0", "1"],
            "unknown": ["2", "3"],
            "split": None,
            "seed": 0,
            "fractions": [0.8, 0.1, 0.1],
            "per_group": None,
            "test_fraction": 0.2,
            "digests": {"train": "0" * 64},
            "sizes": {"train": [10, 10]},
        },
        outliers=None,
        model={
            "arch": "classifier32",
            "input_size": 32,
            "dimension": 4,
            "head": "cosine",
            "temperature": 32.0,
            "pretrained": False,
        },
        preprocessing=Preprocessing(height=32, width=32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
        training={"lr": 0.01},
        result={"epochs": 3},
    )


def layers(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        (rng.normal(size=(out, into)).astype(np.float32), rng.normal(size=out).astype(np.float32))
        for into, out in itertools.pairwise(sizes)
    )


def test_a_record_reads_back_equal(tmp_path, record):
    write_run(tmp_path, record)
    assert read_run(tmp_path) == record


def test_a_discriminator_is_added_to_a_run_and_reads_back_equal(tmp_path, record):
    write_run(tmp_path, record)
    assert read_discriminator(tmp_path) is None
    made = layers((4, 3, 1))
    new = write_discriminator(tmp_path, made, {"selected_by": "real"}, {"source": "x"}, unknown=["3"])
    assert new == read_run(tmp_path)
    assert new == dataclasses.replace(
        record,
        discriminator={"layers": [4, 3, 1], "selected_by": "real"},
        outliers={"source": "x"},
        data={**record.data, "unknown": ["3"]},
    )
    for (weight, bias), (read_weight, read_bias) in zip(made, read_discriminator(tmp_path), strict=True):
        np.testing.assert_array_equal(weight, read_weight)
        np.testing.assert_array_equal(bias, read_bias)


@pytest.mark.parametrize(
    "arrays",
    [
        {"w0": np.zeros((3, 4)), "b0": np.zeros(2)},
        {"w0": np.zeros((3, 4)), "b0": np.zeros(3), "w1": np.zeros((1, 2)), "b1": np.zeros(1)},
        {"w0": np.zeros((3, 4)), "b0": np.zeros(3), "w2": np.zeros((1, 3)), "b2": np.zeros(1)},
        {"other": np.zeros(3)},
    ],
)
def test_discriminator_layers_that_do_not_fit_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "discriminator.npz", **arrays)
    with pytest.raises(DataError, match="does not hold layers"):
        read_discriminator(tmp_path)


def test_a_damaged_discriminator_file_is_refused(tmp_path):
    np.savez(tmp_path / "discriminator.npz", w0=np.zeros((1, 4)), b0=np.zeros(1))
    whole = (tmp_path / "discriminator.npz").read_bytes()
    (tmp_path / "discriminator.npz").write_bytes(b"")
    with pytest.raises(StorageError, match=r"discriminator\.npz: it is empty"):
        read_discriminator(tmp_path)
    for damaged in (b"not an archive", whole[:-40], whole.replace(b"NUMPY", b"NUMPX")):
        (tmp_path / "discriminator.npz").write_bytes(damaged)
        with pytest.raises(DataError, match=r"discriminator\.npz"):
            read_discriminator(tmp_path)
    np.savez(tmp_path / "discriminator.npz", w0=np.array([{}], object), b0=np.zeros(1))
    with pytest.raises(DataError, match=r"discriminator\.npz"):
        read_discriminator(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "head"), "round", "one of cosine, linear"),
        (("model", "dimension"), 0, "dimension"),
        (("model", "dimension"), "128", "dimension"),
        (("data", "known"), "0,1", "data.known"),
        (("data", "seed"), True, "data.seed"),
        (("preprocessing", "std"), [0, 1, 1], "std"),
        (("preprocessing", "fit"), "squash", "fit"),
        (("training",), None, "training"),
        (("name",), 3, "name"),
        (("format",), 2, "newer edgeosr"),
        (("format",), "1", "format"),
    ],
)
def test_a_record_with_a_wrong_field_is_refused_by_name(tmp_path, record, path, value, message):
    values = record.as_json()
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize("key", ["name", "data", "model", "preprocessing", "training", "result", "format"])
def test_a_record_with_a_missing_field_is_refused_by_name(tmp_path, record, key):
    values = record.as_json()
    del values[key]
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(DataError, match=key):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"format": 1', "\x00"])
def test_what_is_not_a_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DataError, match=r"run\.json.*; train the run again, or copy it again$"):
        read_run(tmp_path)


def test_a_huge_record_is_refused_unread(tmp_path):
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(20 * 2**20)
    with pytest.raises(DataError, match="larger than 16 MiB"):
        read_run(tmp_path)


def test_a_folder_without_a_run_says_so_and_an_unfinished_run_how_to_go_on(tmp_path):
    with pytest.raises(StorageError, match="is not a run"):
        read_run(tmp_path)
    (tmp_path / "last.pt").touch()
    with pytest.raises(DataError, match="edgeosr train --resume"):
        read_run(tmp_path)


def test_the_newest_run_is_the_one_written_last_and_unfinished_ones_do_not_count(tmp_path, record):
    with pytest.raises(UsageError, match="no finished run"):
        newest_run(tmp_path)
    for age, name in ((300, "b"), (200, "a"), (100, "c")):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name, record)
        os.utime(tmp_path / name / "run.json", (1e9 - age, 1e9 - age))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "last.pt").touch()
    assert newest_run(tmp_path) == tmp_path / "c"
    (tmp_path / "c" / "demo.json").write_text("{}")
    assert newest_run(tmp_path) == tmp_path / "a", "the demo's run is nobody's own"
    assert [run.name for run in finished_runs(tmp_path)] == ["b", "a", "c"]
    for name in ("a", "b"):
        (tmp_path / name / "run.json").unlink()
    assert newest_run(tmp_path) == tmp_path / "c"


def test_the_finished_folds_of_a_run_are_listed_in_order_and_are_no_newest_run(tmp_path, record):
    run = tmp_path / "run"
    assert fold_runs(run) == []
    write_run(run, record)
    os.utime(run / "run.json", (1e9, 1e9))
    for number in (10, 2, 1):
        write_run(fold_directory(run, number), record)
    for name in ("3", "copy", "01"):
        (run / "folds" / name).mkdir()
    (run / "folds" / "3" / "last.pt").touch()
    write_run(run / "folds" / "copy", record)
    assert fold_runs(run) == [run / "folds" / name for name in ("1", "2", "10")]
    assert newest_run(tmp_path) == run
