// Map source: activation, mean over positions, and the closed form of the Jacobian norm, in one pass over y:
//   |dz/dh|_F^2 = 1/Q^2 sum_d sum_t A[d, t] sum_q m_d(q) m_d(q + offset_t),   m_d = act'(y_d), 0 out of the
//   map.
// A warp takes eight channels of a sample at a time. First its lanes are the positions: sums, and the masks
// by ballots. Then four lanes share a channel, each with every fourth tap: with piecewise-linear activations
// the inner sum is a count of bits, which is exact (taps.cuh). Smooth ones multiply slopes kept in shared
// memory.
#pragma once
#include "pairs.cuh"
#include "staging.cuh"

namespace edgeosr {

// What a warp found of its channels; lane l has that of channel l / 4.
struct Pooled {
    float sum;       // of act(y) over the positions; not a number, or infinity, if one y is not finite
    float jacobian;  // the channel's part of the J^2 sum
};

EDGEOSR_DEVICE int own_row() {
    return lane_index() / kTapSharers;
}

template <bool kHalf>
EDGEOSR_DEVICE float load_staged(unsigned char const* row, int position) {
    if (kHalf) return float_from_half(shared_load_u16(row + position * 2));
    return shared_load_f32(row + position * 4);
}

// Sums of each value over the warp's lanes: lane l gets that of value l / 4. Each step halves the values.
EDGEOSR_DEVICE float sums_of_rows(float const (&value)[kRows]) {
    int const lane = lane_index();
    bool const upper = lane & 16, later = lane & 8, odd = lane & 4;
    float four[4], two[2];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        four[i] = (upper ? value[i + 4] : value[i]) + shuffle_xor(upper ? value[i] : value[i + 4], 16);
#pragma unroll
    for (int i = 0; i < 2; ++i)
        two[i] = (later ? four[i + 2] : four[i]) + shuffle_xor(later ? four[i] : four[i + 2], 8);
    return sum_of_sharers((odd ? two[1] : two[0]) + shuffle_xor(odd ? two[0] : two[1], 4));
}

// The value of the lane's own row.
EDGEOSR_DEVICE unsigned own_of_rows(unsigned const (&value)[kRows]) {
    int const lane = lane_index();
    bool const upper = lane & 16, later = lane & 8, odd = lane & 4;
    unsigned const low = later ? (odd ? value[3] : value[2]) : (odd ? value[1] : value[0]);
    unsigned const high = later ? (odd ? value[7] : value[6]) : (odd ? value[5] : value[4]);
    return upper ? high : low;
}

// One word of 32 positions of the rows: adds to their sums, returns their mask bits. kWhole: all of them are
// in the map; else those beyond are the last one again, and not counted.
template <PoolKind kKind, bool kHalf, bool kWhole>
EDGEOSR_DEVICE void pool_word(Piecewise const& pieces,
                              unsigned char const* rows,
                              int pitch,
                              int position,
                              int positions,
                              float (&sum)[kRows],
                              unsigned (&bits)[kRows]) {
    bool const there = kWhole || position < positions;
    float y[kRows];
#pragma unroll
    for (int row = 0; row < kRows; ++row)
        y[row] = load_staged<kHalf>(rows + row * pitch, there ? position : positions - 1);
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
        bool const inside =
            there && (kKind == kPoolRelu ? y[row] > 0.0f : y[row] > pieces.low && y[row] < pieces.high);
        bits[row] = ballot(inside);
        // Not a number where y is not finite, or infinity.
        if (kKind == kPoolRelu) {
            sum[row] = multiply_add(y[row], inside ? 1.0f : 0.0f, sum[row]);
        } else {
            float const value = kKind == kPoolLeaky ? leaky_value(pieces, y[row]) : clipped(pieces, y[row]);
            sum[row] = multiply_add(y[row], 0.0f, there ? sum[row] + value : sum[row]);
        }
    }
}

// Whether rows are taken by pairs: fp16 maps, where there are tensor cores.
template <bool kHalf>
constexpr bool kPairs = kHalf && EDGEOSR_TENSOR_CORES;

// How a warp's rows are added up: by position and row in fp32.
template <PoolKind kKind, bool kHalf>
struct ByValue {
    Piecewise const& pieces;
    float sum[kRows] = {};

    template <bool kWhole>
    EDGEOSR_DEVICE void add(unsigned char const* rows,
                            int pitch,
                            int position,
                            int positions,
                            unsigned (&bits)[kRows]) {
        pool_word<kKind, kHalf, kWhole>(pieces, rows, pitch, position, positions, sum, bits);
    }
    EDGEOSR_DEVICE float total(int) const {
        return sums_of_rows(sum);
    }
};

// By pairs of rows (pairs.cuh).
template <PoolKind kKind>
struct ByPair {
    Adders const& adders;
    float outside;
    RowSums sums = {};

    template <bool kWhole>
    EDGEOSR_DEVICE void add(unsigned char const* rows,
                            int pitch,
                            int position,
                            int positions,
                            unsigned (&bits)[kRows]) {
        pool_pairs<kKind, kWhole>(adders, rows, pitch, position, positions, sums, bits);
    }
    EDGEOSR_DEVICE float total(int positions) const {
        return activations<kKind>(adders, outside, sums, positions).sum;
    }
};

EDGEOSR_DEVICE void keep_masks(unsigned* masks, unsigned const (&bits)[kRows]) {
    if (lane_index() != 0) return;
#pragma unroll
    for (int row = 0; row < kRows; row += 4)
        shared_store_x4(masks + row,
                        {float_from_bits(bits[row]),
                         float_from_bits(bits[row + 1]),
                         float_from_bits(bits[row + 2]),
                         float_from_bits(bits[row + 3])});
}

// A warp's rows with a piecewise-linear activation.
template <class Rows>
EDGEOSR_DEVICE Pooled pool_piecewise(FusedScoreParams const& p,
                                     Rows sums,
                                     float outside,
                                     unsigned char const* rows,
                                     int pitch,
                                     TapWeights const& weights,
                                     TableRow const& own) {
    int const positions = p.positions, lane = lane_index();
    Pooled found;
    if (p.words == 2) {
        unsigned bits[kRows], first, second = 0u;
        if (positions > 32) {
            sums.template add<true>(rows, pitch, lane, positions, bits);
            first = own_of_rows(bits);
            sums.template add<false>(rows, pitch, lane + 32, positions, bits);
            second = own_of_rows(bits);
        } else {
            sums.template add<false>(rows, pitch, lane, positions, bits);
            first = own_of_rows(bits);
        }
        found.sum = sums.total(positions);  // before the bits are counted: it takes fewer registers
        found.jacobian = counted_in_two_words(p, first, second, outside, weights, own);
    } else {
        unsigned* masks = shared_memory_of(held(masks_of_warp(p)));
        int first = lane;
#pragma unroll 1
        for (; first - lane + 32 <= positions; first += 32, masks += kRows) {
            unsigned bits[kRows];
            sums.template add<true>(rows, pitch, first, positions, bits);
            keep_masks(masks, bits);
        }
        if (first - lane < positions) {
            unsigned bits[kRows];
            sums.template add<false>(rows, pitch, first, positions, bits);
            keep_masks(masks, bits);
        }
        found.sum = sums.total(positions);
        warp_sync();
        found.jacobian =
            counted_in_words(p, shared_memory_of(masks_of_warp(p)) + own_row(), outside, weights, own);
        warp_sync();  // before the next rows' masks
    }
    return found;
}

// A warp's rows where a single tap, the position itself, makes J^2 a count.
EDGEOSR_DEVICE Pooled pool_counted(Adders const& adders,
                                   unsigned char const* rows,
                                   int pitch,
                                   int positions,
                                   TapWeights const& weights) {
    RowSums sums = {};
    unsigned bits[kRows];  // not set
    int first = 0;
#pragma unroll 1
    for (; first + 32 <= positions; first += 32)
        pool_pairs<kPoolCounted, true>(adders, rows, pitch, first + lane_index(), positions, sums, bits);
    if (first < positions)
        pool_pairs<kPoolCounted, false>(adders, rows, pitch, first + lane_index(), positions, sums, bits);
    Activations const found = activations<kPoolCounted>(adders, 0.0f, sums, positions);
    return {found.sum, static_cast<float>(found.inside) * weights.value[0]};
}

// A warp's rows with a smooth activation, one after the other.
template <bool kHalf>
EDGEOSR_DEVICE Pooled pool_smooth(FusedScoreParams const& p,
                                  unsigned char* rows,
                                  int pitch,
                                  TapWeights const& weights,
                                  TableRow const& own) {
    int const positions = p.positions, words = p.words, lane = lane_index();
    Pooled found = {0.0f, 0.0f};
#pragma unroll 1
    for (int number = 0; number < kRows; ++number) {
        unsigned char* row = rows + number * pitch;
        float* slopes = kHalf ? slopes_of_warp(p) : reinterpret_cast<float*>(row);
        float sum = 0.0f, products = 0.0f;
#pragma unroll 1
        for (int position = lane; position < positions; position += 32) {
            float const y = load_staged<kHalf>(row, position);
            Activated const one = smooth(p.activation, y);
            sum = multiply_add(y, 0.0f, sum + one.value);
            if (p.taps == 1)
                products = multiply_add(one.slope, one.slope, products);
            else
                shared_store_f32(slopes + position, one.slope);
        }
        if (p.taps > 1) warp_sync();
        float jacobian = products * weight_of(p, weights, own, number, 0);
#pragma unroll 1
        for (int tap = 0; p.taps > 1 && tap < p.taps; ++tap) {
            int const offset = offset_of(p, tap);
            products = 0.0f;
#pragma unroll 1
            for (int word = 0; word < words; ++word) {
                int const position = word * 32 + lane;
                if (valid_bits(p, word, tap) >> lane & 1u)
                    products = multiply_add(shared_load_f32(slopes + position),
                                            shared_load_f32(slopes + position + offset),
                                            products);
            }
            jacobian = multiply_add(weight_of(p, weights, own, number, tap), products, jacobian);
        }
        sum = warp_sum(sum);
        jacobian = warp_sum(jacobian);
        if (own_row() == number) found = {sum, jacobian};
        warp_sync();  // before the next row's slopes
    }
    return found;
}

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
            held(rows ? (first + block.first * stride) & 15 : 0),
            held(rows ? stride & 15 : 0),
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
                                Piecewise const& pieces,
                                Adders const& adders,
                                PoolLane const& lane,
                                int stage,
                                int number,
                                int end,
                                TableRow own,
                                TapWeights weights) {
    constexpr int kBatches = kGroup / kRows, kStep = kWarps / kBatches;
    int const pitch = p.row_pitch * (kHalf ? 2 : 4), row = (warp_index() & (kBatches - 1)) * kRows;
    float const outside = kKind == kPoolLeaky ? pieces.outside : 0.0f;
    int const z = p.z_at + (row + own_row()) * 4, own_z = kHalf ? held(z) : z;
    stage = held(stage + row * pitch);
    int group = (number * lane.inverse) >> 16;
#pragma unroll 1
    while (true) {
        int const sample = number - group * block.valid;
        int const to = held(sample * p.z_pitch + group * kGroup);
        unsigned char* rows = shared_memory() + held(stage + ((lane.alignment + sample * lane.to_next) & 15));
        Pooled found;
        if constexpr (kKind == kPoolSmooth)
            found = pool_smooth<kHalf>(p, rows, pitch, weights, own);
        else if constexpr (kKind == kPoolCounted)
            found = pool_counted(adders, rows, pitch, p.positions, weights);
        else if constexpr (kPairs<kHalf>)
            found = pool_piecewise(
                p, ByPair<kKind>{adders, outside}, outside, rows, pitch, weights, own);
        else
            found = pool_piecewise(
                p, ByValue<kKind, kHalf>{pieces}, outside, rows, pitch, weights, own);
        if ((lane_index() & (kTapSharers - 1)) == 0) {
            // Not a number if the sum is not finite.
            float const mean = multiply_add(found.sum, p.position_share, found.sum * 0.0f);
            float* at = reinterpret_cast<float*>(shared_memory() + own_z) + to;
            shared_store_f32(at, own.there ? mean : 0.0f);
            shared_store_f32(at + kTile * p.z_pitch, own.there ? found.jacobian : 0.0f);
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
template <int kTile, bool kHalf>
EDGEOSR_DEVICE void pool_map(FusedScoreParams const& p, Block const& block, Sharing const& by) {
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
        TableRow own = {0, false};
        TapWeights weights = {};  // on their way beside the map
        if (number < end) {
            own = table_row(p, lane, (number * lane.inverse) >> 16);
            weights = load_weights(p, own);
        }
        if (next < chunks) {
            stage_chunks<kHalf>(
                p, block, by, stage_half(p, turn ^ 1), next, smaller(chunks - next, p.chunks_per_half));
            copy_async_commit();
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        block_sync();
        int const stage = kStageAt + (turn * p.chunks_per_half + slot) * p.chunk_bytes;
        if (number >= end)
            ;  // a warp too many
        else if (is_smooth(p.activation))
            pool_chunks<kTile, kHalf, kPoolSmooth>(p, block, pieces, adding, lane, stage, number, end, own, weights);
        else if (kPairs<kHalf> && p.taps == 1 && p.activation != kLeakyRelu)
            pool_chunks<kTile, kHalf, kPairs<kHalf> ? kPoolCounted : kPoolClip>(
                p, block, pieces, adding, lane, stage, number, end, own, weights);
        else if (p.activation == kRelu)
            pool_chunks<kTile, kHalf, kPoolRelu>(p, block, pieces, adding, lane, stage, number, end, own, weights);
        else if (p.activation == kLeakyRelu)
            pool_chunks<kTile, kHalf, kPoolLeaky>(p, block, pieces, adding, lane, stage, number, end, own, weights);
        else
            pool_chunks<kTile, kHalf, kPoolClip>(p, block, pieces, adding, lane, stage, number, end, own, weights);
        if (next < chunks) block_sync();  // before the stage is filled again
    }
}

}  // namespace edgeosr
