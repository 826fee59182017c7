// z of a slab as two halves a value: what the tensor cores multiply.
#pragma once
#include "block.cuh"

namespace edgeosr {

// z of the slab as high and low halves, scaled so that the largest is below 1 (the power of two is kept in
// scales()). Warps 0 .. 7, one a sample. Columns of samples that are not there
// hold whatever was there before: their products go nowhere.
EDGEOSR_DEVICE void split_embedding(FusedScoreParams const& p, Block const& block) {
    int const sample = warp_index(), lane = lane_index(), pitch = pitch_of_halves(p);
    if (sample >= block.valid) return;
    float const* z = embedding(p, sample);
    int largest = 0;  // bits of |z|: ordered as the values are
#pragma unroll 1
    for (int k = lane; k < block.channels; k += 32) {
        int const bits = static_cast<int>(bits_from_float(shared_load_f32(z + k)) & 0x7fffffffu);
        largest = bits > largest ? bits : largest;
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        int const other = shuffle_xor(largest, lanes);
        largest = other > largest ? other : largest;
    }
    int exponent = (largest >> 23) - 126;
    exponent = exponent > 120 ? 120 : exponent < -120 ? -120 : exponent;
    float const shrink = float_from_bits(static_cast<unsigned>(127 - exponent) << 23);
    if (lane == 0)
        shared_store_f32(scales() + sample, float_from_bits(static_cast<unsigned>(127 + exponent) << 23));
    unsigned short* high = embedding_halves(p) + sample * pitch;
    unsigned short* low = high + kTileMma * pitch;
#pragma unroll 1
    for (int k = lane; k < block.channels; k += 32) {
        float const value = shared_load_f32(z + k) * shrink;
        unsigned short const upper = half_from_float(value);
        shared_store_u16(high + k, upper);
        shared_store_u16(low + k, half_from_float(value - float_from_half(upper)));
    }
}

}  // namespace edgeosr
