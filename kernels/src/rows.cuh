// A warp's eight channels of a sample, from shared memory: sums and masks, then the count of the masks' pairs
// or the products of slopes.
#pragma once
#include "pairs.cuh"

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

// One word of 32 positions of the rows: adds to their sums, returns their mask bits. `from`: the lane's
// position of the first row; `left`: positions from the word's first one on. kWhole: 32 or more; else those
// beyond are the last one again, and not counted.
template <PoolKind kKind, bool kHalf, bool kWhole>
EDGEOSR_DEVICE void pool_word(Piecewise const& pieces,
                              unsigned char const* from,
                              int pitch,
                              int left,
                              float (&sum)[kRows],
                              unsigned (&bits)[kRows]) {
    bool const there = kWhole || lane_index() < left;
    int const position = there ? 0 : left - 1 - lane_index();
    float y[kRows];
#pragma unroll
    for (int row = 0; row < kRows; ++row)
        y[row] = load_staged<kHalf>(from + row * pitch, position);
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
    static constexpr int kBytes = kHalf ? 2 : 4;
    Piecewise const& pieces;
    float sum[kRows] = {};

    template <bool kWhole>
    EDGEOSR_DEVICE void add(unsigned char const* from, int pitch, int left, unsigned (&bits)[kRows]) {
        pool_word<kKind, kHalf, kWhole>(pieces, from, pitch, left, sum, bits);
    }
    EDGEOSR_DEVICE float total(int) const { return sums_of_rows(sum); }
};

// By pairs of rows (pairs.cuh).
template <PoolKind kKind>
struct ByPair {
    static constexpr int kBytes = 2;
    Adders const& adders;
    float outside;
    RowSums sums = {};

    template <bool kWhole>
    EDGEOSR_DEVICE void add(unsigned char const* from, int pitch, int left, unsigned (&bits)[kRows]) {
        pool_pairs<kKind, kWhole>(adders, from, pitch, left, sums, bits);
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
    constexpr int kWord = 32 * Rows::kBytes;
    int const positions = p.positions;
    int const lane = lane_index() * Rows::kBytes;  // into each word anew: it takes fewer registers
    Pooled found;
    if (p.words == 2) {
        unsigned bits[kRows], first, second;
        sums.template add<false>(rows + lane, pitch, positions, bits);
        first = own_of_rows(bits);
        sums.template add<false>(rows + kWord + lane, pitch, positions - 32, bits);
        second = own_of_rows(bits);
        found.sum = sums.total(positions);  // before the bits are counted: it takes fewer registers
        found.jacobian = counted_in_two_words(p, first, second, outside, weights, own);
    } else {
        unsigned* masks = shared_memory_of(held(masks_of_warp(p)));
        int left = positions;
        auto const word = [&]() {  // where it is: reckoned anew it takes fewer registers
            return rows + (kOldCompiler ? (positions - left) * Rows::kBytes : 0) + lane;
        };
#pragma unroll 1
        for (; left >= 32; left -= 32, masks += kRows, rows += kOldCompiler ? 0 : kWord) {
            unsigned bits[kRows];
            sums.template add<true>(word(), pitch, left, bits);
            keep_masks(masks, bits);
        }
        if (left > 0) {
            unsigned bits[kRows];
            sums.template add<false>(word(), pitch, left, bits);
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
EDGEOSR_DEVICE Pooled pool_counted(
    Adders const& adders, unsigned char const* rows, int pitch, int positions, TapWeights const& weights) {
    RowSums sums = {};
    unsigned bits[kRows];  // not set
    int left = positions;
    auto const word = [&]() { return rows + (kOldCompiler ? (positions - left) * 2 : 0); };
    rows += lane_index() * 2;
#pragma unroll 1
    for (; left >= 32; left -= 32, rows += kOldCompiler ? 0 : 64)
        pool_pairs<kPoolCounted, true>(adders, word(), pitch, left, sums, bits);
    if (left > 0) pool_pairs<kPoolCounted, false>(adders, word(), pitch, left, sums, bits);
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

}  // namespace edgeosr
