"""What a training run and a foreign ONNX classifier have in common, and the scored graphs made of it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import import_extra
from edgeosr.export.assemble import TANGENTS_NOTE, model_bytes
from edgeosr.export.closed_form import add_closed_form
from edgeosr.export.node_writer import NodeWriter, find_value, import_onnx_ir
from edgeosr.export.preprocessing_graph import add_preprocessing
from edgeosr.export.scoring_graph import add_scoring, set_fusion
from edgeosr.export.tangents.jacobian import add_probe_jacobian
from edgeosr.fusion import FittedFusion
from edgeosr.kernels.scorer import ClosedForm, Float32, Fusion, Head, Probes, Scorer
from edgeosr.manifest import JacobianRecord, ProbesRecord
from edgeosr.preprocessing import Preprocessing
from edgeosr.verdict import PART_NAMES

if TYPE_CHECKING:
    import onnx_ir as ir

TANGENTS_BY_IMAGE = "tangents_by_image"


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A classifier as the exporter needs it, whoever trained it.

    Attributes:
        graph: serialised float32 ONNX graph, one image input ``[B, 3, height, width]``, normalised.
        input_name, embedding: its input, and the tensor that is the embedding z ``[B, D]``.
        logits: the tensor that is the logits ``[B, C]`` for an external head, else None.
        dimension: D.
        classes: names by output.
        head: class scores from z.
        preprocessing: from frame to input.
        layers: the discriminator's (weight, bias) pairs; empty if there is none.
        default_part: the score part with weight 1 when no open validation data can fit weights.
    """

    graph: bytes
    input_name: str
    embedding: str
    logits: str | None
    dimension: int
    classes: tuple[str, ...]
    head: Head
    preprocessing: Preprocessing
    layers: tuple[tuple[Float32, Float32], ...]
    default_part: str


@dataclass(frozen=True, kw_only=True)
class ProbeSet:
    """The probes of one export.

    Attributes:
        record: what they are; ``record.tensor`` is the cut h, ``[B, *shape]``.
        directions: float32 ``[K, n]``, orthonormal rows in the space of h.
        with_respect_to: what h is, in words.
    """

    record: ProbesRecord
    directions: Float32
    with_respect_to: str


@dataclass(frozen=True, kw_only=True)
class ScoredGraph:
    """A classifier with its scoring nodes, not yet fitted, and the constants they were made from.

    Attributes:
        classifier: as it came.
        core: the serialised graph, from the classifier's input to the scores.
        scorer: the constants.
        jacobian: which Jacobian norm it computes.
        tangents: name of the embedding's tangents ``[K, B, D]``; None without probes.
    """

    classifier: Classifier
    core: bytes
    scorer: Scorer
    jacobian: JacobianRecord
    tangents: str | None = None

    @property
    def with_respect_to(self) -> str:
        """What the Jacobian norm is with respect to, in words; empty without one."""
        return self.jacobian.with_respect_to

    @property
    def usable_parts(self) -> tuple[str, ...]:
        """Names of the score parts the graph really computes, in ``PART_NAMES`` order."""
        missing = set()
        if self.jacobian.method == "none":
            missing.add("log_jacobian")
        if not self.scorer.layers:
            missing.add("discriminator")
        return tuple(name for name in PART_NAMES if name not in missing)

    def fitted(self, fusion: FittedFusion, threshold: float) -> Scorer:
        """Return the scorer with a fusion and a threshold."""
        packed = Fusion(means=fusion.means, stds=fusion.stds, weights=fusion.weights)
        return replace(self.scorer, fusion=packed, threshold=threshold)

    def model(
        self,
        fusion: FittedFusion | None = None,
        *,
        frame: tuple[int, int] | None = None,
        expose: tuple[str, ...] = (),
    ) -> bytes:
        """Return the whole graph, frames in, scores out.

        Args:
            fusion: standardisation and weights; None leaves the scores unfitted.
            frame: (height, width) for a camera of fixed size, None for any size.
            expose: internal tensors to add as graph outputs. ``TANGENTS_BY_IMAGE``, float32 ``[B, K, D]``,
                is the tangents with the batch in front.
        """
        model = parse_graph(self.core)
        if TANGENTS_BY_IMAGE in expose:
            _add_tangents_by_image(model, self.tangents or "")
        if fusion is not None:
            set_fusion(model, self.fitted(fusion, 0.0).fusion)
        add_preprocessing(model, self.classifier.preprocessing, self.classifier.input_name, frame)
        for name in expose:
            model.graph.outputs.append(find_value(model, name))
        if self.scorer.probes is not None:
            model.metadata_props[TANGENTS_NOTE] = str(self.scorer.probes.K)
        return model_bytes(model)


def scored_graph(classifier: Classifier, jacobian: str, probes: ProbeSet | None = None) -> ScoredGraph:
    """Add the Jacobian norm and the scoring nodes to a classifier.

    Args:
        classifier: what to score.
        jacobian: ``closed-form``, ``probes`` or ``none``.
        probes: for ``probes`` only.

    Raises:
        UnsupportedGraphError: the tail of the network is not one the closed form covers, or a node between
            the cut and the embedding has no derivative; the message names the node.
    """
    assert (probes is not None) == (jacobian == "probes"), jacobian
    model = parse_graph(classifier.graph)
    closed_form: ClosedForm | None = None
    scorer_probes: Probes | None = None
    map_name, squared, tangents, embedding = None, None, None, classifier.embedding
    record = JacobianRecord("none", "J_z", "")
    if jacobian == "closed-form":
        tail = add_closed_form(model, classifier.embedding)
        closed_form, map_name, squared = tail.closed_form, tail.map, tail.jacobian_squared
        embedding = tail.embedding
        words = f"the zero-padded input of the last convolution, {tail.conv_node}"
        record = JacobianRecord("closed-form", "J_z", words)
    elif probes is not None:
        added = add_probe_jacobian(
            model, cut=probes.record.tensor, embedding=embedding, directions=probes.directions
        )
        squared, tangents = added.jacobian_squared, added.tangents
        scorer_probes = Probes(K=probes.record.K, n=probes.record.n)
        record = JacobianRecord("probes", "J_u", probes.with_respect_to, probes.record)
    scorer = Scorer(
        dimension=classifier.dimension,
        classes=len(classifier.classes),
        head=classifier.head,
        fusion=_unfitted(),
        threshold=0.0,
        closed_form=closed_form,
        probes=scorer_probes,
        layers=classifier.layers,
    )
    add_scoring(
        model, scorer, embedding=embedding, logits=classifier.logits, jacobian_squared=squared, map=map_name
    )
    return ScoredGraph(
        classifier=classifier, core=serialise_graph(model), scorer=scorer, jacobian=record, tangents=tangents
    )


def _add_tangents_by_image(model: "ir.Model", tangents: str) -> None:
    """Batches are joined along the first axis, which in the tangents themselves is the probes'."""
    ir = import_onnx_ir()
    writer = NodeWriter(model, "by_image")
    value = writer.op("Transpose", find_value(model, tangents), perm=[1, 0, 2], name=TANGENTS_BY_IMAGE)
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape([None, None, None])
    writer.append()


def _unfitted() -> Fusion:
    zeros = np.zeros(len(PART_NAMES), np.float32)
    return Fusion(means=zeros, stds=zeros + 1, weights=zeros)


def parse_graph(data: bytes) -> "ir.Model":
    """Return the model of a serialised graph."""
    onnx = import_extra("onnx", extra="export", purpose="editing ONNX graphs")
    from_proto = import_onnx_ir().from_proto
    model: ir.Model = from_proto(onnx.load_model_from_string(data))
    return model


def serialise_graph(model: "ir.Model") -> bytes:
    """Return a graph's bytes, as it is; ``model_bytes`` makes what ships."""
    data: bytes = import_onnx_ir().to_proto(model).SerializeToString()
    return data
