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

// A warp's first row tile of a layer, its part along k and that part's steps. No part: `tile` is behind the
// last one.
struct LayerShare {
    int tile, part, steps;
};

EDGEOSR_DEVICE LayerShare layer_share(FusedScoreParams const& p, int layer) {
    int const warp = thread_index_again() >> 5, tiles = padded16(p.width[layer]) >> 4;
    int const steps = padded16(p.width[layer - 1]) >> 4, share = p.layer_share[layer];
    if (p.layer_parts[layer] == 1) return {warp, 0, steps};
    int const part = warp * p.layer_inverse[layer] >> 20;
    if (part >= p.layer_parts[layer]) return {tiles, 0, 0};
    return {warp - part * tiles, part, smaller(share, steps - part * share)};
}

EDGEOSR_DEVICE unsigned char const* weights_of_share(FusedScoreParams const& p,
                                                     int layer,
                                                     LayerShare const& share) {
    int const tiles = padded16(p.width[layer]) >> 4;
    return p.scorer + p.layer_at[layer] +
           static_cast<unsigned>(share.part * p.layer_share[layer] * tiles + share.tile) * 512u;
}

// Ask for a warp's first weights of a layer, if there is one: they arrive while the layer before is waited
// for.
template <bool kMma>
EDGEOSR_DEVICE void ask_for_layer(FusedScoreParams const& p, int layer, Asked& asked) {
    if (!kMma || !kAsksAhead || layer >= p.layers - 1) return;
    LayerShare const share = layer_share(p, layer);
    int const tiles = padded16(p.width[layer]) >> 4;
    if (share.tile < tiles)
        ask_for_steps(weights_of_share(p, layer, share) + lane_again() * 16,
                      static_cast<unsigned>(tiles) * 512u,
                      0,
                      share.steps,
                      asked);
}

// Layer `layer` (1 .. layers - 2): from -> to, both in shared memory; sums: for parts of k that several
// warps [part, row, sample] or thread groups [sample, part, row] share. Rows beyond the width are weights of
// 0, so leaky(0 + 0) = 0. asked: what ask_for_layer did.
template <bool kMma>
EDGEOSR_DEVICE void hidden_layer(FusedScoreParams const& p,
                                 int layer,
                                 unsigned char const* from,
                                 unsigned char* to,
                                 float* sums,
                                 Asked& asked) {
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    constexpr int kItems = 2;  // of a thread, where there are parts: at most half as many rows as threads
    int const inputs = padded16(p.width[layer - 1]), rows = padded16(p.width[layer]);
    int const pitch_in = hidden_pitch<kMma>(inputs), pitch_out = hidden_pitch<kMma>(rows);
    int const thread = thread_index_again(), lane = thread & 31;
    int const parts = p.layer_parts[layer];
    constexpr bool kBiasAhead = kMma || !kFewRegisters;
    float bias[kItems] = {};
    if (kBiasAhead && parts > 1) {
#pragma unroll
        for (int i = 0; i < kItems; ++i)
            if (int const item = thread + i * kThreads; item < rows * kTile)
                bias[i] = load_f32(layer_bias(p, layer) + (kMma ? item / kTile : item % rows));
    }
    if (kMma) {
        int const tiles = rows >> 4, sample = (lane & 3) * 2;
        LayerShare const share = layer_share(p, layer);
        bool there = kAsksAhead;
#pragma unroll 1
        for (int tile = share.tile; tile < tiles; tile += parts > 1 ? tiles : kWarps) {
            int const at = tile * 16 + (lane >> 2);
            if (parts == 1) {
                bias[0] = load_f32(layer_bias(p, layer) + at);
                bias[1] = load_f32(layer_bias(p, layer) + at + 8);
            }
            float c[4];
            multiply_tile(
                weights_of_share(p, layer, {tile, share.part, share.steps}),
                static_cast<unsigned>(tiles) * 512u,
                share.steps,
                reinterpret_cast<unsigned short const*>(from) + share.part * p.layer_share[layer] * 16,
                pitch_in,
                lane,
                there,
                asked,
                c);
            there = false;
            if (parts > 1) {
                float* sum = sums + (share.part * rows + at) * kTile + sample;
                shared_store_x2(sum, {c[0], c[1]});
                shared_store_x2(sum + 8 * kTile, {c[2], c[3]});
            } else {
                float const slope = shared_load_f32(&kept_constants()->slope);
                store_hidden<kMma>(to, pitch_out, sample, at, leaky(c[0] + bias[0], slope));
                store_hidden<kMma>(to, pitch_out, sample + 1, at, leaky(c[1] + bias[0], slope));
                store_hidden<kMma>(to, pitch_out, sample, at + 8, leaky(c[2] + bias[1], slope));
                store_hidden<kMma>(to, pitch_out, sample + 1, at + 8, leaky(c[3] + bias[1], slope));
            }
        }
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
                         pitch_in,
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
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
        int const item = thread + i * kThreads;
        if (item >= rows * kTile) break;
        int const row = kMma ? item / kTile : item % rows, sample = kMma ? item % kTile : item / rows;
        float const* from_part = sums + (kMma ? item : sample * (parts * rows | 16) + row);
        float value = 0.0f;
        for (int part = 0; part < parts; ++part)
            value += shared_load_f32(from_part + part * rows * (kMma ? kTile : 1));
        if (!kBiasAhead) bias[i] = load_f32(layer_bias(p, layer) + row);
        float const slope = shared_load_f32(&kept_constants()->slope);
        store_hidden<kMma>(to, pitch_out, sample, row, leaky(value + bias[i], slope));
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
    return warp_sum(sum);
}

}  // namespace edgeosr
