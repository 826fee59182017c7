// In a cluster, by the last four warps of a block: classes, parts and verdict of its sample. Of few classes
// each of them has all logits in its registers and finds the top class for itself: they meet once, when the
// parts that do not wait for the discriminator are there. The last warp then has all of the verdict but what
// the discriminator's logit changes.
#pragma once
#include "classes.cuh"
#include "hidden.cuh"
#include "launch_number.cuh"
#include "mail.cuh"

namespace edgeosr {

// Logits of a sample with at most kKeptClasses classes: a lane has the class of its number, and 32 more.
struct Logits {
    float first, second;  // 0 where there is no class
    TopClass top;
};

EDGEOSR_DEVICE float own_logit(FusedScoreParams const& p, int sample, int column, int label) {
    if (p.head == kHeadExternal) return external_logit(p, sample, label);
    float const product = shared_load_f32(result(kLogits, column * kKeptClasses + label));
    if (p.head == kHeadCosine) return product / shared_load_f32(result(kNorm, column));
    return product + load_f32(split_bias(p) + p.hidden_rows + label);
}

// Unsigned numbers in the order of floats: 0 below all that are finite, the same for 0 and -0.
EDGEOSR_DEVICE unsigned ordered(float value) {
    unsigned const bits = bits_from_float(value + 0.0f);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
EDGEOSR_DEVICE float float_from_ordered(unsigned order) {
    return float_from_bits(order >> 31 ? order ^ 0x80000000u : ~order);
}

// The largest of all lanes' values.
EDGEOSR_DEVICE unsigned largest_of_lanes(unsigned value) {
#if EDGEOSR_CLUSTERS && !defined(EDGEOSR_SIMT)
    unsigned largest;
    asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(largest) : "r"(value));
    return largest;
#else
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        unsigned const other = static_cast<unsigned>(shuffle_xor(static_cast<int>(value), lanes));
        value = other > value ? other : value;
    }
    return value;
#endif
}

EDGEOSR_DEVICE int lowest_bit(unsigned bits) {
    return 31 - leading_zeros(bits & (0u - bits));
}

EDGEOSR_DEVICE Logits own_logits(FusedScoreParams const& p, int sample, int column) {
    int const lane = lane_again();
    Logits own = {0.0f, 0.0f, no_class()};
    unsigned first = 0u, second = 0u;
    if (lane < p.classes) {
        own.first = own_logit(p, sample, column, lane);
        first = ordered(own.first);
    }
    if (p.classes > 32 && lane + 32 < p.classes) {
        own.second = own_logit(p, sample, column, lane + 32);
        second = ordered(own.second);
    }
    bool const bad = any(!finite(own.first) || !finite(own.second));
    unsigned const largest = largest_of_lanes(first > second ? first : second);
    unsigned const those = ballot(first == largest), others = ballot(second == largest);
    own.top.label = those ? lowest_bit(those) : 32 + lowest_bit(others);
    own.top.logit = bad ? float_from_bits(0x7fc00000u) : float_from_ordered(largest);
    return own;
}

// term(logit) of all classes but the top one; the order of additions depends on nothing but their number.
template <class Term>
EDGEOSR_DEVICE float sum_of_others(FusedScoreParams const& p, Logits const& own, Term const& term) {
    float others = 0.0f, logit = own.first;
    int label = lane_again();
#pragma unroll 1
    for (int first = 0; first < p.classes; first += 32) {
        float const value = term(logit);
        if (label < p.classes && label != own.top.label) others += value;
        label += 32;
        logit = own.second;
    }
    return warp_sum(others);
}

// Of a part, see part_value_with: of few classes anew, else as find_sums has left it at `at`. No lambda:
// NVRTC before CUDA 13 takes one with `auto` for a host function.
struct OwnSum {
    FusedScoreParams const& p;
    Logits const& own;
    bool few;
    int at;

    template <class Term>
    EDGEOSR_DEVICE Floats2 operator()(Term const& term) const {
        if (few) return {sum_of_others(p, own, term), 0.0f};
        return {shared_load_f32(result(kSums, at)), shared_load_f32(result(kValues, at))};
    }
};

// The parts that do not wait for the discriminator; every fourth is a warp's.
EDGEOSR_DEVICE void own_parts(FusedScoreParams const& p,
                              Block const& block,
                              int column,
                              float const* partials) {
    int const warp = kWarps - 1 - (thread_index_again() >> 5), lane = lane_again();
    bool const few = p.classes <= kKeptClasses;
    Sample where = {p, partials + column * p.rows, column, warp, 0.0f, 0, true};
    Logits own = {};
    if (few) {
        own = own_logits(p, block.first + column, column);
        if (warp == 0 && lane == 0) {
            shared_store_f32(result(kTop, column), own.top.logit);
            shared_store_u32(result(kTopLabel, column), static_cast<unsigned>(own.top.label));
        }
    } else {
        own.top = {shared_load_f32(result(kTop, column)),
                   static_cast<int>(shared_load_u32(result(kTopLabel, column)))};
    }
    where.top = own.top.logit;
    where.label = own.top.label;
    HeadConstants const head = head_constants(p);
    int const last = few ? -1 : next_sum(p, p.parts - 1, -1);
#pragma unroll 1
    for (; where.part < p.parts; where.part += kClassTeamWarps) {
        int const code = p.part[where.part].code, at = column * kMaxParts + where.part;
        if (needs_discriminator(code)) continue;
        if (where.part == last) keep_sum<true>(p, column, where.part);
        float const value = part_value_with(code, where, head, OwnSum{p, own, few, at});
        warp_sync();  // every lane has read what lies there until now
        if (lane == 0) shared_store_f32(result(kValues, at), value);
    }
}

// The discriminator's logit of "known", by the warp that writes the verdict: the shares of who has the last
// hidden layer, or the last layer itself.
EDGEOSR_DEVICE float own_known(FusedScoreParams const& p, int column) {
    int const last = p.layers - 2;
    if (last < 0) return p.layers > 0 ? shared_load_f32(result(kLogit, column)) : 0.0f;
    float const bias = shared_load_f32(&kept_constants()->last_bias);
    if (!is_lone(p, last)) {
        wait_for_mail(mailbox(p, last));
        return last_layer<true>(p, hidden_values(p, last), column) + bias;
    }
    int const tiles = p.layer_tiles[last];
    meet_for_logit();
    float logit = 0.0f;
#pragma unroll
    for (int tile = 0; tile < kMostLoneTiles; ++tile)
        if (tile < tiles) logit += shared_load_f32(result(kLogit, tile));
    return logit + bias;
}

// A part that waits for the discriminator.
struct LatePart {
    int part, code;
    float gain, mean;
};

EDGEOSR_DEVICE LatePart late_part(FusedScoreParams const& p, unsigned those) {
    int const part = lowest_bit(those);
    return {part,
            p.part[part].code,
            shared_load_f32(&kept_constants()->gain[part]),
            shared_load_f32(&kept_constants()->mean[part])};
}

// One warp: the fused score of the parts that are there, then of those that waited for the discriminator; the
// threshold; 80 bytes out, a word a lane. Lane 4 + i has part i.
EDGEOSR_DEVICE void write_own_verdict(FusedScoreParams const& p,
                                      float const* partials,
                                      int sample,
                                      int column) {
    constexpr int kFirst = 4;  // words before the values
    int const lane = lane_again(), own = lane - kFirst;
    unsigned const before = flags_before(p, sample);
    Sample where = sample_at(p, partials, column, 0);
    bool const listed = own >= 0 && own < p.parts;
    bool const late = listed && needs_discriminator(p.part[own].code);
    float word = float_from_bits(0x7fc00000u), share = 0.0f;
    if (listed && !late) {
        word = shared_load_f32(result(kValues, column * kMaxParts + own));
        share = shared_load_f32(&kept_constants()->gain[own]) *
                (word - shared_load_f32(&kept_constants()->mean[own]));
    }
    // One lane's for all: where the product is fused into the first addition, two lanes may round apart.
    float score = float_from_bits(shuffle(bits_from_float(warp_sum(share)), 0));
    bool sound = finite(where.top) && finite(norm_of(where)) && finite(jacobian_of(where)) &&
                 !any(listed && !late && !finite(word));
    float const threshold = shared_load_f32(&kept_constants()->threshold);
    if (lane == 0) word = float_from_bits(static_cast<unsigned>(where.label));
    if (lane == 3) word = float_from_bits(kVerdictLayout | static_cast<unsigned>(p.parts) << 16);
    float* const to = reinterpret_cast<float*>(p.verdicts + sample) + lane;
    unsigned those = ballot(late) >> kFirst;
    LatePart next = {};
    if (those) next = late_part(p, those);
    where.known = own_known(p, column);
    where.heard = true;
#pragma unroll 1
    while (those) {
        where.part = next.part;
        float const value = late_value(next.code, where);
        score += next.gain * (value - next.mean);
        sound = sound && finite(value);
        if (own == next.part) word = value;
        those &= those - 1u;
        if (those) next = late_part(p, those);
    }
    if (!sound) score = float_from_bits(0x7fc00000u);
    unsigned const said = kWritten | (!sound ? kNotFinite : score <= threshold ? kAccepted : 0u);
    if (lane == kFlagsLane) word = float_from_bits(next_number(before) | said);
    if (lane == 2) word = score;
    if (lane < kFirst + kMaxParts) store_f32(to, word);
}

// Classes, parts and verdict of the block's sample, by their warps.
EDGEOSR_DEVICE void own_classes(FusedScoreParams const& p) {
    Block const block = this_block(p);
    int const column = cluster_rank();
    if (column >= block.valid) return;
    float* const partials = slab_partials(p, block.tile, 0);
    if (p.classes > kKeptClasses) {
        find_top<true>(p, block, partials);
        sync_classes<true>();
        find_sums<true>(p, block, partials);
        sync_classes<true>();
    }
    own_parts(p, block, column, partials);
    sync_classes<true>();
    if (thread_index_again() >> 5 == kWarps - 1) write_own_verdict(p, partials, block.first + column, column);
}

}  // namespace edgeosr
