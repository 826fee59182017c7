// The launcher of edgeosr/fused_score.h: checks, clears verdicts without a number, one launch. The kernel
// itself is included, so that one translation unit holds it.
#include <edgeosr/fused_score.h>

#include <cstdint>

#define EDGEOSR_ALL_ENTRIES
#include "fused_score.cu"
#include "plan.h"

namespace edgeosr {
namespace {

using Entry = void (*)(FusedScoreParams);
constexpr Entry kEntries[] = {fused_score_map_mma_f16,
                              fused_score_map_mma_f32,
                              fused_score_map_fma_f16,
                              fused_score_map_fma_f32,
                              fused_score_tangents_mma_f16,
                              fused_score_tangents_mma_f32,
                              fused_score_tangents_fma_f16,
                              fused_score_tangents_fma_f32,
                              fused_score_map_cluster_f16,
                              fused_score_map_cluster_f32,
                              fused_score_tangents_cluster_f16,
                              fused_score_tangents_cluster_f32};

// The architecture, as EDGEOSR_CLUSTERS of cluster.cuh; compilers before CUDA 12.1 make none.
#if defined(__CUDACC_VER_MAJOR__) && __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ < 1201
constexpr int kClustersFrom = 1 << 20;
#else
constexpr int kClustersFrom = 90;
#endif

// What one launch of a plan is; size: kept by the caller as long as this.
cudaLaunchConfig_t config_of(HostPlan const& plan, cudaStream_t stream, cudaLaunchAttribute* size) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(plan.blocks));
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = plan.shared_bytes;
    config.stream = stream;
    if (plan.cluster == 1) return config;
    size->id = cudaLaunchAttributeClusterDimension;
    size->val.clusterDim.x = static_cast<unsigned>(plan.cluster);
    size->val.clusterDim.y = size->val.clusterDim.z = 1;
    config.attrs = size;
    config.numAttrs = 1;
    return config;
}

// As much as any plan of the entry takes: other threads launch it too.
cudaError_t allow_shared_memory(void const* entry, HostPlan const& plan) {
    return cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.most_shared);
}

// Whether the entry was compiled with clusters, and the device has a place for one of the plan's: a slice of
// a device may have too few multiprocessors that reach one another. Kept, for CUDA takes its time to answer.
bool places_clusters(void const* entry, HostPlan const& plan) {
    struct Asked {
        int device;
        void const* entry;
        std::size_t shared_bytes;
        int cluster;
        bool placed;
    };
    thread_local Asked last{};
    int device = 0, clusters = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return false;
    if (last.entry == entry && last.device == device && last.shared_bytes == plan.shared_bytes &&
        last.cluster == plan.cluster)
        return last.placed;
    cudaFuncAttributes compiled{};
    cudaLaunchAttribute size{};
    cudaLaunchConfig_t const config = config_of(plan, nullptr, &size);
    bool const answered = cudaFuncGetAttributes(&compiled, entry) == cudaSuccess &&
                          (compiled.ptxVersion < kClustersFrom ||
                           cudaOccupancyMaxActiveClusters(&clusters, entry, &config) == cudaSuccess);
    if (!answered) static_cast<void>(cudaGetLastError());  // a launch without clusters may go well
    last = {device, entry, plan.shared_bytes, plan.cluster, clusters > 0};
    return last.placed;
}

bool aligned(void const* pointer, std::uintptr_t bytes) {
    return pointer && reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

}  // namespace

cudaError_t init_fused_score(ScorePlan const& plan, void* workspace, cudaStream_t stream) {
    if (plan.blocks == 0) return cudaSuccess;
    if (!aligned(workspace, 16)) return cudaErrorInvalidValue;
    return cudaMemsetAsync(workspace, 0, plan.counter_bytes, stream);
}

cudaError_t launch_fused_score(PackedScorer const& scorer,
                               void const* scorer_data,
                               ScoreInput const& input,
                               void* workspace,
                               Verdict* verdicts,
                               cudaStream_t stream) {
    HostPlan plan;
    if (make_plan(scorer, input, &plan)) return cudaErrorInvalidValue;
    if (plan.blocks == 0) return cudaSuccess;
    std::uintptr_t const element = input.half ? 2 : 4;
    if (!aligned(input.data, element) || !aligned(scorer_data, 16) || !aligned(workspace, 16) ||
        !aligned(verdicts, 16) || (scorer.probes > 0 && !aligned(input.tangents, element)) ||
        ((scorer.head == kHeadExternal) != (input.logits != nullptr)) ||
        (input.logits && !aligned(input.logits, input.logits_half ? 2 : 4)))
        return cudaErrorInvalidValue;
    void const* const entry = reinterpret_cast<void const*>(kEntries[plan.entry]);
    cudaError_t error = allow_shared_memory(entry, plan);
    if (error != cudaSuccess) return error;
    if (plan.cluster > 1 && !places_clusters(entry, plan)) {
        if (make_plan(scorer, input, &plan, built_in_plans(), false)) return cudaErrorInvalidValue;
        error = allow_shared_memory(entry, plan);
        if (error != cudaSuccess) return error;
    }
    FusedScoreParams& p = plan.params;
    p.input = input.data;
    p.tangents = input.tangents;
    p.logits = input.logits;
    p.scorer = static_cast<unsigned char const*>(scorer_data);
    p.workspace = static_cast<unsigned char*>(workspace);
    p.verdicts = reinterpret_cast<FusedVerdict*>(verdicts);
    if (!input.numbered) {
        error = cudaMemsetAsync(verdicts, 0, sizeof(Verdict) * static_cast<std::size_t>(input.batch), stream);
        if (error != cudaSuccess) return error;
    }
    cudaLaunchAttribute size{};
    cudaLaunchConfig_t const config = config_of(plan, stream, &size);
    void* arguments[] = {&p};
    return cudaLaunchKernelExC(&config, entry, arguments);
}

cudaError_t set_fused_score_threshold(void* scorer_data, float threshold, cudaStream_t stream) {
    static_assert(offsetof(ScorerConstants, threshold) == 0);
    if (!aligned(scorer_data, 16)) return cudaErrorInvalidValue;
    return cudaMemcpyAsync(scorer_data, &threshold, sizeof threshold, cudaMemcpyHostToDevice, stream);
}

}  // namespace edgeosr
