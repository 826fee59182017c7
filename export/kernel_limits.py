"""What a device's fused kernel cannot take, said before anything long is done or anything is written."""

from dataclasses import replace

from edgeosr.errors import ExportError, UsageError
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.kernels.packing import NO_MAP, require_supported


def require_kernel(graph: ScoredGraph, precision: str | None, *, probes: int | None = None) -> None:
    """Refuse a backbone for engines whose scoring the fused kernel cannot take over.

    Args:
        graph: what is exported; fitting changes nothing that is looked at.
        precision: that was asked for; None: no backbone is made, and nothing is refused.
        probes: K, if the graph is a draft with fewer.

    Raises:
        ExportError: a limit of the kernel is exceeded, or nothing tells how large the map is; says which, and
            what to do.
    """
    if precision is None:
        return
    scorer = graph.scorer
    if probes is not None and scorer.probes is not None:
        scorer = replace(scorer, probes=replace(scorer.probes, K=probes))
    try:
        if scorer.closed_form is not None and graph.map_size is None:
            raise UsageError(
                "the map's height and width must be fixed for the fused kernel; got one whose size neither "
                f"shape inference nor a run of the graph tells; {NO_MAP}"
            )
        # Whatever the backbone's precision: on tensor cores the scorer's weights are fp16.
        require_supported(scorer, map_size=graph.map_size, half=True)
    except UsageError as error:
        raise ExportError(
            f"--engine {precision} makes a backbone for the fused kernel, which cannot take this classifier: "
            f"{error}"
        ) from error
