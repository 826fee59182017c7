// Phase B, in the last block of a tile to arrive: partials in slab order, head, parts, fusion, threshold,
// verdict.
#pragma once
#include "classes.cuh"
#include "hidden.cuh"
#include "parts.cuh"

namespace edgeosr {

// The scorer's constants to shared memory: the last threads fetch them while others add.
EDGEOSR_DEVICE void keep_constants(FusedScoreParams const& p) {
    int const word = kThreads - 1 - thread_index_again();
    if (word < static_cast<int>(sizeof(ScorerConstants) / 4))
        shared_store_u32(result(kKeptConstants, word), load_u32(p.scorer + word * 4));
}

// |z| and J of one sample, one warp; a lane has a slab, or a tangent of all slabs.
template <bool kMap>
EDGEOSR_DEVICE void finish_norms(FusedScoreParams const& p, float const* stats, int stride, int sample) {
    int const lane = lane_again();
    Floats2 own = {0.0f, 0.0f};  // |z|^2, J^2 Q^2
    if (lane < p.slabs) own = load_shared_by_blocks_x2(stats + lane * stride);
    float square = 0.0f, length = 0.0f, along = 0.0f;
    if (!kMap && lane < p.probes) {
        length = sum_over_slabs(stats + 2 + lane, stride, p.slabs);
        along = sum_over_slabs(stats + 2 + p.probes + lane, stride, p.slabs);
    }
    float const squared = warp_sum(own.x);
    float const norm = not_below_floor(square_root(squared));
    if (kMap) {
        square = warp_sum(own.y) * p.position_share * p.position_share;
    } else if (p.probes > 0) {
        float const radial = along / norm;
        float const across = length - radial * radial;
        square = lane >= p.probes || across < 0.0f ? 0.0f : across;  // NaN stays
        square = warp_sum(square) * load_f32(&constants_of(p)->probe_scale);
    }
    if (lane == 0) {
        float jacobian = 1.0f;
        if (kMap || p.probes > 0) jacobian = square_root(square < 0.0f ? 0.0f : square) / norm;
        if (!finite(square)) jacobian = float_from_bits(0x7fc00000u);
        shared_store_f32(result(kNorm, sample), finite(squared) ? norm : float_from_bits(0x7fc00000u));
        shared_store_f32(result(kJacobian, sample), jacobian);
    }
}

// Two neighbouring rows of layer 1: bias and LeakyReLU -> hidden values. With a single layer its one output
// is the logit.
template <bool kMma>
EDGEOSR_DEVICE void keep_first_layer(
    FusedScoreParams const& p, int sample, int row, Floats2 sums, Floats2 bias) {
    float const upper = sums.x + bias.x, lower = sums.y + bias.y;
    if (p.layers == 1) {
        if (row == 0) shared_store_f32(result(kLogit, sample), upper);
        return;
    }
    float const slope = load_f32(&constants_of(p)->slope);
    store_hidden_pair<kMma>(hidden_values(p, 0),
                            hidden_pitch<kMma>(p.hidden_rows),
                            sample,
                            row,
                            {leaky(upper, slope), leaky(lower, slope)});
}

// Sums over slabs of all rows but the head's, two neighbours a thread: layer 1's become hidden values, those
// of parts go back to the first slab's place.
template <bool kMma>
EDGEOSR_DEVICE void add_rows(FusedScoreParams const& p, int valid, float* partials) {
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    int const head_rows = p.head == kHeadExternal ? 0 : padded16(p.classes);
    int const pairs = (p.rows - head_rows) >> 1;
    int sample = 0, pair = thread_index_again();
#pragma unroll 1
    while (true) {
        while (pair >= pairs && sample < valid) {
            pair -= pairs;
            ++sample;
        }
        if (sample >= valid) return;
        int row = pair * 2;
        bool const hidden = row < p.hidden_rows;
        if (!hidden) row += head_rows;
        Floats2 bias = {0.0f, 0.0f};
        if (hidden) bias = {load_f32(split_bias(p) + row), load_f32(split_bias(p) + row + 1)};
        float* const at = partials + sample * p.rows + row;
        Floats2 const sums = pair_over_slabs(at, kTile * p.rows, p.slabs);
        if (hidden) {
            keep_first_layer<kMma>(p, sample, row, sums, bias);
        } else {
            store_f32(at, sums.x);
            store_f32(at + 1, sums.y);
        }
        pair += kThreads;
    }
}

// One warp: the parts, the fused score, the threshold; 80 bytes out, a word a lane. Lane 4 + i has part i.
EDGEOSR_DEVICE void write_verdict(FusedScoreParams const& p, float const* partials, int sample, int column) {
    constexpr int kFirst = 4;  // words before the values
    int const lane = lane_again();
    TopClass top = top_of_warp(p, column);
    bool sound = !any(top.label != kNoClass && !finite(top.logit));
    top = top_of_lanes(top);
    top.label = top.label < p.classes ? top.label : 0;
    Sample where = {p, partials, column, 0, top.logit, top.label};
    float value = float_from_bits(0x7fc00000u);
#pragma unroll 1
    for (; where.part < p.parts; ++where.part) {
        float const found = part_value(where);
        if (lane == kFirst + where.part) value = found;
    }
    bool const listed = lane >= kFirst && lane < kFirst + p.parts;
    float share = 0.0f;
    if (listed)
        share = shared_load_f32(&kept_constants()->gain[lane - kFirst]) *
                (value - shared_load_f32(&kept_constants()->mean[lane - kFirst]));
    // One lane's for all: where the product is fused into the first addition, two lanes may round apart.
    float score = float_from_bits(shuffle(bits_from_float(warp_sum(share)), 0));
    sound = sound && finite(norm_of(where)) && finite(jacobian_of(where)) && !any(listed && !finite(value));
    if (!sound) score = float_from_bits(0x7fc00000u);
    unsigned flags = kWritten;
    if (!sound) flags |= kNotFinite;
    if (sound && score <= shared_load_f32(&kept_constants()->threshold)) flags |= kAccepted;
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
        float* partials = slab_partials<kTile>(p, block.tile, 0);
        keep_constants(p);
        if (warp < block.valid)
            finish_norms<kMap>(
                p, slab_stats<kTile>(p, block.tile, 0) + warp * p.stats, kTile * p.stats, warp);
        ClassShare const share = class_share(p);
        float raw = 0.0f;
        if (share.sample < block.valid && share.label < p.classes)
            raw = raw_logit<kTile>(p, block, partials, share.sample, share.label);
        add_rows<kMma>(p, block.valid, partials);
        block_sync();
        raw = find_top<kTile>(p, block, partials, raw);
        block_sync();
        find_sums(p, block, partials, raw);
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
            shared_store_f32(result(kLogit, warp), logit + shared_load_f32(&kept_constants()->last_bias));
    }
    block_sync();
    if (warp >= block.valid) return;
    // Found anew: kept from find_sums on, it would take a register from the hidden layers.
    if (int const last = next_sum(p, p.parts - 1, -1); last >= 0) {
        keep_sum(p, warp, last);
        warp_sync();
    }
    float const* partials = slab_partials<kTile>(p, block.tile, 0) + warp * p.rows;
    write_verdict(p, partials, block.first + warp, warp);
}

}  // namespace edgeosr
