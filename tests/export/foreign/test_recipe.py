"""The recipe in Pillow and NumPy is a second way to what Preprocessing says."""

import numpy as np
import pytest

from edgeosr.export.foreign.recipe import NO_ANTIALIAS, RESAMPLINGS, fitted, normalised
from edgeosr.preprocessing import FITS, Preprocessing


def frame(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    return np.kron(coarse, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


@pytest.mark.parametrize("size", [(32, 32), (40, 61), (300, 220), (33, 97)])
@pytest.mark.parametrize("network", [(32, 32), (24, 48)])
def test_both_ways_fit_a_frame_alike(size, network):
    image = frame(*size)
    ways = [{"fit": fit} for fit in FITS]
    ways += [{"crop_fraction": 0.8}, {"resize_to": 53}, {"fit": "stretch", "resize_to": 53}]
    for way in ways:
        preprocessing = Preprocessing(height=network[0], width=network[1], **way)
        one, other = fitted(image, preprocessing), preprocessing.resize(image)
        assert one.shape == (*network, 3) and np.abs(one.astype(int) - other).max() <= 2, way


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_every_filter_gives_the_models_size(resampling):
    for way in ({}, {"fit": "letterbox"}, {"resize_to": 40}, {"crop_fraction": 0.8}):
        found = fitted(frame(100, 80), Preprocessing(height=32, width=24, **way), resampling)
        assert found.shape == (32, 24, 3) and found.std() > 10


def test_without_antialias_a_fine_pattern_is_sampled_and_not_averaged():
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[:, ::4] = 255
    small = Preprocessing(height=16, width=16, fit="stretch")
    assert np.ptp(fitted(fine, small)[4:12, 4:12]) <= 2
    assert np.ptp(fitted(np.roll(fine, 1, axis=1), small, NO_ANTIALIAS)[4:12, 4:12]) == 0
    assert fitted(np.roll(fine, 1, axis=1), small, NO_ANTIALIAS)[8, 8, 0] >= 120
    assert fitted(np.roll(fine, 3, axis=1), small, NO_ANTIALIAS)[8, 8, 0] == 0


def test_mean_and_std_belong_to_colours_whatever_the_order():
    pixels = np.zeros((1, 1, 1, 3), np.uint8)
    pixels[..., 0] = 255
    values = {"height": 1, "width": 1, "mean": (0.5, 0.25, 0.125), "std": (0.5, 0.25, 0.125)}
    rgb, bgr = (normalised(pixels, Preprocessing(color=color, **values)) for color in ("rgb", "bgr"))
    assert rgb[0, :, 0, 0].tolist() == [1, -1, -1] and bgr[0, :, 0, 0].tolist() == [-1, -1, 1]
    assert rgb.dtype == np.float32 and rgb.flags.c_contiguous
