// fp16 maps pooled by pairs of channels: a register holds one position of two rows. Comparing and multiplying
// take both at once, and the tensor cores add up: the positions are the columns of a product, whose rows are
// the warp's eight channels, and a lane brings the ones that let its row through.
#pragma once
#include "activation.cuh"
#include "halves.cuh"
#include "taps.cuh"

namespace edgeosr {

enum PoolKind { kPoolRelu, kPoolClip, kPoolLeaky, kPoolSmooth };  // clip: and the identity

// The largest half that is not above the value.
EDGEOSR_DEVICE unsigned short half_not_above(float value) {
    unsigned short const nearest = half_from_float(value);
    if (!(float_from_half(nearest) > value)) return nearest;
    return static_cast<unsigned short>(nearest & 0x8000u ? nearest + 1u : nearest - 1u);
}

// The two sides of a piecewise-linear activation as halves: y > low of a half y is y > the largest half not
// above low. One register holds both, low in the lower half.
template <PoolKind kKind>
EDGEOSR_DEVICE unsigned sides_of(Piecewise const& pieces) {
    if (kKind != kPoolClip) return 0u;  // the kink is at 0
    return half_not_above(pieces.low) | (half_not_above(-pieces.high) ^ 0x8000u) << 16;
}

// Sums of the eight channels, on the tensor cores: the product's A are the lanes' pairs as they lie in
// registers, its B ones that tell the halves of two registers apart. Lane l's part[i] is row i + 4 (l % 2),
// summed over its group of four lanes; of what is added up
// - l % 4 = 0, 1: y where it is inside; not a number, or infinity, if one is not finite
// - l % 4 = 2, 3: leaky_relu: every y; clip: 1 for each position above low, kBeyond more for one that is not
//   below high
struct RowSums {
    float part[4];
};
constexpr int kBeyond = 512;  // more than positions; a half holds 513
constexpr unsigned kInfinite = 0x7c007c00u, kMinusOnes = 0xbc00bc00u, kBeyonds = 0x60006000u;  // two halves

// What a lane brings to B: column l / 4 lets one half of one of two registers through, times a power of two
// (a subnormal half with the bit l / 8, in one half): a register and two masks are all it takes.
EDGEOSR_DEVICE unsigned column_of_sums() {
    int const column = lane_index() / kTapSharers;
    return 1u << (column >> 1) << (column & 1 ? 16 : 0);
}
constexpr int kFirstSum = 0, kSecondSum = 2;  // bits of their columns

template <int kSum>
EDGEOSR_DEVICE void add_pairs(RowSums& sums, unsigned column, unsigned const (&pairs)[kRows / 2]) {
    mma_f16(sums.part,
            {pairs[0], pairs[1], pairs[2], pairs[3]},
            column & 0x00010001u << kSum,
            column & 0x00020002u << kSum);
}

// Over all groups of lanes: lane l gets row l / 4's; `second`: of the second sum.
EDGEOSR_DEVICE float sum_of_groups(RowSums const& sums) {
    int const lane = lane_index();
    bool const upper = lane & 16, later = lane & 8;
    float two[2];
#pragma unroll
    for (int i = 0; i < 2; ++i)
        two[i] = (upper ? sums.part[i + 2] : sums.part[i]) +
                 shuffle_xor(upper ? sums.part[i] : sums.part[i + 2], 16);
    float const one = (later ? two[1] : two[0]) + shuffle_xor(later ? two[0] : two[1], 8);
    return one + shuffle_xor(one, 4);
}

// One word of 32 positions of the rows: adds to their sums, returns their mask bits. kWhole: all of them are
// in the map; else those beyond are zeros, on no side of anything.
template <PoolKind kKind, bool kWhole>
EDGEOSR_DEVICE void pool_pairs(unsigned sides,
                               unsigned column,
                               unsigned char const* rows,
                               int pitch,
                               int position,
                               int positions,
                               RowSums& sums,
                               unsigned (&bits)[kRows]) {
    bool const there = kWhole || position < positions;
    unsigned const bytes = there ? 0x5410u : 0x3232u;  // a half that was loaded has zeros above it
    unsigned y[kRows / 2];
    rows += (there ? position : positions - 1) * 2;
#pragma unroll
    for (int pair = 0; pair < kRows / 2; ++pair)
        y[pair] = bytes_of(shared_load_u16(rows + 2 * pair * pitch),
                           shared_load_u16(rows + (2 * pair + 1) * pitch),
                           bytes);
    unsigned const low = kKind != kPoolClip ? 0u : there ? bytes_of(sides, 0u, 0x1010u) : kInfinite,
                   high = there ? bytes_of(sides, 0u, 0x3232u) : kInfinite;
    if (kKind == kPoolLeaky) add_pairs<kSecondSum>(sums, column, y);
    unsigned counted[kRows / 2];
#pragma unroll
    for (int pair = 0; pair < kRows / 2; ++pair) {
        unsigned inside = halves_above(y[pair], low);
        if (kKind == kPoolClip) {
            unsigned const beyond = halves_not_below(y[pair], high);
            counted[pair] = halves_multiply_add(beyond, kBeyonds, inside);
            inside = halves_multiply_add(beyond, kMinusOnes, inside);
        }
        ballots_of_halves(inside, bits[2 * pair], bits[2 * pair + 1]);
        y[pair] = halves_times(y[pair], inside);
    }
    add_pairs<kFirstSum>(sums, column, y);
    if (kKind == kPoolClip) add_pairs<kSecondSum>(sums, column, counted);
}

// What sum_of_groups found for row l / 4, in lane l.
template <int kSum>
EDGEOSR_DEVICE float sum_of_row(float sum) {
    int const row = lane_index() / kTapSharers, column = row >> 2 | kSum;
    float const found = float_from_bits(shuffle(bits_from_float(sum), (row & 3) << 3 | column));
    return found * float_from_bits((127u + 24u - kSum) << 23) * (row & 4 ? 0.5f : 1.0f);
}

// The sum of act(y) over the positions of the lane's channel.
template <PoolKind kKind>
EDGEOSR_DEVICE float activated_sum(Piecewise const& pieces, RowSums const& sums, int positions) {
    float const found = sum_of_groups(sums);
    float sum = sum_of_row<kFirstSum>(found);
    if (kKind == kPoolRelu) return sum;
    float const second = sum_of_row<kSecondSum>(found);
    if (kKind == kPoolLeaky) return multiply_add(pieces.outside, second - sum, sum);
    int const counted = static_cast<int>(second);
    // The identity has no other side.
    float const high = finite(pieces.high) ? pieces.high : 0.0f, low = finite(pieces.low) ? pieces.low : 0.0f;
    sum = multiply_add(high, static_cast<float>(counted / kBeyond), sum);
    return multiply_add(low, static_cast<float>(positions - (counted & (kBeyond - 1))), sum);
}

}  // namespace edgeosr
