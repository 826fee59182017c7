"""Pictures that are the same come together, in whatever file; pictures that are not stay apart."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from edgeosr.data import content_groups as module
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.content_groups import content_groups
from edgeosr.data.fingerprints import Fingerprints, fingerprints
from edgeosr.data.folder import read_folder
from edgeosr.data.labelled_images import LabelledImages

SIDE = 96
# The textures are tried where the data are; the digits always.
DATA = os.environ.get("EDGEOSR_DATA", "")


def scene(seed: int, side: int = SIDE) -> Image.Image:
    """A picture of soft coloured shapes with fine grain, like none with another seed."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
    pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float32)
    return Image.fromarray(np.clip(pixels + random.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))


def groups_of(pictures: list[Image.Image], labels: list[int] | None = None) -> list[int]:
    pixels = [np.asarray(picture.convert("RGB")) for picture in pictures]
    images = LabelledImages(
        class_names=("a", "b"),
        labels=np.array(labels or [0] * len(pixels)),
        groups=np.arange(len(pixels)),
        read=lambda i: pixels[i],
        name_of=lambda i: f"image {i}",
    )
    return content_groups(fingerprints(images, "looking"), images.labels).tolist()


def written(root: Path, files: dict[str, Callable[[io.BytesIO], None]]) -> tuple[list[str], list[int]]:
    for name, save in files.items():
        buffer = io.BytesIO()
        save(buffer)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(buffer.getvalue())
    images = read_folder(root)[0]
    found = content_groups(fingerprints(images, "looking"), images.labels)
    return [images.name_of(i) for i in range(len(images))], found.tolist()


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


COPIES = {
    "JPEG of quality 90": lambda picture: jpeg(picture, 90),
    "JPEG of quality 50": lambda picture: jpeg(picture, 50),
    "half the size": lambda picture: picture.resize((SIDE // 2, SIDE // 2)),
    "another shape of file": lambda picture: picture.resize((SIDE * 2, SIDE * 3 // 2)),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "less contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.8),
    "without colours": lambda picture: picture.convert("L"),
}
OTHERS = {
    "half the contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.5),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "a quarter turn": lambda picture: picture.rotate(90),
    "a fifth cut off": lambda picture: picture.crop((SIDE // 5, 0, SIDE, SIDE)),
    "other colours": lambda picture: Image.fromarray(np.asarray(picture)[..., [1, 2, 0]]),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_known_whatever_became_of_the_file(change: str) -> None:
    pictures = [scene(seed) for seed in range(8)]
    found = groups_of([*pictures, *(COPIES[change](picture) for picture in pictures)])
    assert found == [*range(8), *range(8)]


@pytest.mark.parametrize("change", OTHERS)
def test_what_is_no_copy_stays_apart_as_the_documentation_says(change: str) -> None:
    pictures = [scene(seed) for seed in range(8)]
    assert groups_of([*pictures, *(OTHERS[change](picture) for picture in pictures)]) == list(range(16))


def test_equal_pixels_are_one_picture_in_any_file_format_and_under_any_exif_block(tmp_path: Path) -> None:
    flat, other = (Image.new("RGB", (40, 30), (level, level, 9)) for level in (90, 91))
    exif = Image.Exif()
    exif[306] = "2024:01:01 12:00:00"  # DateTime
    turned = Image.Exif()
    turned[274] = 3  # upside down
    files = {
        "a/bmp.bmp": lambda file: flat.save(file, "BMP"),
        "a/other.png": lambda file: other.save(file, "PNG"),
        "a/png.png": lambda file: flat.save(file, "PNG"),
        "a/webp.webp": lambda file: flat.save(file, "WEBP", lossless=True),
        "b/jpeg.jpg": lambda file: scene(1).save(file, "JPEG"),
        "b/jpeg2.jpg": lambda file: scene(1).save(file, "JPEG", exif=exif),
        "b/turned.jpg": lambda file: scene(1).rotate(180).save(file, "JPEG", quality=95, exif=turned),
    }
    names, found = written(tmp_path, files)
    assert names == list(files)
    assert found == [0, 1, 0, 0, 4, 4, 4]


def test_a_large_jpeg_is_looked_at_smaller_and_still_found(tmp_path: Path, monkeypatch) -> None:
    seen: list[tuple[int, ...]] = []
    digest = fingerprints.__globals__["_digest"]
    monkeypatch.setitem(
        fingerprints.__globals__, "_digest", lambda look: (seen.append(look.pixels.shape), digest(look))[1]
    )
    large = scene(3, 1400)
    files = {
        "a/a.jpg": lambda file: large.save(file, "JPEG", quality=92),
        "a/b.png": lambda file: large.resize((350, 350)).save(file, "PNG"),
        "a/c.jpg": lambda file: scene(4, 1400).save(file, "JPEG"),
    }
    assert written(tmp_path, files)[1] == [0, 0, 2]
    assert sorted(seen) == [(350, 350, 3)] * 3


def test_the_same_picture_in_two_classes_is_one_group() -> None:
    assert groups_of([scene(1), scene(2), scene(1)], [0, 0, 1]) == [0, 1, 0]
    assert groups_of([scene(1), scene(2), jpeg(scene(1), 95)], [0, 0, 1]) == [0, 1, 0]


def test_empty_pictures_are_copies_only_if_every_pixel_is_equal() -> None:
    black, nearly = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)
    nearly[3, 4] = 5
    pictures = [Image.fromarray(pixels) for pixels in (black, nearly, black, nearly, black[:16])]
    assert groups_of(pictures) == [0, 1, 0, 1, 4]
    # The colour of a whole picture is no shape.
    assert groups_of([Image.new("RGB", (9, 9), (i, 0, 0)) for i in (60, 120, 180)]) == [0, 1, 2]


def test_an_image_that_cannot_be_read_is_like_none(tmp_path: Path) -> None:
    files = {
        "a/1.png": lambda file: file.write(b"no picture"),
        "a/2.png": lambda file: file.write(b"no picture"),
        "a/3.png": lambda file: scene(1).save(file, "PNG"),
    }
    assert written(tmp_path, files)[1] == [0, 1, 2]


def stripes(random: np.random.Generator, side: int) -> Image.Image:
    """Stripes of one colour and nearly one direction, somewhere, under a grain of their own."""
    rows, columns = np.mgrid[0:side, 0:side]
    angle = 0.6 + random.normal(0, 0.05)
    wave = np.sin(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / 12 + random.uniform(0, 6.28))
    pixels = (0.5 + 0.5 * wave)[..., None] * np.array([230, 58, 58]) + random.normal(0, 12, (side, side, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("side", [48, 64])
def test_stripes_in_nearly_the_same_place_are_no_copies_and_stripes_saved_again_are(side: int) -> None:
    random = np.random.default_rng(side)
    pictures = [stripes(random, side) for _ in range(60)]
    assert groups_of(pictures) == list(range(60))
    again = [jpeg(picture, quality) for picture in pictures[:8] for quality in (90, 50)]
    assert groups_of([*pictures[:8], *again]) == [*range(8), *np.repeat(range(8), 2).tolist()]


def made(hashes: list[int]) -> Fingerprints:
    """Fingerprints of one picture, but with these hashes."""
    base = fingerprints(
        LabelledImages(("a",), np.zeros(1, np.int64), np.arange(1), lambda i: np.asarray(scene(0)), str), ""
    )
    count = len(hashes)
    # By the second hash no two are near.
    unlike = np.random.default_rng(1).integers(0, 2**64, count, np.uint64, endpoint=False)
    return replace(
        base,
        digests=np.array([f"{i}" for i in range(count)], "S32"),
        hashes=np.stack([np.array(hashes, np.uint64), unlike]),
        thumbnails=np.repeat(base.thumbnails, count, axis=0),
        views=np.repeat(base.views, count, axis=0),
        sizes=np.repeat(base.sizes, count, axis=0),
        readable=np.ones(count, np.bool_),
    )


def test_a_fixed_camera_s_pictures_of_many_objects_stay_apart_and_their_copies_do_not() -> None:
    random = np.random.default_rng(0)
    place = np.asarray(scene(1), np.float32)
    pictures = []
    for _ in range(30):
        object_ = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize((SIDE, SIDE))
        pixels = place + 0.06 * (np.asarray(object_, np.float32) - 128) + random.normal(0, 2, place.shape)
        pictures.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    assert groups_of([*pictures, *(jpeg(picture, 95) for picture in pictures[:10])]) == [
        *range(30),
        *range(10),
    ]


def test_a_class_that_is_one_picture_saved_many_times_is_one_group() -> None:
    qualities = range(70, 100)
    assert groups_of([jpeg(scene(1, 256), quality) for quality in qualities]) == [0] * len(qualities)


def test_near_are_hashes_of_at_most_four_bits_apart() -> None:
    for bits in range(8):
        spread = sum(1 << (13 * bit % 64) for bit in range(bits))
        found = content_groups(made([0x0F0F << 40, (0x0F0F << 40) ^ spread]), np.zeros(2, np.int64))
        assert found.tolist() == ([0, 0] if bits <= 4 else [0, 1]), bits


def test_a_group_grows_from_copy_to_copy_but_not_along_a_chain() -> None:
    steps = [sum(1 << (7 * bit % 64) for bit in range(3 * step)) for step in range(12)]
    found = content_groups(made(steps), np.zeros(12, np.int64))
    # 3 bits a step: two steps from the first one are within 8 bits, the third is not.
    assert found.tolist() == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]


def test_only_pictures_that_share_a_band_of_the_hash_are_compared_and_none_is_missed() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, 60, np.uint64, endpoint=False)
    near = [
        int(one) ^ int(sum(1 << int(bit) for bit in random.choice(64, 4, replace=False))) for one in hashes
    ]
    found = content_groups(made([*map(int, hashes), *near]), np.zeros(120, np.int64))
    assert found.tolist() == [*range(60), *range(60)]


def share_kept(source: str) -> float:
    images = open_image_set(source).train
    found = content_groups(fingerprints(images, "looking"), images.labels)
    return len(np.unique(found)) / len(images)


@pytest.mark.parametrize("source", ["digits", *(["neu", "dtd10"] if DATA else [])])
def test_images_of_a_kind_stay_apart(source: str) -> None:
    assert share_kept(source) >= 0.97


def test_the_hash_alone_would_join_one_digit_in_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_CORRELATION", -1.0)
    monkeypatch.setattr(module, "LARGEST_RESIDUAL", 255.0)
    monkeypatch.setattr(module, "SMALLEST_RESIDUAL", 255.0)
    assert share_kept("digits") < 0.97
