// What one launch needs, on the host: the arithmetic of kernels/plan.py once more (a test compares the two).
// Plain C++17, no CUDA.
#pragma once
#include <cstddef>

#include "params.cuh"

namespace edgeosr {

struct PackedScorer;
struct ScoreInput;

struct HostPlan {
    int entry;  // index into the eight entries: tangents 4, fp32 weights 2, fp32 input 1
    int blocks, tile;
    std::size_t shared_bytes, workspace_bytes, counter_bytes;
    FusedScoreParams params;  // pointers null
};

/// Null, or what cannot be taken (valid until this thread's next call).
char const* make_plan(PackedScorer const& scorer, ScoreInput const& input, HostPlan* plan);

}  // namespace edgeosr
