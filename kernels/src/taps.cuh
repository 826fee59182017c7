// The taps of the closed form: which positions have a partner, and how many bits of a mask meet its shifted
// self. Four lanes share a channel; each has every fourth tap.
#pragma once
#include "block.cuh"

namespace edgeosr {

constexpr int kRows = 8;         // channels that a warp pools at a time
constexpr int kTapSharers = 4;   // lanes of a channel
constexpr int kFewestWords = 4;  // of maps that two do not hold
constexpr int kKept = 4;         // weights that a lane fetches ahead: all of them up to 16 taps

// The first kKept of a lane's weights A[d, t].
struct TapWeights {
    float value[kKept];
};

// A lane's channel in the table.
struct TableRow {
    int at;      // its first weight there; the next are kTapSharers on
    bool there;  // else its weights are 0
};

EDGEOSR_DEVICE unsigned char const* table_place(FusedScoreParams const& p, TableRow const& row) {
    return p.scorer + p.table_at + static_cast<unsigned long long>(static_cast<unsigned>(row.at)) * 4;
}

EDGEOSR_DEVICE TapWeights load_weights(FusedScoreParams const& p, TableRow const& row) {
    TapWeights weights;
    int const own = row.there ? p.taps - (lane_index() & (kTapSharers - 1)) : 0;
    unsigned char const* const from = table_place(p, row);
    weights.value[0] = 0 < own ? load_f32(from) : 0.0f;
#pragma unroll
    for (int i = 1; i < kKept; ++i) {
        weights.value[i] = 0.0f;
        if (p.taps > kTapSharers && i * kTapSharers < own)
            weights.value[i] = load_f32(from + i * kTapSharers * 4);
    }
    return weights;
}

EDGEOSR_DEVICE float sum_of_sharers(float value) {
#pragma unroll
    for (int lanes = kTapSharers / 2; lanes > 0; lanes >>= 1)
        value += shuffle_xor(value, lanes);
    return value;
}

// The weight of tap `tap` of number `number` of the warp's channels, for all lanes; `own`: the lane's
// channel.
EDGEOSR_DEVICE float weight_of(
    FusedScoreParams const& p, TapWeights const& weights, TableRow const& own, int number, int tap) {
    int const turn = tap / kTapSharers, source = number * kTapSharers + (tap & (kTapSharers - 1));
    float mine = turn == 0   ? weights.value[0]
                 : turn == 1 ? weights.value[1]
                 : turn == 2 ? weights.value[2]
                             : weights.value[3];
    if (turn >= kKept)
        mine = own.there && lane_index() == source ? load_f32(table_place(p, own) + turn * kTapSharers * 4)
                                                   : 0.0f;
    return float_from_bits(shuffle(bits_from_float(mine), source));
}

// The shared table of taps: of two words [taps, (first, second, offset, -)], 16 bytes at once; else
// [taps, words], the offsets behind. Taps are rounded up to 4: those beyond the last have no positions.
EDGEOSR_DEVICE int padded_taps(FusedScoreParams const& p) {
    return (p.taps + kTapSharers - 1) & ~(kTapSharers - 1);
}
EDGEOSR_DEVICE unsigned* inside_of_tap(FusedScoreParams const& p, int tap) {
    return inside_map(p) + tap * (p.words == 2 ? 4 : p.words);
}
EDGEOSR_DEVICE unsigned* place_of_offset(FusedScoreParams const& p, int tap) {
    return inside_map(p) + (p.words == 2 ? tap * 4 + 2 : p.words * padded_taps(p) + tap);
}
EDGEOSR_DEVICE int offset_of(FusedScoreParams const& p, int tap) {  // flat, 0 .. 255
    return static_cast<int>(shared_load_u32(place_of_offset(p, tap)));
}

// Bits first .. end - 1 of a word, of those that it has.
EDGEOSR_DEVICE unsigned bits_between(int first, int end) {
    first = first > 0 ? first : 0;
    end = smaller(end, 32);
    return first < end ? 0xffffffffu >> (32 - (end - first)) << first : 0u;
}

// Where a position's partner is, never before it: a pair counts the same from its other end.
struct Offset {
    int down, right, flat;
    bool small;  // within the map; else it has no pairs
};

EDGEOSR_DEVICE Offset load_offset(FusedScoreParams const& p, int tap) {
    unsigned char const* from = p.scorer + p.offsets_at + smaller(tap, p.taps - 1) * 8;
    Offset found = {static_cast<int>(load_u32(from)), static_cast<int>(load_u32(from + 4)), 0, false};
    found.flat = found.down * p.width_of_map + found.right;
    if (found.flat < 0) found = {-found.down, -found.right, -found.flat, false};
    found.small = tap < p.taps && found.down > -p.height && found.down < p.height &&
                  found.right > -p.width_of_map && found.right < p.width_of_map;
    if (!found.small) found.flat = 0;  // keeps the addresses small
    return found;
}

// The positions of a word whose partner q + offset is in the map, a bit each.
EDGEOSR_DEVICE unsigned positions_with_partner(FusedScoreParams const& p, Offset const& offset, int word) {
    int const width = p.width_of_map, first = word * 32;
    int row = first * p.width_inverse >> 16;
    int end = smaller(((first + 31) * p.width_inverse >> 16) + 1,
                      offset.down > 0 ? p.height - offset.down : p.height);
    row = row < -offset.down ? -offset.down : row;
    if (!offset.small) end = 0;
    unsigned found = 0u;
#pragma unroll 1
    for (int at = row * width - first; row < end; ++row, at += width)
        found |= bits_between(at + (offset.right < 0 ? -offset.right : 0),
                              at + width - (offset.right > 0 ? offset.right : 0));
    return found;
}

// Fills the table of taps: one thread a tap of two words, else one a word of a tap.
EDGEOSR_DEVICE void prepare_taps(FusedScoreParams const& p) {
    int const taps = padded_taps(p), items = p.words == 2 ? taps : p.words * taps;
    // From the last thread on: the first warps have the map to fetch.
#pragma unroll 1
    for (int item = kThreads - 1 - thread_index(); item < items; item += kThreads) {
        int const tap = p.words == 2 ? item : item / p.words, word = p.words == 2 ? 0 : item - tap * p.words;
        Offset const offset = load_offset(p, tap);
        unsigned const valid = positions_with_partner(p, offset, word);
        if (p.words == 2) {
            unsigned const second = positions_with_partner(p, offset, 1);
            shared_store_x4(inside_map(p) + tap * 4,
                            {float_from_bits(valid),
                             float_from_bits(second),
                             float_from_bits(static_cast<unsigned>(offset.flat)),
                             0.0f});
        } else {
            shared_store_u32(inside_of_tap(p, tap) + word, valid);
            if (word == 0) shared_store_u32(place_of_offset(p, tap), static_cast<unsigned>(offset.flat));
        }
    }
}

EDGEOSR_DEVICE unsigned valid_bits(FusedScoreParams const& p, int word, int tap) {
    return shared_load_u32(inside_of_tap(p, tap) + word);
}

// Pairs of positions of one tap: both inside; here inside plus there inside; all.
struct PairCounts {
    int both, one, pairs;
};

EDGEOSR_DEVICE void count_pairs(
    PairCounts& counts, unsigned here, unsigned there, unsigned valid, bool all_kinds) {
    counts.both += population_count(here & there & valid);
    if (all_kinds) {
        counts.one += population_count(here & valid) + population_count(there & valid);
        counts.pairs += population_count(valid);
    }
}

// sum_q m(q) m(q + offset); integers, so exact.
EDGEOSR_DEVICE float slope_products(PairCounts const& counts, float outside) {
    float const both = static_cast<float>(counts.both);
    if (outside == 0.0f) return both;
    float const mixed = static_cast<float>(counts.one - 2 * counts.both);
    float const neither = static_cast<float>(counts.pairs - counts.one + counts.both);
    return both + outside * (mixed + outside * neither);
}

// sum_q m(q)^2 of a mask with `count` bits set.
EDGEOSR_DEVICE float squares(FusedScoreParams const& p, int count, float outside) {
    return multiply_add(
        outside * outside, static_cast<float>(p.positions - count), static_cast<float>(count));
}

// The taps from `tap` on, whose weights nobody fetched ahead.
template <class Products>
EDGEOSR_DEVICE float rest_of_taps(
    FusedScoreParams const& p, TableRow const& own, int tap, float jacobian, Products const& products) {
    int const share = lane_index() & (kTapSharers - 1);
#pragma unroll 1
    for (; tap - share < p.taps; tap += kTapSharers) {
        float const weight =
            own.there && tap < p.taps ? load_f32(table_place(p, own) + (tap - share) * 4) : 0.0f;
        jacobian = multiply_add(weight, products(tap), jacobian);
    }
    return jacobian;
}

// sum over the lane's taps of A[d, t] products(t); `own`: the lane's channel, whose first lane
// gets the sum over all taps.
template <class Products>
EDGEOSR_DEVICE float sum_of_taps(FusedScoreParams const& p,
                                 TapWeights const& weights,
                                 TableRow const& own,
                                 Products const& products) {
    int const share = lane_index() & (kTapSharers - 1);
    float jacobian = weights.value[0] * products(share);
#pragma unroll
    for (int turn = 1; turn < kKept; ++turn)  // beyond the last tap weights are 0
        if (turn * kTapSharers < p.taps)
            jacobian = multiply_add(weights.value[turn], products(turn * kTapSharers + share), jacobian);
    return sum_of_sharers(rest_of_taps(p, own, kKept * kTapSharers + share, jacobian, products));
}

// A channel's part of the J^2 sum from its mask of 32 to 64 positions; the first of its lanes has it.
EDGEOSR_DEVICE float counted_in_two_words(FusedScoreParams const& p,
                                          unsigned first,
                                          unsigned second,
                                          float outside,
                                          TapWeights const& weights,
                                          TableRow const& own) {
    if (p.taps == 1)
        return squares(p, population_count(first) + population_count(second), outside) * weights.value[0];
    unsigned long long const mask = static_cast<unsigned long long>(second) << 32 | first;
    unsigned const* const places = inside_map(p);
    return sum_of_taps(p, weights, own, [&](int tap) {
        Floats4 const place = shared_load_x4(places + tap * 4);
        unsigned long long const shifted = mask >> bits_from_float(place.z);
        PairCounts counts = {0, 0, 0};
        bool const all_kinds = outside != 0.0f;
        count_pairs(counts, first, static_cast<unsigned>(shifted), bits_from_float(place.x), all_kinds);
        count_pairs(
            counts, second, static_cast<unsigned>(shifted >> 32), bits_from_float(place.y), all_kinds);
        return slope_products(counts, outside);
    });
}

// Bits shift .. shift + 31 of high:low.
EDGEOSR_DEVICE unsigned shifted_word(unsigned low, unsigned high, int shift) {
    return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> shift);
}

// The same from masks of more than two words in shared memory, [word, 8 channels]; `mask`: of the lane's
// channel.
EDGEOSR_DEVICE float counted_in_words(FusedScoreParams const& p,
                                      unsigned const* mask,
                                      float outside,
                                      TapWeights const& weights,
                                      TableRow const& own) {
    int const share = lane_index() & (kTapSharers - 1);
    if (p.taps == 1) {  // every fourth word a lane
        int count = 0;
        for (int word = share; word * 32 < p.positions; word += kTapSharers)
            count += population_count(shared_load_u32(mask + word * kRows));
#pragma unroll
        for (int lanes = kTapSharers / 2; lanes > 0; lanes >>= 1)
            count += shuffle_xor(count, lanes);
        return squares(p, count, outside) * weights.value[0];
    }
    unsigned here[kMaxPositions / 32];  // beyond the last word bits of no position, too: none is valid
#pragma unroll
    for (int word = 0; word < kMaxPositions / 32; ++word)
        here[word] = shared_load_u32(mask + word * kRows);
    auto const own_word = [&](int word) {
        return kOldCompiler ? shared_load_u32(mask + word * kRows) : here[word];  // fewer registers
    };
    bool const all_kinds = outside != 0.0f;
    auto const products = [&](int tap) {
        unsigned const* const valid = inside_of_tap(p, tap);
        int const offset = offset_of(p, tap), shift = offset & 31;
        unsigned const* const partner = mask + (offset >> 5) * kRows;
        unsigned low = shared_load_u32(partner);
        PairCounts counts = {0, 0, 0};
#pragma unroll
        for (int word = 0; word < kMaxPositions / 32; word += 2) {
            if (word >= kFewestWords && word >= p.words) break;
            unsigned const middle = shared_load_u32(partner + (word + 1) * kRows),
                           high = shared_load_u32(partner + (word + 2) * kRows);
            Floats2 const positions = shared_load_x2(valid + word);
            count_pairs(counts,
                        own_word(word),
                        shifted_word(low, middle, shift),
                        bits_from_float(positions.x),
                        all_kinds);
            count_pairs(counts,
                        own_word(word + 1),
                        shifted_word(middle, high, shift),
                        bits_from_float(positions.y),
                        all_kinds);
            low = high;
        }
        return slope_products(counts, outside);
    };
    TapWeights left = weights;
    float jacobian = 0.0f;
    int tap = share;
#pragma unroll 1
    for (; tap - share < smaller(p.taps, kKept * kTapSharers); tap += kTapSharers) {
        jacobian = multiply_add(left.value[0], products(tap), jacobian);
#pragma unroll
        for (int i = 1; i < kKept; ++i)
            left.value[i - 1] = left.value[i];
    }
    return sum_of_sharers(rest_of_taps(p, own, tap, jacobian, products));
}

}  // namespace edgeosr
