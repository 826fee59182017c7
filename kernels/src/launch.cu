// The launcher of edgeosr/fused_score.h: checks, clears the flags, one launch. The kernel itself is included,
// so that one translation unit holds it.
#include <edgeosr/fused_score.h>

#include <cstdint>

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
                              fused_score_tangents_fma_f32};

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
    FusedScoreParams& p = plan.params;
    p.input = input.data;
    p.tangents = input.tangents;
    p.logits = input.logits;
    p.scorer = static_cast<unsigned char const*>(scorer_data);
    p.workspace = static_cast<unsigned char*>(workspace);
    p.verdicts = reinterpret_cast<FusedVerdict*>(verdicts);
    Entry const entry = kEntries[plan.entry];
    cudaError_t error = cudaFuncSetAttribute(
        entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(plan.shared_bytes));
    if (error != cudaSuccess) return error;
    error = cudaMemsetAsync(verdicts, 0, sizeof(Verdict) * static_cast<std::size_t>(input.batch), stream);
    if (error != cudaSuccess) return error;
    entry<<<static_cast<unsigned>(plan.blocks), kThreads, plan.shared_bytes, stream>>>(p);
    return cudaGetLastError();
}

cudaError_t set_fused_score_threshold(void* scorer_data, float threshold, cudaStream_t stream) {
    static_assert(offsetof(ScorerConstants, threshold) == 0);
    if (!aligned(scorer_data, 16)) return cudaErrorInvalidValue;
    return cudaMemcpyAsync(scorer_data, &threshold, sizeof threshold, cudaMemcpyHostToDevice, stream);
}

}  // namespace edgeosr
