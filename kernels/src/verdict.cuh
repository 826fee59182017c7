// Phase B, in the last block of a tile to arrive: partials in slab order, head, parts, fusion, threshold,
// verdict.
#pragma once
#include "classes.cuh"
#include "hidden.cuh"
#include "launch_number.cuh"
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
    float const squared = warp_sum_once(own.x);
    float const norm = not_below_floor(square_root(squared));
    if (kMap) {
        square = warp_sum_once(own.y) * p.position_share * p.position_share;
    } else if (p.probes > 0) {
        float const radial = along / norm;
        float const across = length - radial * radial;
        square = lane >= p.probes || across < 0.0f ? 0.0f : across;  // NaN stays
        square = warp_sum_once(square) * load_f32(&constants_of(p)->probe_scale);
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
    FusedScoreParams const& p, int sample, int row, Floats2 sums, float slope, Floats2 bias) {
    float const upper = sums.x + bias.x, lower = sums.y + bias.y;
    if (p.layers == 1) {
        if (row == 0) shared_store_f32(result(kLogit, sample), upper);
        return;
    }
    store_hidden_pair<kMma>(hidden_values(p, 0),
                            hidden_pitch<kMma>(p.hidden_rows),
                            sample,
                            row,
                            {leaky(upper, slope), leaky(lower, slope)});
}

// Sums over slabs of all rows, four neighbours two threads: layer 1's become hidden values, the head's are
// kept for find_top, those of parts go back to the first slab's place.
template <bool kMma>
EDGEOSR_DEVICE void add_rows(FusedScoreParams const& p, int valid, float* partials) {
    int const quads = p.rows >> 2, thread = thread_index_again();
    float const slope = load_f32(&constants_of(p)->slope);
    int sample = 0, quad = thread >> 1;
    int const head_end = p.hidden_rows + (p.head == kHeadExternal ? 0 : p.classes);
#pragma unroll 1
    for (int first = (thread & ~31) >> 1; first < valid * quads; first += kThreads / 2) {
        while (quad >= quads && sample < valid) {
            quad -= quads;
            ++sample;
        }
        bool const there = sample < valid;
        int const row = quad * 4 + (thread & 1) * 2;
        Floats2 bias = {0.0f, 0.0f};
        if (there && row < p.hidden_rows)
            bias = {load_f32(split_bias(p) + row), load_f32(split_bias(p) + row + 1)};
        Floats4 const quad_sums =
            quad_over_slabs<kMma ? kSlabsOfLane : kSlabsOfLane / (kOldCompiler ? 4 : 2)>(
                partials + (there ? sample * p.rows + quad * 4 : 0), p.samples * p.rows, there ? p.slabs : 0);
        Floats2 const sums =
            thread & 1 ? Floats2{quad_sums.z, quad_sums.w} : Floats2{quad_sums.x, quad_sums.y};
        warp_sync();  // the odd lane stores where the even one has loaded
        if (there) {
            if (row < p.hidden_rows) {
                keep_first_layer<kMma>(p, sample, row, sums, slope, bias);
            } else if (row < head_end) {
                keep_product(p, partials, sample, row - p.hidden_rows, sums.x);
                if (row + 1 < head_end) keep_product(p, partials, sample, row + 1 - p.hidden_rows, sums.y);
            } else {
                store_f32(partials + sample * p.rows + row, sums.x);
                store_f32(partials + sample * p.rows + row + 1, sums.y);
            }
        }
        quad += kThreads / 2;
    }
}

// One warp: the parts that waited for the discriminator, the fused score, the threshold; 80 bytes out, a word
// a lane. Lane 4 + i has part i.
EDGEOSR_DEVICE void write_verdict(
    FusedScoreParams const& p, float const* partials, int sample, int column, unsigned before) {
    constexpr int kFirst = 4;  // words before the values
    Sample where = sample_at(p, partials, column, 0);
#pragma unroll 1
    for (; where.part < p.parts; ++where.part)
        if (needs_discriminator(p.part[where.part].code)) keep_value(where);
    warp_sync();
    int const lane = lane_again();
    bool const listed = lane >= kFirst && lane < kFirst + p.parts;
    float value = float_from_bits(0x7fc00000u), share = 0.0f;
    if (listed) {
        value = shared_load_f32(result(kValues, column * kMaxParts + lane - kFirst));
        share = shared_load_f32(&kept_constants()->gain[lane - kFirst]) *
                (value - shared_load_f32(&kept_constants()->mean[lane - kFirst]));
    }
    // One lane's for all: where the product is fused into the first addition, two lanes may round apart.
    float score = float_from_bits(shuffle(bits_from_float(warp_sum_once(share)), 0));
    bool const sound = finite(where.top) && finite(norm_of(where)) && finite(jacobian_of(where)) &&
                       !any(listed && !finite(value));
    if (!sound) score = float_from_bits(0x7fc00000u);
    unsigned flags = next_number(before) | kWritten;
    if (!sound) flags |= kNotFinite;
    if (sound && score <= shared_load_f32(&kept_constants()->threshold)) flags |= kAccepted;
    if (lane == 0) value = float_from_bits(static_cast<unsigned>(where.label));
    if (lane == kFlagsLane) value = float_from_bits(flags);
    if (lane == 2) value = score;
    if (lane == 3) value = float_from_bits(kVerdictLayout | static_cast<unsigned>(p.parts) << 16);
    if (lane < kFirst + kMaxParts) store_f32(reinterpret_cast<float*>(p.verdicts + sample) + lane, value);
}

// The hidden layers, and beside them, in the same turns between barriers, what the classes and parts need.
template <bool kMma>
EDGEOSR_DEVICE void take_turns(FusedScoreParams const& p, Asked& asked) {
    constexpr int kClassTurns = 3;
    int const layers = p.layers - 2, turns = layers > kClassTurns ? layers : kClassTurns;
#pragma unroll 1  // what follows from p is found anew where a register for it would be one too many
    for (int turn = 0; kFewRegisters ? turn < kClassTurns || turn < p.layers - 2 : turn < turns; ++turn) {
        // A sample's only warp does not wait between top class and sums.
        auto const classes = [&] {
            Block const block = this_block(p);  // found anew: kept, it would take registers from the layers
            float* const partials = slab_partials(p, block.tile, 0);
            if (turn == 0) find_top<false>(p, block, partials);
            if (turn == 0 && alone<false>(p)) warp_sync();
            if (turn == (alone<false>(p) ? 0 : 1)) find_sums<false>(p, block, partials);
            if (turn == (alone<false>(p) ? 1 : 2)) find_values(p, block, partials);
        };
        if (turn < layers)
            hidden_layer<kMma>(p,
                               turn + 1,
                               hidden_values(p, turn),
                               hidden_values(p, turn + 1),
                               reinterpret_cast<float*>(shared_memory() + p.sums_at),
                               asked,
                               classes);
        if (p.class_warps == 0 || (turn >= layers && thread_index_again() >> 5 >= layer_warps(p))) classes();
        ask_for_layer<kMma>(p, turn + 2, asked);
        block_sync();
    }
}

template <bool kMap, bool kMma>
EDGEOSR_DEVICE void finish_tile(FusedScoreParams const& p) {
    Asked asked;
    {
        int const warp = kWarps - 1 - (thread_index_again() >> 5);
        Block const block = this_block(p);
        keep_constants(p);
        keep_last_layer(p);
        if (warp < block.valid)
            finish_norms<kMap>(p, slab_stats(p, block.tile, 0) + warp * p.stats, p.samples * p.stats, warp);
        add_rows<kMma>(p, block.valid, slab_partials(p, block.tile, 0));
        ask_for_layer<kMma>(p, 1, asked);
        block_sync();
    }
    if (stops_after(4)) return;
    take_turns<kMma>(p, asked);
    Block const block = this_block(p);
    int const warp = thread_index_again() >> 5;
    if (warp >= block.valid) return;
    unsigned const before = flags_before(p, block.first + warp);
    if (p.layers > 1) {
        float const logit = last_layer<kMma>(p, hidden_values(p, p.layers - 2), warp);
        if (lane_again() == 0)
            shared_store_f32(result(kLogit, warp), logit + shared_load_f32(&kept_constants()->last_bias));
        warp_sync();
    }
    write_verdict(p, slab_partials(p, block.tile, 0), block.first + warp, warp, before);
}

}  // namespace edgeosr
