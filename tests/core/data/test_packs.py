"""Packs: read as their format contract says, refused when damaged."""

import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.data.packs import read_pack
from edgeosr.errors import DataError

Arrays = dict[str, np.ndarray]
WritePack = Callable[..., Path]


def test_pixels_labels_names_and_tracks_come_back(pack_arrays: Arrays, write_pack: WritePack) -> None:
    train, test = read_pack(write_pack(pack_arrays))
    for images, split in ((train, "train"), (test, "test")):
        assert images.class_names == ("ant", "bee", "cow")
        assert images.labels.tolist() == pack_arrays[f"{split}_y"].tolist()
        pixels = [images.read(i) for i in range(len(images))]
        assert np.array_equal(pixels, pack_arrays[f"{split}_pixels_of_the_test"])
    assert train.name_of(17) == "animals train[17]"
    # Tracks restart in every class: six groups of four frames, none shared by two classes.
    assert np.bincount(train.groups).tolist() == [4] * 6
    assert all(len(set(train.labels[train.groups == group])) == 1 for group in range(6))
    assert len(set(test.groups.tolist())) == len(test)


def test_shared_headers_are_put_before_the_payload(pack_arrays: Arrays, write_pack: WritePack) -> None:
    random = np.random.default_rng(2)
    pixels = [random.integers(0, 256, (8, 8), np.uint8) for _ in range(6)]
    whole = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=75)
        whole.append(buffer.getvalue())
    heads = [whole[0][:20], whole[0][:100]]
    assert all(jpeg.startswith(heads[1]) for jpeg in whole)
    index = np.array([0, 1, 0, 1, 1, 0], np.uint16)
    bodies = [jpeg[len(heads[j]) :] for jpeg, j in zip(whole, index, strict=True)]
    train, test = read_pack(
        write_pack(
            {
                "classes": np.array(["a", "b"]),
                "all_y": np.array([0, 0, 0, 1, 1, 1], np.uint16),
                "all_data": np.frombuffer(b"".join(bodies), np.uint8),
                "all_off": np.cumsum([0, *map(len, bodies)]).astype(np.uint32),
                "all_heads": np.frombuffer(b"".join(heads), np.uint8),
                "all_headoff": np.array([0, 20, 120], np.uint32),
                "all_headidx": index,
            }
        )
    )
    assert test is None
    for i, jpeg in enumerate(whole):
        expected = np.asarray(Image.open(io.BytesIO(jpeg)))
        assert np.array_equal(train.read(i), np.stack([expected] * 3, axis=2))


def test_raw_pixels_may_stand_for_encoded_images(write_pack: WritePack) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (4, 5, 6), np.uint8)
    train, _ = read_pack(
        write_pack({"classes": np.array(["a", "b"]), "train_y": np.array([0, 1, 0, 1]), "train_x": pixels})
    )
    assert np.array_equal(train.read(2)[..., 1], pixels[2])


def test_omniglot_bits_become_bright_ink_labelled_by_character(tmp_path: Path) -> None:
    ink = np.random.default_rng(4).random((6, 105, 105)) < 0.1
    path = tmp_path / "omniglot_background.npz"
    np.savez(path, bits=np.packbits(~ink.reshape(6, -1), axis=1), shape=np.array([2, 3, 105, 105]))
    train, test = read_pack(path)
    assert test is None
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.class_names == ("background-0", "background-1")
    for i in range(6):
        assert np.array_equal(train.read(i)[..., 0] == 255, ink[i])


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: value for name, value in arrays.items() if name != key}


def with_(**changes: object) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {
        **arrays,
        **{name: change(arrays[name]) if callable(change) else change for name, change in changes.items()},
    }


DAMAGES = {
    "no classes": without("classes"),
    "classes of bytes": with_(classes=np.array([b"ant", b"bee", b"cow"])),
    "two classes of one name": with_(classes=np.array(["ant", "ant", "cow"])),
    "no split": lambda arrays: {"classes": arrays["classes"]},
    "no offsets": without("train_off"),
    "no data": without("test_data"),
    "an offset missing": with_(train_off=lambda off: off[:-1]),
    "offsets that fall": with_(train_off=lambda off: off[[0, 2, 1, *range(3, len(off))]]),
    "offsets beyond the data": with_(train_off=lambda off: off + 1),
    "offsets that are no numbers": with_(train_off=lambda off: off.astype(np.float64)),
    "data cut short": with_(train_data=lambda data: data[:-5]),
    "data of two bytes": with_(train_data=lambda data: data.astype(np.uint16)),
    "a label without a name": with_(test_y=lambda y: y + 1),
    "a negative label": with_(test_y=lambda y: y.astype(np.int16) - 1),
    "labels that are no numbers": with_(test_y=lambda y: y.astype(np.float32)),
    "labels in two dimensions": with_(test_y=lambda y: y.reshape(2, -1)),
    "a track too few": with_(train_track=lambda track: track[1:]),
    "headers without an index": with_(
        train_heads=np.zeros(4, np.uint8), train_headoff=np.array([0, 4], np.uint32)
    ),
    "a header that is not there": with_(
        train_heads=np.zeros(4, np.uint8),
        train_headoff=np.array([0, 4], np.uint32),
        train_headidx=np.ones(24, np.uint8),
    ),
    "train beside all": with_(
        all_y=np.zeros(0, np.uint8), all_data=np.zeros(0, np.uint8), all_off=np.zeros(1, int)
    ),
    "raw pixels too few": with_(train_x=np.zeros((3, 8, 8), np.uint8)),
    "raw pixels of floats": with_(train_x=np.zeros((24, 8, 8))),
    "omniglot without a shape": lambda _: {"bits": np.zeros((2, 1379), np.uint8)},
    "omniglot of another shape": lambda _: {
        "bits": np.zeros((2, 9), np.uint8),
        "shape": np.array([1, 2, 105, 105]),
    },
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_packs_are_refused(what: str, pack_arrays: Arrays, write_pack: WritePack) -> None:
    with pytest.raises(DataError, match="animals"):
        read_pack(write_pack(DAMAGES[what](pack_arrays)))


def test_a_pack_never_unpickles(write_pack: WritePack, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "boom"),)

    path = tmp_path / "evil.npz"
    np.savez(path, classes=np.array([Bomb()], dtype=object), train_y=np.zeros(1, np.uint8))
    with pytest.raises(DataError, match="evil"):
        read_pack(path)
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9])
def test_files_cut_short_are_refused(keep: float, pack_arrays: Arrays, write_pack: WritePack) -> None:
    path = write_pack(pack_arrays)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 or keep == 0 else keep * len(whole))])
    with pytest.raises(DataError, match="animals"):
        read_pack(path)


def test_changed_bytes_never_escape_as_another_error(pack_arrays: Arrays, write_pack: WritePack) -> None:
    path = write_pack(pack_arrays)
    whole = path.read_bytes()
    random = np.random.default_rng(6)
    refused = 0
    with warnings.catch_warnings():
        # zipfile warns of duplicate names in a directory with changed bytes.
        warnings.simplefilter("ignore")
        for position in random.integers(0, len(whole), 300).tolist():
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
            try:
                read_pack(path)
            except DataError:
                refused += 1
    # Zip checks the CRC of every member; only bytes of the directory that nobody reads may change.
    assert refused > 250


def test_other_archives_and_missing_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "notes.npz", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(DataError, match="notes"):
        read_pack(tmp_path / "notes.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"not an \.npz archive"):
        read_pack(tmp_path / "one.npy")
    with pytest.raises(DataError, match="No such file"):
        read_pack(tmp_path / "gone.npz")
