"""The stated rules of conversion, checked pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import Image

from edgeosr.data.conversion import to_rgb
from edgeosr.errors import DataError

GREY = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)


def through_png(image: Image.Image, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return Image.open(buffer)


def test_grey_is_replicated() -> None:
    expected = np.stack([GREY] * 3, axis=2)
    assert np.array_equal(to_rgb(Image.fromarray(GREY)), expected)
    assert np.array_equal(to_rgb(GREY), expected)
    assert np.array_equal(to_rgb(GREY[..., None]), expected)


def test_rgb_is_kept_and_can_be_written_to() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    for converted in (to_rgb(Image.fromarray(pixels)), to_rgb(pixels)):
        assert np.array_equal(converted, pixels)
    assert to_rgb(Image.fromarray(pixels)).flags.writeable


def test_alpha_is_composited_on_black_and_rounded() -> None:
    values, alphas = np.meshgrid(np.arange(256), np.arange(256))
    rgba = np.stack([values, 255 - values, values // 2, alphas], axis=2).astype(np.uint8)
    exact = rgba[..., :3].astype(np.float64) * rgba[..., 3:] / 255
    # A product of two integers over 255 is never halfway, so that rounding has one answer.
    expected = np.rint(exact).astype(np.uint8)
    assert np.array_equal(to_rgb(Image.fromarray(rgba)), expected)
    assert np.array_equal(to_rgb(rgba), expected)


def test_grey_with_alpha_is_composited_then_replicated() -> None:
    grey_alpha = np.array([[[200, 128], [200, 0], [200, 255]]], np.uint8)
    bands = [Image.fromarray(np.ascontiguousarray(grey_alpha[..., i])) for i in range(2)]
    converted = to_rgb(Image.merge("LA", bands))
    assert converted[0, :, 0].tolist() == [round(200 * 128 / 255), 0, 200]
    assert np.array_equal(converted, to_rgb(grey_alpha))


def test_sixteen_bit_grey_is_divided_by_257_and_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(values / 257).astype(np.uint8)
    for source in (values, through_png(Image.fromarray(values))):
        assert np.array_equal(to_rgb(source)[..., 1], expected)
    assert to_rgb(np.array([[0, 128, 129, 65535]], np.uint16))[0, :, 0].tolist() == [0, 0, 1, 255]


def test_sixteen_bit_values_stored_with_32_bits_follow_the_same_rule() -> None:
    values = np.array([[0, 257, 65535]], np.int32)
    assert to_rgb(Image.fromarray(values))[0, :, 2].tolist() == [0, 1, 255]


def test_one_bit_images_become_0_and_255() -> None:
    bits = np.array([[True, False]])
    for source in (bits, Image.fromarray(bits)):
        assert to_rgb(source)[0].tolist() == [[255] * 3, [0] * 3]


def test_palettes_are_expanded_and_their_transparent_entries_are_black() -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 200, 0, 0, 0, 100])
    assert to_rgb(image)[0].tolist() == [[255, 0, 0], [0, 200, 0], [0, 0, 100]]
    half = through_png(image, transparency=bytes([255, 128, 0]))
    assert to_rgb(half)[0].tolist() == [[255, 0, 0], [0, round(200 * 128 / 255), 0], [0, 0, 0]]


def test_a_colour_named_transparent_is_black() -> None:
    pixels = np.array([[[9, 9, 9], [10, 9, 9]]], np.uint8)
    assert to_rgb(through_png(Image.fromarray(pixels), transparency=(9, 9, 9)))[0].tolist() == [
        [0, 0, 0],
        [10, 9, 9],
    ]


def test_cmyk_becomes_rgb() -> None:
    ink = Image.new("CMYK", (1, 1), (0, 255, 255, 0))
    assert to_rgb(ink)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((2, 2, 3), np.float32),
        np.zeros(4, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((2, 2, 2, 3), np.uint8),
        Image.new("F", (2, 2)),
        Image.fromarray(np.array([[-1, 70000]], np.int32)),
    ],
)
def test_what_no_rule_covers_is_refused(source: object) -> None:
    with pytest.raises(DataError):
        to_rgb(source)
