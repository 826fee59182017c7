"""A bare onnxruntime session with the options that the Runtime uses, so that the two compare."""

from pathlib import Path
from typing import Any

from edgeosr.runtime.onnxruntime_graph import load_onnxruntime


def open_session(model: bytes | Path, threads: int | None) -> Any:
    """Open ``model`` (ONNX bytes, or a path) on the CPU provider; ``threads`` None = one a physical core."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    # Errors only: it would warn that channel_order, an input with a default, is no constant.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )
