// Phase B, in the last block of a tile to arrive: partials in slab order, head, loss, fusion, threshold,
// verdict.
#pragma once
#include "hidden.cuh"

namespace edgeosr {

constexpr float kFloor = 1e-12f;  // edgeosr/verdict.py's FLOOR
constexpr int kNoClass = 0x7fffffff;

EDGEOSR_DEVICE float not_below_floor(float value) {
    return value < kFloor ? kFloor : value;
}  // NaN stays
EDGEOSR_DEVICE float softplus(float x) {
    return (x > 0.0f ? x : 0.0f) + log_one_plus(exponential(-absolute(x)));
}
EDGEOSR_DEVICE bool finite(float value) {
    return !float_not_finite(bits_from_float(value));
}

// Sum over slabs, in slab order, of from[slab * stride]; four loads in flight.
EDGEOSR_DEVICE float sum_over_slabs(float const* from, int stride, int slabs) {
    constexpr int kLoads = 4;
    float sum = 0.0f;
#pragma unroll 1
    for (int first = 0; first < slabs; first += kLoads) {
        float value[kLoads];
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            value[i] = first + i < slabs ? load_shared_by_blocks_f32(from) : 0.0f;
            from = stepped(from, static_cast<unsigned>(stride));
        }
#pragma unroll
        for (int i = 0; i < kLoads; ++i)
            sum += value[i];
    }
    return sum;
}

// Phase B's shared memory: results of the tile's samples, then the hidden buffers.
enum Result : int { kNorm = 0, kJacobian = 8, kLogit = 16, kBest = 24, kLabel = 152, kOthers = 280 };
EDGEOSR_DEVICE float* result(Result which, int at) {  // [8]; best, label, others [8, 16]: a warp's top class
    return reinterpret_cast<float*>(shared_memory()) + which + at;
}
EDGEOSR_DEVICE unsigned char* hidden_values(FusedScoreParams const& p, int layer) {
    return shared_memory() + (layer & 1 ? p.odd_at : static_cast<int>(kEvenAt));
}

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

EDGEOSR_DEVICE const float* split_bias(FusedScoreParams const& p) {  // [rows], of layer 1 and of the head
    return reinterpret_cast<float const*>(p.scorer + p.split_bias_at);
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

// The top class of a sample from those of its warps.
EDGEOSR_DEVICE TopClass top_of_warps(FusedScoreParams const& p, int sample) {
    TopClass top = no_class();
    int const lane = lane_again();
    if (lane < kWarps && lane * 32 < p.classes) {
        top.logit = shared_load_f32(result(kBest, sample * kWarps + lane));
        top.label = static_cast<int>(shared_load_u32(result(kLabel, sample * kWarps + lane)));
    }
    return top_of_lanes(top);
}

struct LossTerms {
    float temperature, cos_margin, sin_margin;
    bool cosine;
};

EDGEOSR_DEVICE LossTerms loss_terms(FusedScoreParams const& p) {
    ScorerConstants const* constants = constants_of(p);
    return {load_f32(&constants->temperature),
            load_f32(&constants->cos_margin),
            load_f32(&constants->sin_margin),
            p.head == kHeadCosine};
}

// T s with the margin on: T cos(arccos(c) + m) for a cosine.
EDGEOSR_DEVICE float scaled(LossTerms const& terms, float logit) {
    if (terms.cosine) {
        float const square = (1.0f - logit) * (1.0f + logit);
        float const sine = square_root(square > 0.0f ? square : 0.0f);
        logit = logit * terms.cos_margin - sine * terms.sin_margin;
    }
    return logit * terms.temperature;
}

EDGEOSR_DEVICE float external_logit(FusedScoreParams const& p, int sample, int label) {
    long long const at = sample * p.logits_stride + label;
    if (p.logits_half) return float_from_half(load_u16(static_cast<unsigned short const*>(p.logits) + at));
    return load_f32(static_cast<float const*>(p.logits) + at);
}

// Logits and each warp's top class of every sample; class c belongs to thread c % 512 whatever B is. Logits
// go back to the first slab's partials, for the same thread to read in sum_losses.
template <int kTile>
EDGEOSR_DEVICE void find_top(FusedScoreParams const& p, Block const& block, float* partials) {
    int const thread = thread_index_again();
#pragma unroll 1
    for (int sample = 0; sample < block.valid; ++sample) {
        if ((thread & ~31) >= p.classes) break;
        float* from = partials + sample * p.rows + p.hidden_rows;
        TopClass top = no_class();
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
            bool const better = logit > top.logit || top.label == kNoClass;
            top.logit = better ? logit : top.logit;
            top.label = better ? label : top.label;
        }
        top = top_of_lanes(top);
        if ((thread & 31) == 0) {
            shared_store_f32(result(kBest, sample * kWarps + (thread >> 5)), top.logit);
            shared_store_u32(result(kLabel, sample * kWarps + (thread >> 5)),
                             static_cast<unsigned>(top.label));
        }
    }
}

// Each warp's sum of softplus(T s) over its classes but the top one; NaN if a logit is not finite.
EDGEOSR_DEVICE void sum_losses(FusedScoreParams const& p, Block const& block, float const* partials) {
    int const thread = thread_index_again();
    LossTerms const terms = loss_terms(p);
#pragma unroll 1
    for (int sample = 0; sample < block.valid; ++sample) {
        if ((thread & ~31) >= p.classes) break;
        float const* from = partials + sample * p.rows + p.hidden_rows;
        int const top = top_of_warps(p, sample).label;
        float others = 0.0f;
#pragma unroll 1
        for (int label = thread; label < p.classes; label += kThreads) {
            float const logit = p.head == kHeadExternal ? external_logit(p, block.first + sample, label)
                                                        : load_shared_by_blocks_f32(from + label);
            if (!finite(logit))
                others = float_from_bits(0x7fc00000u);
            else if (label != top)
                others += softplus(scaled(terms, logit));
        }
        others = warp_sum(others);
        if ((thread & 31) == 0) shared_store_f32(result(kOthers, sample * kWarps + (thread >> 5)), others);
    }
}

// One warp: the warps' top classes, the loss, the fused score, the threshold; 32 bytes out.
EDGEOSR_DEVICE void write_verdict(FusedScoreParams const& p, int sample, int column) {
    LossTerms const terms = loss_terms(p);
    int const lane = lane_again();
    TopClass const top = top_of_warps(p, column);
    float const others = warp_sum(lane < kWarps && lane * 32 < p.classes
                                      ? shared_load_f32(result(kOthers, column * kWarps + lane))
                                      : 0.0f);
    if (lane != 0) return;
    float const norm = shared_load_f32(result(kNorm, column)),
                jacobian = shared_load_f32(result(kJacobian, column));
    float const known = p.layers > 0 ? shared_load_f32(result(kLogit, column)) : 0.0f;
    float const loss = others + softplus(-scaled(terms, top.logit));
    float const value[5] = {logarithm(not_below_floor(jacobian)), -known, loss, -top.logit, -logarithm(norm)};
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < 5; ++i)
        score = multiply_add(
            load_f32(&constants_of(p)->gain[i]), value[i] - load_f32(&constants_of(p)->mean[i]), score);
    bool const sound = finite(jacobian) && finite(known) && finite(loss) && finite(top.logit) && finite(norm);
    if (!sound) score = float_from_bits(0x7fc00000u);
    unsigned flags = kWritten;
    if (!sound) flags |= kNotFinite;
    if (sound && score <= load_f32(&constants_of(p)->threshold)) flags |= kAccepted;
    unsigned const label = static_cast<unsigned>(top.label < p.classes ? top.label : 0);
    FusedVerdict* verdict = p.verdicts + sample;
    store_16(&verdict->label, {label, flags, bits_from_float(score), bits_from_float(jacobian)});
    store_16(
        &verdict->discriminator,
        {bits_from_float(known), bits_from_float(loss), bits_from_float(top.logit), bits_from_float(norm)});
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
        sum_losses(p, block, partials);
    }
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
    if (warp < block.valid) write_verdict(p, block.first + warp, warp);
}

}  // namespace edgeosr
