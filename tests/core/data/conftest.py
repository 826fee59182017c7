"""Small image sets made on the spot, in the formats the readers meet."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return encoded


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes class folders of small PNG files, each of one grey level."""

    def write(counts: dict[str, int], root: Path | None = None, *, backwards: bool = False) -> Path:
        root = root or tmp_path / "images"
        files = [(name, i) for name, count in counts.items() for i in range(count)]
        for name, i in reversed(files) if backwards else files:
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{i:03d}.png").write_bytes(encoded(np.full((6, 6, 3), i, np.uint8)))
        return root

    return write


@pytest.fixture
def pack_arrays() -> dict[str, np.ndarray]:
    """Return a pack of 24 train and 12 test images of 8x8: 3 classes, tracks of 4, lossless WebP."""
    random = np.random.default_rng(5)
    arrays: dict[str, np.ndarray] = {"classes": np.array(["ant", "bee", "cow"])}
    for split, count in (("train", 24), ("test", 12)):
        pixels = random.integers(0, 256, (count, 8, 8, 3), np.uint8)
        bodies = [encoded(image, "WEBP", lossless=True) for image in pixels]
        arrays[f"{split}_y"] = np.repeat(np.arange(3), count // 3).astype(np.uint8)
        arrays[f"{split}_data"] = np.frombuffer(b"".join(bodies), np.uint8)
        arrays[f"{split}_off"] = np.cumsum([0, *(len(body) for body in bodies)]).astype(np.uint32)
        arrays[f"{split}_pixels_of_the_test"] = pixels
    arrays["train_track"] = (np.arange(24) % 8 // 4).astype(np.uint16)
    return arrays


@pytest.fixture
def write_pack(tmp_path: Path) -> Callable[..., Path]:
    def write(arrays: dict[str, np.ndarray], name: str = "animals.npz") -> Path:
        path = tmp_path / name
        np.savez(path, **{key: value for key, value in arrays.items() if not key.endswith("_of_the_test")})
        return path

    return write
