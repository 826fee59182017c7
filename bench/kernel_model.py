"""A performance model of the fused kernel that cannot flatter: lower bounds, and never a measurement.

What is counted is counted by the kernel's own plan and packing (``edgeosr.kernels.plan``): bytes, blocks,
operations. A floor adds two dependent phases: every block pools and multiplies its slab; then one block of
each tile, or its cluster, does the rest. Each phase takes at least its bytes through the multiprocessors that
are active in it (64 bytes a clock each, assumed), its operations on their units, and its own bytes from DRAM.
The prefetch of the later layers is credited fully: they cost the second phase no DRAM. Launch overhead and
memory latency are assumed and stand apart.
"""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from edgeosr.bench.jetson import LAUNCH_US, LAYER_US, MODULES, Module
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.kernels.plan import LaunchPlan, MapShape, TangentShape, plan_launch
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.sharing import TILE_FULL, TILE_HALF
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.parts import carried_parts
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer

HIDDEN = (512, 256, 128, 64, 1)  # the discriminator that edgeosr trains
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One row. ``source`` is ``map`` (with ``positions``, a square) or ``tangents`` (with ``probes``)."""

    source: str
    batch: int
    dimension: int
    positions: int = 0
    probes: int = 0
    half: bool = True

    @property
    def name(self) -> str:
        """Return it in words."""
        last = f"Q={self.positions}" if self.source == "map" else f"K={self.probes}"
        return f"{self.source} B={self.batch} D={self.dimension} {last} {'fp16' if self.half else 'fp32'}"


WORKLOADS = tuple(
    Workload(source="map", batch=batch, dimension=dimension, positions=49)
    for dimension in (512, 1280)
    for batch in (1, 8, 64)
) + tuple(Workload(source="tangents", batch=batch, dimension=512, probes=8) for batch in (1, 64))


@dataclass(frozen=True)
class Counts:
    """What a launch must do at least; all counted.

    Attributes:
        weight_bytes: packed weights, biases, table, constants: read once from DRAM.
        input_bytes: the map, or z and the tangents.
        verdict_bytes: written.
        first_bytes: of the weights, those of the first phase.
        block_bytes: what the busiest block of phase one reads from L2: its slab of the weights and inputs.
        last_bytes: what a block reads in phase two: partial sums and later layers; in a cluster, its share.
        blocks: of the grid; last_blocks: of phase two: the last of each tile, or all of its cluster.
        tensor_flops: (phase one, phase two), of the whole launch, padding to 8 samples included.
        fp32_flops: likewise: pooling, norms, tangents, and the dense parts with fp32 weights.
        integer_operations: mask words of the closed form: shift, and, popcount, add.
        launches: kernels.
    """

    weight_bytes: int
    input_bytes: int
    verdict_bytes: int
    first_bytes: int
    block_bytes: int
    last_bytes: int
    blocks: int
    last_blocks: int
    tensor_flops: tuple[int, int]
    fp32_flops: tuple[int, int]
    integer_operations: int
    launches: int = 1

    @property
    def dram_bytes(self) -> int:
        """Compulsory traffic: every byte once."""
        return self.weight_bytes + self.input_bytes + self.verdict_bytes


@dataclass(frozen=True)
class Floor:
    """Microseconds on one module that no run of the launch can beat, if the table is right.

    Attributes:
        dram: all compulsory bytes at the full bandwidth.
        first: phase one; ``first_by`` names what bounds it.
        last: phase two; ``last_by`` likewise.
        launch: overhead of the launches (assumed); latency: of the dependent steps (assumed).
    """

    dram: float
    first: float
    first_by: str
    last: float
    last_by: str
    launch: float
    latency: float

    @property
    def critical_path(self) -> float:
        """Both phases, or all of DRAM if that is longer."""
        return max(self.first + self.last, self.dram)

    @property
    def ratio(self) -> float:
        """Of the critical path to DRAM: how much the launch's structure costs at least."""
        return self.critical_path / self.dram


def counts_of(workload: Workload, multiprocessors: int = 0, architecture: str = "") -> Counts:
    """Count one launch by the kernel's own plan, as the rule makes it.

    Args:
        workload: the launch.
        multiprocessors: of the device; 0: not known, tiles are full.
        architecture: of the device, which decides on clusters; empty: not known, there are none.
    """
    packed, plan = planned(workload, multiprocessors, architecture, table=PlanTable())
    params = plan.params
    columns = TILE_HALF if packed.half else TILE_FULL  # multiplied, whether samples fill them or not
    batch, dimension = workload.batch, workload.dimension
    element = 2 if workload.half else 4
    tiles = plan.blocks // params.slabs
    wide = min(plan.tile, batch)  # samples of the busiest tile
    padded_dimension = -(-dimension // 16) * 16
    split_bytes = packed.rows * padded_dimension * element
    table_bytes = dimension * packed.taps * 4 if packed.closed_form else 0
    per_channel = workload.positions if packed.closed_form else 1 + workload.probes
    block_bytes = (
        packed.rows * params.slab_width * element
        + wide * params.slab_width * per_channel * element
        + (params.slab_width * packed.taps * 4 if packed.closed_form else 0)
    )
    sums = wide * (packed.rows + params.stats)
    if plan.cluster > 1:  # a share of the hidden rows of all samples, all other rows of one
        sums = wide * packed.hidden_rows // plan.cluster + packed.rows - packed.hidden_rows + params.stats
    hidden = [-(-width // 16) * 16 for width in packed.widths[:-1]]
    later_products = sum(a * b for a, b in itertools.pairwise(hidden)) + (hidden or [0])[-1]
    dense = (2 * packed.rows * padded_dimension, 2 * later_products)
    # Tensor cores: z as a high and a low half in phase one.
    tensor = (2 * dense[0] * tiles * columns, dense[1] * tiles * columns) if packed.half else (0, 0)
    words = -(-max(workload.positions, 1) // 32)
    pooled = batch * dimension * (2 * workload.positions + 2 * packed.taps) if packed.closed_form else 0
    tangents = batch * dimension * (2 + 4 * workload.probes)
    first = pooled + tangents + (0 if packed.half else dense[0] * tiles * columns)
    partials = tiles * wide * params.slabs * packed.rows
    return Counts(
        weight_bytes=len(packed.data),
        input_bytes=batch * dimension * per_channel * element,
        verdict_bytes=VERDICT.itemsize * batch,
        first_bytes=split_bytes + table_bytes,
        block_bytes=block_bytes,
        last_bytes=4 * params.slabs * sums + packed.later_bytes // plan.cluster,
        blocks=plan.blocks,
        last_blocks=tiles * plan.cluster,
        tensor_flops=tensor,
        fp32_flops=(first, partials + (0 if packed.half else dense[1] * tiles * columns)),
        integer_operations=4 * batch * dimension * packed.taps * words if packed.closed_form else 0,
    )


def floor_of(counts: Counts, module: Module) -> Floor:
    """Return the floor of a launch on ``module``."""
    many = int(module.multiprocessors.value)
    bandwidth = module.dram_gb_s.value * 1e3  # bytes a microsecond
    first_rounds, last_rounds = math.ceil(counts.blocks / many), math.ceil(counts.last_blocks / many)
    one = module.l2_gb_s_of_one * 1e3
    first = {
        "DRAM": (counts.first_bytes + counts.input_bytes) / bandwidth,
        "L2 to SM": first_rounds * counts.block_bytes / one,
        **_units(counts, module, phase=0, active=min(many, counts.blocks)),
    }
    last = {
        "L2 to SM": last_rounds * counts.last_bytes / one,
        **_units(counts, module, phase=1, active=min(many, counts.last_blocks)),
    }
    # Steps of the longest chain: inputs, layer 1, then partial sums and one per later layer.
    steps = 3 + len(HIDDEN) - 1
    return Floor(
        dram=counts.dram_bytes / bandwidth,
        first=max(first.values()),
        first_by=max(first, key=lambda name: first[name]),
        last=max(last.values()),
        last_by=max(last, key=lambda name: last[name]),
        launch=counts.launches * LAUNCH_US,
        latency=steps * LAYER_US,
    )


def _units(counts: Counts, module: Module, *, phase: int, active: int) -> dict[str, float]:
    scalar = counts.fp32_flops[phase]
    tensor = counts.tensor_flops[phase]
    units = {"fp32": scalar / (module.fp32_gflops_of_one * 1e3 * active)}
    if tensor and module.tensor_flop_per_clock.value:
        units["tensor"] = tensor / (
            module.tensor_flop_per_clock.value * module.clock_ghz.value * 1e3 * active
        )
    return units


def planned(
    workload: Workload,
    multiprocessors: int = 0,
    architecture: str = "",
    *,
    table: PlanTable | None = None,
) -> tuple[PackedScorer, LaunchPlan]:
    """Pack a scorer of zeros of the workload's sizes, and plan its launch for such a device.

    Without an architecture the plan is the rule's and has no clusters; with it ``table``, or if that is None
    the installed plan table, may have a row.
    """
    dimension = workload.dimension
    layers, inputs = [], dimension
    for width in HIDDEN:
        layers.append((np.zeros((width, inputs), np.float32), np.zeros(width, np.float32)))
        inputs = width
    offsets = [
        (0, 0),
        (0, 1),
        (1, -1),
        (1, 0),
        (1, 1),
        (0, 2),
        (1, -2),
        (1, 2),
        (2, -2),
        (2, -1),
        (2, 0),
        (2, 1),
    ]
    offsets += [(2, 2)]
    closed_form = ClosedForm(
        activation="relu",
        parameters=np.zeros(0, np.float32),
        table=np.zeros((dimension, len(offsets)), np.float32),
        offsets=np.array(offsets, np.int32),
    )
    scorer = Scorer(
        dimension=dimension,
        classes=CLASSES,
        head=Head(
            kind="cosine",
            weight=np.zeros((CLASSES, dimension), np.float32),
            bias=np.zeros(CLASSES, np.float32),
            temperature=16.0,
        ),
        fusion=unfitted_fusion(()),
        threshold=0.0,
        closed_form=closed_form if workload.source == "map" else None,
        probes=Probes(K=workload.probes, n=49 * dimension) if workload.probes else None,
        layers=tuple(layers),
    )
    scorer = replace(scorer, fusion=unfitted_fusion(carried_parts(scorer)))
    packed = pack_scorer(scorer, half=workload.half)
    side = math.isqrt(workload.positions)
    shape: MapShape | TangentShape = TangentShape(probes=workload.probes, half=workload.half)
    if workload.source == "map":
        shape = MapShape(height=side, width=side, half=workload.half)
    return packed, plan_launch(
        packed,
        shape,
        workload.batch,
        multiprocessors=multiprocessors,
        architecture=architecture,
        table=table,
    )


def floors(workload: Workload) -> dict[str, Floor]:
    """Return the floor of every module that takes the workload's weights (Xavier takes fp32 alone)."""
    modules = [m for m in MODULES if m.tensor_flop_per_clock.value or not workload.half]
    kinds = {m.name: (int(m.multiprocessors.value), m.architecture) for m in modules}
    counts = {kind: counts_of(workload, *kind) for kind in set(kinds.values())}
    return {m.name: floor_of(counts[kinds[m.name]], m) for m in modules}
