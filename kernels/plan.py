"""What one launch of the fused kernel needs: grid, shared memory, workspace; pure Python, no device.

``edgeosr/fused_score.h`` holds the same arithmetic for C++; a test compares the two on random shapes. Shared
memory of a block serves phase A (``src/block.cuh``), then phase B (``src/verdict.cuh``).
"""

from dataclasses import dataclass

from edgeosr.errors import UsageError
from edgeosr.kernels.matrices import padded_size
from edgeosr.kernels.packing import PackedScorer, require_within
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.sharing import (
    KEPT_CLASSES,
    THREADS,
    TILE_FULL,
    TILE_HALF,
    WARPS,
    samples_of_tile,
    share_layers,
    slab_width,
)
from edgeosr.scoring.limits import KERNEL_LIMITS

GROUP = 16  # channels of a chunk of the map
# Of the map in shared memory: all of a block's chunks if they are no more than this, else two halves in
# flight.
STAGE_BYTES = 26 * 1024
TURN = 8  # chunks that keep every warp busy: 16 channels each, of which a warp takes eight at a time
LARGEST_BATCH = 1024
MOST_MULTIPROCESSORS = 4096
MOST_SHARED_BYTES = 64 * 1024
LARGEST_ELEMENTS = 2**31 - 1
SUMS_FULL = (512 + 16) * 4  # parts of a hidden layer, fp32 weights: 512 threads and a gap, 4 samples

STAGE_AT = 4 * (8 + 4)  # phase A: scales, and four words that nothing uses
# Phase B: five results a sample; three a sample and warp; sums and values a part; the scorer's constants; the
# logits of up to KEPT_CLASSES; whether the block is its tile's last.
EVEN_AT = 4 * (5 * 8 + 5 * 8 * 16 + 48 + 8 * KEPT_CLASSES + 4)
LAYOUTS = ("nchw", "nhwc")


@dataclass(frozen=True, kw_only=True)
class MapShape:
    """The map source's input.

    Attributes:
        height: H.
        width: W; Q = H W is 1 to 256.
        layout: ``nchw``, each sample ``[D, H, W]`` without gaps, or ``nhwc``, ``[H, W, position_stride]``.
        half: fp16, else fp32.
        position_stride: elements between positions of ``nhwc``, >= D; 0 means D.
        sample_stride: elements between samples; 0 means no gaps.
    """

    height: int
    width: int
    layout: str = "nchw"
    half: bool = True
    position_stride: int = 0
    sample_stride: int = 0


@dataclass(frozen=True, kw_only=True)
class TangentShape:
    """The tangent source's input: z ``[B, D]`` and t ``[K, B, D]``; a stride of 0 means no gaps.

    Attributes:
        probes: K, 0 to 32.
        half: fp16, else fp32.
        sample_stride: elements between rows of z.
        tangent_sample_stride: between rows of t.
        probe_stride: between tangents.
    """

    probes: int = 0
    half: bool = True
    sample_stride: int = 0
    tangent_sample_stride: int = 0
    probe_stride: int = 0


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """One launch.

    Attributes:
        entry: name of the kernel's entry.
        blocks: of the grid; 0 for an empty batch: nothing is launched.
        threads: of a block.
        shared_bytes: dynamic shared memory of a block.
        workspace_bytes: size, aligned to 16; its first ``counter_bytes`` must be 0 before the first launch.
        counter_bytes: see there; later launches leave them 0.
        tile: samples of a tile, at most 8 (4 with fp32 weights).
        params: sizes and offsets filled in, pointers 0.
    """

    entry: str
    blocks: int
    threads: int
    shared_bytes: int
    workspace_bytes: int
    counter_bytes: int
    tile: int
    params: FusedScoreParams


def plan_launch(
    packed: PackedScorer, shape: MapShape | TangentShape, batch: int, *, multiprocessors: int = 0
) -> LaunchPlan:
    """Plan a launch. No result depends on ``multiprocessors``.

    Args:
        packed: the scorer.
        shape: the input's.
        batch: B, 0 to 1024.
        multiprocessors: of the device; tiles have as few samples as fill them. 0: not known; tiles are full.

    Raises:
        UsageError: beyond a limit, or a shape that does not go with the scorer.
    """
    require_within("the batch", batch, 0, LARGEST_BATCH)
    require_within("multiprocessors", multiprocessors, 0, MOST_MULTIPROCESSORS)
    params = FusedScoreParams(batch=batch)
    _fill_scorer(params, packed)
    columns = TILE_HALF if packed.half else TILE_FULL
    params.slab_width = slab_width(packed.dimension, packed.rows)
    params.slabs = -(-padded_size(packed.dimension) // params.slab_width)
    params.samples = tile = samples_of_tile(columns, batch, params.slabs, multiprocessors)
    share_layers(params, packed, (MOST_SHARED_BYTES - _place_hidden(params, packed, columns)) // 4)
    # Two samples' z lie in different banks for the reads of tangents.cuh: 32 bytes a lane of fp16 tangents,
    # 16 of fp32.
    wide = isinstance(shape, TangentShape) and not shape.half
    params.z_pitch = params.slab_width | 16 if wide else params.slab_width + 4
    if isinstance(shape, MapShape):
        _fill_map(params, packed, shape)
    else:
        _fill_tangents(params, packed, shape)
    params.stats = 2 + 2 * params.probes
    tiles = -(-batch // tile)
    params.slabs_inverse = (1 << 20) // params.slabs + 1
    params.samples_inverse = 65536 // tile + 1
    params.last_inverse = 65536 // ((batch - 1) % tile + 1) + 1
    room = tiles * params.slabs * tile
    params.stats_at = padded_size(4 * tiles)
    params.partials_at = params.stats_at + padded_size(4 * room * params.stats)
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
    source = "map" if isinstance(shape, MapShape) else "tangents"
    return LaunchPlan(
        entry=f"fused_score_{source}_{'mma' if packed.half else 'fma'}_{'f16' if shape.half else 'f32'}",
        blocks=tiles * params.slabs,
        threads=THREADS,
        shared_bytes=shared,
        workspace_bytes=params.partials_at + 4 * room * packed.rows,
        counter_bytes=params.stats_at,
        tile=tile,
        params=params,
    )


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


def _fill_map(params: FusedScoreParams, packed: PackedScorer, shape: MapShape) -> None:
    if not packed.closed_form:
        raise UsageError(
            "the scorer has no closed form; the fused kernel takes z (and tangents), not the map"
        )
    if shape.layout not in LAYOUTS:
        raise UsageError(f"the map's layout must be nchw or nhwc; got {shape.layout!r}")
    positions = shape.height * shape.width
    require_within("the map's height", shape.height, 1, KERNEL_LIMITS.positions)
    require_within("the map's width", shape.width, 1, KERNEL_LIMITS.positions)
    require_within("the map's positions", positions, 1, KERNEL_LIMITS.positions)
    first = shape.layout == "nchw"
    position_stride = shape.position_stride or packed.dimension
    if position_stride < packed.dimension:
        raise UsageError(
            f"position_stride must be at least D = {packed.dimension}; got {shape.position_stride}"
        )
    least = positions * (packed.dimension if first else position_stride)
    params.height, params.width_of_map = shape.height, shape.width
    params.positions, params.words = positions, 2 * -(-positions // 64)
    params.width_inverse = 65536 // shape.width + 1
    params.position_share = 1.0 / positions
    params.layout = LAYOUTS.index(shape.layout)
    params.position_stride = position_stride
    params.sample_stride = _stride("sample_stride", shape.sample_stride, least)
    _require_elements(params.sample_stride * params.batch)
    element = 2 if shape.half else 4
    # Channels last is turned into rows on the way to shared memory; these pitches keep the stores of a warp
    # in different banks (src/staging.cuh).
    params.row_pitch = positions if first else _next(positions, 4 if shape.half else 2)
    params.chunk_bytes = padded_size(GROUP * params.row_pitch * element) + (16 if first else 0)
    samples = min(params.samples, max(params.batch, 1))
    params.chunks_per_half = chunks_at_once(params.slab_width // GROUP * samples, params.chunk_bytes)


def chunks_at_once(chunks: int, chunk_bytes: int) -> int:
    """Return how many of a block's chunks of the map are staged together: all, or one of two halves.

    No result depends on it.
    """
    fit = STAGE_BYTES // chunk_bytes
    if chunks <= fit:
        return chunks
    half = fit // 2 // TURN * TURN  # whole turns of the warps
    return half or max(1, min(fit, TURN))


def _fill_tangents(params: FusedScoreParams, packed: PackedScorer, shape: TangentShape) -> None:
    if packed.closed_form:
        raise UsageError("the scorer has a closed form; the fused kernel needs the map, not z")
    if shape.probes != packed.probes:
        raise UsageError(f"the scorer has K = {packed.probes} probes; got {shape.probes} tangents")
    dimension = packed.dimension
    params.probes = shape.probes
    params.sample_stride = _stride("sample_stride", shape.sample_stride, dimension)
    params.tangent_sample_stride = _stride("tangent_sample_stride", shape.tangent_sample_stride, dimension)
    least = max(params.batch, 1) * params.tangent_sample_stride if shape.probe_stride == 0 else dimension
    params.probe_stride = _stride("probe_stride", shape.probe_stride, least)
    _require_elements(params.sample_stride * params.batch)
    _require_elements(params.tangent_sample_stride * params.batch * max(shape.probes, 1))
    _require_elements(params.probe_stride * shape.probes)


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
        parts = [params.layer_parts[n] * padded_size(packed.widths[n]) * TILE_HALF for n in shares]
        sums = max([0, *(size for size, n in zip(parts, shares, strict=True) if params.layer_parts[n] > 1)])
    return int(params.sums_at) + 4 * sums


def _next(size: int, remainder: int) -> int:
    """Return the smallest number >= size that leaves ``remainder`` when divided by 8."""
    return size + (remainder - size) % 8


def _stride(name: str, given: int, least: int) -> int:
    if given and given < least:
        raise UsageError(f"{name} must be at least {least} elements; got {given}")
    return given or least


def _require_elements(elements: int) -> None:
    if elements > LARGEST_ELEMENTS:
        raise UsageError(
            f"an input must have fewer than 2^31 elements; got {elements}; score it in smaller batches"
        )
