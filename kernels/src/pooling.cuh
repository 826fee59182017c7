// Map source: activation, mean over positions, and the closed form of the Jacobian norm, in one pass over y:
//   |dz/dh|_F^2 = 1/Q^2 sum_d sum_t A[d, t] sum_q m_d(q) m_d(q + offset_t),   m_d = act'(y_d), 0 out of the
//   map.
// One warp has one channel, its lanes the positions. Piecewise-linear activations turn the inner sum into
// counts of bits, which are exact; smooth ones multiply slopes kept in shared memory.
#pragma once
#include "activation.cuh"
#include "staging.cuh"

namespace edgeosr {

constexpr int kTapWords = kMaxTaps / 32;  // taps of one lane

// A channel's rows of the table, tap t in lane t % 32.
struct TapRow {
    float value[kTapWords];
};

EDGEOSR_DEVICE float taps_of_lane(TapRow const& row, int j) {  // value[j], without an address
    return j == 0 ? row.value[0] : j == 1 ? row.value[1] : j == 2 ? row.value[2] : row.value[3];
}

EDGEOSR_DEVICE TapRow load_taps(FusedScoreParams const& p, int channel) {
    TapRow row;
    float const* table = reinterpret_cast<float const*>(p.scorer + p.table_at) + channel * p.taps;
#pragma unroll
    for (int j = 0; j < kTapWords; ++j) {
        int const tap = j * 32 + lane_index();
        row.value[j] = tap < p.taps ? load_f32(table + tap) : 0.0f;
    }
    return row;
}

// Per tap: the positions whose partner q + offset is in the map (bits [words, taps]), then the flat offsets.
EDGEOSR_DEVICE void prepare_taps(FusedScoreParams const& p) {
    int const width = p.width_of_map, positions = p.height * width, words = (positions + 31) >> 5;
    unsigned char const* offsets = p.scorer + p.offsets_at;
#pragma unroll 1
    for (int item = warp_index(); item < words * p.taps; item += kWarps) {
        int const word = item / p.taps, tap = item - word * p.taps;
        int const down = static_cast<int>(load_u32(offsets + tap * 8));
        int const right = static_cast<int>(load_u32(offsets + tap * 8 + 4));
        int const position = word * 32 + lane_index();
        int const row = position / width + down, column = position % width + right;
        bool const inside =
            position < positions && row >= 0 && row < p.height && column >= 0 && column < width;
        unsigned const bits = ballot(inside);
        if (lane_index() == 0) {
            shared_store_u32(inside_map(p) + item, bits);
            // An offset beyond the map has no bits; a small one in its place keeps the addresses small.
            if (word == 0)
                shared_store_u32(inside_map(p) + words * p.taps + tap,
                                 static_cast<unsigned>(down > -p.height && down < p.height &&
                                                               right > -width && right < width
                                                           ? down * width + right
                                                           : 0));
        }
    }
}

template <bool kHalf>
EDGEOSR_DEVICE float load_staged(unsigned char const* row, int position, bool& bad) {
    if (kHalf) {
        unsigned short const bits = shared_load_u16(row + position * 2);
        bad |= half_not_finite(bits);
        return float_from_half(bits);
    }
    unsigned const bits = shared_load_u32(row + position * 4);
    bad |= float_not_finite(bits);
    return float_from_bits(bits);
}

// sum_q m(q) m(q + offset) of one tap from a warp's mask bits; integers, so exact.
EDGEOSR_DEVICE float tap_count(FusedScoreParams const& p, int tap, int words, float outside) {
    unsigned const* mask = masks_of_warp();
    int const offset = static_cast<int>(shared_load_u32(inside_map(p) + words * p.taps + tap));
    int both = 0, one = 0, pairs = 0;  // both inside; here inside plus there inside; all
#pragma unroll 1
    for (int word = 0; word < words; ++word) {
        unsigned const valid = shared_load_u32(inside_map(p) + word * p.taps + tap);
        int const from = (word * 32 + offset) >> 5, shift = offset & 31;
        unsigned long long const low = from >= 0 && from < words ? shared_load_u32(mask + from) : 0u;
        unsigned long long const high =
            from >= -1 && from + 1 < words ? shared_load_u32(mask + from + 1) : 0u;
        unsigned const there = static_cast<unsigned>((high << 32 | low) >> shift) & valid;
        unsigned const here = shared_load_u32(mask + word) & valid;
        both += population_count(here & there);
        one += population_count(here) + population_count(there);
        pairs += population_count(valid);
    }
    float const mixed = static_cast<float>(one - 2 * both), neither = static_cast<float>(pairs - one + both);
    return static_cast<float>(both) + outside * (mixed + outside * neither);
}

// One channel of one sample with a piecewise-linear activation. Returns each lane's part of the J^2 sum.
template <bool kHalf>
EDGEOSR_DEVICE float pool_piecewise(FusedScoreParams const& p,
                                    Piecewise const& pieces,
                                    unsigned char const* row,
                                    TapRow const& taps,
                                    float& sum,
                                    bool& bad) {
    int const positions = p.height * p.width_of_map, words = (positions + 31) >> 5;
    int count = 0;
#pragma unroll 1
    for (int word = 0; word < words; ++word) {
        int const position = word * 32 + lane_index();
        bool inside = false;
        if (position < positions) {
            float const y = load_staged<kHalf>(row, position, bad);
            inside = y > pieces.low && y < pieces.high;
            sum += piecewise_value(p.activation, pieces, y, inside);
        }
        unsigned const bits = ballot(inside);
        count += population_count(bits);
        if (lane_index() == 0) shared_store_u32(masks_of_warp() + word, bits);
    }
    float const outside = pieces.outside;
    if (p.taps == 1) {
        float const squares =
            multiply_add(outside * outside, static_cast<float>(positions - count), static_cast<float>(count));
        return lane_index() == 0 ? taps.value[0] * squares : 0.0f;
    }
    warp_sync();
    float jacobian = 0.0f;
#pragma unroll 1
    for (int j = 0; j * 32 < p.taps; ++j) {
        int const tap = j * 32 + lane_index();
        if (tap < p.taps)
            jacobian = multiply_add(taps_of_lane(taps, j), tap_count(p, tap, words, outside), jacobian);
    }
    return jacobian;
}

template <bool kHalf>
EDGEOSR_DEVICE float pool_smooth(
    FusedScoreParams const& p, unsigned char* row, TapRow const& taps, float& sum, bool& bad) {
    int const positions = p.height * p.width_of_map, words = (positions + 31) >> 5;
    float* slopes = kHalf ? slopes_of_warp(p) : reinterpret_cast<float*>(row);
    float squares = 0.0f;
#pragma unroll 1
    for (int position = lane_index(); position < positions; position += 32) {
        Activated const one = smooth(p.activation, load_staged<kHalf>(row, position, bad));
        sum += one.value;
        squares = multiply_add(one.slope, one.slope, squares);
        if (p.taps > 1) shared_store_f32(slopes + position, one.slope);
    }
    if (p.taps == 1) return squares * float_from_bits(shuffle(bits_from_float(taps.value[0]), 0));
    warp_sync();
    float jacobian = 0.0f;
#pragma unroll 1
    for (int tap = 0; tap < p.taps; ++tap) {
        int const offset = static_cast<int>(shared_load_u32(inside_map(p) + words * p.taps + tap));
        float products = 0.0f;
#pragma unroll 1
        for (int word = 0; word < words; ++word) {
            unsigned const valid = shared_load_u32(inside_map(p) + word * p.taps + tap);
            int const position = word * 32 + lane_index();
            if (valid >> lane_index() & 1u)
                products = multiply_add(shared_load_f32(slopes + position),
                                        shared_load_f32(slopes + position + offset),
                                        products);
        }
        float const weight =
            float_from_bits(shuffle(bits_from_float(taps_of_lane(taps, tap >> 5)), tap & 31));
        jacobian = multiply_add(weight, products, jacobian);
    }
    return jacobian;
}

// All channels of the slab, all samples of the tile: z (mean of act(y); NaN where y is not finite) and each
// warp's J^2 partials, complete for the block after the next block_sync.
template <int kTile, bool kHalf>
EDGEOSR_DEVICE void pool_map(FusedScoreParams const& p, Block const& block) {
    int const chunks = block.channels / kGroup * block.valid;
    int const lane = lane_index(), warp = warp_index();
    stage_chunks<kHalf>(p, block, stage_half(p, 0), 0, smaller(chunks, p.chunks_per_half));
    copy_async_commit();
    if (p.taps > 1) prepare_taps(p);
    if (thread_index() < 8 * kWarps) shared_store_f32(jacobian_sums(0) + thread_index(), 0.0f);
    Piecewise const pieces = piecewise(p);
    float const share = 1.0f / static_cast<float>(p.height * p.width_of_map);
    TapRow taps = {};
    int group = -1;
#pragma unroll 1
    for (int first = 0, turn = 0; first < chunks; first += p.chunks_per_half, turn ^= 1) {
        int const next = first + p.chunks_per_half;
        if (next < chunks) {
            stage_chunks<kHalf>(
                p, block, stage_half(p, turn ^ 1), next, smaller(chunks - next, p.chunks_per_half));
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        block_sync();
        int const count = smaller(chunks - first, p.chunks_per_half);
#pragma unroll 1
        for (int slot = 0; slot < count; ++slot) {
            Chunk const chunk = chunk_at<kHalf>(p, block, stage_half(p, turn), first + slot, slot);
            float* z = embedding(p, chunk.sample) + chunk.group * kGroup + warp;
            if (warp >= chunk.channels) {
                if (lane == 0) shared_store_f32(z, 0.0f);
                continue;
            }
            if (chunk.group != group) {
                group = chunk.group;
                taps = load_taps(p, block.channel + group * kGroup + warp);
            }
            unsigned char* row = chunk.shared + warp * p.row_pitch * (kHalf ? 2 : 4);
            float sum = 0.0f;
            bool bad = false;
            float const jacobian = is_smooth(p.activation)
                                       ? pool_smooth<kHalf>(p, row, taps, sum, bad)
                                       : pool_piecewise<kHalf>(p, pieces, row, taps, sum, bad);
            float const total = warp_sum(sum), square = warp_sum(jacobian);
            bad = any(bad);
            if (lane == 0) {
                shared_store_f32(z, bad ? float_from_bits(0x7fc00000u) : total * share);
                float* partial = jacobian_sums(chunk.sample) + warp;
                shared_store_f32(partial, shared_load_f32(partial) + square);
            }
            warp_sync();
        }
        block_sync();
    }
}

}  // namespace edgeosr
