"""A bundle that the newest versions made: handed over by run.py, or else the tests' own."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def newest_bundle(request: pytest.FixtureRequest) -> Path:
    given = os.environ.get("EDGEOSR_OLDEST_BUNDLE")
    return Path(given) if given else Path(request.getfixturevalue("digits_bundle"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "pictures" / "noise.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return path
