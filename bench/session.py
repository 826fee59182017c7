"""A bare onnxruntime session with the options that the Runtime uses, so that the two compare."""

from pathlib import Path
from typing import Any

from edgeosr.runtime.sessions import SessionSettings
from edgeosr.runtime.sessions import open_session as open_any_session


def open_session(model: bytes | Path, threads: int | None) -> Any:
    """Open ``model`` (ONNX bytes, or a path) on the CPU provider; ``threads`` None = one a physical core."""
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    return open_any_session(data, SessionSettings(threads=threads))
