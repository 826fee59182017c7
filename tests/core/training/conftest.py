"""A folder of real digits, small enough to train on in a second."""

import dataclasses

import pytest

from edgeosr.training.settings import TrainSettings

PER_CLASS = 24


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    from PIL import Image
    from sklearn.datasets import load_digits

    root = tmp_path_factory.mktemp("digits")
    digits = load_digits()
    for name in range(5):
        (root / str(name)).mkdir()
        for i, image in enumerate(digits.images[digits.target == name][:PER_CLASS]):
            Image.fromarray((image * 15.9375).astype("uint8")).save(root / str(name) / f"{i:03}.png")
    return root


@pytest.fixture
def settings(digits_folder, tmp_path):
    """Settings of a run of a second or two; change them with ``dataclasses.replace``."""
    return TrainSettings(
        data=str(digits_folder),
        known=("0", "1", "2"),
        input_size=16,
        batch_size=16,
        epochs=4,
        discriminator=False,
        folds=0,
        threads=1,
        out=tmp_path / "run",
    )


@pytest.fixture
def changed():
    return dataclasses.replace
