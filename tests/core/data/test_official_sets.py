"""Official archives and layouts, written here byte by byte as their owners describe them."""

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.data.cifar_binary import cifar_version, read_cifar
from edgeosr.data.gtsrb import gtsrb_root, read_gtsrb
from edgeosr.data.idx import DIGIT_NAMES, is_idx_folder, read_idx, read_idx_folder
from edgeosr.errors import DataError


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """Write an IDX set, train gzip'd and test raw; return it with its 20 train images."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 5), np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(pixels)))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    (folder / "t10k-images.idx3-ubyte").write_bytes(idx_bytes(pixels[:10]))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels[:10]))
    return folder, pixels


def test_idx_files_come_back_raw_or_compressed(idx_folder: tuple[Path, np.ndarray]) -> None:
    folder, pixels = idx_folder
    assert is_idx_folder(folder)
    train, test = read_idx_folder(folder, DIGIT_NAMES, "mnist")
    assert (len(train), len(test)) == (20, 10)
    assert train.labels.tolist() == [*range(10), *range(10)]
    assert np.array_equal(train.read(13), np.stack([pixels[13]] * 3, axis=2))
    assert np.array_equal(test.read(3)[..., 0], pixels[3])
    assert test.name_of(3) == "mnist test[3]"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0", "begins with"),
        (b"\0\0\x0d\x03" + bytes(20), "begins with 00 00 0d 03"),
        (idx_bytes(np.zeros((2, 3, 3), np.uint8))[:-1], "fewer than the 18 bytes"),
        (idx_bytes(np.zeros((2, 3, 3), np.uint8)) + b"x", "more than the 18 bytes"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31), "asks for"),
        (b"\0\0\x08\x03\0\0", "not a readable IDX"),
    ],
)
def test_damaged_idx_files_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    for name, data in (("a-idx3-ubyte", content), ("a-idx3-ubyte.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=reason):
            read_idx(tmp_path / name, 3)


def test_idx_files_that_gzip_cannot_read_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(idx_bytes(np.zeros((2, 3, 3), np.uint8)))
    for content in (whole[:-12], b"not gzip at all", whole[:12] + b"\xff\xff\xff" + whole[15:]):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.gz is not a readable IDX"):
            read_idx(tmp_path / "a.gz", 3)


def test_a_missing_idx_file_is_named(idx_folder: tuple[Path, np.ndarray]) -> None:
    folder, _ = idx_folder
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        read_idx_folder(folder, DIGIT_NAMES, "mnist")


def test_idx_labels_must_match_the_images(idx_folder: tuple[Path, np.ndarray]) -> None:
    folder, _ = idx_folder
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.full(10, 10, np.uint8)))
    with pytest.raises(DataError, match=r"0\.\.9; got 10"):
        read_idx_folder(folder, DIGIT_NAMES, "mnist")
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(9, np.uint8)))
    with pytest.raises(DataError, match="expected 10 whole-number labels"):
        read_idx_folder(folder, DIGIT_NAMES, "mnist")


def cifar_files(classes: int) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Return files of a tiny CIFAR binary version, its train pixels [n, 32, 32, 3] and labels."""
    random = np.random.default_rng(classes)
    pixels = random.integers(0, 256, (10, 32, 32, 3), np.uint8)
    labels = random.integers(0, classes, 10).astype(np.uint8)
    planes = pixels.transpose(0, 3, 1, 2).reshape(10, -1)
    coarse = [] if classes == 10 else [np.full((10, 1), 7, np.uint8)]
    records = np.concatenate([*coarse, labels[:, None], planes], axis=1)
    names = "\n".join(f"class {i}" for i in range(classes)) + "\n\n"
    if classes == 10:
        files = {f"data_batch_{i + 1}.bin": records[2 * i : 2 * i + 2].tobytes() for i in range(5)}
        files |= {"test_batch.bin": records[:3].tobytes(), "batches.meta.txt": names.encode()}
    else:
        files = {"train.bin": records.tobytes(), "test.bin": records[:3].tobytes()}
        files |= {"fine_label_names.txt": names.encode(), "coarse_label_names.txt": b"x\n"}
    return files, pixels, labels


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"some-folder/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_binary_versions_come_back_from_archive_and_folder(classes: int, tmp_path: Path) -> None:
    files, pixels, labels = cifar_files(classes)
    archive = write_tar(tmp_path / f"cifar-{classes}-binary.tar.gz", files)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for path in (archive, folder):
        assert cifar_version(path) == f"cifar{classes}"
        train, test = read_cifar(path)
        assert train.labels.tolist() == labels.tolist()
        assert test.labels.tolist() == labels[:3].tolist()
        assert np.array_equal([train.read(i) for i in range(10)], pixels)
        assert train.class_names[3] == "class 3"
        assert len(train.class_names) == classes


def test_damaged_cifar_archives_are_refused(tmp_path: Path) -> None:
    files, _, _ = cifar_files(10)
    path = tmp_path / "cifar-10-binary.tar.gz"
    changes: list[tuple[dict[str, bytes], str]] = [
        ({"test_batch.bin": b""}, "test data are 0 bytes"),
        ({"data_batch_3.bin": bytes(3072)}, "train data are"),
        ({"batches.meta.txt": b"one\ntwo\n"}, "has 2 names, not 10"),
        ({"test_batch.bin": b"\x0b" + bytes(3072)}, r"0\.\.9; got 11"),
    ]
    for change, reason in changes:
        write_tar(path, {**files, **change})
        with pytest.raises(DataError, match=reason):
            read_cifar(path)
    write_tar(path, {name: content for name, content in files.items() if name != "data_batch_2.bin"})
    with pytest.raises(DataError, match=r"it has no data_batch_2\.bin"):
        read_cifar(path)
    whole = write_tar(path, files).read_bytes()
    for content in (b"\0", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a readable CIFAR"):
            read_cifar(path)


def test_pickled_cifar_is_not_taken_for_the_binary_version(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(b"")
    assert cifar_version(path) is None


@pytest.fixture
def gtsrb_folder(tmp_path: Path) -> Path:
    """Write GTSRB's layout: 43 classes of 2 tracks of 3 frames, grey = frame number; 5 test images."""
    root = tmp_path / "GTSRB"
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"
    row = "{};9;8;1;1;7;7;{}\n"

    def ppm(level: int) -> bytes:
        return b"P6\n9 8\n255\n" + bytes([level]) * (9 * 8 * 3)

    for label in range(43):
        folder = root / "Final_Training" / "Images" / f"{label:05d}"
        folder.mkdir(parents=True)
        # Listed in another order than that of the names.
        files = [f"{track:05d}_{frame:05d}.ppm" for frame in range(3) for track in range(2)]
        for name in files:
            (folder / name).write_bytes(ppm(int(name[6:11])))
        rows = "".join(row.format(name, label) for name in files)
        (folder / f"GT-{label:05d}.csv").write_text(header + rows)
    test = root / "Final_Test" / "Images"
    test.mkdir(parents=True)
    for i in range(5):
        (test / f"{i:05d}.ppm").write_bytes(ppm(100 + i))
    rows = "".join(row.format(f"{i:05d}.ppm", 40 - i) for i in range(5))
    (tmp_path / "GT-final_test.csv").write_text(header + rows)
    return root


def test_gtsrb_tracks_are_groups_of_frames_in_order(gtsrb_folder: Path) -> None:
    train, test = read_gtsrb(gtsrb_folder)
    assert (len(train), len(test)) == (43 * 6, 5)
    assert train.class_names[42] == "42"
    assert np.bincount(train.groups).tolist() == [3] * 86
    assert [train.read(i)[0, 0, 0] for i in range(6)] == [0, 1, 2, 0, 1, 2]
    assert train.name_of(4) == "Final_Training/Images/00000/00001_00001.ppm"
    assert train.read(0).shape == (8, 9, 3)
    assert test.labels.tolist() == [40, 39, 38, 37, 36]
    assert test.read(2)[0, 0, 0] == 102


def test_gtsrb_is_found_from_its_folder_and_the_one_above(gtsrb_folder: Path) -> None:
    assert gtsrb_root(gtsrb_folder) == gtsrb_folder
    assert gtsrb_root(gtsrb_folder.parent) == gtsrb_folder
    assert gtsrb_root(gtsrb_folder / "Final_Training") is None


def test_gtsrb_without_its_test_archive_has_no_official_test(gtsrb_folder: Path) -> None:
    (gtsrb_folder / "Final_Test").rename(gtsrb_folder / "elsewhere")
    assert read_gtsrb(gtsrb_folder)[1] is None


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda root: (root.parent / "GT-final_test.csv").unlink(), "GTSRB_Final_Test_GT.zip"),
        (lambda root: _list(root).unlink(), "cannot read"),
        (lambda root: _list(root).write_text("Filename,ClassId\na.ppm,7\n"), "separated by semicolons"),
        (lambda root: _list(root).write_text("Filename;ClassId\n00000_00000.ppm;8\n"), "of class 8"),
        (lambda root: _list(root).write_text("Filename;ClassId\n../../x.ppm;7\n"), "which cannot be"),
        (lambda root: _list(root).write_text("Filename;ClassId\nx.ppm;7\n"), "has no track"),
        (lambda root: _list(root).write_text("Filename;ClassId\n"), "lists no images"),
        (lambda root: _list(root).write_bytes(b"Filename;ClassId\n\xff\xfe;7\n"), "not a GTSRB list"),
    ],
)
def test_damaged_gtsrb_lists_are_refused(damage: Damage, reason: str, gtsrb_folder: Path) -> None:
    damage(gtsrb_folder)
    with pytest.raises(DataError, match=reason):
        read_gtsrb(gtsrb_folder)


def _list(root: Path) -> Path:
    return root / "Final_Training" / "Images" / "00007" / "GT-00007.csv"


def test_ppm_is_read_by_pillow_as_written(gtsrb_folder: Path) -> None:
    path = gtsrb_folder / "Final_Test" / "Images" / "00001.ppm"
    assert np.asarray(Image.open(path)).tolist() == np.full((8, 9, 3), 101).tolist()
