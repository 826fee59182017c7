// What phase B keeps of a tile in shared memory, and how it adds what the slabs' blocks left.
#pragma once
#include "block.cuh"

namespace edgeosr {

constexpr float kFloor = 1e-12f;  // edgeosr/verdict.py's FLOOR
constexpr int kNoClass = 0x7fffffff;

EDGEOSR_DEVICE float not_below_floor(float value) {
    return value < kFloor ? kFloor : value;
}  // NaN stays

// Sums over slabs of four neighbouring floats, by two lanes: an even one adds the first half of the slabs, in
// their order, the odd one beside it the others; both get the sum of the two; kLoads loads in flight.
constexpr int kSlabsOfLane = kMaxSlabs / 2;
template <int kLoads>
EDGEOSR_DEVICE Floats4 quad_over_slabs(float const* from, int stride, int slabs) {
    int const first = (lane_again() & 1) * kSlabsOfLane;
    Floats4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
    from += first * stride;
#pragma unroll
    for (int at = 0; at < kSlabsOfLane; at += kLoads) {
        Floats4 value[kLoads];
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            value[i] = {0.0f, 0.0f, 0.0f, 0.0f};
            if (first + at + i < slabs) value[i] = load_shared_by_blocks_x4(from);
            from = stepped(from, static_cast<unsigned>(stride));
        }
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            sum.x += value[i].x;
            sum.y += value[i].y;
            sum.z += value[i].z;
            sum.w += value[i].w;
        }
    }
    sum.x += shuffle_xor(sum.x, 1);
    sum.y += shuffle_xor(sum.y, 1);
    sum.z += shuffle_xor(sum.z, 1);
    sum.w += shuffle_xor(sum.w, 1);
    return sum;
}

// In a cluster, which has kMostCluster slabs: the sums of two or of four neighbouring floats by one lane, in
// slab order, all loads in flight.
EDGEOSR_DEVICE Floats2 pair_over_slabs(float const* from, int stride) {
    Floats2 value[kMostCluster], sum = {0.0f, 0.0f};
#pragma unroll
    for (int slab = 0; slab < kMostCluster; ++slab) {
        value[slab] = load_shared_by_blocks_x2(from);
        from = stepped(from, static_cast<unsigned>(stride));
    }
#pragma unroll
    for (int slab = 0; slab < kMostCluster; ++slab) {
        sum.x += value[slab].x;
        sum.y += value[slab].y;
    }
    return sum;
}
EDGEOSR_DEVICE Floats4 quad_over_slabs_alone(float const* from, int stride) {
    Floats4 value[kMostCluster], sum = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int slab = 0; slab < kMostCluster; ++slab) {
        value[slab] = load_shared_by_blocks_x4(from);
        from = stepped(from, static_cast<unsigned>(stride));
    }
#pragma unroll
    for (int slab = 0; slab < kMostCluster; ++slab) {
        sum.x += value[slab].x;
        sum.y += value[slab].y;
        sum.z += value[slab].z;
        sum.w += value[slab].w;
    }
    return sum;
}

// Sums over slabs, in slab order, of the floats at from[slab * stride]; eight slabs' loads in flight.
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
    kTop = 24,             // [8], the top logit; not finite if one is not
    kTopLabel = 32,        // [8], its class
    kBest = 40,            // [8, 16], a warp's top logit; not finite if one of its logits is not
    kLabel = 168,          // [8, 16], and its class
    kOthers = 296,         // [8, 16], a warp's share of a sum over classes
    kSums = 424,           // [8, 16], a part's sum over classes
    kValues = 552,         // [8, 16], the parts
    kKeptConstants = 680,  // [48], the scorer's constants
    kLogits = 728,         // [8, 64], the classes' products, then their logits, of up to 64 classes
    kLast = 1240,          // [4], whether the block is its tile's last; kept from the counter on
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

EDGEOSR_DEVICE float* last_weights(FusedScoreParams const& p) {
    return reinterpret_cast<float*>(shared_memory() + p.last_at);
}

EDGEOSR_DEVICE const float* split_bias(FusedScoreParams const& p) {  // [rows], of the split matrix
    return reinterpret_cast<float const*>(p.scorer + p.split_bias_at);
}

}  // namespace edgeosr
