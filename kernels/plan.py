"""What one launch of the fused kernel needs: grid, shared memory, workspace; pure Python, no device.

``edgeosr/fused_score.h`` holds the same arithmetic for C++; a test compares the two on random shapes. Shared
memory of a block serves phase A (``src/block.cuh``), then phase B (``src/verdict.cuh``).
"""

from dataclasses import dataclass

from edgeosr.errors import UsageError
from edgeosr.kernels.matrices import padded_size
from edgeosr.kernels.packing import PackedScorer, require_within
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan_inputs import (
    GROUP,
    LEAST_SPARED,
    WIDE_STAGE_BYTES,
    MapShape,
    TangentShape,
    chunks_at_once,
    fill_map,
    fill_tangents,
)
from edgeosr.kernels.plan_table import RULE, Asked, PlanTable, installed_table
from edgeosr.kernels.sharing import (
    CLUSTER,
    KEPT_CLASSES,
    LARGEST_BATCH,
    MOST_MULTIPROCESSORS,
    THREADS,
    TILE_FULL,
    TILE_HALF,
    WARPS,
    Tiling,
    cluster_of,
    cluster_room,
    cut_of,
    samples_of_tile,
    share_layers,
    sharer_bits,
    sums_of_part,
)

__all__ = [
    "LARGEST_BATCH",
    "MOST_MULTIPROCESSORS",
    "LaunchPlan",
    "MapShape",
    "TangentShape",
    "chunks_at_once",
    "plan_launch",
]

MOST_SHARED_BYTES = 64 * 1024
SUMS_FULL = (512 + 16) * 4  # parts of a hidden layer, fp32 weights: 512 threads and a gap, 4 samples

STAGE_AT = 4 * (8 + 4)  # phase A: scales, and four words that nothing uses
MAILBOX_BYTES = 96 + 192  # two mailboxes for each layer, and a word of each block for each
CONSTANTS_BYTES = 192
# Phase B: five results a sample; three a sample and warp; sums and values a part; the scorer's constants; the
# logits of up to KEPT_CLASSES; whether the block is its tile's last.
EVEN_AT = 4 * (5 * 8 + 5 * 8 * 16 + 48 + 8 * KEPT_CLASSES + 4)


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """One launch.

    Attributes:
        entry: name of the kernel's entry.
        blocks: of the grid; 0 for an empty batch: nothing is launched.
        threads: of a block.
        shared_bytes: dynamic shared memory of a block.
        workspace_bytes: size, aligned to 16, whatever the tiles; its first ``counter_bytes`` must be 0 before
            the first launch.
        counter_bytes: see there; later launches leave them 0.
        tile: samples of a tile, at most 8 (4 with fp32 weights).
        cluster: blocks of a cluster; 1: launched without.
        params: sizes and offsets filled in, pointers 0.
        origin: of the tiles: ``rule``, or ``table, measured on NAME``.
        why: what decided, in words.
    """

    entry: str
    blocks: int
    threads: int
    shared_bytes: int
    workspace_bytes: int
    counter_bytes: int
    tile: int
    cluster: int
    params: FusedScoreParams
    origin: str
    why: str

    @property
    def described(self) -> str:
        """Return in words how many samples a tile has, and who decided that."""
        return f"tiles of {self.tile}: {self.origin}" + (f" ({self.why})" if self.why else "")


def plan_launch(
    packed: PackedScorer,
    shape: MapShape | TangentShape,
    batch: int,
    *,
    multiprocessors: int = 0,
    architecture: str = "",
    table: PlanTable | None = None,
    clusters: bool = True,
) -> LaunchPlan:
    """Plan a launch.

    Results depend on the device's architecture, on nothing else of it, and not on the table.

    Args:
        packed: the scorer.
        shape: the input's.
        batch: B, 0 to 1024.
        multiprocessors: of the device; tiles have as few samples as fill them. 0: not known; tiles are full.
        architecture: of the device, ``sm_87``; empty: not known, and no row of the table is taken.
        table: of plans; None: the one that ships with the kernel.
        clusters: False: none, whatever the architecture; verdicts may differ in their last bits.

    Raises:
        UsageError: beyond a limit, or a shape that does not go with the scorer.
    """
    require_within("the batch", batch, 0, LARGEST_BATCH)
    require_within("multiprocessors", multiprocessors, 0, MOST_MULTIPROCESSORS)
    cluster = cluster_of(packed, architecture) if clusters else 1
    width, slabs = cut_of(packed.dimension, packed.rows, cluster)
    asked = Asked(
        packed=packed,
        architecture=architecture,
        multiprocessors=multiprocessors,
        positions=shape.height * shape.width if isinstance(shape, MapShape) else 0,
        batch=batch,
        slabs=slabs,
    )
    tiling = (table or installed_table()).choice(asked)
    try:
        return _plan(asked, shape, width, cluster, tiling)
    except UsageError:
        if not tiling.samples:
            raise
    why = f"the plan table's tiles of {tiling.samples} do not fit this launch"
    return _plan(asked, shape, width, cluster, Tiling(origin=RULE, why=why))


def _plan(
    asked: Asked, shape: MapShape | TangentShape, width: int, cluster: int, tiling: Tiling
) -> LaunchPlan:
    packed, batch = asked.packed, asked.batch
    params = FusedScoreParams(batch=batch, slab_width=width, slabs=asked.slabs, cluster=cluster)
    params.hidden_quads = -(-packed.hidden_rows // 4 // cluster)
    _fill_scorer(params, packed)
    columns = TILE_HALF if packed.half else TILE_FULL
    by_rule = samples_of_tile(columns, batch, params.slabs, asked.multiprocessors, cluster)
    params.samples = tile = tiling.samples or by_rule
    room = (MOST_SHARED_BYTES - _place_hidden(params, packed, columns)) // 4
    share_layers(params, packed, room, tiling.class_warps)
    # Two samples' z lie in different banks for the reads of tangents.cuh: 32 bytes a lane of fp16 tangents,
    # 16 of fp32.
    wide = isinstance(shape, TangentShape) and not shape.half
    params.z_pitch = params.slab_width | 16 if wide else params.slab_width + 4
    if isinstance(shape, MapShape):
        fill_map(params, packed, shape)
    else:
        fill_tangents(params, packed, shape)
    params.stats = 2 + 2 * params.probes
    tiles = -(-batch // tile)
    params.slabs_inverse = (1 << 20) // params.slabs + 1
    params.samples_inverse = 65536 // tile + 1
    params.last_inverse = 65536 // ((batch - 1) % tile + 1) + 1
    # As if tiles were of one sample, or full, in clusters or not: room for a batch serves whatever the plan.
    _, alone = cut_of(packed.dimension, packed.rows)
    most = -(-batch // columns) * columns * (max(alone, CLUSTER) if packed.half else alone)
    params.stats_at = padded_size(4 * batch)
    params.partials_at = params.stats_at + padded_size(4 * most * params.stats)
    if cluster > 1:
        own = cluster_room(asked.architecture, tiles * cluster, asked.multiprocessors)
        if isinstance(shape, MapShape) and tile == TILE_HALF:
            _widen_stage(params, packed, shape, own)
    phase_a = _place_phase_a(params, packed, shape, columns)
    while phase_a > MOST_SHARED_BYTES and params.chunks_per_half > 1:
        params.chunks_per_half //= 2
        phase_a = _place_phase_a(params, packed, shape, columns)
    shared = max(phase_a, _phase_b_bytes(params, packed))
    if shared > MOST_SHARED_BYTES:
        raise UsageError(
            f"the fused kernel would need {shared} bytes of shared memory a block, the limit is "
            f"{MOST_SHARED_BYTES}; score with model.onnx"
        )
    if cluster > 1:
        shared = _place_own(params, packed, shared, own[0], columns=own[1])
    source = "map" if isinstance(shape, MapShape) else "tangents"
    how = "fma" if not packed.half else "mma" if cluster == 1 else "cluster"
    return LaunchPlan(
        entry=f"fused_score_{source}_{how}_{'f16' if shape.half else 'f32'}",
        blocks=tiles * params.slabs,
        threads=THREADS,
        shared_bytes=shared,
        workspace_bytes=params.partials_at + 4 * most * packed.rows,
        counter_bytes=params.stats_at,
        tile=tile,
        cluster=cluster,
        params=params,
        origin=tiling.origin,
        why=tiling.why,
    )


def _widen_stage(
    params: FusedScoreParams, packed: PackedScorer, shape: MapShape, own: tuple[int, bool]
) -> None:
    """Stage more of the map at once where that is worth the room that hidden layers lose."""
    narrow = params.chunks_per_half
    chunks = params.slab_width // GROUP * min(params.samples, max(params.batch, 1))
    params.chunks_per_half = chunks_at_once(chunks, params.chunk_bytes, WIDE_STAGE_BYTES)
    phase_a = _place_phase_a(params, packed, shape, TILE_HALF)
    _place_own(params, packed, max(phase_a, _phase_b_bytes(params, packed)), own[0], columns=own[1])
    spared = -(-chunks // narrow) - -(-chunks // params.chunks_per_half)
    kept = params.keeps_layers or params.layers < 3
    if phase_a > MOST_SHARED_BYTES or spared < (1 if kept else LEAST_SPARED):
        params.chunks_per_half = narrow


def _fill_scorer(params: FusedScoreParams, packed: PackedScorer) -> None:
    for name in ("split_at", "split_bias_at", "later_at", "later_bytes", "table_at", "offsets_at"):
        setattr(params, name, getattr(packed, name))
    for name in ("rows", "hidden_rows", "dimension", "classes", "head", "activation", "taps"):
        setattr(params, name, getattr(packed, name))
    params.parts = len(packed.parts)
    for place, part in zip(params.part, packed.parts, strict=False):
        place.code, place.row, place.rows = part.code, part.row, part.rows
        place.numbers_at = part.numbers_at
    params.layers = len(packed.widths)
    for layer, width in enumerate(packed.widths):
        params.width[layer] = width
        params.layer_at[layer] = packed.layer_at[layer]
        params.bias_at[layer] = packed.bias_at[layer]
    params.logits_stride = packed.classes


def _place_phase_a(
    params: FusedScoreParams, packed: PackedScorer, shape: MapShape | TangentShape, tile: int
) -> int:
    """Place phase A's shared memory, in the order of ``src/block.cuh``; return its size."""
    at = STAGE_AT
    if isinstance(shape, MapShape):
        positions, words = params.positions, params.words
        samples = min(params.samples, max(params.batch, 1))
        halves = 1 if params.chunks_per_half == params.slab_width // GROUP * samples else 2
        at += halves * params.chunks_per_half * params.chunk_bytes
        params.sharer_bits = sharer_bits(params)
        params.slopes_at = at
        at += WARPS * positions * 4 if packed.smooth and shape.half else 0
        params.masks_at = at
        at += WARPS * (2 * words + 1) * 32 if not (32 <= positions <= 64 or packed.smooth) else 0
        params.inside_at = at
        at += (4 if words == 2 else words + 1) * (-(-packed.taps // 4) * 4) * 4
    # Where the map was, z as halves comes later.
    params.halves_at = STAGE_AT
    halves_bytes = 2 * TILE_HALF * (params.slab_width + 8) * 2 if packed.half else 0
    params.z_at = max(at, STAGE_AT + halves_bytes)
    return int(params.z_at + (2 if packed.closed_form else 1) * tile * params.z_pitch * 4)


def _place_hidden(params: FusedScoreParams, packed: PackedScorer, tile: int) -> int:
    """Place hidden values and the last layer's weights, first in phase B; return where the sums may begin."""
    hidden = [0, 0]
    for layer, width in enumerate(packed.widths[:-1]):
        size = tile * (2 * (padded_size(width) + 8) if packed.half else 4 * (padded_size(width) | 16))
        hidden[layer % 2] = max(hidden[layer % 2], size)
    params.odd_at = EVEN_AT + hidden[0]
    params.last_at = params.odd_at + hidden[1]
    params.sums_at = params.last_at + (4 * padded_size(packed.widths[-2]) if len(packed.widths) > 1 else 0)
    return int(params.sums_at)


def _phase_b_bytes(params: FusedScoreParams, packed: PackedScorer) -> int:
    """Return the size of phase B's shared memory: what ``_place_hidden`` placed, and the sums of parts."""
    sums = SUMS_FULL if len(packed.widths) > 2 else 0
    if packed.half:
        shares = range(1, len(packed.widths) - 1)
        parts = [params.layer_parts[n] * sums_of_part(params, n) for n in shares]
        sums = max([0, *(size for size, n in zip(parts, shares, strict=True) if params.layer_parts[n] > 1)])
    return int(params.sums_at) + 4 * sums


def _place_own(params: FusedScoreParams, packed: PackedScorer, at: int, room: int, *, columns: bool) -> int:
    """Place what a block of a cluster has of the scorer, behind both phases; return the end.

    Args:
        params: takes it.
        packed: the scorer.
        at: where it may begin.
        room: where weights must end; the hidden layers' are kept whole or not at all.
        columns: whether as many steps of the slab's columns of the split matrix as fit are kept, too.
    """
    params.own_at = at = padded_size(at)
    at += CONSTANTS_BYTES
    if len(packed.widths) > 1:
        params.last_at = at
        at += 4 * padded_size(packed.widths[-2])
    layers = range(1, len(packed.widths) - 1)
    for layer in layers:
        params.own_bias_at[layer] = at
        at += 64 * params.layer_tiles[layer]
    params.mailboxes_at = at
    at += MAILBOX_BYTES
    end = at
    for layer in layers:
        params.own_layer_at[layer] = end
        end += 512 * params.layer_tiles[layer] * (padded_size(packed.widths[layer - 1]) // 16)
    params.keeps_layers = int(bool(layers) and end <= room)
    params.columns_at = at = end if params.keeps_layers else at
    step = packed.rows * 32
    if step and columns:
        params.kept_steps = min(params.slab_width // 16, max(0, room - at) // step)
    return int(at + params.kept_steps * step)
