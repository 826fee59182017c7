// Phase B, in the last block of a tile to arrive: partials in slab order, head, parts, fusion, threshold,
// verdict.
#pragma once
#include "hidden.cuh"
#include "parts.cuh"

namespace edgeosr {

// |z| and J of one sample, one warp.
template <bool kMap>
EDGEOSR_DEVICE void finish_norms(FusedScoreParams const& p, float const* stats, int stride, int sample) {
    float const squared = sum_over_slabs(stats, stride, p.slabs);
    float const norm = not_below_floor(square_root(squared));
    float square = 0.0f;
    if (kMap) {
        float const positions = static_cast<float>(p.height * p.width_of_map);
        square = sum_over_slabs(stats + 1, stride, p.slabs) / (positions * positions);
    } else if (p.probes > 0) {
        if (lane_again() < p.probes) {
            float const length = sum_over_slabs(stats + 2 + lane_again(), stride, p.slabs);
            float const radial = sum_over_slabs(stats + 2 + p.probes + lane_again(), stride, p.slabs) / norm;
            float const across = length - radial * radial;
            square = across < 0.0f ? 0.0f : across;  // NaN stays
        }
        square = warp_sum(square) * load_f32(&constants_of(p)->probe_scale);
    }
    if (lane_again() == 0) {
        float jacobian = 1.0f;
        if (kMap || p.probes > 0) jacobian = square_root(square < 0.0f ? 0.0f : square) / norm;
        if (!finite(square)) jacobian = float_from_bits(0x7fc00000u);
        shared_store_f32(result(kNorm, sample), finite(squared) ? norm : float_from_bits(0x7fc00000u));
        shared_store_f32(result(kJacobian, sample), jacobian);
    }
}

// Layer 1's sums, bias and LeakyReLU -> hidden values; with a single layer its one output is the logit.
template <bool kMma>
EDGEOSR_DEVICE void finish_first_layer(FusedScoreParams const& p, float const* partials, int valid) {
    int const thread = thread_index_again();
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    int const stride = kTile * p.rows;
    float const slope = load_f32(&constants_of(p)->slope);
    if (p.layers == 1) {
        if (thread < valid)
            shared_store_f32(
                result(kLogit, thread),
                sum_over_slabs(partials + thread * p.rows, stride, p.slabs) + load_f32(split_bias(p)));
        return;
    }
    int const pitch = hidden_pitch<kMma>(p.hidden_rows);
    for (int sample = 0; sample < kTile; ++sample)
        for (int row = thread; row < p.hidden_rows; row += kThreads) {
            float value = 0.0f;
            if (sample < valid)
                value = leaky(sum_over_slabs(partials + sample * p.rows + row, stride, p.slabs) +
                                  load_f32(split_bias(p) + row),
                              slope);
            store_hidden<kMma>(hidden_values(p, 0), pitch, sample, row, value);
        }
}

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

// Lane w: the top class of warp w's, for one sample.
EDGEOSR_DEVICE TopClass top_of_warp(FusedScoreParams const& p, int sample) {
    TopClass top = no_class();
    int const lane = lane_again();
    if (lane < kWarps && lane * 32 < p.classes) {
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

// Logits and each warp's top class of every sample; class c belongs to thread c % 512 whatever B is. Logits
// go back to the first slab's partials, for the same thread to read in sum_classes. One that is not finite
// makes its warp's top logit so.
template <int kTile>
EDGEOSR_DEVICE void find_top(FusedScoreParams const& p, Block const& block, float* partials) {
#pragma unroll 1
    for (int sample = 0; sample < block.valid; ++sample) {
        int const thread = thread_index_again();
        if ((thread & ~31) >= p.classes) break;
        float* from = partials + sample * p.rows + p.hidden_rows;
        TopClass top = no_class();
        bool bad = false;
#pragma unroll 1
        for (int label = thread; label < p.classes; label += kThreads) {
            float logit;
            if (p.head == kHeadExternal) {
                logit = external_logit(p, block.first + sample, label);
            } else {
                logit = sum_over_slabs(from + label, kTile * p.rows, p.slabs);
                if (p.head == kHeadCosine)
                    logit /= shared_load_f32(result(kNorm, sample));
                else
                    logit += load_f32(split_bias(p) + p.hidden_rows + label);
                store_f32(from + label, logit);
            }
            bad |= !finite(logit);
            bool const better = logit > top.logit || top.label == kNoClass;
            top.logit = better ? logit : top.logit;
            top.label = better ? label : top.label;
        }
        top = top_of_lanes(top);
        bad = any(bad);
        if (lane_again() == 0) {
            int const at = sample * kWarps + (thread_index_again() >> 5);
            shared_store_f32(result(kBest, at), bad ? float_from_bits(0x7fc00000u) : top.logit);
            shared_store_u32(result(kLabel, at), static_cast<unsigned>(top.label));
        }
    }
}

// Each warp's share of a part's sum over all classes but the top one.
EDGEOSR_DEVICE void sum_classes(FusedScoreParams const& p,
                                Block const& block,
                                float const* partials,
                                int code) {
    int const thread = thread_index_again();
    HeadConstants const head = head_constants(p);
#pragma unroll 1
    for (int sample = 0; sample < block.valid; ++sample) {
        if ((thread & ~31) >= p.classes) break;
        float const* from = partials + sample * p.rows + p.hidden_rows;
        int const top = top_of_lanes(top_of_warp(p, sample)).label;
        float others = 0.0f;
#pragma unroll 1
        for (int label = thread; label < p.classes; label += kThreads) {
            float const logit = p.head == kHeadExternal ? external_logit(p, block.first + sample, label)
                                                        : load_shared_by_blocks_f32(from + label);
            if (label != top) others += class_term(code, head, logit);
        }
        others = warp_sum(others);
        if ((thread & 31) == 0) shared_store_f32(result(kOthers, sample * kWarps + (thread >> 5)), others);
    }
}

// One warp: the sum over classes of part `part` of one sample, from the warps' shares.
EDGEOSR_DEVICE void keep_sum(FusedScoreParams const& p, int column, int part) {
    int const lane = lane_again();
    float const others = warp_sum(lane < kWarps && lane * 32 < p.classes
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
EDGEOSR_DEVICE void find_sums(FusedScoreParams const& p, Block const& block, float const* partials) {
    int part = next_sum(p, 0, 1);
#pragma unroll 1
    while (part < p.parts) {
        sum_classes(p, block, partials, p.part[part].code);
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

// One warp: the parts, the fused score, the threshold; 80 bytes out, a word a lane. Lane 4 + i has part i.
EDGEOSR_DEVICE void write_verdict(
    FusedScoreParams const& p, float const* partials, int stride, int sample, int column) {
    constexpr int kFirst = 4;  // words before the values
    int const lane = lane_again();
    TopClass top = top_of_warp(p, column);
    bool sound = !any(top.label != kNoClass && !finite(top.logit));
    top = top_of_lanes(top);
    top.label = top.label < p.classes ? top.label : 0;
    Sample where = {p, partials, stride, column, 0, top.logit, top.label};
    float value = float_from_bits(0x7fc00000u);
#pragma unroll 1
    for (; where.part < p.parts; ++where.part) {
        float const found = part_value(where);
        if (lane == kFirst + where.part) value = found;
    }
    bool const listed = lane >= kFirst && lane < kFirst + p.parts;
    float share = 0.0f;
    if (listed)
        share = load_f32(&constants_of(p)->gain[lane - kFirst]) *
                (value - load_f32(&constants_of(p)->mean[lane - kFirst]));
    // One lane's for all: where the product is fused into the first addition, two lanes may round apart.
    float score = float_from_bits(shuffle(bits_from_float(warp_sum(share)), 0));
    sound = sound && finite(norm_of(where)) && finite(jacobian_of(where)) && !any(listed && !finite(value));
    if (!sound) score = float_from_bits(0x7fc00000u);
    unsigned flags = kWritten;
    if (!sound) flags |= kNotFinite;
    if (sound && score <= load_f32(&constants_of(p)->threshold)) flags |= kAccepted;
    if (lane == 0) value = float_from_bits(static_cast<unsigned>(top.label));
    if (lane == 1) value = float_from_bits(flags);
    if (lane == 2) value = score;
    if (lane == 3) value = float_from_bits(kVerdictLayout | static_cast<unsigned>(p.parts) << 16);
    if (lane < kFirst + kMaxParts) store_f32(reinterpret_cast<float*>(p.verdicts + sample) + lane, value);
}

template <bool kMap, bool kMma>
EDGEOSR_DEVICE void finish_tile(FusedScoreParams const& p) {
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    {
        int const warp = thread_index_again() >> 5;
        Block const block = this_block<kTile>(p);
        if (warp < block.valid)
            finish_norms<kMap>(
                p, slab_stats<kTile>(p, block.tile, 0) + warp * p.stats, kTile * p.stats, warp);
        float* partials = slab_partials<kTile>(p, block.tile, 0);
        if (p.layers > 0) finish_first_layer<kMma>(p, partials, block.valid);
        block_sync();
        find_top<kTile>(p, block, partials);
        block_sync();
        find_sums(p, block, partials);
    }
    if (stops_after(4)) return;
    for (int layer = 1; layer < p.layers - 1; ++layer) {
        hidden_layer<kMma>(p,
                           layer,
                           hidden_values(p, layer - 1),
                           hidden_values(p, layer),
                           reinterpret_cast<float*>(shared_memory() + p.sums_at));
        block_sync();
    }
    Block const block = this_block<kTile>(p);
    int const warp = thread_index_again() >> 5;
    if (p.layers > 1 && warp < block.valid) {
        float const logit = last_layer<kMma>(p, hidden_values(p, p.layers - 2), warp);
        if (lane_again() == 0)
            shared_store_f32(result(kLogit, warp), logit + load_f32(&constants_of(p)->last_bias));
    }
    block_sync();
    if (warp >= block.valid) return;
    // Found anew: kept from find_sums on, it would take a register from the hidden layers.
    if (int const last = next_sum(p, p.parts - 1, -1); last >= 0) {
        keep_sum(p, warp, last);
        warp_sync();
    }
    float const* partials = slab_partials<kTile>(p, block.tile, 0) + warp * p.rows;
    write_verdict(p, partials, kTile * p.rows, block.first + warp, warp);
}

}  // namespace edgeosr
