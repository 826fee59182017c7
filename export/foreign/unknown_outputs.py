"""Outputs that mean "unknown": a background class, or classes of which there are no images.

The bundle knows the other classes only, and its parts are computed from their logits. Where the model's own
answer is one of these outputs, the score is infinite: no threshold accepts that frame.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import Parts
from edgeosr.data.spelling import as_spelled
from edgeosr.errors import DataError, UsageError, suggestion
from edgeosr.export.graph.assemble import parse_graph, serialise_graph
from edgeosr.export.graph.writer import NodeWriter, find_value, import_onnx_ir
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.settings import ExportSettings

# Of --unknown-outputs: all outputs without images.
REST = "rest"
_NAMED = 6


def with_images(image_set: ImageSet) -> tuple[str, ...]:
    """Return the classes that have training images, in their order."""
    classes = image_set.train.class_names
    return tuple(classes[label] for label in np.unique(image_set.train.labels).tolist())


def known_outputs(
    names: Sequence[str], settings: ExportSettings, image_set: ImageSet
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell outputs that are known classes from those that mean unknown.

    Args:
        names: of all outputs.
        settings: ``unknown_outputs`` of them.
        image_set: the known images.

    Returns:
        Both kinds, in the order of the outputs.

    Raises:
        UsageError: ``unknown_outputs`` has a name that no output has, or leaves fewer than two.
        DataError: an output has no images and is not said to mean unknown.
    """
    filled = with_images(image_set)
    asked = settings.unknown_outputs or ()
    if asked == (REST,) and REST not in names:
        unknown = tuple(name for name in names if name not in filled)
    else:
        unknown = tuple(as_spelled(name, names) for name in asked)
    for name in unknown:
        if name not in names:
            raise UsageError(
                f"--unknown-outputs names {name!r}, which is none of the model's outputs"
                f"{suggestion(name, names) or ';'} --known or --known-file names all of them, in order"
            )
    known = tuple(name for name in names if name not in unknown)
    # With a folder that is empty, or none: four_parts would say so, but not what to do.
    missing = [name for name in known if name not in filled]
    if missing:
        near = suggestion(missing[0], [name for name in filled if name not in names])
        raise DataError(
            f"{image_set.title} has no images of {_listed(missing)}{near or ';'} if these are outputs of the "
            f"model that there are no images of, add --unknown-outputs {_typed(missing)}: what the model "
            f"names so is then unknown; its classes with images: {_listed(filled)}"
        )
    if not known and not set(names) & set(filled):
        raise UsageError(
            f"--unknown-outputs must leave at least 2 known classes; got none, for no name of an output is a "
            f"folder: the outputs are called {_listed(names)}, the folders of {image_set.title} "
            f"{_listed(filled)}; write the names as the folders are called, in the order of the outputs"
        )
    if len(known) < 2:
        raise UsageError(
            f"--unknown-outputs must leave at least 2 known classes; got {len(known)} of {len(names)} outputs"
        )
    return known, tuple(name for name in names if name in unknown)


def described(unknown: Sequence[str]) -> str:
    """Return what becomes of these outputs, in a sentence."""
    return f"what the model itself names {_listed(unknown, 'or')} is unknown, whatever its score"


def of_all_outputs(parts: Parts, names: tuple[str, ...]) -> Parts:
    """Return the parts with the labels of all outputs, of some of which there is no image."""

    def relabelled(images: LabelledImages) -> LabelledImages:
        places = np.array([names.index(name) for name in images.class_names], np.int64)
        return replace(images, class_names=names, labels=places[images.labels])

    return replace(
        parts,
        known=names,
        train=relabelled(parts.train),
        select=relabelled(parts.select),
        calibrate=relabelled(parts.calibrate),
        test=relabelled(parts.test),
    )


def without_outputs(classifier: ClassifierGraph, known: tuple[str, ...]) -> ClassifierGraph:
    """Return the classifier of the known outputs alone, with a tensor that is infinite where another wins.

    Args:
        classifier: with an external head, of all outputs.
        known: some of its classes, in their order.
    """
    ir = import_onnx_ir()
    assert classifier.logits is not None, "a classifier with a head of its own"
    model = parse_graph(classifier.graph)
    logits = find_value(model, classifier.logits)
    writer = NodeWriter(model, "known_outputs")
    op = writer.op
    places = [i for i, name in enumerate(classifier.classes) if name in known]
    others = [i for i, name in enumerate(classifier.classes) if name not in known]
    kept, left = (
        op("Gather", logits, writer.constant(np.array(one, np.int64)), axis=1) for one in (places, others)
    )
    ahead = op("Sub", writer.reduce("ReduceMax", left, [1]), writer.reduce("ReduceMax", kept, [1]))
    wins = op("Greater", ahead, writer.constant(np.array(0, np.float32)))
    # A score that is not finite is rejected by every back end and at any threshold.
    infinite, nothing = (writer.constant(np.array(value, np.float32)) for value in (np.inf, 0.0))
    outside = op("Reshape", op("Where", wins, infinite, nothing), writer.constant(np.array([-1], np.int64)))
    writer.append()
    batch = "batch" if logits.shape is None else logits.shape[0]
    for value, sizes in ((kept, [batch, len(known)]), (outside, [batch])):
        value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(sizes)
    model.graph.outputs[:] = [kept, outside]
    return replace(
        classifier,
        graph=serialise_graph(model),
        logits=str(kept.name),
        outside=str(outside.name),
        classes=known,
    )


def _listed(names: Sequence[str], last: str = "and") -> str:
    shown = [repr(name) for name in names[:_NAMED]]
    if len(names) > _NAMED:
        return f"{', '.join(shown)} {last} {len(names) - _NAMED} more"
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _typed(names: Sequence[str]) -> str:
    plain = len(names) <= _NAMED and not any(set(name) & set(", '\"$`\\") for name in names)
    return ",".join(names) if plain else REST
