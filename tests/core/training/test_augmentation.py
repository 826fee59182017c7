import numpy as np
import pytest
import torch

from edgeosr.errors import MissingDependencyError
from edgeosr.preprocessing import Preprocessing
from edgeosr.training.augmentation import Normalise, make_augmentation


def coordinates(batch=64, size=32):
    """Images whose red is the row and whose green is the column, 1-based, over 100."""
    row = torch.arange(1, size + 1).float().view(1, 1, size, 1).expand(batch, 1, size, size)
    column = row.transpose(2, 3)
    return torch.cat([row, column, torch.full_like(row, 50)], 1) / 100


def test_shifted_images_move_by_at_most_the_padding_and_are_black_outside():
    torch.manual_seed(0)
    shifted = make_augmentation(32, shift=0.125, flip=False, color_jitter=0)(coordinates())
    inside = shifted[:, 2] > 0.25
    rows = shifted[:, 0] * 100 - torch.arange(1, 33).view(1, 32, 1)
    moves = {round(float(rows[i][inside[i]].mean())) for i in range(len(rows))}
    assert moves <= set(range(-4, 5))
    assert len(moves) > 4
    assert (shifted[:, 0][~inside].abs() < 1e-6).all()
    whole = rows[inside] - rows[inside].round()
    assert float(whole.abs().max()) < 1e-3, "pixels are moved, not interpolated"


def test_flips_mirror_about_half_of_the_images():
    torch.manual_seed(0)
    images = coordinates()
    changed = make_augmentation(32, shift=0, flip=True, color_jitter=0)(images)
    same = (changed == images).all(dim=(1, 2, 3))
    mirrored = (changed == images.flip(3)).all(dim=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 15 < int(mirrored.sum()) < 49


def test_nothing_is_changed_where_nothing_is_asked():
    images = coordinates()
    assert make_augmentation(32, shift=0, flip=False, color_jitter=0)(images) is images


def test_colour_jitter_keeps_values_in_range():
    torch.manual_seed(0)
    images = coordinates()
    changed = make_augmentation(32, shift=0, flip=False, color_jitter=0.4)(images)
    assert not torch.equal(changed, images)
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_the_same_seed_gives_the_same_augmentation():
    augment = make_augmentation(32, shift=0.125, flip=True, color_jitter=0.2)
    images = coordinates()
    torch.manual_seed(5)
    first = augment(images)
    torch.manual_seed(5)
    assert torch.equal(first, augment(images))
    assert not torch.equal(first, augment(images))


def test_normalise_scales_and_standardises_every_channel():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 5, 5, 3), dtype=np.uint8)
    preprocessing = Preprocessing(height=5, width=5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    got = Normalise(preprocessing, torch.device("cpu"))(torch.from_numpy(pixels))
    expected = (pixels / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    np.testing.assert_allclose(got.numpy(), expected.transpose(0, 3, 1, 2), atol=1e-6)


def test_a_missing_kornia_names_its_install_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kornia", None)
    monkeypatch.setitem(__import__("sys").modules, "kornia.augmentation", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[train\]'"):
        make_augmentation(32, shift=0.1, flip=False, color_jitter=0)
