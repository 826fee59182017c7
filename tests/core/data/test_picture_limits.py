"""Pictures that cost more than they should, and orientations in broken EXIF blocks."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeosr.data import picture_limits
from edgeosr.data.conversion import to_rgb
from edgeosr.data.decode import decode_images
from edgeosr.data.image_file import decode_image, read_image_file
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.orientation import orientation_in
from edgeosr.errors import DataError
from edgeosr.preprocessing import LARGEST_FRAME, Preprocessing


def png(width: int, height: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def promising(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels; the few that it holds are never reached."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return png(1, 1)[:8] + chunk + png(1, 1)[33:]


@pytest.mark.parametrize("kind", ["iCCP", "zTXt"])
def test_a_picture_with_a_text_that_unpacks_to_too_much_is_refused_in_our_words(kind: str) -> None:
    body = kind.encode() + b"x\0\0" + zlib.compress(bytes(2**21))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(
        DataError, match="a text or colour profile in it is too large; save it again"
    ) as refusal:
        decode_image(png(1, 1)[:33] + chunk + png(1, 1)[33:], "bomb.png")
    assert "Plugin" not in str(refusal.value)


@pytest.mark.parametrize("size", [(8192, 4097), (LARGEST_FRAME + 1, 1), (13000, 13000), (50000, 50000)])
def test_a_picture_of_more_pixels_than_stated_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=f"bomb.png: .*more pixels than {LARGEST_FRAME}.*make it smaller"):
        decode_image(promising(*size), "bomb.png")


def test_a_large_jpeg_is_decoded_at_a_share_of_its_size_and_one_in_passes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(picture_limits, "LARGEST_FRAME", 64 * 48)
    for width, height, shape in ((64, 48, (48, 64, 3)), (65, 48, (24, 33, 3)), (256, 192, (48, 64, 3))):
        buffer = io.BytesIO()
        Image.new("RGB", (width, height), (90, 90, 90)).save(buffer, "JPEG")
        decoded = decode_image(buffer.getvalue(), "phone.jpg", upright=True)
        assert decoded.shape == shape and abs(int(decoded.mean()) - 90) <= 2
    for size, options in (((600, 600), {}), ((65, 48), {"progressive": True})):
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, "JPEG", **options)
        with pytest.raises(DataError, match="more pixels"):
            decode_image(buffer.getvalue(), "phone.jpg")


def test_a_file_that_is_no_regular_one_or_too_large_is_not_read(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.png"
    with sparse.open("wb") as file:
        file.truncate(picture_limits.LARGEST_FILE + 1)
    with pytest.raises(DataError, match=r"sparse.png: it has \d+ bytes"):
        read_image_file(sparse)
    with pytest.raises(DataError, match=r"no regular file"):
        read_image_file(Path("/dev/zero"))


def test_a_picture_that_does_not_fit_in_memory_is_named_and_the_rest_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def convert(image: Image.Image) -> np.ndarray:
        if image.size == (7, 7):
            raise MemoryError
        return to_rgb(image)

    monkeypatch.setattr("edgeosr.data.image_file.to_rgb", convert)
    images = LabelledImages(
        class_names=("a",),
        labels=np.zeros(200, np.int64),
        groups=np.arange(200),
        read=lambda i: decode_image(png(*((7, 7) if i == 5 else (4, 4))), f"{i}.png"),
        name_of=str,
    )
    decoded = decode_images(images, Preprocessing(height=4, width=4), description="reading")
    assert len(decoded.pixels) == 199
    assert "5.png: there is not enough memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "dtype"), [("L", np.uint8), ("LA", np.uint8), ("16", np.uint16), ("1", bool)]
)
def test_converting_a_part_at_a_time_changes_no_pixel(
    mode: str, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = (2,) if mode == "LA" else ()
    pixels = np.random.default_rng(0).integers(0, 2 if mode == "1" else 256, (13, 7, *channels)).astype(dtype)
    whole = to_rgb(pixels)
    monkeypatch.setattr("edgeosr.data.conversion._PIXELS_AT_ONCE", 5)
    assert np.array_equal(to_rgb(pixels), whole)


def exif(order: str, entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """An EXIF block of (tag, type, count, value or offset) entries."""
    mark = {"<": b"II", ">": b"MM"}[order]
    body = b"".join(struct.pack(f"{order}HHI", *one[:3]) + one[3] for one in entries)
    tail = struct.pack(f"{order}I", 0)
    return (
        b"Exif\0\0"
        + mark
        + struct.pack(f"{order}HI", 42, 8)
        + struct.pack(f"{order}H", len(entries))
        + body
        + tail
    )


def lying(order: str, kind: int = 3) -> tuple[int, int, int, bytes]:
    return 0x0112, kind, 1, struct.pack(f"{order}HH", 6, 0) if kind == 3 else struct.pack(f"{order}I", 6)


MALFORMED = {
    "a float too long to be there": (0x011A, 5, 2**31, b"\xff\xff\xff\x7f"),
    "text behind the end": (0x010F, 2, 1000, b"\xff\xff\0\0"),
    "a type that there is not": (0x0110, 77, 1, b"\0\0\0\0"),
    "numbers for text": (0x0131, 3, 3, b"\x08\0\0\0"),
    "a folder that is none": (0x8769, 4, 1, b"\xff\xff\xff\xff"),
    "text as a number of its own": (0x0132, 9, 1, b"abcd"),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_tag_elsewhere_does_not_lose_the_orientation(what: str, first: bool, order: str) -> None:
    entries = [MALFORMED[what], lying(order)] if first else [lying(order), MALFORMED[what]]
    stored = Image.fromarray(np.repeat(np.arange(8, dtype=np.uint8)[None] * 30, 4, axis=0))  # lying: 4 x 8
    for kind in ("JPEG", "PNG", "WEBP"):
        buffer = io.BytesIO()
        stored.convert("RGB").save(buffer, kind, exif=exif(order, entries))
        assert decode_image(buffer.getvalue(), "phone", upright=True).shape == (8, 4, 3), kind


@pytest.mark.parametrize("order", "<>")
def test_an_orientation_is_found_in_the_bytes_alone(order: str) -> None:
    whole = exif(order, [MALFORMED["text behind the end"], lying(order, 4)])
    assert orientation_in(whole) == orientation_in(whole.removeprefix(b"Exif\0\0")) == 6
    for end in range(len(whole)):
        assert orientation_in(whole[:end]) in (None, 6)
    assert orientation_in(exif(order, [(0x0112, 3, 1, b"\x63\0\0\x63")])) is None
