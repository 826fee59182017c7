// The activations the kernel knows: act(y) and act'(y), kinks as in kernels/activations.py.
#pragma once
#include "block.cuh"

namespace edgeosr {

struct Activated {
    float value, slope;
};

// One whose derivative is a constant on two sides: 1 where low < y < high, else `outside`.
struct Piecewise {
    float low, high;
    float outside;
};

EDGEOSR_DEVICE Piecewise piecewise(FusedScoreParams const& p) {
    ScorerConstants const* constants = constants_of(p);
    float const infinity = float_from_bits(0x7f800000u);
    Piecewise pieces = {0.0f, infinity, 0.0f};
    if (p.activation == kLeakyRelu) pieces.outside = load_f32(&constants->activation[0]);
    if (p.activation == kIdentity) pieces.low = -infinity;
    if (p.activation == kClip) {
        pieces.low = load_f32(&constants->activation[0]);
        pieces.high = load_f32(&constants->activation[1]);
    }
    return pieces;
}

EDGEOSR_DEVICE float clipped(Piecewise const& pieces, float y) {
    return least_of(largest_of(y, pieces.low), pieces.high);
}

EDGEOSR_DEVICE float leaky_value(Piecewise const& pieces, float y) {
    return multiply_add(pieces.outside, least_of(y, 0.0f), largest_of(y, 0.0f));
}

EDGEOSR_DEVICE float logistic(float y) {  // never exp of a large number
    float const small = exponential(-absolute(y));
    return (y >= 0.0f ? 1.0f : small) / (1.0f + small);
}

EDGEOSR_DEVICE Activated hard_swish(float y) {
    if (y <= -3.0f) return {0.0f, 0.0f};
    if (y >= 3.0f) return {y, 1.0f};
    return {y * (y * (1.0f / 6.0f) + 0.5f), y * (1.0f / 3.0f) + 0.5f};
}

EDGEOSR_DEVICE Activated silu(float y) {
    float const gate = logistic(y), rest = logistic(-y);
    return {y * gate, gate * multiply_add(y, rest, 1.0f)};
}

EDGEOSR_DEVICE Activated gelu(float y) {
    float const below = 0.5f * (1.0f + error_function(y * 0.70710678f));
    // exp(-y^2/2) is 0 in fp32 beyond 15: y^2 cannot overflow, nor 0 meet infinity.
    float const near = absolute(y) < 15.0f ? y : 15.0f;
    return {y * below, multiply_add(near * exponential(-0.5f * near * near), 0.39894228f, below)};
}

EDGEOSR_DEVICE Activated gelu_tanh(float y) {
    float const factor = 0.79788456f, cubic = 0.044715f;
    // 1 - tanh^2 is 0 beyond 15 in fp32, and y^3 would overflow.
    float const near = absolute(y) < 15.0f ? y : (y < 0.0f ? -15.0f : 15.0f);
    float const bend = hyperbolic_tangent(factor * near * multiply_add(cubic * near, near, 1.0f));
    float const rise = near * (1.0f - bend * bend) * factor * multiply_add(3.0f * cubic * near, near, 1.0f);
    return {0.5f * y * (1.0f + bend), 0.5f * (1.0f + bend + rise)};
}

EDGEOSR_DEVICE Activated smooth(int activation, float y) {
    if (activation == kHardSwish) return hard_swish(y);
    if (activation == kSilu) return silu(y);
    if (activation == kGelu) return gelu(y);
    return gelu_tanh(y);
}

}  // namespace edgeosr
