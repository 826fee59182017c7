"""The readers' self-test: mean and deviation of whole splits against figures measured apart from this code.

The real packs are used where EDGEOSR_DATA names them; a generated pack is always checked.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.decode import decode_images
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.preprocessing import Preprocessing

# name, split, images, size, mean, standard deviation
MEASURED = {
    "cifar10": ("test", 10_000, 32, (0.4946, 0.4855, 0.4508), (0.2450, 0.2422, 0.2605)),
    "cifar100": ("train", 10_000, 32, (0.5091, 0.4878, 0.4423), (0.2663, 0.2564, 0.2754)),
    "mnist": ("test", 10_000, 28, (0.1365,) * 3, (0.3061,) * 3),
    "gtsrb": ("test", 12_630, 32, (0.3366, 0.3094, 0.3200), (0.2701, 0.2613, 0.2678)),
    "dtd10": ("train", 1_200, 128, (0.5123, 0.4700, 0.4293), (0.2688, 0.2548, 0.2634)),
    "neu": ("train", 1_800, 128, (0.5035, 0.5034, 0.5035), (0.2112, 0.2112, 0.2112)),
}
INK = {"omniglot": (964, 0.0779), "omniglot-evaluation": (659, 0.0843)}
DATA = os.environ.get("EDGEOSR_DATA", "")


def with_generated(real: Iterable[str]) -> list[str]:
    """Return the cases: always the generated pack, the real ones where their data are."""
    return ["generated", *(real if DATA else ())]


def statistics(images: LabelledImages, size: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = decode_images(images, Preprocessing(height=size, width=size), description="reading").pixels
    # Sums over the 256 possible values are exact, and fast enough for 90 million of them.
    counts = np.array([np.bincount(channel, minlength=256) for channel in pixels.reshape(-1, 3).T])
    shares = counts / counts.sum(axis=1, keepdims=True)
    level = np.arange(256) / 255
    mean = shares @ level
    return mean, np.sqrt(shares @ level**2 - mean**2)


@pytest.mark.parametrize("name", with_generated(MEASURED))
def test_packs_have_their_measured_statistics(
    name: str, pack_arrays: dict[str, np.ndarray], write_pack: Callable[..., Path]
) -> None:
    if name == "generated":
        pixels = pack_arrays["test_pixels_of_the_test"].reshape(-1, 3) / 255
        split, count, size, mean, deviation = ("test", 12, 8, pixels.mean(axis=0), pixels.std(axis=0))
        opened = open_image_set(str(write_pack(pack_arrays)))
    else:
        split, count, size, mean, deviation = MEASURED[name]
        opened = open_image_set(name)
    images = getattr(opened, split)
    assert len(images) == count
    found_mean, found_deviation = statistics(images, size)
    assert np.abs(found_mean - mean).max() < 6e-5
    assert np.abs(found_deviation - deviation).max() < 6e-5


@pytest.mark.parametrize("name", with_generated(INK))
def test_omniglot_packs_have_their_measured_ink(name: str, tmp_path: Path) -> None:
    if name == "generated":
        drawn = np.random.default_rng(8).random((60, 105 * 105)) < 0.08
        source, characters, ink = str(tmp_path / "omniglot_background.npz"), 3, drawn.mean()
        np.savez(source, bits=np.packbits(~drawn, axis=1), shape=np.array([3, 20, 105, 105]))
    else:
        source, (characters, ink) = name, INK[name]
    train = open_image_set(source).train
    assert np.bincount(train.labels).tolist() == [20] * characters
    share = np.mean([(train.read(i)[..., 0] == 255).mean() for i in range(len(train))])
    assert abs(share - ink) < 6e-5


@pytest.mark.parametrize("name", with_generated(["gtsrb"]))
def test_packs_with_tracks_have_their_number_of_frames(
    name: str, pack_arrays: dict[str, np.ndarray], write_pack: Callable[..., Path]
) -> None:
    source, expected = (
        (str(write_pack(pack_arrays)), {4: 6}) if name == "generated" else (name, {29: 1, 30: 1306})
    )
    frames, tracks = np.unique(np.bincount(open_image_set(source).train.groups), return_counts=True)
    assert dict(zip(frames.tolist(), tracks.tolist(), strict=True)) == expected
