"""The logits of a foreign classifier, recognised by values.

Exporters write a softmax in a dozen ways, and name its nodes as they like. So whether an output holds
probabilities is asked of its values on images, and the logits are that tensor before it of which the output
is the softmax, number for number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import feed_of
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError, ExportError, UsageError
from edgeosr.export.foreign.squashing import is_squashed, undone
from edgeosr.export.foreign.turned import SMALLEST, smallest_is_right
from edgeosr.export.front_end.front_end import add_preprocessing
from edgeosr.export.graph.assemble import parse_graph, remove_unused, serialise_graph
from edgeosr.export.graph.class_scores import described, given_name
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import NodeWriter, find_value, import_onnx_ir
from edgeosr.export.threads import graph_threads
from edgeosr.preprocessing import Preprocessing
from edgeosr.progress import progress
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

if TYPE_CHECKING:
    import onnx_ir as ir

# Images that are looked at: known ones, and noise, of which a classifier is less sure.
KNOWN_IMAGES, NOISE_IMAGES = 48, 16
# Noise images that are judged alone once more.
_ALONE = 4
# Nodes above an output in which its logits are looked for; a softmax by hand with a temperature has ten.
_NODES = 64
# What is above these is no longer a function of each class's score alone.
_LAYERS = ("Conv", "Gemm", "MatMul", "GlobalAveragePool", "AveragePool", "MaxPool", "GlobalMaxPool")
_WAY_OUT = (
    "export the classifier with its logits as output (the tensor before the last softmax or sigmoid), or "
    "name them with --logits TENSOR"
)
Rows = NDArray[np.float64]
# Nodes whose names begin so are added here, or before or after, behind the file's own.
ADDED = ("class_scores/", "logits_of_two_axes/", "times_factor/", "other_sign/", "logits_of_embedding/")


@dataclass(frozen=True)
class _Found:
    """What one output comes to: the tensor that is its logits, and what the output holds of it, in words.

    The logits are ``factor`` times the tensor, of which ``rows`` are the values.
    """

    output: "ir.Value"
    kind: str
    logits: str
    rows: Rows
    factor: float = 1.0


def keep_logits(
    model: "ir.Model",
    path: Path,
    preprocessing: Preprocessing,
    images: LabelledImages | None,
    class_names: Sequence[str],
    threads: int | None = None,
) -> list[str]:
    """Leave the logits as the model's only output, float32 ``[batch, C]``, in place.

    Where the smallest value is the best one, as of distances, they are taken with the other sign.

    Args:
        model: of ``load_classifier_onnx``, with one output or more of C classes.
        path: the file, for messages.
        preprocessing: from frame to its input.
        images: known ones; None to look at noise alone.
        class_names: C names, in the order of the outputs.
        threads: of onnxruntime; None for what suits the graph.

    Returns:
        What is worth telling, a sentence each.

    Raises:
        UsageError: several outputs can be the class scores; the message lists them.
        ExportError: an output holds probabilities, and no tensor of the graph their logits; or one image
            comes out differently in a batch.
    """
    outputs, classes = list(model.graph.outputs), len(class_names)
    above = {output: _above(model, output, classes) for output in outputs}
    names = list(dict.fromkeys(str(value.name) for values in above.values() for value in values))
    frames, labels = _frames(images, class_names)
    rows = _rows(model, path, preprocessing, frames, names, classes, threads)
    found = [_found(output, [str(value.name) for value in above[output]], rows, path) for output in outputs]
    distinct = [one for i, one in enumerate(found) if not any(_same(one, other) for other in found[:i])]
    if len(distinct) > 1:
        raise UsageError(
            f"{len(distinct)} outputs of {path.name} can be the scores of {classes} classes: "
            f"{', '.join(described(one.output) for one in distinct)}; name the right one, for example "
            f"--logits {given_name(distinct[0].output)}"
        )
    chosen = distinct[0]
    value = _two_axes(model, chosen.logits, classes)
    notes = [] if chosen.logits == str(chosen.output.name) else [_said(chosen)]
    if chosen.factor != 1:
        value = _times(model, value, chosen.factor)
    if smallest_is_right(chosen.rows[NOISE_IMAGES:], labels):
        value = _with_other_sign(model, value)
        notes.append(f"{SMALLEST} of {chosen.logits!r}: it is taken with the other sign")
    model.graph.outputs[:] = [value]
    return notes


def _said(found: _Found) -> str:
    own = given_name(found.output)
    times = "" if found.factor == 1 else f" times {found.factor:g}"
    return f"the output {own!r} holds {found.kind}; the logits before it, {found.logits!r}{times}, are taken"


def _above(model: "ir.Model", output: "ir.Value", classes: int) -> "list[ir.Value]":
    """Return the tensors that can be an output's logits, in the order of the graph; itself is the last."""
    found, pending = [output], [output]
    seen: set[ir.Node] = set()
    while pending and len(seen) < _NODES:
        node = pending.pop(0).producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in _LAYERS:
            continue
        for value in node.inputs:
            if value is not None and value.name and value.producer() is not None:
                pending.append(value)
                if _can_be_scores(value, classes):
                    found.append(value)
    order = {value: i for i, value in enumerate(value for node in model.graph for value in node.outputs)}
    return sorted(dict.fromkeys(found), key=lambda value: order.get(value, -1))


def _can_be_scores(value: "ir.Value", classes: int) -> bool:
    ir = import_onnx_ir()
    shape = static_shape(value)
    if value.dtype not in (None, ir.DataType.FLOAT) or value.const_value is not None:
        return False
    sizes = (shape or (None, None))[1:]
    return bool(sizes) and (None in sizes or int(np.prod([size for size in sizes if size])) == classes)


def _rows(
    model: "ir.Model",
    path: Path,
    preprocessing: Preprocessing,
    frames: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    classes: int,
    threads: int | None,
) -> dict[str, Rows]:
    """Return the values of those tensors that have C numbers an image, float64 ``[images, C]``."""
    onnx_ir = import_onnx_ir()
    shown = parse_graph(serialise_graph(model))
    image = shown.graph.inputs[0].name
    # An output must be a node's own, so that the front end may rename what it likes.
    shown.graph.outputs[:] = []
    copies = NodeWriter(shown, "shown")
    for number, name in enumerate(names):
        copy = copies.op("Identity", find_value(shown, name), name=f"shown/{number}")
        copy.dtype = onnx_ir.DataType.FLOAT
        shown.graph.outputs.append(copy)
    copies.append()
    remove_unused(shown)
    add_preprocessing(shown, preprocessing, image)
    graph = serialise_graph(shown)
    session = open_session(graph, SessionSettings(threads=threads or graph_threads(graph)), name=path.name)
    wanted = [f"shown/{number}" for number in range(len(names))]
    random = np.random.default_rng(0)
    size = (preprocessing.height, preprocessing.width)
    noise = _noise(random, size)
    together = run_session(session, wanted, feed_of(noise), name=path.name)
    alone = [run_session(session, wanted, feed_of(noise[i : i + 1]), name=path.name) for i in range(_ALONE)]
    kept = [
        number
        for number, array in enumerate(together)
        if array.ndim > 1 and len(array) == len(noise) and array.size == len(noise) * classes
    ]
    for number in kept:
        _require_one_by_one(together[number], [one[number] for one in alone], path)
    said = [together]
    with progress("looking at the model's outputs", len(frames)) as advance:
        for frame in frames:
            said.append(run_session(session, wanted, feed_of(frame[None]), name=path.name))
            advance()
    return {
        names[number]: np.concatenate([one[number].reshape(-1, classes) for one in said]).astype(np.float64)
        for number in kept
    }


def _require_one_by_one(
    together: NDArray[np.generic], alone: Sequence[NDArray[np.generic]], path: Path
) -> None:
    batch = np.asarray(together[: len(alone)], np.float64).reshape(len(alone), -1)
    one_by_one = np.stack([np.asarray(one, np.float64).ravel() for one in alone])
    with np.errstate(invalid="ignore"):
        distance = np.abs(batch - one_by_one)
    scale = max(float(np.abs(one_by_one[np.isfinite(one_by_one)]).max(initial=0.0)), 1e-6)
    if float(distance[np.isfinite(distance)].max(initial=0.0)) > 1e-2 * scale:
        raise ExportError(
            f"an image must get the same scores alone and in a batch; {path.name} gives others, as a network "
            "in training mode does (batch statistics, dropout); export it in evaluation mode: model.eval()"
        )


def _noise(random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return frames of noise, from coarse to fine, with a colour cast each."""
    frames = []
    for number in range(NOISE_IMAGES):
        grain = 2 ** (number % 4 + 1)
        coarse = random.uniform(0, 255, (grain, grain, 3)) * random.uniform(0.2, 1, 3)
        rows, columns = (np.arange(side) * grain // side for side in size)
        fine = coarse[rows][:, columns] + random.normal(0, 8 * (number % 3), (*size, 3))
        frames.append(np.clip(fine, 0, 255).astype(np.uint8))
    return np.stack(frames)


def _frames(
    images: LabelledImages | None, class_names: Sequence[str]
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Return images and the outputs that their classes have, -1 for classes that have none."""
    frames: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    if images is None:
        return frames, np.array(labels, np.int64)
    some, places = images.evenly_spaced(KNOWN_IMAGES), {name: i for i, name in enumerate(class_names)}
    for index in range(len(some)):
        try:
            frames.append(some.read(index))
        except DataError:  # counted and told when the part is measured
            continue
        labels.append(places.get(some.class_names[some.labels[index]], -1))
    return frames, np.array(labels, np.int64)


def _found(output: "ir.Value", names: Sequence[str], rows: dict[str, Rows], path: Path) -> _Found:
    own = str(output.name)
    if own not in rows:
        return _Found(output, "scores", own, np.zeros((0, 0)))
    there = [name for name in names if name in rows and name != own]
    name, kinds, factor = own, list[str](), 1.0
    while True:
        before = {each: rows[each] for each in there}
        step = undone(rows[name], before)
        if step is None:
            break
        name, factor = step.name, step.factor
        kinds.append(step.kind)
        there = there[: there.index(name)]
    if squashed := is_squashed(rows[name], before):
        held = " of ".join([*kinds, squashed])
        raise ExportError(
            f"the output {given_name(output)!r} of {path.name} must be class scores of any size; it holds "
            f"{held}, which hardly differ once the classifier is sure, and no tensor before it holds their "
            f"logits; {_WAY_OUT}"
        )
    return _Found(output, " of ".join(kinds) or "scores", name, rows[name], factor)


def _same(one: _Found, other: _Found) -> bool:
    """Tell whether two outputs are the same scores, as logits beside their own softmax are."""
    return one.logits == other.logits or (
        one.rows.size > 0 and np.array_equal(one.rows, other.rows, equal_nan=True)
    )


def _times(model: "ir.Model", value: "ir.Value", factor: float) -> "ir.Value":
    writer = NodeWriter(model, "times_factor")
    made = writer.op("Mul", value, writer.constant(np.array(factor, np.float32)))
    writer.append()
    made.type, made.shape = value.type, value.shape
    return made


def _with_other_sign(model: "ir.Model", value: "ir.Value") -> "ir.Value":
    writer = NodeWriter(model, "other_sign")
    turned = writer.op("Neg", value)
    writer.append()
    turned.type, turned.shape = value.type, value.shape
    return turned


def _two_axes(model: "ir.Model", name: str, classes: int) -> "ir.Value":
    ir = import_onnx_ir()
    value = find_value(model, name)
    shape = static_shape(value)
    batch = "batch" if value.shape is None else value.shape[0]
    if shape is None or len(shape) != 2:
        writer = NodeWriter(model, "logits_of_two_axes")
        value = writer.op("Reshape", value, writer.constant(np.array([-1, classes], np.int64)))
        writer.append()
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([batch, classes])
    return value
