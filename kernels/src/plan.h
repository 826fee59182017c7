// What one launch needs, on the host: the arithmetic of kernels/plan.py once more (a test compares the two).
// Plain C++17, no CUDA.
#pragma once
#include <cstddef>

#include "params.cuh"

namespace edgeosr {

struct PackedScorer;
struct ScoreInput;

constexpr int kMostSharedBytes = 64 * 1024;  // of a block, without what one of a cluster keeps

struct HostPlan {
    int entry;  // into the twelve entries: tangents 4, fp32 weights 2, fp32 input 1; clusters 8, tangents 2
    int blocks, tile;
    std::size_t shared_bytes, workspace_bytes, counter_bytes;
    FusedScoreParams params;             // pointers null
    char const* origin;                  // of the tiles: "rule", or "table, measured on NAME"
    int cluster = 1;                     // blocks of a cluster; 1: launched without
    int most_shared = kMostSharedBytes;  // of any plan of the entry on the device, bytes
};

/// A row of the plan table, as in kernels/plan_table.py: what one device does best with a range of shapes.
struct PlanRow {
    int architecture, multiprocessors;         // 90 for sm_90
    int half;                                  // fp16 weights
    int dimension[2], positions[2], batch[2];  // least and largest; positions 0: z and tangents
    int slabs;
    int samples, class_warps;  // the plan
    char const* origin;
};
struct PlanTable {
    PlanRow const* rows;
    int size;
};

/// The rows that were measured, built in: plan_table.inc.
PlanTable built_in_plans();

/// The table's row of this launch, null if there is none or the kernel cannot take its plan.
PlanRow const* row_of(PlanTable const& table, PackedScorer const& scorer, ScoreInput const& input, int slabs);

/// Null, or what cannot be taken (valid until this thread's next call). clusters: false for a kernel that was
/// compiled for devices without them, or a device that cannot place one.
char const* make_plan(PackedScorer const& scorer,
                      ScoreInput const& input,
                      HostPlan* plan,
                      PlanTable const& table = built_in_plans(),
                      bool clusters = true);

}  // namespace edgeosr
