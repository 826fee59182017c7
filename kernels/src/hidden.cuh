// The discriminator from layer 1's sums to its logit, for one tile, in the block that finishes the tile.
// Hidden values live in two shared buffers in turn: fp16 [8, pitch] for tensor cores, fp32 [4, pitch] for
// FMAs; the pitch is the padded width + 8 halves, or the next odd multiple of 16 floats: no two rows of a
// warp's access share banks.
#pragma once
#include "dense.cuh"
#include "tile.cuh"

namespace edgeosr {

template <bool kMma>
EDGEOSR_DEVICE int hidden_pitch(int width) {
    return kMma ? padded16(width) + 8 : padded16(width) | 16;
}

template <bool kMma>
EDGEOSR_DEVICE void store_hidden(unsigned char* buffer, int pitch, int sample, int row, float value) {
    if (kMma)
        shared_store_u16(reinterpret_cast<unsigned short*>(buffer) + sample * pitch + row,
                         half_from_float(value));
    else
        shared_store_f32(reinterpret_cast<float*>(buffer) + sample * pitch + row, value);
}

// Two neighbouring rows, the first one even.
template <bool kMma>
EDGEOSR_DEVICE void store_hidden_pair(unsigned char* buffer, int pitch, int sample, int row, Floats2 value) {
    if (kMma)
        shared_store_u32(reinterpret_cast<unsigned short*>(buffer) + sample * pitch + row,
                         half_from_float(value.x) | static_cast<unsigned>(half_from_float(value.y)) << 16);
    else
        shared_store_x2(reinterpret_cast<float*>(buffer) + sample * pitch + row, value);
}

EDGEOSR_DEVICE const float* layer_bias(FusedScoreParams const& p, int layer) {
    return reinterpret_cast<float const*>(p.scorer + p.bias_at[layer]);
}

// The first weights of a unit, on their way.
struct Asked {
    Words4 word[kAhead];
};

// Tensor cores: a layer's row tiles times its parts along k are units, which the layer's warps share out;
// unit = part * tiles + tile. A warp goes through a unit kAhead steps at a time.
struct Unit {
    int number, first;             // of the unit; its first step here
    int tile, part, steps;         // steps that are left from the first one on; 0: there is no such unit
    unsigned char const* weights;  // a lane's, of the first step
};

EDGEOSR_DEVICE int layer_warps(FusedScoreParams const& p) {
    return kWarps - p.class_warps;
}

EDGEOSR_DEVICE Unit unit_at(FusedScoreParams const& p, int layer, int number, int first) {
    int const tiles = padded16(p.width[layer]) >> 4, steps = padded16(p.width[layer - 1]) >> 4;
    int const part = number * p.layer_inverse[layer] >> 20, share = p.layer_share[layer];
    int const from = part * share + first;
    Unit unit = {number, first, number - part * tiles, part, smaller(share - first, steps - from), nullptr};
    if (part >= p.layer_parts[layer]) unit.steps = 0;
    unit.weights = p.scorer + p.layer_at[layer] +
                   (static_cast<unsigned>(unit.tile * steps + from) * 512u + lane_again() * 16u);
    return unit;
}

// Ask for a warp's first weights of a layer, if there is one: they arrive while the layer before is waited
// for.
template <bool kMma>
EDGEOSR_DEVICE void ask_for_layer(FusedScoreParams const& p, int layer, Asked& asked) {
    int const warp = thread_index_again() >> 5;
    if (!kMma || layer >= p.layers - 1 || warp >= layer_warps(p)) return;
    Unit const unit = unit_at(p, layer, warp, 0);
    unsigned char const* from = unit.weights;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
        if (i < unit.steps) asked.word[i] = load_16(from);
        from = stepped(from, 512u);
    }
}

// A warp's units of a layer: c [16 rows, 8 samples] of each goes to sink(unit, c). asked: ask_for_layer's;
// each weight that is used makes room for one of kAhead steps later.
template <class Sink>
EDGEOSR_DEVICE void multiply_units(
    FusedScoreParams const& p, int layer, unsigned short const* columns, Asked& asked, Sink const& sink) {
    int const lane = lane_again(), pitch = padded16(p.width[layer - 1]) + 8;
    unsigned short const* const own = column_of_lane(columns, pitch, lane);
    Unit unit = unit_at(p, layer, thread_index_again() >> 5, 0);
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 1
    while (unit.steps > 0) {
        bool const last = unit.steps <= kAhead;
        Unit const next = last ? unit_at(p, layer, unit.number + layer_warps(p), 0)
                               : unit_at(p, layer, unit.number, unit.first + kAhead);
        unsigned char const* from = next.weights;
        unsigned short const* column = own + (unit.part * p.layer_share[layer] + unit.first) * 16;
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
            if (i < unit.steps)
                mma_f16(c, asked.word[i], shared_load_u32(column), shared_load_u32(column + 8));
            if (i < next.steps) asked.word[i] = load_16(from);
            column += 16;
            from = stepped(from, 512u);
        }
        if (last) {
            sink(unit, c);
            c[0] = c[1] = c[2] = c[3] = 0.0f;
        }
        unit = next;
    }
}

// Layer `layer` (1 .. layers - 2): from -> to, both in shared memory; sums: for parts of k [part, row,
// sample], of FMAs [sample, part, row]. Rows beyond the width are weights of 0, so leaky(0 + 0) = 0. Of all
// threads: those of class warps do `meanwhile` instead.
template <bool kMma, class Meanwhile>
EDGEOSR_DEVICE void hidden_layer(FusedScoreParams const& p,
                                 int layer,
                                 unsigned char const* from,
                                 unsigned char* to,
                                 float* sums,
                                 Asked& asked,
                                 Meanwhile const& meanwhile) {
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    constexpr bool kBiasAhead = kMma || !kFewRegisters;
    constexpr int kItems = 2;  // of a thread at a time
    int const inputs = padded16(p.width[layer - 1]), rows = padded16(p.width[layer]);
    int const pitch_out = hidden_pitch<kMma>(rows), thread = thread_index_again();
    int const parts = p.layer_parts[layer];
    float bias[kItems] = {};
    if (kBiasAhead && parts > 1) {
#pragma unroll
        for (int i = 0; i < kItems; ++i)
            if (int const item = thread + i * kThreads; item < rows * kTile)
                bias[i] = load_f32(layer_bias(p, layer) + (kMma ? item / kTile : item % rows));
    }
    if (kMma) {
        if (thread >> 5 >= layer_warps(p))
            meanwhile();
        else
            multiply_units(
                p,
                layer,
                reinterpret_cast<unsigned short const*>(from),
                asked,
                [&](Unit const& unit, float const(&c)[4]) {
                    int const lane = lane_again(), sample = (lane & 3) * 2, at = unit.tile * 16 + (lane >> 2);
                    if (p.layer_parts[layer] > 1) {
                        float* sum = sums + (unit.part * padded16(p.width[layer]) + at) * kTile + sample;
                        shared_store_x2(sum, {c[0], c[1]});
                        shared_store_x2(sum + 8 * kTile, {c[2], c[3]});
                    } else {
                        float const slope = shared_load_f32(&kept_constants()->slope);
                        float const upper = load_f32(layer_bias(p, layer) + at),
                                    lower = load_f32(layer_bias(p, layer) + at + 8);
                        store_hidden<kMma>(to, pitch_out, sample, at, leaky(c[0] + upper, slope));
                        store_hidden<kMma>(to, pitch_out, sample + 1, at, leaky(c[1] + upper, slope));
                        store_hidden<kMma>(to, pitch_out, sample, at + 8, leaky(c[2] + lower, slope));
                        store_hidden<kMma>(to, pitch_out, sample + 1, at + 8, leaky(c[3] + lower, slope));
                    }
                });
    } else {
        unsigned char const* weights = p.scorer + p.layer_at[layer];
        int const quads = inputs >> 2;
        int const part = parts > 1 ? thread * p.layer_inverse[layer] >> 20 : 0;
#pragma unroll 1
        for (int row = thread - part * rows; part < parts && row < rows; row += parts > 1 ? rows : kThreads) {
            float value[kTileFma];
            multiply_row(weights,
                         rows,
                         row,
                         part,
                         parts,
                         quads,
                         reinterpret_cast<float const*>(from),
                         hidden_pitch<kMma>(inputs),
                         value);
#pragma unroll
            for (int s = 0; s < kTile; ++s) {
                if (parts > 1)
                    shared_store_f32(sums + s * (parts * rows | 16) + thread, value[s]);
                else
                    store_hidden<kMma>(to,
                                       pitch_out,
                                       s,
                                       row,
                                       leaky(value[s] + load_f32(layer_bias(p, layer) + row),
                                             shared_load_f32(&kept_constants()->slope)));
            }
        }
    }
    if (parts == 1) return;
    block_sync();
    float const slope = shared_load_f32(&kept_constants()->slope);
#pragma unroll 1
    for (int first = thread; first < rows * kTile; first += kItems * kThreads) {
#pragma unroll
        for (int i = 0; i < kItems; ++i) {
            int const item = first + i * kThreads;
            if (item >= rows * kTile) break;
            int const row = kMma ? item / kTile : item % rows, sample = kMma ? item % kTile : item / rows;
            float const* from_part = sums + (kMma ? item : sample * (parts * rows | 16) + row);
            float value = 0.0f;
#pragma unroll 1
            for (int part = 0; part < parts; ++part)
                value += shared_load_f32(from_part + part * rows * (kMma ? kTile : 1));
            if (!kBiasAhead || first != thread) bias[i] = load_f32(layer_bias(p, layer) + row);
            store_hidden<kMma>(to, pitch_out, sample, row, leaky(value + bias[i], slope));
        }
    }
}

// The last layer's weights to shared memory.
EDGEOSR_DEVICE void keep_last_layer(FusedScoreParams const& p) {
    if (p.layers < 2) return;
    float const* weights = reinterpret_cast<float const*>(p.scorer + p.layer_at[p.layers - 1]);
#pragma unroll 1
    for (int k = kThreads - 1 - thread_index_again(); k < p.width[p.layers - 2]; k += kThreads)
        shared_store_f32(last_weights(p) + k, load_f32(weights + k));
}

// The last layer has one output: a dot product, one warp a sample.
template <bool kMma>
EDGEOSR_DEVICE float last_layer(FusedScoreParams const& p, unsigned char const* from, int sample) {
    int const inputs = p.width[p.layers - 2], pitch = hidden_pitch<kMma>(inputs);
    float sum = 0.0f;
    for (int k = lane_again(); k < inputs; k += 32) {
        float const value = kMma ? float_from_half(shared_load_u16(
                                       reinterpret_cast<unsigned short const*>(from) + sample * pitch + k))
                                 : shared_load_f32(reinterpret_cast<float const*>(from) + sample * pitch + k);
        sum = multiply_add(shared_load_f32(last_weights(p) + k), value, sum);
    }
    return warp_sum_once(sum);
}

}  // namespace edgeosr
