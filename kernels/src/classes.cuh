// The classes of a tile's samples: logits, top class, and what the parts add up over all the others. Warps
// share the classes of a sample, and go through several samples at a time; the last warps have the first
// samples, for the first warps have more to do elsewhere.
#pragma once
#include "cluster.cuh"
#include "parts.cuh"

namespace edgeosr {

struct TopClass {
    float logit;
    int label;
};

EDGEOSR_DEVICE TopClass no_class() {
    return {-float_from_bits(0x7f800000u), kNoClass};
}

// The larger logit wins, the lower class among equal ones; all 32 lanes get the same. A loop: what runs once
// takes longer to fetch than to execute.
EDGEOSR_DEVICE TopClass top_of_lanes(TopClass top) {
#pragma unroll 1
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        float const logit = shuffle_xor(top.logit, lanes);
        int const label = shuffle_xor(top.label, lanes);
        bool const other = logit > top.logit || (logit == top.logit && label < top.label);
        top.logit = other ? logit : top.logit;
        top.label = other ? label : top.label;
    }
    return top;
}

// kOwn, here and below: in a cluster, where the last warps of a block have the sample of its rank alone, and
// meet without the others.
constexpr int kClassBarrier = 1, kLayerBarrier = 2, kLogitBarrier = 3;  // numbers of group_sync
constexpr int kClassTeamWarps = 4, kLayerTeamWarps = kWarps - kClassTeamWarps;

// Whether one warp has all classes of a sample: then nobody waits for another. In a cluster own_verdict.cuh
// has a shorter way for as many.
template <bool kOwn>
EDGEOSR_DEVICE bool alone(FusedScoreParams const& p) {
    return !kOwn && p.classes <= kKeptClasses;
}

// How warps share the classes of a sample: it depends on their number alone, for the sums' order. 1, 4, 8 or
// 16 warps a sample, in a cluster 4; class c is that of thread c % (32 warps).
template <bool kOwn>
EDGEOSR_DEVICE int warps_of_sample(FusedScoreParams const& p) {
    if (kOwn) return kClassTeamWarps;
    return alone<kOwn>(p) ? 1 : p.classes <= 128 ? 4 : p.classes <= 256 ? 8 : 16;
}
// Warps that work on classes and parts: those of their own, or all.
template <bool kOwn>
EDGEOSR_DEVICE int warps_for_classes(FusedScoreParams const& p) {
    if (kOwn) return kClassTeamWarps;
    return p.class_warps > 0 ? p.class_warps : static_cast<int>(kWarps);
}
// Their samples: columns from the first one to the last one's next.
template <bool kOwn>
EDGEOSR_DEVICE int first_column() {
    return kOwn ? cluster_rank() : 0;
}
template <bool kOwn>
EDGEOSR_DEVICE int end_column(Block const& block) {
    return kOwn ? cluster_rank() + 1 : block.valid;
}
template <bool kOwn>
EDGEOSR_DEVICE void sync_classes() {
    if (kOwn)
        group_sync(kClassBarrier, kClassTeamWarps * 32);
    else
        block_sync();
}

// By the warps that may have row tiles of a lone last hidden layer, and the one that writes the verdict: the
// shares of the logit are there.
EDGEOSR_DEVICE void meet_for_logit() {
    group_sync(kLogitBarrier, (kMostLoneTiles + 1) * 32);
}

EDGEOSR_DEVICE float external_logit(FusedScoreParams const& p, int sample, int label) {
    long long const at = sample * p.logits_stride + label;
    if (p.logits_half) return float_from_half(load_u16(static_cast<unsigned short const*>(p.logits) + at));
    return load_f32(static_cast<float const*>(p.logits) + at);
}

// Where the classes' products lie after add_rows, and then their logits: in shared memory if there are few.
EDGEOSR_DEVICE void keep_product(
    FusedScoreParams const& p, float* partials, int sample, int label, float value) {
    if (p.classes <= kKeptClasses)
        shared_store_f32(result(kLogits, sample * kKeptClasses + label), value);
    else
        store_f32(partials + sample * p.rows + p.hidden_rows + label, value);
}
EDGEOSR_DEVICE float kept_product(FusedScoreParams const& p, float const* partials, int sample, int label) {
    if (p.classes <= kKeptClasses) return shared_load_f32(result(kLogits, sample * kKeptClasses + label));
    return load_shared_by_blocks_f32(partials + sample * p.rows + p.hidden_rows + label);
}

// Where a thread begins among the classes, and which samples are its warp's.
struct ClassShare {
    int sample, samples;  // the first, and how many on the next one is
    int label, labels;    // the first class, and how many on the next one is
};

template <bool kOwn>
EDGEOSR_DEVICE ClassShare class_share(FusedScoreParams const& p) {
    int const warps = warps_of_sample<kOwn>(p), thread = thread_index_again(),
              warp = kWarps - 1 - (thread >> 5);
    int const bits = 31 - leading_zeros(static_cast<unsigned>(warps));
    return {first_column<kOwn>() + (warp >> bits),
            warps_for_classes<kOwn>(p) >> bits,
            (warp & (warps - 1)) * 32 + (thread & 31),
            warps * 32};
}

// Logits, and each warp's top class of its samples; one logit that is not finite makes the warp's top so.
template <bool kOwn>
EDGEOSR_DEVICE void find_top(FusedScoreParams const& p, Block const& block, float* partials) {
    ClassShare const share = class_share<kOwn>(p);
#pragma unroll 1
    for (int sample = share.sample; sample < end_column<kOwn>(block); sample += share.samples) {
        if ((share.label & ~31) >= p.classes) break;
        TopClass top = no_class();
        bool bad = false;
#pragma unroll 1
        for (int label = share.label; label < p.classes; label += share.labels) {
            float logit;
            if (p.head == kHeadExternal) {
                logit = external_logit(p, block.first + sample, label);
            } else {
                float const bias =
                    p.head == kHeadLinear ? load_f32(split_bias(p) + p.hidden_rows + label) : 0.0f;
                logit = kept_product(p, partials, sample, label);
                logit = p.head == kHeadCosine ? logit / shared_load_f32(result(kNorm, sample)) : logit + bias;
                keep_product(p, partials, sample, label, logit);
            }
            bad |= !finite(logit);
            bool const better = logit > top.logit || top.label == kNoClass;
            top.logit = better ? logit : top.logit;
            top.label = better ? label : top.label;
        }
        top = top_of_lanes(top);
        bad = any(bad);
        if (lane_again() == 0) {
            int const at = sample * kWarps + (share.label >> 5);
            shared_store_f32(result(kBest, at), bad ? float_from_bits(0x7fc00000u) : top.logit);
            shared_store_u32(result(kLabel, at), static_cast<unsigned>(top.label));
        }
    }
}

// The top class of a sample, from its warps'. One lane keeps it.
template <bool kOwn>
EDGEOSR_DEVICE TopClass keep_top(FusedScoreParams const& p, int sample, bool keeps) {
    TopClass top = no_class();
    int const lane = lane_again();
    if (lane < warps_of_sample<kOwn>(p) && lane * 32 < p.classes) {
        top.logit = shared_load_f32(result(kBest, sample * kWarps + lane));
        top.label = static_cast<int>(shared_load_u32(result(kLabel, sample * kWarps + lane)));
    }
    bool const bad = any(top.label != kNoClass && !finite(top.logit));
    top = top_of_lanes(top);
    if (keeps && lane == 0) {
        shared_store_f32(result(kTop, sample), bad ? float_from_bits(0x7fc00000u) : top.logit);
        shared_store_u32(result(kTopLabel, sample),
                         static_cast<unsigned>(top.label < p.classes ? top.label : 0));
    }
    return top;
}

// Each warp's share of a part's sum over all classes but the top one; code: none if there is no such part.
template <bool kOwn>
EDGEOSR_DEVICE void sum_classes(FusedScoreParams const& p,
                                Block const& block,
                                float const* partials,
                                int code) {
    ClassShare const share = class_share<kOwn>(p);
    HeadConstants const head = head_constants(p);
#pragma unroll 1
    for (int sample = share.sample; sample < end_column<kOwn>(block); sample += share.samples) {
        if ((share.label & ~31) >= p.classes) break;
        int const top = keep_top<kOwn>(p, sample, share.label < 32).label;
        float others = 0.0f;
#pragma unroll 1
        for (int label = share.label; code >= 0 && label < p.classes; label += share.labels) {
            float const logit = p.head == kHeadExternal ? external_logit(p, block.first + sample, label)
                                                        : kept_product(p, partials, sample, label);
            if (label != top) others += class_term(code, head, logit);
        }
        others = warp_sum_once(others);
        if (lane_again() == 0)
            shared_store_f32(result(kOthers, sample * kWarps + (share.label >> 5)), others);
    }
}

// One warp: the sum over classes of part `part` of one sample, from the warps' shares.
template <bool kOwn>
EDGEOSR_DEVICE void keep_sum(FusedScoreParams const& p, int column, int part) {
    int const lane = lane_again();
    Floats2 const others = exact_warp_sum(lane < warps_of_sample<kOwn>(p) && lane * 32 < p.classes
                                              ? shared_load_f32(result(kOthers, column * kWarps + lane))
                                              : 0.0f);
    if (lane == 0) {
        shared_store_f32(result(kSums, column * kMaxParts + part), others.x);
        shared_store_f32(result(kValues, column * kMaxParts + part), others.y);
    }
    warp_sync();
}

// The first part from `part` on, in steps of `step`, that needs a sum over classes; -1 or p.parts: none.
EDGEOSR_DEVICE int next_sum(FusedScoreParams const& p, int part, int step) {
    while (part >= 0 && part < p.parts && !sums_over_classes(p.part[part].code))
        part += step;
    return part;
}

// Sums over classes, part after part; find_values reduces the last one's, behind a barrier.
template <bool kOwn>
EDGEOSR_DEVICE void find_sums(FusedScoreParams const& p, Block const& block, float const* partials) {
    int part = next_sum(p, 0, 1);
#pragma unroll 1
    do {
        sum_classes<kOwn>(p, block, partials, part < p.parts ? p.part[part].code : -1);
        int const next = next_sum(p, part + 1, 1);
        if (next < p.parts) {
            if (alone<kOwn>(p))
                warp_sync();
            else
                sync_classes<kOwn>();
            int const warp = (thread_index_again() >> 5) - (kOwn ? static_cast<int>(kLayerTeamWarps) : 0);
            int const column = alone<kOwn>(p) ? class_share<kOwn>(p).sample : first_column<kOwn>() + warp;
#pragma unroll 1
            for (int at = column; at < end_column<kOwn>(block); at += warps_for_classes<kOwn>(p))
                keep_sum<kOwn>(p, at, part);
            if (!alone<kOwn>(p)) sync_classes<kOwn>();
        }
        part = next;
    } while (part < p.parts);
}

EDGEOSR_DEVICE Sample sample_at(FusedScoreParams const& p, float const* partials, int column, int part) {
    return {p,
            partials + column * p.rows,
            column,
            part,
            shared_load_f32(result(kTop, column)),
            static_cast<int>(shared_load_u32(result(kTopLabel, column)))};
}

EDGEOSR_DEVICE void keep_value(Sample const& where) {
    float const value = part_value(where);
    warp_sync();  // every lane has read what lies there until now
    if (lane_again() == 0) shared_store_f32(result(kValues, where.column * kMaxParts + where.part), value);
}

// Every part that does not wait for the discriminator: one warp a part and sample, the last warps first.
// In a cluster: own_parts.
EDGEOSR_DEVICE void find_values(FusedScoreParams const& p, Block const& block, float const* partials) {
    int column = 0, part = kWarps - 1 - (thread_index_again() >> 5);
    int const last = next_sum(p, p.parts - 1, -1);
#pragma unroll 1
    while (true) {
        while (part >= p.parts && column < block.valid) {
            part -= p.parts;
            ++column;
        }
        if (column >= block.valid) return;
        if (part == last) keep_sum<false>(p, column, part);
        if (!needs_discriminator(p.part[part].code)) keep_value(sample_at(p, partials, column, part));
        part += warps_for_classes<false>(p);
    }
}

}  // namespace edgeosr
