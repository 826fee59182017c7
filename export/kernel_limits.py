"""What a device's fused kernel cannot take, said before anything long is done or anything is written."""

from dataclasses import replace

from edgeosr.errors import ExportError, UsageError
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.kernels.packing import require_supported


def require_kernel(graph: ScoredGraph, precision: str | None, *, probes: int | None = None) -> None:
    """Refuse a backbone for engines whose scoring the fused kernel cannot take over.

    Args:
        graph: what is exported; fitting changes nothing that is looked at.
        precision: that was asked for; None: no backbone is made, and nothing is refused.
        probes: K, if the graph is a draft with fewer.

    Raises:
        ExportError: a limit of the kernel is exceeded; says which, and what to do.
    """
    if precision is None:
        return
    scorer = graph.scorer
    if probes is not None and scorer.probes is not None:
        scorer = replace(scorer, probes=replace(scorer.probes, K=probes))
    try:
        require_supported(scorer, map_size=graph.map_size)
    except UsageError as error:
        raise ExportError(
            f"--engine {precision} makes a backbone for the fused kernel, which cannot take this classifier: "
            f"{error}; or export model.onnx alone with --engine onnx"
        ) from error
