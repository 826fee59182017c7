// The classes of a tile's samples: logits, top class, and what the parts add up over all the others. Warps
// share the classes of a sample, and go through several samples at a time.
#pragma once
#include "parts.cuh"

namespace edgeosr {

struct TopClass {
    float logit;
    int label;
};

EDGEOSR_DEVICE TopClass no_class() {
    return {-float_from_bits(0x7f800000u), kNoClass};
}

// The larger logit wins, the lower class among equal ones; all 32 lanes get the same.
EDGEOSR_DEVICE TopClass top_of_lanes(TopClass top) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        float const logit = shuffle_xor(top.logit, lanes);
        int const label = shuffle_xor(top.label, lanes);
        bool const other = logit > top.logit || (logit == top.logit && label < top.label);
        top.logit = other ? logit : top.logit;
        top.label = other ? label : top.label;
    }
    return top;
}

// How warps share the classes of a sample: it depends on their number alone, for the sums' order. 2, 4, 8 or
// 16 warps a sample; class c is that of thread c % (32 warps).
EDGEOSR_DEVICE int warps_of_sample(FusedScoreParams const& p) {
    return p.classes <= 64 ? 2 : p.classes <= 128 ? 4 : p.classes <= 256 ? 8 : 16;
}

// Lane w: the top class of the sample's warp w.
EDGEOSR_DEVICE TopClass top_of_warp(FusedScoreParams const& p, int sample) {
    TopClass top = no_class();
    int const lane = lane_again();
    if (lane < warps_of_sample(p) && lane * 32 < p.classes) {
        top.logit = shared_load_f32(result(kBest, sample * kWarps + lane));
        top.label = static_cast<int>(shared_load_u32(result(kLabel, sample * kWarps + lane)));
    }
    return top;
}

EDGEOSR_DEVICE float external_logit(FusedScoreParams const& p, int sample, int label) {
    long long const at = sample * p.logits_stride + label;
    if (p.logits_half) return float_from_half(load_u16(static_cast<unsigned short const*>(p.logits) + at));
    return load_f32(static_cast<float const*>(p.logits) + at);
}

// Where a thread begins among the classes, and which samples are its warp's.
struct ClassShare {
    int sample, samples;  // the first, and how many on the next one is
    int label, labels;    // the first class, and how many on the next one is
};

EDGEOSR_DEVICE ClassShare class_share(FusedScoreParams const& p) {
    int const warps = warps_of_sample(p), thread = thread_index_again();
    return {(thread >> 5) / warps, kWarps / warps, thread & (warps * 32 - 1), warps * 32};
}

// z times a class's row, or the logit that was given.
template <int kTile>
EDGEOSR_DEVICE float raw_logit(
    FusedScoreParams const& p, Block const& block, float const* partials, int sample, int label) {
    if (p.head == kHeadExternal) return external_logit(p, block.first + sample, label);
    return sum_over_slabs(partials + sample * p.rows + p.hidden_rows + label, kTile * p.rows, p.slabs);
}

// Each warp's top class of its samples. The first class's product is there already (`raw`). Logits go back to
// the first slab's partials, for the same thread to read in sum_classes; one that is not finite makes its
// warp's top logit so. Returns the last logit.
template <int kTile>
EDGEOSR_DEVICE float find_top(FusedScoreParams const& p, Block const& block, float* partials, float raw) {
    ClassShare const share = class_share(p);
    bool const external = p.head == kHeadExternal;
    float logit = 0.0f;
#pragma unroll 1
    for (int sample = share.sample; sample < block.valid; sample += share.samples) {
        if ((share.label & ~31) >= p.classes) break;
        TopClass top = no_class();
        bool bad = false;
#pragma unroll 1
        for (int label = share.label; label < p.classes; label += share.labels) {
            bool const first = sample == share.sample && label == share.label;
            float const bias = p.head == kHeadLinear ? load_f32(split_bias(p) + p.hidden_rows + label) : 0.0f;
            logit = first ? raw : raw_logit<kTile>(p, block, partials, sample, label);
            logit = p.head == kHeadCosine ? logit / shared_load_f32(result(kNorm, sample)) : logit + bias;
            if (!external) store_f32(partials + sample * p.rows + p.hidden_rows + label, logit);
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
    return logit;
}

// Each warp's share of a part's sum over all classes but the top one; `logit`: of a thread that has but one.
EDGEOSR_DEVICE void sum_classes(
    FusedScoreParams const& p, Block const& block, float const* partials, float logit, int code) {
    ClassShare const share = class_share(p);
    bool const one = p.classes <= share.labels && block.valid <= share.samples;
    HeadConstants const head = head_constants(p);
#pragma unroll 1
    for (int sample = share.sample; sample < block.valid; sample += share.samples) {
        if ((share.label & ~31) >= p.classes) break;
        int const top = top_of_lanes(top_of_warp(p, sample)).label;
        float others = 0.0f;
#pragma unroll 1
        for (int label = share.label; label < p.classes; label += share.labels) {
            if (!one)
                logit = p.head == kHeadExternal
                            ? external_logit(p, block.first + sample, label)
                            : load_shared_by_blocks_f32(partials + sample * p.rows + p.hidden_rows + label);
            if (label != top) others += class_term(code, head, logit);
        }
        others = warp_sum(others);
        if (lane_again() == 0)
            shared_store_f32(result(kOthers, sample * kWarps + (share.label >> 5)), others);
    }
}

// One warp: the sum over classes of part `part` of one sample, from the warps' shares.
EDGEOSR_DEVICE void keep_sum(FusedScoreParams const& p, int column, int part) {
    int const lane = lane_again();
    float const others = warp_sum(lane < warps_of_sample(p) && lane * 32 < p.classes
                                      ? shared_load_f32(result(kOthers, column * kWarps + lane))
                                      : 0.0f);
    if (lane == 0) shared_store_f32(result(kSums, column * kMaxParts + part), others);
}

// The first part from `part` on, in steps of `step`, that needs a sum over classes; -1 or p.parts: none.
EDGEOSR_DEVICE int next_sum(FusedScoreParams const& p, int part, int step) {
    while (part >= 0 && part < p.parts && !sums_over_classes(p.part[part].code))
        part += step;
    return part;
}

// Sums over classes, part after part; write_verdict's caller reduces the last one's, behind later barriers.
EDGEOSR_DEVICE void find_sums(FusedScoreParams const& p,
                              Block const& block,
                              float const* partials,
                              float logit) {
    int part = next_sum(p, 0, 1);
#pragma unroll 1
    while (part < p.parts) {
        sum_classes(p, block, partials, logit, p.part[part].code);
        int const next = next_sum(p, part + 1, 1);
        if (next < p.parts) {
            block_sync();
            int const warp = thread_index_again() >> 5;
            if (warp < block.valid) keep_sum(p, warp, part);
            block_sync();
        }
        part = next;
    }
}

}  // namespace edgeosr
