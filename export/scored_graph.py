"""What a training run and a foreign ONNX classifier have in common, and the scored graphs made of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.network import JacobianRecord
from edgeosr.export.closed_form.jacobian import add_closed_form, map_size
from edgeosr.export.front_end.front_end import add_preprocessing
from edgeosr.export.graph.assemble import TANGENTS_NOTE, model_bytes, parse_graph, serialise_graph
from edgeosr.export.graph.names import TANGENTS_BY_IMAGE
from edgeosr.export.graph.observed_shapes import observe_shapes
from edgeosr.export.graph.writer import NodeWriter, find_value, import_onnx_ir
from edgeosr.export.scoring_graph import add_scoring, set_fusion
from edgeosr.export.tangents.jacobian import add_probe_jacobian
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.fusion import Fusion, unfitted_fusion
from edgeosr.scoring.parts import carried_parts
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Float32, Head, PartConstants, Scorer

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, kw_only=True)
class ClassifierGraph:
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
        channel_weights: of the closed form, float64 ``[D]`` with a mean of 1 (``channel_weights.py``); None
            for equal ones.
        outside: a tensor ``[B]`` that is infinite where the model's own answer is none of ``classes``, else
            0; None where all of its outputs are classes.
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
    channel_weights: NDArray[np.float64] | None = None
    outside: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredGraph:
    """A classifier with its scoring nodes, not yet fitted, and the constants they were made from.

    Attributes:
        classifier: as it came.
        core: the serialised graph, from the classifier's input to the scores.
        scorer: the constants.
        jacobian: which Jacobian norm it computes.
        tangents: name of the embedding's tangents ``[K, B, D]``; None without probes.
        map_size: (H, W) of the map y of a closed form, whatever the frames; None without one, or where
            neither shape inference nor a run of the graph tells.
    """

    classifier: ClassifierGraph
    core: bytes
    scorer: Scorer
    jacobian: JacobianRecord
    tangents: str | None = None
    map_size: tuple[int, int] | None = None

    @property
    def with_respect_to(self) -> str:
        """What the Jacobian norm is with respect to, in words; empty without one."""
        return self.jacobian.with_respect_to

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the score parts that the graph computes, in the order of its values."""
        return self.scorer.fusion.parts

    def fitted(self, fusion: Fusion, threshold: float, class_thresholds: tuple[float, ...] = ()) -> Scorer:
        """Return the scorer with a fusion and a threshold, and one a class if there are some."""
        assert fusion.parts == self.parts, (fusion.parts, self.parts)
        return replace(self.scorer, fusion=fusion, threshold=threshold, class_thresholds=class_thresholds)

    def model(
        self,
        fusion: Fusion | None = None,
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


def scored_graph(
    classifier: ClassifierGraph,
    jacobian: str,
    probes: Probes | None = None,
    constants: Mapping[str, PartConstants] | None = None,
    parts: Collection[str] | None = None,
) -> ScoredGraph:
    """Add the Jacobian norm and the scoring nodes to a classifier.

    Args:
        classifier: what to score.
        jacobian: ``closed-form``, ``probes`` or ``none``.
        probes: for ``probes`` only.
        constants: of the parts that bring some, by part (``with_constants``); without its constants such a
            part is left out.
        parts: which ones to compute, of those that can be; None: all.

    Raises:
        UnsupportedGraphError: the network does not end in a way that has a closed form, or a node between the
            cut and the embedding has no derivative; the message names the node.
    """
    assert (probes is not None) == (jacobian == "probes"), jacobian
    model = parse_graph(classifier.graph)
    closed_form: ClosedForm | None = None
    written: Probes | None = None
    map_name, size, squared, tangents, embedding = None, None, None, None, classifier.embedding
    record = JacobianRecord("none", "J_z", "")
    if jacobian == "closed-form":
        added = add_closed_form(model, classifier.embedding, classifier.channel_weights)
        closed_form, map_name, squared = added.closed_form, added.map, added.jacobian_squared
        embedding = added.embedding
        size = added.map_size or _observed_size(model, added.map)
        words = f"the zero-padded input of the last convolution, {added.conv_node}"
        kind = "J_z" if classifier.channel_weights is None else "J_w"
        record = JacobianRecord("closed-form", kind, words)
    elif probes is not None:
        assert probes.directions is not None, "the probes of a graph that is written already"
        probed = add_probe_jacobian(
            model, cut=probes.tensor, embedding=embedding, directions=probes.directions
        )
        squared, tangents = probed.jacobian_squared, probed.tangents
        written = replace(probes, directions=None)  # from here on they are constants of the graph
        record = JacobianRecord("probes", "J_u", probes.with_respect_to, written)
    scorer = Scorer(
        dimension=classifier.dimension,
        classes=len(classifier.classes),
        head=classifier.head,
        fusion=unfitted_fusion(()),
        threshold=0.0,
        closed_form=closed_form,
        probes=written,
        layers=classifier.layers,
        constants=constants or {},
    )
    computed = [name for name in carried_parts(scorer) if parts is None or name in parts]
    scorer = replace(scorer, fusion=unfitted_fusion(computed))
    add_scoring(
        model,
        scorer,
        embedding=embedding,
        logits=classifier.logits,
        jacobian_squared=squared,
        map=map_name,
        outside=classifier.outside,
    )
    return ScoredGraph(
        classifier=classifier,
        core=serialise_graph(model),
        scorer=scorer,
        jacobian=record,
        tangents=tangents,
        map_size=size,
    )


def _observed_size(model: "ir.Model", name: str) -> tuple[int, int] | None:
    """Return (H, W) of a map whose size shape inference did not find, read off runs of the graph."""
    y = find_value(model, name)
    observe_shapes(model.graph, [y])
    return map_size(y)


def _add_tangents_by_image(model: "ir.Model", tangents: str) -> None:
    """Batches are joined along the first axis, which in the tangents themselves is the probes'."""
    ir = import_onnx_ir()
    writer = NodeWriter(model, "by_image")
    value = writer.op("Transpose", find_value(model, tangents), perm=[1, 0, 2], name=TANGENTS_BY_IMAGE)
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape([None, None, None])
    writer.append()
