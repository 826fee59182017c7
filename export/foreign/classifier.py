"""Wrap a classifier that edgeosr did not train: a float ONNX graph and a folder of its known images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import ExportError, UsageError
from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.foreign.stated import stated_preprocessing
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.scoring.scorer import Head

if TYPE_CHECKING:
    import onnx_ir as ir

# Their scores rise with the logits, but they are not logits: the tensor before them is.
_SQUASHING = ("Softmax", "LogSoftmax")


def classifier_from_onnx(path: Path, classes: tuple[str, ...], settings: ExportSettings) -> ClassifierGraph:
    """Read a deployed classifier and find its embedding and its logits.

    The embedding is the output of the last spatial pool, or ``settings.embedding``; what comes after it is
    kept as it is. The logits are the classifier's output, or the input of a final softmax.

    Args:
        path: the ONNX file.
        classes: names in the order of its outputs.
        settings: normalisation, colour order, fit and embedding.

    Raises:
        ExportError: the file cannot be used as a classifier; the message says what breaks it.
        UsageError: the number of classes is not the number of outputs.
    """
    model = load_classifier_onnx(path)
    embedding = settings.embedding or find_embedding(model)
    logits = _logits(model)
    outputs = _last_dimension(logits, "the logits", path)
    if outputs != len(classes):
        raise UsageError(
            f"{path.name} has {outputs} outputs, but there are {len(classes)} known classes "
            f"({', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}); "
            "--data needs one folder a class, and --known gives their names in the order of the outputs"
        )
    image = model.graph.inputs[0]
    height, width = _input_size(image, path)
    nothing = np.empty(0, np.float32)
    return ClassifierGraph(
        graph=_serialise(model),
        input_name=str(image.name),
        embedding=embedding,
        logits=str(logits.name),
        dimension=_last_dimension(_named(model, embedding), f"the embedding {embedding}", path),
        classes=classes,
        head=Head(kind="external", weight=nothing.reshape(0, 0), bias=nothing, temperature=1.0),
        preprocessing=stated_preprocessing(settings, height, width).preprocessing,
        layers=(),
        default_part="max_logit",
    )


def _logits(model: "ir.Model") -> "ir.Value":
    from edgeosr.export.graph.reading import through

    value = model.graph.outputs[0]
    node = through(value).producer()
    while node is not None and node.op_type in _SQUASHING and node.inputs[0] is not None:
        value = through(node.inputs[0])
        node = value.producer()
    return value


def _input_size(image: "ir.Value", path: Path) -> tuple[int, int]:
    shape = image.shape
    if shape is not None and len(shape) == 4 and isinstance(shape[2], int) and isinstance(shape[3], int):
        return shape[2], shape[3]
    raise ExportError(
        f"the input of {path.name} must be [batch, 3, height, width] with height and width fixed; got "
        f"{shape or 'an unknown shape'}; export the classifier again with a fixed image size"
    )


def _last_dimension(value: "ir.Value", what: str, path: Path) -> int:
    shape = value.shape
    if shape is None or len(shape) != 2 or not isinstance(shape[1], int):
        raise ExportError(
            f"{what} of {path.name} must be [batch, n] with n fixed; got {shape or 'an unknown shape'}; "
            "export the classifier again with fixed sizes but for the batch, or run onnx.shape_inference"
        )
    return shape[1]


def _named(model: "ir.Model", name: str) -> "ir.Value":
    from edgeosr.export.graph.writer import find_value

    return find_value(model, name)


def _serialise(model: "ir.Model") -> bytes:
    import onnx_ir as ir

    return bytes(ir.to_proto(model).SerializeToString())
