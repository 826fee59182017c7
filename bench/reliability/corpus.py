"""Seeds for the fuzz targets: small good inputs of each parser, made of a bundle when they are needed."""

import io
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.bundle.directory import MANIFEST_NAME, read_bundle
from edgeosr.files import sha256_of

_LARGEST_WEIGHT = 64  # bytes of an initialiser that stays in a seed
_ROWS = 2  # of each array
_ORIENTATIONS = range(1, 9)


def seeds_of(bundle: Path) -> dict[str, tuple[bytes, ...]]:
    """Return good inputs by the name of a target, the most ordinary first.

    Args:
        bundle: a good one.
    """
    files = read_bundle(bundle).files
    return {
        "manifest": _manifests((bundle / MANIFEST_NAME).read_bytes()),
        "graph": (files["model.onnx"], *_graphs(files["model.onnx"])),
        "scorer": (files["scorer.npz"],),
        "npz": (*_archives(files["golden.npz"]), *_archives(files["scorer.npz"])),
        "golden": (files["golden.npz"], _rows(files["golden.npz"])),
        "orientation": tuple(_exif(order, turn) for order in "<>" for turn in _ORIENTATIONS),
        "picture": _pictures(),
        "container": _containers(),
    }


def write_corpus(folder: Path, seeds: dict[str, tuple[bytes, ...]], *, largest: int) -> None:
    """Write the seeds of at most ``largest`` bytes where libFuzzer looks for them: ``folder/TARGET/HASH``."""
    for name, inputs in seeds.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for data in inputs:
            if len(data) <= largest:
                (folder / name / sha256_of(data)[:40]).write_bytes(data)


def read_corpus(folder: Path, *, largest: int) -> tuple[bytes, ...]:
    """Return the inputs of one target, by name: seeds, and what reached a new path in an earlier run."""
    if not folder.is_dir():
        return ()
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple(path.read_bytes() for path in paths if path.stat().st_size <= largest)


def _manifests(data: bytes) -> tuple[bytes, ...]:
    """Return it as it is, in one line, and without what may be missing."""
    document = json.loads(data)
    bare = {**document, "engines": [], "left_out": None, "outliers": None, "discriminator": None}
    return data, json.dumps(document).encode(), json.dumps(bare).encode()


def _graphs(data: bytes) -> tuple[bytes, ...]:
    """Return the graph without large weights, without any, and without nodes."""
    import onnx

    made = []
    for nodes, most in ((True, _LARGEST_WEIGHT), (True, -1), (False, -1)):
        model: Any = onnx.load_model_from_string(data)
        kept = [one for one in model.graph.initializer if len(one.raw_data) <= most]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        if not nodes:
            del model.graph.node[:]
        made.append(bytes(model.SerializeToString()))
    return tuple(made)


def _archives(data: bytes) -> tuple[bytes, ...]:
    """Return an archive of each array, of a few rows."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return tuple(_packed({name: archive[name][:_ROWS]}) for name in archive.files if archive[name].ndim)


def _rows(data: bytes) -> bytes:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return _packed(
            {name: archive[name][:_ROWS] if archive[name].ndim else archive[name] for name in archive}
        )


def _packed(arrays: dict[str, Any]) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def _exif(order: str, turn: int) -> bytes:
    """Return an EXIF block with a broken tag before the orientation and one behind it."""
    mark = {"<": b"II", ">": b"MM"}[order]
    entry = f"{order}HHI"
    broken = struct.pack(entry, 0x10F, 2, 4_000_000_000) + struct.pack(f"{order}I", 12)
    orientation = struct.pack(entry, 0x112, 3, 1) + struct.pack(f"{order}HH", turn, 0)
    tags = struct.pack(f"{order}H", 3) + broken + orientation + broken + bytes(4)
    return b"Exif\0\0" + mark + struct.pack(f"{order}HI", 42, 8) + tags


def _pictures() -> tuple[bytes, ...]:
    """Return a picture of each format, and of some kinds of pixels."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    picture = Image.fromarray(pixels)
    made = []
    for form, mode, options in (
        ("PNG", "RGB", {}), ("PNG", "P", {"transparency": 0}), ("PNG", "1", {}), ("PNG", "LA", {}),
        ("PNG", "I;16", {}), ("JPEG", "RGB", {"exif": _exif("<", 6)}), ("JPEG", "CMYK", {}),
        ("JPEG", "L", {"progressive": True}), ("WEBP", "RGBA", {}), ("BMP", "RGB", {}), ("PPM", "RGB", {}),
    ):  # fmt: skip
        encoded = io.BytesIO()
        converted = picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)
        converted.save(encoded, form, **options)
        made.append(encoded.getvalue())
    return tuple(made)


def _containers() -> tuple[bytes, ...]:
    """Return a short video of each kind of container; a header alone where OpenCV is not installed."""
    try:
        import cv2
    except ImportError:
        return (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", b"RIFF\0\0\0\0AVI LIST\0\0\0\0hdrlavih")
    frame, made = np.full((16, 16, 3), 90, np.uint8), []
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "MJPG")):
            path = Path(folder) / f"a{suffix}"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (16, 16))
            for _ in range(3):
                writer.write(frame)
            writer.release()
            if path.exists():
                made.append(path.read_bytes())
    return tuple(made)
