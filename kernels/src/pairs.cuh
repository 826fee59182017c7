// fp16 maps pooled by pairs of channels: a register holds one position of two rows. Comparing and multiplying
// take both at once, and the tensor cores add up. A sum's order depends on the map's size alone.
#pragma once
#include "activation.cuh"
#include "halves.cuh"
#include "taps.cuh"

namespace edgeosr {

// Clip: and the identity. Counted: these and ReLU, with a single tap, whose J^2 is a count.
enum PoolKind { kPoolRelu, kPoolClip, kPoolLeaky, kPoolSmooth, kPoolCounted };

EDGEOSR_DEVICE constexpr bool has_sides(PoolKind kind) {
    return kind == kPoolClip || kind == kPoolCounted;
}

// The largest half that is not above the value.
EDGEOSR_DEVICE unsigned short half_not_above(float value) {
    unsigned short const nearest = half_from_float(value);
    if (!(float_from_half(nearest) > value)) return nearest;
    return static_cast<unsigned short>(nearest & 0x8000u ? nearest + 1u : nearest - 1u);
}

// Sums of the eight channels, on the tensor cores: the product's A are the lanes' pairs as they lie in
// registers, its B tells the halves of registers apart. Lane l's part[i] is row i + 4 (l % 2), over its group
// of four lanes. Added up is, in lanes with
// - l % 4 = 0, 1: y where it is inside; not a number, or infinity, if one is not finite
// - l % 4 = 2, 3: leaky_relu: every y; clip: 1 for each position above low, kBeyond more for one that is not
//   below high
struct RowSums {
    float part[4];
};
constexpr unsigned kBeyond = 512;          // more than positions; a half holds 513
constexpr unsigned kLowestNormal = 0x400;  // a half: 2^-14; its next bits 2^-13, 2^-11 and 2^-7
constexpr unsigned kInfinite = 0x7c007c00u, kMinusOnes = 0xbc00bc00u, kBeyonds = 0x60006000u;  // two halves

// What a lane needs of every chunk to add up its rows.
struct Adders {
    // Its part of B is one half of one register, of column l / 4: a power of two with one bit set. Normal,
    // for tensor cores align products by exponents, which a subnormal would overstate.
    unsigned column;
    unsigned sides;   // of an activation with sides, low in the lower half, high in the upper one
    float low, high;  // what a position adds on that side
};

// ReLU's: nothing is beyond.
EDGEOSR_DEVICE Adders adders() {
    int const column = lane_index() / kTapSharers;
    return {kLowestNormal << (column >> 1) << (column & 1) * 16, 0x7c000000u, 0.0f, 0.0f};
}

// y > low of a half y is y > the largest half not above low. The identity has no other side.
EDGEOSR_DEVICE void set_sides(Piecewise const& pieces, Adders& adders) {
    adders.sides = half_not_above(pieces.low) | (half_not_above(-pieces.high) ^ 0x8000u) << 16;
    adders.low = finite(pieces.low) ? pieces.low : 0.0f;
    adders.high = finite(pieces.high) ? pieces.high : 0.0f;
}

// kSum: 0 the first, 2 the second.
template <int kSum>
EDGEOSR_DEVICE void add_pairs(RowSums& sums, Adders const& adders, unsigned const (&pairs)[kRows / 2]) {
    mma_f16(sums.part,
            {pairs[0], pairs[1], pairs[2], pairs[3]},
            adders.column & (kLowestNormal << 16 | kLowestNormal) << kSum,
            adders.column & (kLowestNormal << 17 | kLowestNormal << 1) << kSum);
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
    unsigned const power = 127u + 15u - (1u << (lane & 3));  // of what B took
    return (one + shuffle_xor(one, 4)) * float_from_bits(power << 23);
}

// One word of 32 positions of the rows: adds to their sums, returns their mask bits. `from`: the lane's
// position of the first row; `left`: positions from the word's first one on. kWhole: 32 or more; else those
// beyond are zeros, on no side of anything.
template <PoolKind kKind, bool kWhole>
EDGEOSR_DEVICE void pool_pairs(Adders const& adders,
                               unsigned char const* from,
                               int pitch,
                               int left,
                               RowSums& sums,
                               unsigned (&bits)[kRows]) {
    bool const there = kWhole || lane_index() < left;
    unsigned const bytes = there ? 0x5410u : 0x3232u;  // a half that was loaded has zeros above it
    unsigned y[kRows / 2];
    if (!there) from += (left - 1 - lane_index()) * 2;
#pragma unroll
    for (int pair = 0; pair < kRows / 2; ++pair) {
        // A compiler that knew how far rows are from one another would go from each to the next; old ones
        // have fewer registers to fill if they do.
        unsigned char const* const first = kOldCompiler ? from + 2 * pair * pitch : from;
        unsigned char const* const second = kOldCompiler ? from + (2 * pair + 1) * pitch : from + held(pitch);
        y[pair] = bytes_of(shared_load_u16(first), shared_load_u16(second), bytes);
        if (!kOldCompiler) from += held(2 * pitch);
    }
    unsigned const low = !has_sides(kKind) ? 0u
                         : there           ? bytes_of(adders.sides, 0u, 0x1010u)
                                           : kInfinite,
                   high = there ? bytes_of(adders.sides, 0u, 0x3232u) : kInfinite;
    if (kKind == kPoolLeaky) add_pairs<2>(sums, adders, y);
    unsigned counted[kRows / 2];
#pragma unroll
    for (int pair = 0; pair < kRows / 2; ++pair) {
        unsigned inside = halves_above(y[pair], low);
        if (has_sides(kKind)) {
            unsigned const beyond = halves_not_below(y[pair], high);
            counted[pair] = halves_multiply_add(beyond, kBeyonds, inside);
            inside = halves_multiply_add(beyond, kMinusOnes, inside);
        }
        if (kKind != kPoolCounted) ballots_of_halves(inside, bits[2 * pair], bits[2 * pair + 1]);
        y[pair] = halves_times(y[pair], inside);
    }
    add_pairs<0>(sums, adders, y);
    if (has_sides(kKind)) add_pairs<2>(sums, adders, counted);
}

// What sum_of_groups found for row l / 4, in lane l; `column`: 0 of the first sum, 2 of the second.
EDGEOSR_DEVICE float sum_of_row(float sum, int column) {
    int const row = lane_index() / kTapSharers;
    return float_from_bits(shuffle(bits_from_float(sum), (row & 3) << 3 | row >> 2 | column));
}

// Of the positions of the lane's channel: the sum of act(y), and how many are inside.
struct Activations {
    float sum;
    int inside;  // of kinds with sides
};

template <PoolKind kKind>
EDGEOSR_DEVICE Activations
activations(Adders const& adders, float outside, RowSums const& sums, int positions) {
    float const found = sum_of_groups(sums), sum = sum_of_row(found, 0);
    if (kKind == kPoolRelu) return {sum, 0};
    float const second = sum_of_row(found, 2);
    if (kKind == kPoolLeaky) return {multiply_add(outside, second - sum, sum), 0};
    unsigned const counted = kOldCompiler
                                 ? static_cast<unsigned>(static_cast<int>(second))  // fewer registers
                             : finite(second) ? static_cast<unsigned>(second)
                                              : 0u;
    int const above = static_cast<int>(counted & (kBeyond - 1)), beyond = static_cast<int>(counted / kBeyond);
    float const more = multiply_add(adders.high, static_cast<float>(beyond), sum);
    return {multiply_add(adders.low, static_cast<float>(positions - above), more), above - beyond};
}

}  // namespace edgeosr
