"""Synthetic outliers: what each kind does to real images (the digits that scikit-learn bundles)."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgeosr.errors import DataError, UsageError
from edgeosr.training.synthetic_outliers import OUTLIER_KINDS, make_synthetic_outliers

DIGITS = load_digits()
LABELS = DIGITS.target[:200]
PIXELS = np.repeat((DIGITS.images[:200] * 15.9).astype(np.uint8)[..., None], 3, axis=3)


def made(kind: str, pixels: np.ndarray = PIXELS, count: int = 50, **arguments) -> np.ndarray:
    return make_synthetic_outliers(pixels, 3, count, kinds=(kind,), **arguments)


def numbered(count: int, height: int, width: int) -> np.ndarray:
    """Images whose every pixel says which image (red), row (green) and column (blue) it came from."""
    image, row, column = np.meshgrid(np.arange(count), np.arange(height), np.arange(width), indexing="ij")
    return np.stack([image, row, column], axis=-1).astype(np.uint8)


def test_the_result_holds_every_kind_in_order_and_follows_from_the_seed():
    outliers = make_synthetic_outliers(PIXELS, 0, 7)
    assert (outliers.shape, outliers.dtype) == ((7 * len(OUTLIER_KINDS), 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(outliers, make_synthetic_outliers(PIXELS, 0, 7))
    assert (outliers != make_synthetic_outliers(PIXELS, 1, 7)).any()
    without = make_synthetic_outliers(PIXELS, 0, 7, kinds=tuple(k for k in OUTLIER_KINDS if k != "rotated"))
    np.testing.assert_array_equal(without, np.delete(outliers, np.s_[28:35], axis=0))


@pytest.mark.parametrize("kind", OUTLIER_KINDS)
def test_no_outlier_is_a_known_image_and_the_known_images_stay_as_they_were(kind):
    before = PIXELS.copy()
    known = {image.tobytes() for image in PIXELS}
    assert not any(image.tobytes() in known for image in made(kind, labels=LABELS))
    np.testing.assert_array_equal(PIXELS, before)


def test_mixup_is_a_weighted_mean_of_two_images_of_different_classes():
    classes = np.arange(40) % 4
    flat = np.broadcast_to((classes * 80).astype(np.uint8)[:, None, None, None], (40, 8, 8, 3))
    values = made("mixup", flat, 200, labels=classes)[:, 0, 0, 0]
    assert not np.isin(values, [0, 240]).any()  # with a partner of its own class 0 would stay 0
    two = np.stack([np.zeros((8, 8, 3)), np.full((8, 8, 3), 200)]).astype(np.uint8)
    mixed = made("mixup", two, 100)
    assert 0.34 * 200 <= mixed.min() < 85 and 115 < mixed.max() <= 0.66 * 200


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 20), (5, 7)])
def test_cutmix_replaces_one_rectangle_by_the_same_place_of_one_other_image(height, width):
    for image in made("cutmix", numbered(30, height, width), 60):
        np.testing.assert_array_equal(image[..., 1:], numbered(1, height, width)[0, ..., 1:])
        sources, counts = np.unique(image[..., 0], return_counts=True)
        assert len(sources) == 2
        rectangles = 0
        for source in sources:
            rows, columns = np.nonzero(image[..., 0] == source)
            rectangles += len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert rectangles >= 1
        assert min(counts) / counts.sum() > 0.1


@pytest.mark.parametrize("grid", [2, 4])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 4), (9, 11), (33, 17)])
def test_shuffled_tiles_are_the_tiles_of_one_image_in_another_order(grid, height, width):
    pixels = numbered(20, height, width)
    tall, wide = height // grid, width // grid
    for image in made(f"shuffle{grid}", pixels, 20):
        source = pixels[image[0, 0, 0]]
        assert (image != source).any()
        moved = image[: tall * grid, : wide * grid].reshape(grid, tall, grid, wide, 3).swapaxes(1, 2)
        whole = source[: tall * grid, : wide * grid].reshape(grid, tall, grid, wide, 3).swapaxes(1, 2)
        as_set = [sorted(tile.tobytes() for row in tiles for tile in row) for tiles in (moved, whole)]
        assert as_set[0] == as_set[1]
        np.testing.assert_array_equal(image[tall * grid :], source[tall * grid :])


def test_turned_images_are_turned_by_90_or_270_degrees_or_180_if_not_square():
    pixels = numbered(12, 6, 6)
    turns = set()
    for image in made("rotated", pixels, 24):
        source = pixels[image[0, 0, 0]]
        turns |= {turn for turn in range(4) if np.array_equal(image, np.rot90(source, turn))}
    assert turns == {1, 3}
    tall = numbered(5, 8, 4)
    for image in made("rotated", tall, 5):
        np.testing.assert_array_equal(image, tall[image[0, 0, 0]][::-1, ::-1])


def test_inverted_images_add_up_to_white():
    assert sorted((255 - made("inverted", count=200)).tobytes()) == sorted(PIXELS.tobytes())


def test_every_image_is_used_before_one_comes_twice():
    sources = made("rotated", numbered(10, 4, 4), 25)[:, 0, 0, 0]
    assert np.unique(np.bincount(sources, minlength=10)).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("pixels", "arguments", "error", "words"),
    [
        (PIXELS[:1], {}, DataError, "at least 2 images"),
        (PIXELS[:, :3], {}, DataError, "4 x 4 pixels"),
        (PIXELS, {"labels": LABELS[:5]}, DataError, "labels must be 200"),
        (PIXELS, {"labels": np.zeros(200, int)}, DataError, "at least two classes"),
        (PIXELS, {"per_kind": 0}, UsageError, "at least 1 image"),
        (PIXELS, {"kinds": ("mixpu",)}, UsageError, "did you mean 'mixup'"),
    ],
)
def test_input_that_does_not_fit_is_refused_with_the_reason(pixels, arguments, error, words):
    with pytest.raises(error, match=words):
        make_synthetic_outliers(pixels, 0, **{"per_kind": 3, **arguments})
