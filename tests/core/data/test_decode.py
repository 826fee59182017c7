"""Decoding a whole part: pixels, skipped images, speed tricks that must not show."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.data.array_images import images_from_array
from edgeosr.data.decode import decode_images
from edgeosr.data.folder import read_folder
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.preprocessing import FITS, Preprocessing

Write = Callable[..., Path]


def made(count: int, height: int = 8, width: int = 8) -> LabelledImages:
    pixels = np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)
    return images_from_array(pixels, np.arange(count) % 2, ("a", "b"), name="made")


def broken(images: LabelledImages, at: set[int]) -> LabelledImages:
    def read(i: int) -> np.ndarray:
        if i in at:
            raise DataError(f"cannot decode made[{i}]: broken")
        return images.read(i)

    return replace(images, read=read)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
def test_rows_are_the_resized_images_in_order(fit: str, count: int) -> None:
    images, preprocessing = made(count, 9, 12), Preprocessing(height=6, width=5, fit=fit)
    decoded = decode_images(images, preprocessing, description="reading")
    assert decoded.pixels.shape == (count, 6, 5, 3)
    for i in range(count):
        assert np.array_equal(decoded.pixels[i], preprocessing.resize(images.read(i)))
    assert decoded.labels.tolist() == images.labels.tolist()
    assert decoded.groups.tolist() == images.groups.tolist()
    assert decoded.kept.tolist() == list(range(count))
    assert decoded.skipped == []


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("crop_fraction", [1.0, 0.75])
def test_images_of_the_right_size_are_the_same_with_and_without_a_resize(
    fit: str, crop_fraction: float
) -> None:
    images = made(3, 7, 10)
    preprocessing = Preprocessing(height=7, width=10, fit=fit, crop_fraction=crop_fraction)
    decoded = decode_images(images, preprocessing, description="reading")
    assert np.array_equal(decoded.pixels, [preprocessing.resize(images.read(i)) for i in range(3)])


def test_up_to_one_percent_is_skipped_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    images = broken(made(300), {7, 130, 299})
    decoded = decode_images(images, Preprocessing(height=8, width=8), description="reading")
    kept = [i for i in range(300) if i not in (7, 130, 299)]
    assert decoded.kept.tolist() == kept
    assert np.array_equal(decoded.pixels, [images.read(i) for i in kept])
    assert decoded.labels.tolist() == [i % 2 for i in kept]
    assert decoded.groups.tolist() == kept
    assert len(decoded.skipped) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "skipped 3 of 300 images that cannot be read; the first: cannot decode made[7]: broken"
    ]


@pytest.mark.parametrize(("count", "at"), [(300, {1, 2, 3, 4}), (99, {98}), (1, {0})])
def test_more_than_one_percent_is_refused(count: int, at: set[int]) -> None:
    with pytest.raises(DataError, match=r"more than 1% of .*cannot decode made\["):
        decode_images(broken(made(count), at), Preprocessing(height=8, width=8), description="reading")


def test_a_folder_with_one_damaged_file_of_many_is_read(
    write_folder: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_folder({"ant": 60, "bee": 60})
    path = root / "ant" / "031.png"
    path.write_bytes(path.read_bytes()[:40])
    decoded = decode_images(read_folder(root)[0], Preprocessing(height=6, width=6), description="reading")
    assert len(decoded.kept) == 119
    assert decoded.pixels[:, 0, 0, 0].tolist() == [i for i in range(60) if i != 31] + list(range(60))
    assert "031.png" in capsys.readouterr().err


def test_images_of_mixed_size_and_mode_become_one_array(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for i, (mode, colour) in enumerate(
        [("RGB", (9, 9, 9)), ("L", 9), ("RGBA", (9, 9, 9, 255)), ("P", 0), ("I;16", 9 * 257), ("1", 1)]
    ):
        Image.new(mode, (5 + i, 4 + 2 * i), colour).save(tmp_path / "x" / f"{i}.png")
    decoded = decode_images(read_folder(tmp_path)[0], Preprocessing(height=4, width=4), description="reading")
    assert decoded.pixels[:, 2, 2, 1].tolist() == [9, 9, 9, 0, 9, 255]


def test_another_error_than_damage_is_not_hidden() -> None:
    def read(i: int) -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decode_images(replace(made(500), read=read), Preprocessing(height=8, width=8), description="reading")


def test_an_array_that_cannot_fit_into_memory_is_a_data_error() -> None:
    images = replace(made(1), labels=np.broadcast_to(np.int64(0), 10**9))
    with pytest.raises(DataError, match="more than there is memory"):
        decode_images(images, Preprocessing(height=4096, width=4096), description="reading")
