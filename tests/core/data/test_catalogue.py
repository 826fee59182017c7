"""Names and paths: what opens, what is preferred, and what is said when nothing does."""

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeosr.data import catalogue, named_sets
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.named_sets import NAMED_SETS
from edgeosr.data.parts import evaluation_images
from edgeosr.errors import DataError, UsageError

Arrays = dict[str, np.ndarray]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _no_data_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own data out of these tests."""
    monkeypatch.delenv("EDGEOSR_DATA", raising=False)
    moved = replace(NAMED_SETS["fashion-mnist"], system=tmp_path / "usr-share")
    monkeypatch.setitem(NAMED_SETS, "fashion-mnist", moved)


def write_idx(folder: Path) -> None:
    folder.mkdir(parents=True)
    for stem, count in (("train", 20), ("t10k", 10)):
        pixels = np.zeros((count, 4, 4), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (folder / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))


def test_a_folder_of_the_name_of_a_set_is_not_taken_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    open_image_set("digits")
    assert "for the one that lies here write ./digits" in capsys.readouterr().err


def test_digits_are_scikit_learns_scaled_to_bytes() -> None:
    from sklearn.datasets import load_digits

    digits = open_image_set("digits")
    bunch = load_digits()
    assert len(digits.train) == 1797
    assert digits.test is None
    assert not digits.flips
    assert digits.train.labels.tolist() == bunch.target.tolist()
    read = np.array([digits.train.read(i)[..., 0] for i in range(200)])
    assert np.array_equal(read, np.rint(bunch.images[:200] * 255 / 16))
    assert read.max() == 255
    assert len(digits.splits) == 5


def test_a_pack_is_found_in_the_data_root_and_named_as_what_it_is(
    pack_arrays: Arrays, write_pack: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pack({**pack_arrays, "classes": np.array([f"c{i}" for i in range(10)])}, "cifar10_q90.npz")
    by_argument = open_image_set("cifar10", tmp_path)
    monkeypatch.setenv("EDGEOSR_DATA", str(tmp_path))
    by_variable = open_image_set("cifar10")
    by_path = open_image_set(str(tmp_path / "cifar10_q90.npz"))
    for opened in (by_argument, by_variable, by_path):
        assert opened.title == "CIFAR-10 (WebP q90 pack)"
        assert opened.flips
        assert opened.splits[0] == ("c0", "c6", "c4", "c9", "c1", "c7")
        assert (len(opened.train), len(opened.test)) == (24, 12)
    assert by_variable.source == "cifar10"


def test_the_official_layout_is_preferred_to_a_pack(
    pack_arrays: Arrays, write_pack: Write, tmp_path: Path
) -> None:
    write_pack({**pack_arrays, "classes": np.array(list("0123456789"))}, "mnist_jpeg.npz")
    assert open_image_set("mnist", tmp_path).title == "MNIST (JPEG q75 pack)"
    write_idx(tmp_path / "MNIST" / "raw")
    opened = open_image_set("mnist", tmp_path)
    assert opened.title == "MNIST"
    assert (len(opened.train), len(opened.test)) == (20, 10)
    assert not opened.flips
    assert opened.splits[0] == ("2", "4", "5", "9", "8", "3")


def test_fashion_mnist_is_found_where_the_system_package_puts_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist"):
        open_image_set("fashion-mnist")
    write_idx(tmp_path / "usr-share")
    opened = open_image_set("fashion-mnist")
    assert opened.title == "Fashion-MNIST"
    assert opened.train.class_names[9] == "Ankle boot"
    assert named_sets.DEBIAN_FASHION_MNIST.as_posix() == "/usr/share/datasets/fashion-mnist"


def test_idx_folders_by_path_are_told_apart_by_their_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "FashionMNIST" / "raw")
    write_idx(tmp_path / "mnist")
    assert open_image_set(str(tmp_path / "FashionMNIST" / "raw")).title == "Fashion-MNIST"
    assert open_image_set(str(tmp_path / "mnist")).title == "MNIST"


def test_folders_open_by_path_without_flips_or_splits(write_folder: Write) -> None:
    root = write_folder({"ant": 2, "bee": 2})
    opened = open_image_set(str(root))
    assert (opened.title, opened.source) == ("folder images", str(root))
    assert not opened.flips
    assert opened.splits == ()


def test_classes_after_a_colon_restrict_a_set(
    write_folder: Write, pack_arrays: Arrays, write_pack: Write
) -> None:
    root = write_folder({"ant": 2, "bee": 3, "cow": 4})
    opened = open_image_set(f"{root}:cow, ant")
    assert opened.train.class_names == ("cow", "ant")
    assert opened.train.labels.tolist() == [1, 1, 0, 0, 0, 0]
    assert opened.title == "folder images: cow, ant"
    assert opened.source == f"{root}:cow, ant"
    opened = open_image_set(f"{write_pack(pack_arrays)}:bee")
    assert (len(opened.train), len(opened.test)) == (8, 4)
    assert len(open_image_set("digits:3").train) == 183


def test_a_list_of_classes_longer_than_a_file_name_may_be_is_no_defect() -> None:
    with pytest.raises(DataError, match="no class 'class0'"):
        open_image_set("digits:" + ",".join(f"class{i}" for i in range(200)))


def test_a_path_with_a_colon_is_a_path(write_folder: Write, tmp_path: Path) -> None:
    root = write_folder({"ant": 1, "bee": 1}, tmp_path / "a:ant")
    assert open_image_set(str(root)).train.class_names == ("ant", "bee")


def test_a_pack_of_one_split_is_evaluated_whole(pack_arrays: Arrays, write_pack: Write) -> None:
    only = {
        key.replace("test_", "all_", 1): value for key, value in pack_arrays.items() if "train" not in key
    }
    opened = open_image_set(str(write_pack(only)))
    assert opened.test is None
    assert len(evaluation_images(opened)) == 12
    assert len(evaluation_images(open_image_set(str(write_pack(pack_arrays))))) == 12


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("fashon-mnist", UsageError, "did you mean 'fashion-mnist'"),
        ("nowhere/at/all", UsageError, "expected a folder with one folder a class"),
        ("", UsageError, "no file or folder ''"),
        (":ant", UsageError, "no file or folder ':ant'"),
        ("digits:", UsageError, "names no class after the colon"),
        ("digits:11", DataError, "no class '11'; did you mean '1'"),
        ("gtsrb", DataError, "set EDGEOSR_DATA or --data-root"),
        ("cifar100:apple", DataError, "cifar-100-binary.tar.gz"),
    ],
)
def test_what_cannot_be_opened_says_why(source: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error) as raised:
        open_image_set(source)
    assert says in str(raised.value)


def test_a_data_root_that_is_missing_or_lacks_the_set_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"of --data-root does not exist"):
        open_image_set("cifar10", tmp_path / "gone")
    monkeypatch.setenv("EDGEOSR_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="of the environment variable EDGEOSR_DATA does not exist"):
        open_image_set("cifar10")
    with pytest.raises(DataError, match="the python version is pickles"):
        open_image_set("cifar10", tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="is not an image set"):
        open_image_set(str(tmp_path / "notes.txt"))
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cifar-10-binary\.tar\.gz"):
        open_image_set(str(tmp_path / "cifar-10-python.tar.gz"))


def test_the_variable_is_the_documented_one() -> None:
    assert catalogue.DATA_VARIABLE == "EDGEOSR_DATA"
