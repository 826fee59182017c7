"""The families of directions, and the noise that ``--probes auto`` looks at."""

import math

import numpy as np
import pytest
from scipy.fft import dctn

from edgeosr.errors import DataError, UsageError
from edgeosr.export.tangents.probe_error import probe_error
from edgeosr.export.tangents.probes import (
    dct_directions,
    principal_directions,
    random_directions,
    require_room,
)

RNG = np.random.default_rng(0)
# Images that differ along eight axes, each with its own variance.
LOADINGS = np.linalg.qr(RNG.standard_normal((60, 8)))[0].T
IMAGES = (RNG.standard_normal((400, 8)) * [9, 7, 5, 4, 3, 2, 1.5, 1]) @ LOADINGS + 3.0


def family(name, K):
    """K directions of the space 3x4x5 (60 numbers)."""
    if name == "random":
        return random_directions(K, 60, seed=7)
    if name == "dct":
        return dct_directions(K, (3, 4, 5))
    return principal_directions(K, IMAGES.astype(np.float32), seed=7)


@pytest.mark.parametrize("name", ["random", "dct", "principal"])
@pytest.mark.parametrize("K", [1, 2, 7, 8])
def test_the_directions_are_orthonormal_float32_and_the_same_again(name, K):
    rows = family(name, K)
    assert rows.dtype == np.float32 and rows.shape == (K, 60)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(wide @ wide.T, np.eye(K), atol=1e-6)
    np.testing.assert_array_equal(rows, family(name, K))


@pytest.mark.parametrize("name", ["random", "dct"])
def test_as_many_directions_as_the_space_has_are_a_basis(name):
    rows = family(name, 60).astype(np.float64)
    np.testing.assert_allclose(rows.T @ rows, np.eye(60), atol=1e-6)


@pytest.mark.parametrize("name", ["random", "dct", "principal"])
def test_fewer_directions_are_the_first_of_more(name):
    np.testing.assert_allclose(family(name, 3), family(name, 8)[:3], atol=1e-5)


def test_another_seed_gives_other_random_directions():
    assert np.abs(random_directions(1, 60, 0) @ random_directions(1, 60, 1).T) < 0.9


def test_n_over_k_times_the_random_estimate_is_unbiased():
    jacobian = RNG.standard_normal((5, 20)) * np.linspace(0.1, 3, 20)
    exact = np.square(jacobian).sum()
    draws = [
        20 / 3 * np.square(jacobian @ random_directions(3, 20, seed).T.astype(np.float64)).sum()
        for seed in range(4000)
    ]
    standard_error = np.std(draws) / math.sqrt(len(draws))
    assert abs(np.mean(draws) - exact) < 4 * standard_error
    assert standard_error < 0.02 * exact


def test_random_directions_have_no_preferred_sign_or_axis():
    firsts = np.stack([random_directions(2, 6, seed)[1] for seed in range(3000)])
    np.testing.assert_allclose(firsts.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.square(firsts).mean(axis=0), 1 / 6, atol=0.02)


def test_dct_directions_are_the_basis_vectors_of_scipys_transform_in_the_order_of_their_frequency():
    rows = dct_directions(60, (3, 4, 5)).reshape(60, 3, 4, 5)
    seen, last = set(), -1.0
    for row in rows.astype(np.float64):
        spectrum = dctn(row, norm="ortho")
        place = np.unravel_index(np.argmax(spectrum), spectrum.shape)
        impulse = np.zeros((3, 4, 5))
        impulse[place] = 1
        np.testing.assert_allclose(spectrum, impulse, atol=1e-6)
        spatial = (place[1] / 4) ** 2 + (place[2] / 5) ** 2
        assert spatial >= last - 1e-12
        last = spatial
        seen.add(place)
    assert len(seen) == 60


def test_the_first_dct_direction_is_brightness_and_all_channels_share_the_lowest_frequencies():
    rows = dct_directions(3, (3, 8, 8)).reshape(3, 3, 64)
    np.testing.assert_allclose(rows[0], 1 / math.sqrt(192), rtol=1e-5)
    assert np.ptp(rows, axis=2).max() < 1e-6


def test_principal_directions_are_those_of_an_exact_svd():
    rows = principal_directions(5, IMAGES.astype(np.float32), seed=0)
    exact = np.linalg.svd(IMAGES - IMAGES.mean(axis=0), full_matrices=False)[2][:5]
    np.testing.assert_allclose(np.abs(np.sum(rows * exact, axis=1)), 1, atol=1e-4)


def test_more_directions_than_the_images_vary_in_are_refused_with_the_number():
    with pytest.raises(DataError, match=r"vary in 8 directions at the cut; got --probes 9"):
        principal_directions(9, IMAGES.astype(np.float32), seed=0)
    assert principal_directions(9, IMAGES.astype(np.float32), seed=0, fewer=True).shape == (8, 60)
    with pytest.raises(DataError, match="vary in 0 directions"):
        principal_directions(2, np.ones((9, 6), np.float32), seed=0, fewer=True)
    with pytest.raises(DataError, match="need at least 5 known images; got 4"):
        principal_directions(4, IMAGES[:4].astype(np.float32), seed=0)
    with pytest.raises(DataError, match="not finite"):
        principal_directions(1, np.full((4, 6), np.nan, np.float32), seed=0)


@pytest.mark.parametrize("K", [0, 61])
def test_more_probes_than_the_space_holds_are_refused_with_its_size(K):
    require_room(60, (3, 4, 5), "h")
    with pytest.raises(UsageError, match=rf"from 1 to 60.*tensor 'h', 3x4x5\); got {K}"):
        require_room(K, (3, 4, 5), "h")


def simulated(images, probes, degrees):
    """log J of known spread under chi-square probes: E[q] = exp(2 s), s ~ N(0, 0.3), noise 1 / degrees."""
    rng = np.random.default_rng(1)
    level = np.exp(2 * 0.3 * rng.standard_normal((images, 1)))
    return level * rng.chisquare(degrees, (images, probes)) / degrees


@pytest.mark.parametrize("K", [1, 2, 4, 8])
def test_the_error_is_the_standard_deviation_of_the_noise_over_the_whole_spread(K):
    from scipy.special import polygamma

    squares = simulated(3000, 16, degrees=6)
    # The log of a chi-square with 6 K degrees has the variance trigamma(3 K); log J is half of it.
    noise = float(polygamma(1, 3 * K)) / 4
    expected = math.sqrt(noise / (noise + 0.3**2))
    assert probe_error(squares, np.ones(3000), K) == pytest.approx(expected, rel=0.05)


def test_the_norm_of_the_embedding_adds_spread_and_no_error():
    squares, norms = simulated(500, 8, degrees=6), np.exp(np.random.default_rng(2).standard_normal(500))
    assert probe_error(squares, norms, 2) < 0.6 * probe_error(squares, np.ones(500), 2)


def test_a_shift_that_all_images_share_is_no_error():
    level = np.exp(np.random.default_rng(3).standard_normal((50, 1)))
    assert probe_error(level * [[1.0, 100.0]], np.ones(50), 1) < 1e-12
    assert probe_error(np.ones((50, 2)), np.ones(50), 1) == 0.0
    assert probe_error(np.zeros((50, 2)), np.zeros(50), 1) == 0.0
