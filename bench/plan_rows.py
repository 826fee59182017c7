"""Rows of the plan table: which launches stand for which shapes, what may vary, and which plan is best."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgeosr.kernels.packing import PackedScorer
from edgeosr.kernels.plan import LaunchPlan
from edgeosr.kernels.plan_table import WEIGHTS, PlanRow, PlanTable
from edgeosr.kernels.selftest.cases import SelftestCase
from edgeosr.kernels.sharing import CLASS_WARPS, KEPT_CLASSES, TILE_FULL, TILE_HALF, Tiling

# Two medians of one launch on a quiet card differ by no more; the rule's plan is kept if none is as much
# faster.
NOISE = 0.02
TRIED = "tried"


@dataclass(frozen=True)
class Stand:
    """A launch, and the D and Q that its row stands for: those that the kernel treats alike."""

    case: SelftestCase
    dimension: tuple[int, int]
    positions: tuple[int, int]


SHAPES = (
    Stand(SelftestCase(dimension=512, batch=1), (257, 512), (33, 64)),
    Stand(SelftestCase(dimension=1280, batch=1, activation="clip", taps=1), (1025, 1280), (33, 64)),
    Stand(SelftestCase(dimension=512, batch=1, size=14), (257, 512), (129, 256)),
)
BATCHES = (1, 8, 16, 32, 64)
BATCH_RANGES = {1: (1, 1), 8: (5, 8), 16: (9, 16), 32: (17, 32), 64: (33, 64)}


def cases_of(stand: Stand, batches: tuple[int, ...], *, half: bool) -> list[SelftestCase]:
    """Return the launches of a shape, batch by batch; the input is fp16."""
    return [replace(stand.case, batch=batch, half_weights=half) for batch in batches]


def variants(packed: PackedScorer, batch: int) -> list[Tiling]:
    """Return every plan that a row may hold for this scorer and batch."""
    most = TILE_HALF if packed.half else TILE_FULL
    warps = (0, CLASS_WARPS) if packed.half and packed.classes <= KEPT_CLASSES else (0,)
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
    return Tiling(origin=TRIED, samples=plan.tile, class_warps=plan.params.class_warps)


def best_row(
    stand: Stand,
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
        stand: the launch, and what it stands for.
        ruled: the rule's plan; its time is among ``us``.
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
    batch = ruled.params.batch
    return PlanRow(
        architecture=architecture,
        multiprocessors=multiprocessors,
        weights=WEIGHTS[not half],
        dimension=stand.dimension,
        positions=stand.positions,
        batch=BATCH_RANGES.get(batch, (batch, batch)),
        slabs=ruled.params.slabs,
        samples=best.samples,
        class_warps=best.class_warps or 0,
        origin=origin,
        us=round(us[best], 2),
        rule_us=round(us[rule], 2),
    )
