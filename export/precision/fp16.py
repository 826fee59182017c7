"""Type a float32 body as fp16: weights, activations and tangents, all but the logits of an external head.

The converter is onnxruntime's (``onnxruntime.transformers.float16``, the successor of onnxconverter-common's
in the same hands), which comes with onnxruntime itself.
"""

from typing import Any

import numpy as np

from edgeosr.errors import ExportError, import_extra

LARGEST = float(np.finfo(np.float16).max)
# The converter keeps these in float32 for old backends; TensorRT has all of them in fp16, and every cast
# around them would be a reformat in the engine.
_HAS_FP16 = ("Min", "Max", "Resize", "Upsample")


def to_fp16(body: bytes) -> bytes:
    """Return the body with fp16 input, weights and outputs.

    Raises:
        ExportError: a weight is too large for fp16; the message names it.
    """
    onnx = import_extra("onnx", extra="export", purpose="typing the backbone")
    converter = import_extra(
        "onnxruntime.transformers.float16", extra="export", purpose="typing the backbone"
    )
    model = onnx.load_model_from_string(body)
    _require_range(onnx, model)
    blocked = [name for name in converter.DEFAULT_OP_BLOCK_LIST if name not in _HAS_FP16]
    typed: Any = converter.convert_float_to_float16(
        model,
        # Weights below this would become zero; a subnormal is nearer.
        min_positive_val=float(np.finfo(np.float16).smallest_subnormal),
        max_finite_val=LARGEST,
        keep_io_types=False,
        op_block_list=blocked,
    )
    data: bytes = typed.SerializeToString(deterministic=True)
    return data


def converter_name() -> str:
    """Return what typed it, with its version."""
    return f"onnxruntime {import_extra('onnxruntime', extra='export', purpose='typing').__version__} float16"


def _require_range(onnx: Any, model: Any) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor)
            largest = float(np.max(np.abs(array), initial=0.0))
            if largest > LARGEST:
                raise ExportError(
                    f"the weight {tensor.name!r} reaches {largest:.3g}; fp16 holds at most {LARGEST:g}; "
                    "export with --engine fp32"
                )
