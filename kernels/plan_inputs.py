"""The inputs of one launch as its plan takes them: shapes, strides, the map on its way to shared memory."""

from dataclasses import dataclass

from edgeosr.errors import UsageError
from edgeosr.kernels.matrices import padded_size
from edgeosr.kernels.packing import PackedScorer, require_within
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.scoring.limits import KERNEL_LIMITS

GROUP = 16  # channels of a chunk of the map
# Of the map in shared memory: all of a block's chunks if they are no more than this, else two halves in
# flight.
STAGE_BYTES = 26 * 1024
# The same of a full tile's block in a cluster: it has more chunks, and each time between two halves costs it
# some 80 instructions a warp. Where hidden layers then find no room, as many such times are to be spared.
WIDE_STAGE_BYTES = 52 * 1024
LEAST_SPARED = 4
TURN = 8  # chunks that keep every warp busy: 16 channels each, of which a warp takes eight at a time
LARGEST_ELEMENTS = 2**31 - 1
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


def fill_map(params: FusedScoreParams, packed: PackedScorer, shape: MapShape) -> None:
    """Fill in what the map decides; ``slab_width``, ``samples`` and ``batch`` are there.

    Raises:
        UsageError: the scorer takes no map, a size beyond a limit, or a stride that is too small.
    """
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


def chunks_at_once(chunks: int, chunk_bytes: int, stage_bytes: int = STAGE_BYTES) -> int:
    """Return how many of a block's chunks of the map are staged together: all, or one of two halves.

    No result depends on it.
    """
    fit = stage_bytes // chunk_bytes
    if chunks <= fit:
        return chunks
    half = fit // 2 // TURN * TURN  # whole turns of the warps
    return half or max(1, min(fit, TURN))


def fill_tangents(params: FusedScoreParams, packed: PackedScorer, shape: TangentShape) -> None:
    """Fill in what z and the tangents decide; ``batch`` is there.

    Raises:
        UsageError: the scorer takes the map, has another K, or a stride that is too small.
    """
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
