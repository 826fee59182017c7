"""What a device's fused kernel cannot take, said before anything long is done or anything is written."""

from dataclasses import replace

from edgeosr.errors import ExportError, UsageError
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.kernels.packing import require_supported
from edgeosr.scoring.limits import KERNEL_LIMITS
from edgeosr.scoring.scorer import Scorer

MOST_POSITIONS = 256


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
        _require(scorer, graph.map_size)
    except UsageError as error:
        raise ExportError(
            f"--engine {precision} makes a backbone for the fused kernel, which cannot take this classifier: "
            f"{error}; or export model.onnx alone with --engine onnx"
        ) from error


def _require(scorer: Scorer, map_size: tuple[int, int] | None) -> None:
    # The kernel's own require_supported learns map_size, and says what to do instead, on another branch: once
    # that is merged, this function is `require_supported(scorer, map_size=map_size)`.
    instead = "export it with --engine onnx"
    if scorer.probes is not None:
        instead = f"export it with --probes {KERNEL_LIMITS.probes} or fewer"
    elif scorer.closed_form is not None:
        instead = "export it with --jacobian probes"
    try:
        require_supported(scorer)
        if scorer.closed_form is not None and map_size is not None:
            positions = map_size[0] * map_size[1]
            if positions > MOST_POSITIONS:
                raise UsageError(
                    f"the map's positions must be from 1 to {MOST_POSITIONS} for the fused kernel; got "
                    f"{positions} ({map_size[0]}x{map_size[1]})"
                )
    except UsageError as error:
        raise UsageError(f"{error}; {instead}") from error
