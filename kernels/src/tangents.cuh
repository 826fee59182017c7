// Tangent source: z [B, D] and t [K, B, D], each read once. Four lanes share one row's slab, so that a warp
// reads eight rows at a time; a lane's additions go in the same order whether its row is aligned or not.
#pragma once
#include "block.cuh"

namespace edgeosr {

constexpr int kSharers = 4;  // lanes of a row

// 16 bytes' worth of a row from element `element`, zeros from `end` on.
template <bool kHalf>
struct Piece {
    float value[kHalf ? 8 : 4];
};

template <bool kHalf>
EDGEOSR_DEVICE Piece<kHalf> load_piece(unsigned char const* row, int element, int end, bool& bad) {
    constexpr int kCount = kHalf ? 8 : 4, kBytes = kHalf ? 2 : 4;
    unsigned char const* from = row + element * kBytes;
    unsigned bits[kCount];
    if ((reinterpret_cast<unsigned long long>(from) & 15u) == 0 && element + kCount <= end) {
        Words4 const words = load_16(from);
        unsigned const word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < kCount; ++i)
            bits[i] = kHalf ? word[i >> 1] >> (16 * (i & 1)) & 0xffffu : word[i & 3];
    } else {
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
            bits[i] = 0;
            if (element + i < end) bits[i] = kHalf ? load_u16(from + i * 2) : load_u32(from + i * 4);
        }
    }
    Piece<kHalf> piece;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
        unsigned short const half = static_cast<unsigned short>(bits[i]);
        bad |= kHalf ? half_not_finite(half) : float_not_finite(bits[i]);
        piece.value[i] = kHalf ? float_from_half(half) : float_from_bits(bits[i]);
    }
    return piece;
}

// The slab of z to shared memory, one warp a sample: NaN where it is not finite, 0 in the padding.
template <int kTile, bool kHalf>
EDGEOSR_DEVICE void load_embedding(FusedScoreParams const& p, Block const& block) {
    constexpr int kCount = kHalf ? 8 : 4, kBytes = kHalf ? 2 : 4;
    int const sample = warp_index(), end = p.dimension - block.channel;
    if (sample >= block.valid) return;
    unsigned char const* row = static_cast<unsigned char const*>(p.input) +
                               ((block.first + sample) * p.sample_stride + block.channel) * kBytes;
#pragma unroll 1
    for (int element = lane_index() * kCount; element < block.channels; element += 32 * kCount) {
        bool bad = false;
        Piece<kHalf> piece = load_piece<kHalf>(row, element, end, bad);
        float* z = embedding(p, sample) + element;
        if (bad) piece.value[0] = float_from_bits(0x7fc00000u);
        // Eight lanes store at a time: of 32 bytes each, half of them the lower 16 and half the upper first.
        bool const swapped = kHalf && (lane_index() & 4);
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
            constexpr int kLast = kCount - 4;
            float part[4];
#pragma unroll
            for (int j = 0; j < 4; ++j)
                part[j] = swapped ? piece.value[kLast - i + j] : piece.value[i + j];
            shared_store_x4(z + (swapped ? kLast - i : i), {part[0], part[1], part[2], part[3]});
        }
    }
}

// |t_k|^2 and t_k . z over the slab -> stats[2 + k] and stats[2 + K + k]; NaN if t_k is not finite.
template <int kTile, bool kHalf>
EDGEOSR_DEVICE void reduce_tangents(FusedScoreParams const& p, Block const& block, float* stats) {
    constexpr int kCount = kHalf ? 8 : 4, kBytes = kHalf ? 2 : 4;
    constexpr int kRows = 32 / kSharers;
    int const sub = lane_index() & (kSharers - 1), rows = block.valid * p.probes;
    int const end = p.dimension - block.channel;
#pragma unroll 1
    for (int first = warp_index() * kRows; first < rows; first += kWarps * kRows) {
        int const row = first + lane_index() / kSharers;
        int const sample = row / p.probes, probe = row - sample * p.probes;
        float square = 0.0f, along = 0.0f;
        bool bad = false;
        if (row < rows) {
            unsigned char const* from =
                static_cast<unsigned char const*>(p.tangents) +
                (probe * p.probe_stride + (block.first + sample) * p.tangent_sample_stride + block.channel) *
                    kBytes;
            float const* z = embedding(p, sample);
#pragma unroll 2
            for (int element = sub * kCount; element < block.channels; element += kSharers * kCount) {
                Piece<kHalf> const piece = load_piece<kHalf>(from, element, end, bad);
#pragma unroll
                for (int i = 0; i < kCount; i += 4) {
                    Floats4 const other = shared_load_x4(z + element + i);
                    float const part_of_z[4] = {other.x, other.y, other.z, other.w};
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        square = multiply_add(piece.value[i + j], piece.value[i + j], square);
                        along = multiply_add(piece.value[i + j], part_of_z[j], along);
                    }
                }
            }
        }
        if (bad) square = float_from_bits(0x7fc00000u);
#pragma unroll
        for (int lanes = 1; lanes < kSharers; lanes <<= 1) {
            square += shuffle_xor(square, lanes);
            along += shuffle_xor(along, lanes);
        }
        if (row < rows && sub == 0) {
            store_f32(stats + sample * p.stats + 2 + probe, square);
            store_f32(stats + sample * p.stats + 2 + p.probes + probe, along);
        }
    }
}

}  // namespace edgeosr
