"""From what was asked for to the probes of one export: the cut, the directions and how many of them."""

import math
from dataclasses import dataclass, replace

import numpy as np

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import UsageError
from edgeosr.export.graph.assemble import parse_graph, serialise_graph
from edgeosr.export.graph.names import AT_CUT, TANGENTS_BY_IMAGE
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import NodeWriter, claim_name, find_value, import_onnx_ir
from edgeosr.export.measure import GraphRunner
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.tangents.cuts import INPUT_CUT, LAST_CONV, LAST_STAGE, resolve_cut
from edgeosr.export.tangents.probe_error import Float64, probe_error
from edgeosr.export.tangents.probes import (
    Float32,
    dct_directions,
    principal_directions,
    random_directions,
    require_room,
    spelled,
)
from edgeosr.scoring.probes import Probes

AUTO = "auto"
# What ``--probes auto`` tries, the smallest first.
CANDIDATES = (1, 2, 4, 8, 16, 32)
# The largest share of log J_u's spread over known images that may be noise of the probes: a quarter of its
# variance. Halving it takes about four times the probes, and so the time.
LARGEST_ERROR = 0.5
# Images of the select part that K and the principal directions are taken from.
AUTO_IMAGES = 128
PRINCIPAL_IMAGES = 512
PRINCIPAL_VALUES = 32_000_000  # float32 numbers held at once
# Tangents in one graph while K is being chosen: bounds memory.
CHUNK = 16
_WORDS = {
    INPUT_CUT: "the normalised network input",
    LAST_STAGE: "the input of the last stage",
    LAST_CONV: "the input of the last convolution",
}


@dataclass(frozen=True)
class Cut:
    """Where the probes start.

    Attributes:
        asked: ``input``, ``last-stage``, ``last-conv`` or a tensor's name.
        tensor: its name in the classifier's graph.
        shape: of one sample.
    """

    asked: str
    tensor: str
    shape: tuple[int, ...]

    @property
    def n(self) -> int:
        """Size of the space."""
        return math.prod(self.shape)

    @property
    def words(self) -> str:
        """What h is, for people."""
        named = f"{_WORDS[self.asked]}, tensor" if self.asked in _WORDS else "the tensor"
        return f"{named} {self.tensor} ({spelled(self.shape)})"


def find_cut(classifier: ClassifierGraph, asked: str) -> Cut:
    """Find the cut in a classifier's graph.

    Raises:
        UsageError: there is no such tensor, it does not lead to the embedding, or its sizes are open.
    """
    model = parse_graph(classifier.graph)
    if any(value.shape is None for node in model.graph for value in node.outputs):
        from onnx_ir.passes.common import ShapeInferencePass

        ShapeInferencePass(check_type=False, strict_mode=False)(model)
    value = find_value(model, resolve_cut(model, asked, classifier.embedding))
    shape = static_shape(value)
    if shape is None or len(shape) < 2 or None in shape[1:]:
        raise UsageError(
            f"the cut must be a tensor with a batch axis and fixed sizes behind it; {value.name!r} has "
            f"{'no known shape' if shape is None else f'the shape {value.shape}'}; choose another tensor"
        )
    return Cut(asked, str(value.name), tuple(size for size in shape[1:] if size is not None))


def drafted(classifier: ClassifierGraph, K: int | str, cut: str) -> ScoredGraph:
    """Check, before anything that takes long, that a classifier can be probed at a cut.

    Returns:
        The scored graph with one probe.

    Raises:
        UsageError, UnsupportedGraphError: as ``make_probes``.
    """
    place = find_cut(classifier, cut)
    if isinstance(K, int):
        require_room(K, place.shape, place.tensor)
    return scored_graph(classifier, "probes", _probe_set(place, "", 0, random_directions(1, place.n, 0)))


def make_probes(
    classifier: ClassifierGraph,
    *,
    K: int | str,
    cut: str,
    family: str,
    seed: int,
    images: LabelledImages,
    threads: int | None = None,
) -> Probes:
    """Make the probes of an export.

    Args:
        classifier: what is exported.
        K: how many, or ``auto``: the smallest of ``CANDIDATES`` whose ``probe_error`` on ``images`` is at
            most ``LARGEST_ERROR``, else the largest of them.
        cut: see ``Cut.asked``.
        family: one of ``PROBE_FAMILIES``.
        seed: of the directions.
        images: the select part.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        UsageError: the cut cannot be used, or K is larger than its space.
        UnsupportedGraphError: a node between cut and embedding has no derivative.
        DataError: too few images for principal directions.
    """
    place = find_cut(classifier, cut)
    if isinstance(K, int):
        require_room(K, place.shape, place.tensor)
        directions = _directions(classifier, place, K, family, seed, images, threads)
        return _probe_set(place, family, seed, directions)
    most = min(2 * CANDIDATES[-1], place.n)
    if family == "principal":
        most = max(1, min(most, len(images) - 1))
    directions = _directions(classifier, place, most, family, seed, images, threads, fewer=True)
    chosen, errors = _choose(classifier, place, directions, images, threads)
    found = _probe_set(place, family, seed, directions[:chosen])
    return replace(found, errors=errors, largest_error=LARGEST_ERROR)


def _probe_set(cut: Cut, family: str, seed: int, directions: Float32) -> Probes:
    return Probes(
        K=len(directions),
        n=cut.n,
        cut=cut.asked,
        tensor=cut.tensor,
        family=family,
        seed=seed,
        with_respect_to=cut.words,
        directions=directions,
    )


def _directions(
    classifier: ClassifierGraph,
    cut: Cut,
    K: int,
    family: str,
    seed: int,
    images: LabelledImages,
    threads: int | None,
    *,
    fewer: bool = False,
) -> Float32:
    if family == "random":
        return random_directions(K, cut.n, seed)
    if family == "dct":
        return dct_directions(K, cut.shape)
    count = max(K + 1, min(PRINCIPAL_IMAGES, PRINCIPAL_VALUES // cut.n))
    values = _values_at(classifier, cut, images.evenly_spaced(count), threads)
    return principal_directions(K, values, seed, fewer=fewer)


def _values_at(classifier: ClassifierGraph, cut: Cut, images: LabelledImages, threads: int | None) -> Float32:
    """Return h of each image, ``[m, n]``."""
    ir = import_onnx_ir()
    model = parse_graph(classifier.graph)
    # A tensor of its own: the front end and the scoring rename and replace what they take over.
    claim_name(model, AT_CUT)
    writer = NodeWriter(model, AT_CUT)
    value = writer.op("Identity", find_value(model, cut.tensor), name=AT_CUT)
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(["batch", *cut.shape])
    writer.append()
    graph = scored_graph(replace(classifier, graph=serialise_graph(model)), "none")
    runner = GraphRunner(graph.model(expose=(AT_CUT,)), extra_outputs=(AT_CUT,), threads=threads)
    _, (values,) = runner.measure_with_extras(images, "looking at known images at the cut")
    return np.ascontiguousarray(values.reshape(len(values), -1), np.float32)


def _choose(
    classifier: ClassifierGraph,
    cut: Cut,
    directions: Float32,
    images: LabelledImages,
    threads: int | None,
) -> tuple[int, tuple[tuple[int, float], ...]]:
    """Return (K, the errors of each K tried); probes are run only as far as they are needed."""
    chosen = images.evenly_spaced(AUTO_IMAGES)
    squares: Float64 = np.empty((len(chosen), 0))
    errors: list[tuple[int, float]] = []
    for K in CANDIDATES:
        if len(directions) < 2 * K:
            break
        while squares.shape[1] < 2 * K:
            chunk = directions[squares.shape[1] :][: min(CHUNK, max(2 * K, 8))]
            part, norms = _squares(classifier, cut, chunk, chosen, threads)
            squares = np.concatenate([squares[: len(part)], part], axis=1)
        errors.append((K, round(probe_error(squares, norms, K), 4)))
        if errors[-1][1] <= LARGEST_ERROR:
            return K, tuple(errors)
    # With as many probes as the space has directions there is no error left.
    largest = cut.n if cut.n <= CANDIDATES[-1] else CANDIDATES[-1]
    return min(largest, len(directions)), tuple(errors)


def _squares(
    classifier: ClassifierGraph,
    cut: Cut,
    directions: Float32,
    images: LabelledImages,
    threads: int | None,
) -> tuple[Float64, Float64]:
    """Return |t_k|^2 - (u . t_k)^2 ``[images, probes]`` and |z| ``[images]`` of the exported graph."""
    graph = scored_graph(classifier, "probes", _probe_set(cut, "", 0, directions))
    outputs = (TANGENTS_BY_IMAGE, EMBEDDING)
    runner = GraphRunner(graph.model(expose=outputs), extra_outputs=outputs, threads=threads)
    _, (tangents, z) = runner.measure_with_extras(images, "choosing the number of probes")
    t, embedding = tangents.astype(np.float64), z.astype(np.float64)
    norms = np.linalg.norm(embedding, axis=1)
    unit = embedding / np.maximum(norms, np.finfo(np.float32).tiny)[:, None]
    return np.square(t).sum(axis=2) - np.square(np.einsum("bkd,bd->bk", t, unit)), norms
