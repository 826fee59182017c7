"""Image files: orientation, damage, traps."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.data.image_file import SUFFIXES, decode_image, quiet_pillow, read_image_file
from edgeosr.errors import DataError

UPRIGHT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
# EXIF orientation -> how a camera stored an upright picture (its definition, TIFF 6.0).
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_files_are_turned_upright_by_their_orientation(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](UPRIGHT))
    for suffix, options in ((".png", {}), (".webp", {"lossless": True, "exact": True})):
        path = tmp_path / f"image{suffix}"
        Image.fromarray(stored).save(path, exif=exif, **options)
        assert np.array_equal(read_image_file(path), UPRIGHT)


def test_every_suffix_can_be_read(tmp_path: Path) -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    for suffix in SUFFIXES:
        path = tmp_path / f"image{suffix}"
        Image.fromarray(grey).save(path)
        assert np.abs(read_image_file(path).astype(int) - 100).max() <= 2


def test_a_broken_exif_block_does_not_hide_the_pixels(tmp_path: Path) -> None:
    path = tmp_path / "image.jpg"
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(
        path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f broken"
    )
    assert read_image_file(path).shape == (8, 8, 3)


def damaged_files() -> dict[str, bytes]:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8))
    files = {"empty": b"", "text": b"this is no image", "gif": b"GIF89a" + bytes(40)}
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        whole = buffer.getvalue()
        files[f"half a {kind}"] = whole[: len(whole) // 2]
        files[f"the first bytes of a {kind}"] = whole[:20]
        if kind == "PNG":
            files["a PNG with a changed byte"] = whole[:200] + bytes([whole[200] ^ 255]) + whole[201:]
    return files


@pytest.mark.parametrize("what", damaged_files())
def test_damaged_files_are_data_errors_that_name_the_file(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(damaged_files()[what])
    with pytest.raises(DataError, match=r"bad\.png"):
        read_image_file(path)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_image_file(tmp_path / "gone.png")


def bomb(side: int) -> bytes:
    """Return a PNG of a few hundred bytes that claims side x side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_a_data_error() -> None:
    with pytest.raises(DataError, match="bomb"):
        decode_image(bomb(60_000), "bomb.png")


def test_a_large_image_is_read_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, encode: Callable[..., bytes]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert decode_image(encode(np.zeros((12, 12, 3), np.uint8)), "large.png").shape == (12, 12, 3)
    assert not caught


def test_warning_filters_are_as_before_after_many_threads(encode: Callable[..., bytes]) -> None:
    before = list(warnings.filters)
    small = encode(np.zeros((4, 4, 3), np.uint8))

    def many(_: int) -> None:
        for _ in range(50):
            decode_image(small, "small.png")
            with quiet_pillow:
                decode_image(small, "small.png")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(many, range(8)))
    assert list(warnings.filters) == before


def test_a_file_of_another_format_is_refused_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path, "TIFF")
    with pytest.raises(DataError, match="not a PNG, JPEG, WebP, BMP or PPM"):
        read_image_file(path)
