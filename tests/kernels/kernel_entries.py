"""Names of the kernel's entries, in the order of ``kEntries`` of ``kernels/src/launch.cu``."""

ENTRIES = (
    "fused_score_map_mma_f16",
    "fused_score_map_mma_f32",
    "fused_score_map_fma_f16",
    "fused_score_map_fma_f32",
    "fused_score_tangents_mma_f16",
    "fused_score_tangents_mma_f32",
    "fused_score_tangents_fma_f16",
    "fused_score_tangents_fma_f32",
)
# Of devices that have clusters, behind them.
CLUSTER_ENTRIES = (
    "fused_score_map_cluster_f16",
    "fused_score_map_cluster_f32",
    "fused_score_tangents_cluster_f16",
    "fused_score_tangents_cluster_f32",
)
