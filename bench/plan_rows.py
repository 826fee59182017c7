"""Rows of the plan table: which launches stand for which shapes, what may vary, and which plan is best."""

import itertools
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace

from edgeosr.kernels.packing import PackedScorer
from edgeosr.kernels.plan import LaunchPlan
from edgeosr.kernels.plan_table import RANGES, WEIGHTS, PlanRow, PlanTable
from edgeosr.kernels.selftest.cases import SelftestCase
from edgeosr.kernels.sharing import CLASS_WARPS, KEPT_CLASSES, TILE_FULL, TILE_HALF, Tiling, cut_of

# Two medians of one launch on a quiet card differ by no more; the rule's plan is kept if none is as much
# faster.
NOISE = 0.02
TRIED = "tried"


# The first launch of each shape; its row stands for those that the kernel treats alike.
SHAPES = (
    SelftestCase(dimension=512, batch=1),
    SelftestCase(dimension=1280, batch=1, activation="clip", taps=1),
    SelftestCase(dimension=512, batch=1, size=14),
)
# Each is twice the one before it, so that batches_alike leaves none without a row.
BATCHES = (1, 2, 4, 8, 16, 32, 64)
# Where Q begins to be taken otherwise: none, in one word of 32, in the two of 32 to 64, in three and so on
# (src/pooling.cuh).
_POSITIONS = (0, 1, 32, *range(65, 258, 32))


def dimensions_alike(dimension: int, rows: int, cluster: int = 1) -> tuple[int, int]:
    """Return the least and largest D that are cut into as many slabs of as many channels.

    Args:
        dimension: D.
        rows: of the split matrix.
        cluster: blocks of a cluster; 1: launched without.
    """
    first, last = RANGES["dimension"]
    cut = cut_of(dimension, rows, cluster)
    alike = [one for one in range(first, last + 1) if cut_of(one, rows, cluster) == cut]
    return alike[0], alike[-1]


def positions_alike(positions: int) -> tuple[int, int]:
    """Return the least and largest Q of which a warp takes as many words of 32; 0: z and tangents."""
    at = bisect_right(_POSITIONS, positions)
    return _POSITIONS[at - 1], _POSITIONS[at] - 1


def batches_alike(batch: int) -> tuple[int, int]:
    """Return the batches that a row of B stands for: those above half of it, which all its tiles fit."""
    return batch // 2 + 1, batch


def cases_of(shape: SelftestCase, batches: tuple[int, ...], *, half: bool) -> list[SelftestCase]:
    """Return the launches of a shape, batch by batch; the input is fp16."""
    return [replace(shape, batch=batch, half_weights=half) for batch in batches]


def variants(packed: PackedScorer, batch: int, cluster: int = 1) -> list[Tiling]:
    """Return every plan that a row may hold for this scorer and batch, in clusters of so many blocks.

    There classes and parts always have warps of their own; a row of clusters has 0 of them.
    """
    most = TILE_HALF if packed.half else TILE_FULL
    choice = packed.half and packed.classes <= KEPT_CLASSES and cluster == 1
    warps = (0, CLASS_WARPS) if choice else (0,)
    samples = [one for one in (1, 2, 4, 8) if one <= most and one < 2 * batch]
    return [
        Tiling(origin=TRIED, samples=many, class_warps=own) for many, own in itertools.product(samples, warps)
    ]


def only(tiling: Tiling) -> PlanTable:
    """Return a table that gives every launch this plan."""
    return PlanTable(tried=tiling)


def words_of(tiling: Tiling) -> str:
    """Return a plan's name for people and records: ``tiles of 2, 4 class warps``."""
    return f"tiles of {tiling.samples}, {tiling.class_warps} class warps"


def tiling_of(plan: LaunchPlan) -> Tiling:
    """Return what is free in a plan, as ``variants`` lists it."""
    warps = plan.params.class_warps if plan.cluster == 1 else 0
    return Tiling(origin=TRIED, samples=plan.tile, class_warps=warps)


def best_row(
    ruled: LaunchPlan,
    us: Mapping[Tiling, float],
    *,
    architecture: str,
    multiprocessors: int,
    half: bool,
    origin: str,
) -> PlanRow:
    """Return the row of the fastest plan; of the rule's, if none is faster by more than ``NOISE``.

    Args:
        ruled: the rule's plan of the launch that the row is made from; its time is among ``us``.
        us: microseconds by plan.
        architecture: of the device.
        multiprocessors: of the device.
        half: fp16 weights.
        origin: see ``PlanRow``.
    """
    rule = tiling_of(ruled)
    best = min(us, key=lambda tiling: us[tiling])
    if us[best] >= (1 - NOISE) * us[rule]:
        best = rule
    params = ruled.params
    return PlanRow(
        architecture=architecture,
        multiprocessors=multiprocessors,
        weights=WEIGHTS[not half],
        dimension=dimensions_alike(params.dimension, params.rows, ruled.cluster),
        positions=positions_alike(params.positions),
        batch=batches_alike(params.batch),
        slabs=params.slabs,
        samples=best.samples,
        class_warps=best.class_warps or 0,
        origin=origin,
        us=round(us[best], 2),
        rule_us=round(us[rule], 2),
    )
