"""Wrap a classifier that edgeosr did not train: a float ONNX graph and a folder of its known images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import ExportError, UnsupportedGraphError, UsageError
from edgeosr.export.closed_form.pooling import find_embedding, last_layer_input
from edgeosr.export.foreign.logits import keep_logits
from edgeosr.export.foreign.stated import stated_preprocessing
from edgeosr.export.graph.checks import NOTES, load_classifier_onnx
from edgeosr.export.graph.image_input import GREY_NOTE
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import NodeWriter
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.scorer import Head

if TYPE_CHECKING:
    import onnx_ir as ir

# What the last layer reads is no embedding if it is longer: a whole map, flattened.
_LONGEST_EMBEDDING = 4096


def classifier_from_onnx(path: Path, classes: tuple[str, ...], settings: ExportSettings) -> ClassifierGraph:
    """Read a deployed classifier without a look at its images; see ``read_classifier``."""
    return read_classifier(path, classes, settings, None)[0]


def read_classifier(
    path: Path, classes: tuple[str, ...], settings: ExportSettings, images: LabelledImages | None
) -> tuple[ClassifierGraph, list[str]]:
    """Read a deployed classifier and find its embedding and its logits.

    The embedding is the output of the last spatial pool, or ``settings.embedding``; what comes after it is
    kept as it is. Without such a pool, and without a closed form, it is what the last linear layer reads. The
    logits are the output of as many values as there are classes, or ``settings.logits``; where that holds
    probabilities, the tensor before them.

    Args:
        path: the ONNX file.
        classes: names in the order of its outputs.
        settings: normalisation, colour order, fit, embedding and logits.
        images: known ones, on which the outputs are looked at; None to look at noise alone.

    Returns:
        The classifier, and what is worth telling about it, a sentence each.

    Raises:
        ExportError: the file cannot be used as a classifier; the message says what breaks it.
        UsageError: the number of classes is not the number of outputs, or several outputs have it.
    """
    model = load_classifier_onnx(
        path, classes=len(classes), logits=settings.logits, embedding=settings.embedding
    )
    _require_classes(model, path, classes, settings.logits)
    image = model.graph.inputs[0]
    height, width = _input_size(image, path)
    preprocessing = stated_preprocessing(settings, height, width).preprocessing
    notes: list[str] = [*_grey_note(model, path, preprocessing), *model.meta[NOTES]]
    notes += keep_logits(model, path, preprocessing, images, classes, settings.threads)
    embedding, found = _embedding(model, settings)
    notes += found
    logits = _own_logits(model, embedding)
    nothing = np.empty(0, np.float32)
    classifier = ClassifierGraph(
        graph=_serialise(model),
        input_name=str(image.name),
        embedding=embedding,
        logits=str(logits.name),
        dimension=_last_dimension(_named(model, embedding), f"the embedding {embedding}", path),
        classes=classes,
        head=Head(kind="external", weight=nothing.reshape(0, 0), bias=nothing, temperature=1.0),
        preprocessing=preprocessing,
        layers=(),
        default_part="max_logit",
    )
    return classifier, notes


def _embedding(model: "ir.Model", settings: ExportSettings) -> tuple[str, list[str]]:
    """Return the embedding's name, and a sentence if it is not where it is looked for first."""
    if settings.embedding is not None:
        return settings.embedding, []
    try:
        return find_embedding(model), []
    except UnsupportedGraphError:
        value = last_layer_input(model)
        if settings.jacobian == "closed-form" or value is None or not _is_embedding(model, value):
            raise
    name = str(value.name)
    return name, [
        f"no pool over the whole map lies on every way to the scores; {name!r}, which the last layer reads, "
        "is taken as the embedding"
    ]


def _is_embedding(model: "ir.Model", value: "ir.Value") -> bool:
    shape = static_shape(_named(model, str(value.name)))
    return shape is not None and len(shape) == 2 and 1 < (shape[1] or 0) <= _LONGEST_EMBEDDING


def _require_classes(
    model: "ir.Model", path: Path, classes: tuple[str, ...], named: str | None = None
) -> None:
    outputs = [_last_dimension(value, "the class scores", path) for value in model.graph.outputs]
    if len(classes) not in outputs:
        counts = " or ".join(map(str, outputs))
        if named is None:
            what, kind = path.name, "outputs"
        else:
            what, kind = f"the tensor of --logits {named}", "values"
        raise UsageError(
            f"{what} has {counts} {kind}, but there are {len(classes)} known "
            f"classes ({', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}); "
            "--data needs one folder a class, and --known gives their names in the order of the outputs; "
            "outputs without images are named there too, with --unknown-outputs rest beside it"
        )


def _grey_note(model: "ir.Model", path: Path, preprocessing: Preprocessing) -> list[str]:
    """Check the normalisation of a grey input: it is made of three planes that are normalised alike."""
    if GREY_NOTE not in model.metadata_props:
        return []
    mean, std = preprocessing.mean, preprocessing.std
    if len(set(mean)) > 1 or len(set(std)) > 1:
        raise UsageError(
            f"{path.name} takes grey images, so --mean and --std must be one value, given three times; got "
            f"{mean} and {std}; for values from -1 to 1: --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5"
        )
    if preprocessing.color != "rgb":
        raise UsageError(f"{path.name} takes grey images, which have no order of colours; leave --color out")
    return ["its input is grey: frames become 0.299 red + 0.587 green + 0.114 blue (ITU-R 601)"]


def _own_logits(model: "ir.Model", embedding: str) -> "ir.Value":
    """Return the logits; a copy of them where they are the embedding too (a fully convolutional head)."""
    logits = model.graph.outputs[0]
    if logits.name != embedding:
        return logits
    writer = NodeWriter(model, "logits_of_embedding")
    copy = writer.op("Identity", logits)
    writer.append()
    copy.type, copy.shape = logits.type, logits.shape
    model.graph.outputs[0] = copy
    return copy


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
    from edgeosr.export.graph.observed_shapes import observe_shapes
    from edgeosr.export.graph.writer import find_value

    value = find_value(model, name)
    observe_shapes(model.graph, [value])
    return value


def _serialise(model: "ir.Model") -> bytes:
    import onnx_ir as ir

    return bytes(ir.to_proto(model).SerializeToString())
