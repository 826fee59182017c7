"""How much to scale the probes so that tangents lie well inside fp16.

t is linear in its direction, so a power of two on the directions moves every tangent of the body by that
power, exactly; the scorer takes it out again (``Probes.gain``).
"""

from dataclasses import replace

import numpy as np

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import ExportError
from edgeosr.export.graph.names import TANGENTS_BY_IMAGE
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.typed import Scaled
from edgeosr.export.scored_graph import ScoredGraph, scored_graph
from edgeosr.scoring.probes import Probes

IMAGES = 64
FP16_LARGEST = float(np.finfo(np.float16).max)
# Images not looked at here may reach further.
HEADROOM = 16.0


def scaled_tangents(
    graph: ScoredGraph, probes: Probes, images: LabelledImages, *, threads: int | None = None
) -> Scaled:
    """Return the graph with its probes scaled so that the tangents' root mean square is about 1.

    Args:
        graph: scored with ``probes``.
        probes: unscaled.
        images: known images to look at the tangents of.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        ExportError: the tangents spread over more than fp16 holds.
    """
    assert probes.directions is not None, "the probes of a graph that is written already"
    model = graph.model(expose=(TANGENTS_BY_IMAGE,))
    runner = GraphRunner(model, extra_outputs=(TANGENTS_BY_IMAGE,), threads=threads)
    chosen = images.evenly_spaced(IMAGES)
    _, (tangents,) = runner.measure_with_extras(chosen, "looking at the tangents' range")
    size = float(np.sqrt(np.mean(np.square(tangents, dtype=np.float64))))
    largest = float(np.max(np.abs(tangents)))
    if not (np.isfinite(largest) and size > 0):
        raise ExportError(
            f"the tangents of known images are not usable (root mean square {size:.3g}, largest "
            f"{largest:.3g}); choose another --cut, or --engine fp32"
        )
    gain = float(2.0 ** np.round(-np.log2(size)))
    if largest * gain * HEADROOM > FP16_LARGEST:
        raise ExportError(
            f"the tangents spread too far for fp16: root mean square {size:.3g}, largest {largest:.3g}, and "
            f"fp16 ends at {FP16_LARGEST:g}; use --engine fp32, or a deeper --cut"
        )
    scaled = replace(probes, directions=probes.directions * np.float32(gain))
    again = scored_graph(graph.classifier, "probes", scaled, graph.scorer.constants)
    return Scaled(graph=again, gain=gain)
