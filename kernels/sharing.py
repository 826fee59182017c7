"""How the work of one launch is shared out: slabs of D, samples of a tile, hidden layers among warps.

How additions are ordered follows from slabs and layers, which never depend on the batch, and of the device on
whether it has clusters alone; how many samples a tile has changes no result, nor whether classes have warps
of their own. ``src/sharing.cpp`` holds the same arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeosr.kernels.matrices import padded_size
from edgeosr.kernels.packing import PackedScorer
from edgeosr.kernels.params import FusedScoreParams

THREADS = 512
WARPS = THREADS // 32
TILE_HALF = 8  # samples a tile with fp16 weights: the columns of one mma
TILE_FULL = 4  # with fp32 weights
MOST_SLABS = 16
MOST_MULTIPROCESSORS = 4096
LARGEST_BATCH = 1024
WIDEST_SLAB = 256
# Rows of partial sums a sample keeps in the workspace, over all slabs: with very many classes fewer, wider
# slabs, so that the workspace at B = 1024 stays near 200 MB; rows of parts may add to that.
MOST_PARTIAL_ROWS = 16 * 1536
MOST_LAYER_SUMS = 6 * 1024  # the same of tensor cores, floats
PARTS_COST = 2  # of adding parts, in steps of a warp
# With no more classes than these, classes and parts have warps of their own.
KEPT_CLASSES = 64
CLASS_WARPS = 4
# Blocks of a cluster, on devices that have them: as many as each of these can place.
CLUSTER = 8
CLUSTERS_FROM = 90  # sm_90
# Shared memory of a block of a cluster: alone on a multiprocessor, of two, and where there are but 100 KB.
ALONE_BYTES = 227 * 1024
SHARED_BYTES = 113 * 1024
SMALL_BYTES = 96 * 1024
WIDE_UNTIL, SMALL_FROM = 110, 120  # architectures
SMALL_CHUNK = 2048  # bytes of a chunk of the map that are not worth more than a warp
# Of a last hidden layer that each block of a cluster computes for its own sample: row tiles, which have a
# warp each, steps of k, which follow one another, and both (512 bytes of weights each: 16 KB).
MOST_LONE_TILES = 8
MOST_LONE_STEPS = 16
MOST_LONE_PIECES = 32


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """What is free in a plan, and where it comes from.

    Attributes:
        origin: ``rule``, or the plan table's row: ``table, measured on NAME``.
        why: in words, what decided.
        samples: of a tile; 0: as the rule has them.
        class_warps: that classes and parts have for themselves; None: as the rule has them.
    """

    origin: str
    why: str = ""
    samples: int = 0
    class_warps: int | None = None


def cluster_of(packed: PackedScorer, architecture: str) -> int:
    """Return the blocks of a cluster; 1: none. Bits depend on it: it never depends on the batch.

    Args:
        packed: the scorer.
        architecture: of the device, ``sm_90``; empty: not known.
    """
    digits = architecture.removeprefix("sm_")
    return CLUSTER if packed.half and digits.isdecimal() and int(digits) >= CLUSTERS_FROM else 1


def cluster_room(architecture: str, blocks: int, multiprocessors: int) -> tuple[int, bool]:
    """Return where a cluster's block may end in shared memory, and whether it keeps columns.

    A block that keeps more than half of a multiprocessor's memory has it alone. So it may where all blocks of
    the launch have one each, and one cluster more would: not all multiprocessors can be used (an H200 places
    15 clusters on 132). Only on data-centre devices: on others it is not known whether eight blocks that have
    a multiprocessor each find their place. Where two do not fit anyway (sm_120), columns are kept under the
    same rule. No result depends on it.

    Args:
        architecture: of the device, which has clusters.
        blocks: of the launch.
        multiprocessors: of the device; 0: not known.
    """
    number = int(architecture.removeprefix("sm_"))
    alone = blocks + CLUSTER <= multiprocessors
    if number >= SMALL_FROM:
        return SMALL_BYTES, alone
    return (ALONE_BYTES if alone and number < WIDE_UNTIL else SHARED_BYTES), True


def slab_width(dimension: int, rows: int, cluster: int = 1) -> int:
    """Return a slab's channels, a multiple of 16; never depends on the batch, so that the bits do not.

    Args:
        dimension: D.
        rows: of the split matrix.
        cluster: blocks of a cluster, which have a slab each.
    """
    slabs = min(MOST_SLABS, max(1, MOST_PARTIAL_ROWS // max(rows, 1))) if cluster == 1 else cluster
    return min(padded_size(-(-dimension // slabs)), WIDEST_SLAB)


def cut_of(dimension: int, rows: int, cluster: int = 1) -> tuple[int, int]:
    """Return a slab's channels, as ``slab_width``, and into how many slabs D is cut.

    In a cluster the last slabs may be empty: each of its blocks has one.
    """
    width = slab_width(dimension, rows, cluster)
    return width, -(-padded_size(dimension) // width) if cluster == 1 else cluster


def samples_of_tile(columns: int, batch: int, slabs: int, multiprocessors: int, cluster: int = 1) -> int:
    """Return the samples of a tile: the fewest that give every multiprocessor at most one block.

    Tiles work side by side, and the samples of one wait for one another. So do two blocks of one
    multiprocessor: on an H100, B = 16 in 256 blocks took 23.1 us, in 128 blocks 20.0 (docs/kernel.md).

    Args:
        columns: the most, a power of two.
        batch: B.
        slabs: blocks of a tile.
        multiprocessors: of the device; 0: not known.
        cluster: blocks of a cluster. They cannot use every multiprocessor (15 of them have 120 of an H200's
            132): tiles of one sample leave one place free. With one more, two share multiprocessors:
            B = 16 took 18.4 us in 16 tiles, in 8 tiles 16.2.
    """
    samples, spare = 1, cluster if cluster > 1 else 0
    while samples < min(columns, batch) and -(-batch // samples) * slabs + spare > multiprocessors:
        samples, spare = 2 * samples, 0
    return samples


def mailed_layers(widths: Sequence[int]) -> int:
    """Return of how many hidden layers the blocks of a cluster send one another the values, the first ones.

    All, or all but the last: a small one costs each block less than what mail takes.

    Args:
        widths: of the discriminator's layers, the last one's 1 included.
    """
    last = len(widths) - 2
    if last < 1:
        return max(last + 1, 0)
    tiles, steps = padded_size(widths[last]) // 16, padded_size(widths[last - 1]) // 16
    lone = tiles <= MOST_LONE_TILES and steps <= MOST_LONE_STEPS and tiles * steps <= MOST_LONE_PIECES
    return last if lone else last + 1


def sharer_bits(params: FusedScoreParams) -> int:
    """Return of how many groups of warps, a power of two, each copies chunks of its own: its exponent.

    As many as there are chunks at a time; of eight or more small ones each is one warp's: finding addresses
    takes longer than the copies do. No result depends on it.
    """
    chunks: int = params.chunks_per_half
    one_warp = params.chunk_bytes <= SMALL_CHUNK and chunks >= WARPS // 2
    return (WARPS if one_warp else min(chunks, WARPS)).bit_length() - 1


def share_layers(
    params: FusedScoreParams, packed: PackedScorer, room: int, class_warps: int | None = None
) -> None:
    """Share each hidden layer out to the block, or the blocks of the cluster, that finish a tile.

    With tensor cores, few classes and few samples, classes and parts have warps of their own beside the
    layers'; in a cluster always. How a layer is cut never depends on the batch, so that the bits do not.

    Args:
        params: takes it; ``samples`` and ``cluster`` are filled in.
        packed: the scorer.
        room: floats of shared memory that the sums of parts may have.
        class_warps: that classes and parts have for themselves; None: as the rule has them.
    """
    few = packed.half and packed.classes <= KEPT_CLASSES and params.samples <= CLASS_WARPS
    params.class_warps = (CLASS_WARPS if few else 0) if class_warps is None else class_warps
    params.mailed_layers = mailed_layers(packed.widths)
    for layer in range(1, len(packed.widths) - 1):
        rows, inputs = padded_size(packed.widths[layer]), padded_size(packed.widths[layer - 1])
        if packed.half:
            steps = inputs // 16
            lone = params.cluster > 1 and layer >= params.mailed_layers
            blocks = 1 if lone else params.cluster
            pieces = params.layer_tiles[layer] = -(-rows // 16 // blocks)
            params.layer_idle[layer] = blocks + -(rows // 16) // pieces
            most = min(MOST_LAYER_SUMS, room) // sums_of_part(params, layer)
            parts = 1 if lone else _parts_of_layer(pieces, steps, WARPS - CLASS_WARPS, most)
        else:
            pieces, steps = rows, inputs // 4
            parts = min(THREADS // pieces, steps) if 2 * pieces <= THREADS else 1
        share = -(-steps // parts)
        params.layer_share[layer] = share
        params.layer_parts[layer] = -(-steps // share) if packed.half else parts
        params.layer_inverse[layer] = (1 << 20) // pieces + 1
        params.parts_inverse[layer] = (1 << 20) // params.layer_parts[layer] + 1


def sums_of_part(params: FusedScoreParams, layer: int) -> int:
    """Return the floats of shared memory for one part's sums of a hidden layer, tensor cores."""
    rows = params.layer_tiles[layer] * 16
    return int(TILE_HALF * (rows if params.cluster == 1 else rows + 4))


def _parts_of_layer(tiles: int, steps: int, warps: int, most: int) -> int:
    """Return into how many parts along k a layer is cut, so that its warps have about as many steps each."""

    def longest(parts: int) -> int:  # steps of the warp that has most, and some for the sum of the parts
        return -(-tiles * parts // warps) * -(-steps // parts) + (PARTS_COST if parts > 1 else 0)

    return min(range(1, max(1, min(steps, most)) + 1), key=longest)
