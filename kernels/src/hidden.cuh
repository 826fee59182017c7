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

// Layer `layer` (1 .. layers - 2): from -> to, both in shared memory; sums: for parts of k that several
// warps [part, row, sample] or thread groups [sample, part, row] share. Rows beyond the width are weights of
// 0, so leaky(0 + 0) = 0.
template <bool kMma>
EDGEOSR_DEVICE void hidden_layer(
    FusedScoreParams const& p, int layer, unsigned char const* from, unsigned char* to, float* sums) {
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    int const inputs = padded16(p.width[layer - 1]), rows = padded16(p.width[layer]);
    int const pitch_in = hidden_pitch<kMma>(inputs), pitch_out = hidden_pitch<kMma>(rows);
    unsigned char const* weights = p.scorer + p.layer_at[layer];
    int const thread = thread_index_again(), warp = thread >> 5, lane = thread & 31;
    int parts;
    if (kMma) {
        int const tiles = rows >> 4, steps = inputs >> 4;
        parts = tiles <= kWarps / 2 ? smaller(kWarps / tiles, steps) : 1;
        int const share = (steps + parts - 1) / parts;
        parts = (steps + share - 1) / share;
        int const part = parts > 1 ? warp / tiles : 0;
        int const row = parts > 1 ? warp - part * tiles : warp;
        int const first = part * share, sample = (lane & 3) * 2;
        int const step = parts > 1 ? tiles : kWarps;
#pragma unroll 1
        for (int tile = row; part < parts && tile < tiles; tile += step) {
            float c[4];
            multiply_tile(weights + static_cast<long long>(first * tiles + tile) * 512,
                          static_cast<unsigned>(tiles) * 512u,
                          smaller(share, steps - first),
                          reinterpret_cast<unsigned short const*>(from) + first * 16,
                          pitch_in,
                          lane,
                          c);
            int const at = tile * 16 + (lane >> 2);
            if (parts > 1) {
                float* sum = sums + (part * rows + at) * kTile + sample;
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
        }
    } else {
        int const quads = inputs >> 2;
        parts = rows <= kThreads / 2 ? smaller(kThreads / rows, quads) : 1;
        int const part = parts > 1 ? thread / rows : 0;
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
#pragma unroll 1
    for (int item = thread; item < rows * kTile; item += kThreads) {
        int const row = kMma ? item / kTile : item % rows, sample = kMma ? item % kTile : item / rows;
        float const* from_part = sums + (kMma ? item : sample * (parts * rows | 16) + row);
        float value = 0.0f;
        for (int part = 0; part < parts; ++part)
            value += shared_load_f32(from_part + part * rows * (kMma ? kTile : 1));
        float const slope = shared_load_f32(&kept_constants()->slope);
        store_hidden<kMma>(
            to, pitch_out, sample, row, leaky(value + load_f32(layer_bias(p, layer) + row), slope));
    }
}

// The last layer has one output: a dot product, one warp a sample.
template <bool kMma>
EDGEOSR_DEVICE float last_layer(FusedScoreParams const& p, unsigned char const* from, int sample) {
    int const inputs = p.width[p.layers - 2], pitch = hidden_pitch<kMma>(inputs);
    float const* weights = reinterpret_cast<float const*>(p.scorer + p.layer_at[p.layers - 1]);
    float sum = 0.0f;
    for (int k = lane_again(); k < inputs; k += 32) {
        float const value = kMma ? float_from_half(shared_load_u16(
                                       reinterpret_cast<unsigned short const*>(from) + sample * pitch + k))
                                 : shared_load_f32(reinterpret_cast<float const*>(from) + sample * pitch + k);
        sum = multiply_add(load_f32(weights + k), value, sum);
    }
    return warp_sum(sum);
}

}  // namespace edgeosr
