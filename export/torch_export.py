"""From a trained torch backbone to an ONNX graph."""

import logging
import warnings
from typing import Any

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.errors import ExportError, import_extra

OPSET = 18
INPUT_NAME = "input"


def onnx_bytes_from_backbone(backbone: Any, height: int, width: int) -> bytes:
    """Trace a backbone with torch's own exporter (dynamo, opset 18, dynamic batch).

    Args:
        backbone: ``torch.nn.Module``, normalised float32 ``[B, 3, height, width]`` to z ``[B, D]``. It is
            put into eval mode.
        height: of the network's input, pixels.
        width: of the network's input, pixels.

    Returns:
        A serialised model with the input ``"input"`` and the output ``"embedding"``.

    Raises:
        ExportError: torch cannot trace it.
    """
    torch = import_extra("torch", extra="train", purpose="exporting a training run")
    ir = import_extra("onnx_ir", extra="export", purpose="exporting a training run")
    import_extra("onnxscript", extra="export", purpose="exporting a training run")
    backbone.eval()
    example = torch.zeros(2, 3, height, width)
    # torch's exporter reports what it skips (torchvision operators) through a logger and through warnings
    # about its own internals; neither is the user's business.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                backbone,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT_NAME],
                output_names=[EMBEDDING],
                verbose=False,
            )
    except Exception as error:
        raise ExportError(
            f"torch cannot export this backbone to ONNX: {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'}"
        ) from error
    finally:
        logger.setLevel(level)
    return bytes(ir.to_proto(program.model).SerializeToString())
