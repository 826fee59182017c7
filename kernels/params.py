"""``FusedScoreParams`` of ``src/params.cuh`` for ctypes: the one struct that crosses to the device."""

import ctypes

from edgeosr.scoring.limits import KERNEL_LIMITS
from edgeosr.verdict import MOST_PARTS

LAYERS = KERNEL_LIMITS.layers


class PartPlace(ctypes.Structure):
    """One score part."""

    _fields_ = (
        ("code", ctypes.c_int32),
        ("row", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("numbers_at", ctypes.c_uint32),
    )


class FusedScoreParams(ctypes.Structure):
    """Field by field as in ``src/params.cuh``, where each is explained; a test compares the offsets."""

    _fields_ = (
        ("input", ctypes.c_uint64),
        ("tangents", ctypes.c_uint64),
        ("logits", ctypes.c_uint64),
        ("scorer", ctypes.c_uint64),
        ("workspace", ctypes.c_uint64),
        ("verdicts", ctypes.c_uint64),
        ("sample_stride", ctypes.c_int64),
        ("tangent_sample_stride", ctypes.c_int64),
        ("probe_stride", ctypes.c_int64),
        ("logits_stride", ctypes.c_int64),
        ("stats_at", ctypes.c_uint64),
        ("partials_at", ctypes.c_uint64),
        ("split_at", ctypes.c_uint32),
        ("split_bias_at", ctypes.c_uint32),
        ("layer_at", ctypes.c_uint32 * LAYERS),
        ("bias_at", ctypes.c_uint32 * LAYERS),
        ("later_at", ctypes.c_uint32),
        ("later_bytes", ctypes.c_uint32),
        ("table_at", ctypes.c_uint32),
        ("offsets_at", ctypes.c_uint32),
        ("width", ctypes.c_int32 * LAYERS),
        ("layers", ctypes.c_int32),
        ("rows", ctypes.c_int32),
        ("hidden_rows", ctypes.c_int32),
        ("dimension", ctypes.c_int32),
        ("classes", ctypes.c_int32),
        ("head", ctypes.c_int32),
        ("activation", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("parts", ctypes.c_int32),
        ("part", PartPlace * MOST_PARTS),
        ("batch", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width_of_map", ctypes.c_int32),
        ("positions", ctypes.c_int32),
        ("words", ctypes.c_int32),
        ("width_inverse", ctypes.c_int32),
        ("position_share", ctypes.c_float),
        ("layout", ctypes.c_int32),
        ("position_stride", ctypes.c_int32),
        ("probes", ctypes.c_int32),
        ("logits_half", ctypes.c_int32),
        ("slabs", ctypes.c_int32),
        ("slabs_inverse", ctypes.c_int32),
        ("samples", ctypes.c_int32),
        ("samples_inverse", ctypes.c_int32),
        ("last_inverse", ctypes.c_int32),
        ("slab_width", ctypes.c_int32),
        ("z_pitch", ctypes.c_int32),
        ("stats", ctypes.c_int32),
        ("chunks_per_half", ctypes.c_int32),
        ("chunk_bytes", ctypes.c_int32),
        ("row_pitch", ctypes.c_int32),
        ("cluster", ctypes.c_int32),
        ("mailboxes_at", ctypes.c_int32),
        ("mailed_layers", ctypes.c_int32),
        ("hidden_quads", ctypes.c_int32),
        ("keeps_layers", ctypes.c_int32),
        ("class_warps", ctypes.c_int32),
        ("layer_parts", ctypes.c_int32 * LAYERS),
        ("layer_share", ctypes.c_int32 * LAYERS),
        ("layer_inverse", ctypes.c_int32 * LAYERS),
        ("layer_tiles", ctypes.c_int32 * LAYERS),
        ("layer_idle", ctypes.c_int32 * LAYERS),
        ("parts_inverse", ctypes.c_int32 * LAYERS),
        ("slopes_at", ctypes.c_int32),
        ("masks_at", ctypes.c_int32),
        ("inside_at", ctypes.c_int32),
        ("z_at", ctypes.c_int32),
        ("halves_at", ctypes.c_int32),
        ("odd_at", ctypes.c_int32),
        ("sums_at", ctypes.c_int32),
        ("last_at", ctypes.c_int32),
        ("own_at", ctypes.c_int32),
        ("own_bias_at", ctypes.c_int32 * LAYERS),
        ("own_layer_at", ctypes.c_int32 * LAYERS),
        ("columns_at", ctypes.c_int32),
        ("kept_steps", ctypes.c_int32),
        ("numbered", ctypes.c_int32),
        ("sharer_bits", ctypes.c_int32),
    )
