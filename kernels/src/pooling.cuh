// Map source: activation, mean over positions, and the closed form of the Jacobian norm, in one pass over y:
//   |dz/dh|_F^2 = 1/Q^2 sum_d sum_t A[d, t] sum_q m_d(q) m_d(q + offset_t),   m_d = act'(y_d), 0 out of the
//   map.
// A warp takes eight channels of a sample at a time. First its lanes are the positions: sums, and the masks
// by ballots. Then four lanes share a channel, each with every fourth tap: with piecewise-linear activations
// the inner sum is a count of bits, which is exact (taps.cuh). Smooth ones multiply slopes kept in shared
// memory.
#pragma once
#include "rows.cuh"
#include "staging.cuh"

namespace edgeosr {

// What a lane needs of every chunk. A warp always has the same channels of one, a lane the same of them.
struct PoolLane {
    int channel;             // of the slab's first chunk
    int alignment, to_next;  // of the tile's first sample's chunks modulo 16, and to the next sample
    int inverse;             // as the block's
};

template <bool kHalf>
EDGEOSR_DEVICE PoolLane pool_lane(FusedScoreParams const& p, Block const& block) {
    constexpr int kBytes = kHalf ? 2 : 4;
    int const channel = block.channel + (warp_index() & (kGroup / kRows - 1)) * kRows + own_row();
    int const first = static_cast<int>(reinterpret_cast<unsigned long long>(p.input));  // low words will do
    int const stride = static_cast<int>(p.sample_stride) * kBytes;
    bool const rows = p.layout == kLayoutChannelsFirst;
    return {held(channel),
            held_if_many(rows ? (first + block.first * stride) & 15 : 0),
            held_if_many(rows ? stride & 15 : 0),
            block.inverse};
}

EDGEOSR_DEVICE TableRow table_row(FusedScoreParams const& p, PoolLane const& lane, int group) {
    int const channel = lane.channel + group * kGroup;
    return {channel * p.taps + (lane_index() & (kTapSharers - 1)), channel < p.dimension};
}

// Chunks number, number + 8, .. < end of the map; `stage`: where in shared memory the first one is.
template <int kTile, bool kHalf, PoolKind kKind>
EDGEOSR_DEVICE void pool_chunks(FusedScoreParams const& p,
                                Block const& block,
                                Piecewise const& given,
                                Adders const& given_adding,
                                PoolLane const& lane,
                                int stage,
                                int number,
                                int end,
                                TableRow own,
                                TapWeights weights) {
    constexpr int kBatches = kGroup / kRows, kStep = kWarps / kBatches;
    constexpr bool kMany = kHalf && kTile == kTileMma;  // registers to spare
    int const bytes = p.row_pitch * (kHalf ? 2 : 4), pitch = kMany ? held_if_many(bytes) : bytes;
    int const row = (warp_index() & (kBatches - 1)) * kRows;
    // Anew: what is given would stay in registers while the map is staged.
    constexpr bool kSides = kKind == kPoolLeaky || kKind == kPoolClip || kKind == kPoolCounted;
    Piecewise const pieces = kOldCompiler && kSides ? piecewise(p) : given;
    Adders adding = given_adding;
    if (kOldCompiler && kPairs<kHalf>) {
        adding = adders();
        if (has_sides(kKind)) set_sides(pieces, adding);
    }
    float const outside = kKind == kPoolLeaky ? pieces.outside : 0.0f;
    int const z = p.z_at + (row + own_row()) * 4, own_z = kMany ? held_if_many(z) : z;
    stage = held(stage + row * pitch);
    int group = (number * lane.inverse) >> 16;
#pragma unroll 1
    while (number < end) {
        int const sample = number - group * block.valid;
        int const to = held(sample * p.z_pitch + group * kGroup);
        unsigned char* rows = shared_memory() + held(stage + ((lane.alignment + sample * lane.to_next) & 15));
        Pooled found;
        if constexpr (kKind == kPoolSmooth)
            found = pool_smooth<kHalf>(p, rows, pitch, weights, own);
        else if constexpr (kKind == kPoolCounted)
            found = pool_counted(adding, rows, pitch, p.positions, weights);
        else if constexpr (kPairs<kHalf>)
            found = pool_piecewise(p, ByPair<kKind>{adding, outside}, outside, rows, pitch, weights, own);
        else
            found = pool_piecewise(p, ByValue<kKind, kHalf>{pieces}, outside, rows, pitch, weights, own);
        if ((lane_index() & (kTapSharers - 1)) == 0) {
            // Not a number if the sum is not finite.
            float const mean = multiply_add(found.sum, p.position_share, found.sum * 0.0f);
            float* at = reinterpret_cast<float*>(shared_memory() + own_z) + to;
            shared_store_f32(at, own.there ? mean : 0.0f);
            // Of rows by pairs a number, and without a channel of the map times a weight of 0.
            bool const exact = kPairs<kHalf> && kKind != kPoolSmooth;
            shared_store_f32(at + kTile * p.z_pitch, exact || own.there ? found.jacobian : 0.0f);
        }
        number += kStep;
        stage += kStep * p.chunk_bytes;
        if (number >= end) break;
        group = (number * lane.inverse) >> 16;
        own = table_row(p, lane, group);
        weights = load_weights(p, own);  // they arrive while the rows are added up
    }
}

// The first of the map, on its way to shared memory.
template <bool kHalf>
EDGEOSR_DEVICE void ask_for_map(FusedScoreParams const& p, Block const& block, Sharing const& by) {
    int const chunks = block.channels / kGroup * block.valid;
    stage_chunks<kHalf>(p, block, by, stage_half(p, 0), 0, smaller(chunks, p.chunks_per_half));
    copy_async_commit();
}

// All channels of the slab, all samples of the tile, of a map that was asked for: z (mean of act(y); NaN
// where y is not finite) and each channel's part of the J^2 sum, complete for the block after the next
// block_sync.
template <int kTile, bool kHalf, bool kCluster>
EDGEOSR_DEVICE void pool_map(FusedScoreParams const& p, Block const& block, Sharing const& given) {
    int const chunks = block.channels / kGroup * block.valid;
    if (p.taps > 1) prepare_taps(p);
    Piecewise pieces = {0.0f, float_from_bits(0x7f800000u), 0.0f};
    Adders adding = adders();
    adding.column = static_cast<unsigned>(held(static_cast<int>(adding.column)));
    if (p.activation != kRelu && !is_smooth(p.activation)) {
        pieces = piecewise(p);
        if (kPairs<kHalf>) set_sides(pieces, adding);
    }
    PoolLane const lane = pool_lane<kHalf>(p, block);
#pragma unroll 1
    for (int first = 0, turn = 0; first < chunks; first += p.chunks_per_half, turn ^= 1) {
        int const next = first + p.chunks_per_half, end = smaller(chunks, next);
        int const slot = warp_index() >> 1, number = first + slot;  // two warps a chunk
        TableRow const own = table_row(p, lane, (number * lane.inverse) >> 16);
        TapWeights weights = {};  // on their way beside the map
        if (number < end) {
            weights = load_weights(p, own);
        }
        if (next < chunks) {
            // In a cluster anew: what is given would stay in registers.
            Sharing const by = kCluster ? sharing(p) : given;
            stage_chunks<kHalf>(
                p, block, by, stage_half(p, turn ^ 1), next, smaller(chunks - next, p.chunks_per_half));
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        block_sync();
        int const stage = kStageAt + (turn * p.chunks_per_half + slot) * p.chunk_bytes;
        if (is_smooth(p.activation))
            pool_chunks<kTile, kHalf, kPoolSmooth>(
                p, block, pieces, adding, lane, stage, number, end, own, weights);
        else if (kPairs<kHalf> && p.taps == 1 && p.activation != kLeakyRelu)
            pool_chunks<kTile, kHalf, kPairs<kHalf> ? kPoolCounted : kPoolClip>(
                p, block, pieces, adding, lane, stage, number, end, own, weights);
        else if (p.activation == kRelu)
            pool_chunks<kTile, kHalf, kPoolRelu>(
                p, block, pieces, adding, lane, stage, number, end, own, weights);
        else if (p.activation == kLeakyRelu)
            pool_chunks<kTile, kHalf, kPoolLeaky>(
                p, block, pieces, adding, lane, stage, number, end, own, weights);
        else
            pool_chunks<kTile, kHalf, kPoolClip>(
                p, block, pieces, adding, lane, stage, number, end, own, weights);
        if (next < chunks) block_sync();  // before the stage is filled again
    }
}

}  // namespace edgeosr
