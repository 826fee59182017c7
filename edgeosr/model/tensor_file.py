"""Files of torch tensors: written atomically, read without executing anything in them."""

import io
from pathlib import Path
from typing import Any

import torch

from edgeosr.errors import DataError, EdgeosrError
from edgeosr.files import atomic_file, storage_errors


def write_tensors(path: Path, state: Any) -> None:
    """``torch.save`` atomically; raises StorageError."""
    # Not straight into the file: torch makes a RuntimeError of its own of a full disk.
    encoded = io.BytesIO()
    torch.save(state, encoded)
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())


def read_tensors(path: Path, advice: str) -> Any:
    """Return what ``write_tensors`` wrote, on the CPU; tensors and plain values only.

    Raises:
        StorageError: the file cannot be read.
        DataError: it is damaged or holds anything else; ``advice`` says what to do.
    """
    try:
        # An empty one is what is left of a damaged file, not a wrong path.
        if path.is_file() and path.stat().st_size == 0:
            raise EOFError
        with storage_errors("read", path):
            return torch.load(path, map_location="cpu", weights_only=True)
    except EdgeosrError:
        raise
    except Exception as error:  # torch raises a dozen kinds of errors for damaged files
        raise DataError(
            f"{path} is damaged or not a file of tensors ({type(error).__name__}); {advice}"
        ) from error
