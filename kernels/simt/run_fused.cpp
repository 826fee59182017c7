// The fused kernel's own source, compiled for the CPU.
#include "fused_score.cu"
#include "harness.h"

#define FUSED(name) EDGEOSR_SIMT_ENTRY(fused_score_##name, edgeosr::FusedScoreParams)

simt::Entry const simt::entries[] = {FUSED(map_mma_f16),
                                     FUSED(map_mma_f32),
                                     FUSED(map_fma_f16),
                                     FUSED(map_fma_f32),
                                     FUSED(tangents_mma_f16),
                                     FUSED(tangents_mma_f32),
                                     FUSED(tangents_fma_f16),
                                     FUSED(tangents_fma_f32),
#if EDGEOSR_CLUSTERS
                                     FUSED(map_cluster_f16),
                                     FUSED(map_cluster_f32),
                                     FUSED(tangents_cluster_f16),
                                     FUSED(tangents_cluster_f32),
#endif
                                     {nullptr, nullptr, 0}};
