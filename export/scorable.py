"""What a training run and a foreign ONNX classifier have in common, and the scored graphs made of it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import import_extra
from edgeosr.export.assemble import model_bytes
from edgeosr.export.closed_form import add_closed_form
from edgeosr.export.node_writer import find_value, import_onnx_ir
from edgeosr.export.preprocessing_graph import add_preprocessing
from edgeosr.export.scoring_graph import add_scoring, set_fusion
from edgeosr.fusion import FittedFusion
from edgeosr.kernels.scorer import ClosedForm, Float32, Fusion, Head, Scorer
from edgeosr.preprocessing import Preprocessing
from edgeosr.verdict import PART_NAMES

if TYPE_CHECKING:
    import onnx_ir as ir


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
class ScoredGraph:
    """A classifier with its scoring nodes, not yet fitted, and the constants they were made from."""

    classifier: Classifier
    core: bytes
    scorer: Scorer
    with_respect_to: str

    @property
    def usable_parts(self) -> tuple[str, ...]:
        """Names of the score parts the graph really computes, in ``PART_NAMES`` order."""
        missing = set()
        if self.scorer.closed_form is None:
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
            expose: internal tensors to add as graph outputs.
        """
        model = _parse(self.core)
        if fusion is not None:
            set_fusion(model, self.fitted(fusion, 0.0).fusion)
        add_preprocessing(model, self.classifier.preprocessing, self.classifier.input_name, frame)
        for name in expose:
            model.graph.outputs.append(find_value(model, name))
        return model_bytes(model)


def scored_graph(classifier: Classifier, jacobian: str) -> ScoredGraph:
    """Add the Jacobian norm and the scoring nodes to a classifier.

    Args:
        classifier: what to score.
        jacobian: ``closed-form`` or ``none``.

    Raises:
        UnsupportedGraphError: the tail of the network is not one the closed form covers; the message names
            the node.
    """
    model = _parse(classifier.graph)
    closed_form: ClosedForm | None = None
    with_respect_to, map_name, squared, embedding = "", None, None, classifier.embedding
    if jacobian == "closed-form":
        tail = add_closed_form(model, classifier.embedding)
        closed_form, map_name, squared = tail.closed_form, tail.map, tail.jacobian_squared
        embedding = tail.embedding
        with_respect_to = f"the zero-padded input of the last convolution, {tail.conv_node}"
    scorer = Scorer(
        dimension=classifier.dimension,
        classes=len(classifier.classes),
        head=classifier.head,
        fusion=_unfitted(),
        threshold=0.0,
        closed_form=closed_form,
        layers=classifier.layers,
    )
    add_scoring(
        model, scorer, embedding=embedding, logits=classifier.logits, jacobian_squared=squared, map=map_name
    )
    return ScoredGraph(
        classifier=classifier, core=_serialise(model), scorer=scorer, with_respect_to=with_respect_to
    )


def _unfitted() -> Fusion:
    zeros = np.zeros(len(PART_NAMES), np.float32)
    return Fusion(means=zeros, stds=zeros + 1, weights=zeros)


def _parse(data: bytes) -> "ir.Model":
    onnx = import_extra("onnx", extra="export", purpose="editing ONNX graphs")
    from_proto = import_onnx_ir().from_proto
    model: ir.Model = from_proto(onnx.load_model_from_string(data))
    return model


def _serialise(model: "ir.Model") -> bytes:
    data: bytes = import_onnx_ir().to_proto(model).SerializeToString()
    return data
