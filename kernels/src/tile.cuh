// What phase B keeps of a tile in shared memory, and how it adds what the slabs' blocks left.
#pragma once
#include "block.cuh"

namespace edgeosr {

constexpr float kFloor = 1e-12f;  // edgeosr/verdict.py's FLOOR
constexpr int kNoClass = 0x7fffffff;

EDGEOSR_DEVICE float not_below_floor(float value) {
    return value < kFloor ? kFloor : value;
}  // NaN stays

// Sums over slabs, in slab order, of the two floats at from[slab * stride]; eight slabs' loads in flight.
EDGEOSR_DEVICE Floats2 pair_over_slabs(float const* from, int stride, int slabs) {
    constexpr int kLoads = 8;
    Floats2 sum = {0.0f, 0.0f};
#pragma unroll 1
    for (int first = 0; first < slabs; first += kLoads) {
        Floats2 value[kLoads];
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            value[i] = {0.0f, 0.0f};
            if (first + i < slabs) value[i] = load_shared_by_blocks_x2(from);
            from = stepped(from, static_cast<unsigned>(stride));
        }
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            sum.x += value[i].x;
            sum.y += value[i].y;
        }
    }
    return sum;
}

// The same of one float.
EDGEOSR_DEVICE float sum_over_slabs(float const* from, int stride, int slabs) {
    constexpr int kLoads = 8;
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
enum Result : int {
    kNorm = 0,             // [8]
    kJacobian = 8,         // [8]
    kLogit = 16,           // [8], of "known"
    kBest = 24,            // [8, 16], a warp's top logit; not finite if one of its logits is not
    kLabel = 152,          // [8, 16], and its class
    kOthers = 280,         // [8, 16], a warp's share of a sum over classes
    kSums = 408,           // [8, 16], a part's sum over classes
    kKeptConstants = 536,  // [48], the scorer's constants
};
EDGEOSR_DEVICE float* result(Result which, int at) {
    return reinterpret_cast<float*>(shared_memory()) + which + at;
}
EDGEOSR_DEVICE const ScorerConstants* kept_constants() {  // in shared memory
    return reinterpret_cast<ScorerConstants const*>(result(kKeptConstants, 0));
}
EDGEOSR_DEVICE unsigned char* hidden_values(FusedScoreParams const& p, int layer) {
    return shared_memory() + (layer & 1 ? p.odd_at : static_cast<int>(kEvenAt));
}

EDGEOSR_DEVICE const float* split_bias(FusedScoreParams const& p) {  // [rows], of the split matrix
    return reinterpret_cast<float const*>(p.scorer + p.split_bias_at);
}

}  // namespace edgeosr
