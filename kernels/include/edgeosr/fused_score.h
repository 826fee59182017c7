// The fused scoring kernel for C++17: all that an application needs. Link edgeosr_kernels (CMake:
// edgeosr::kernels).
//
//   1. On the host, once per bundle:  python -m edgeosr.kernels.packed_file NAME.edgeosr/scorer.npz
//   scorer.bin
//   2. Read the file; copy its data part to the device (read_packed_scorer tells where it is).
//   3. Per batch size: allocate verdicts and a workspace (plan_fused_score tells its size), init once.
//   4. Per batch: launch_fused_score on the engine's stream. Both can be captured in one CUDA graph.
//
// Nothing here allocates or waits; every function may be called from any thread. A thread keeps what its
// device said last of places for clusters, and nothing else.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace edgeosr {

constexpr int kMostParts = 16;                // values of a verdict
constexpr std::uint32_t kVerdictVersion = 1;  // of Verdict's layout

/// A score part of a packed scorer: its code, its rows of the split matrix, where its numbers lie.
struct PackedPart {
    std::int32_t code, row, rows;
    std::uint32_t numbers_at;
};

/// What a launch must know of a packed scorer; offsets in bytes from the data's begin. The file's header is
/// this.
struct PackedScorer {
    std::int32_t half;  // 1: fp16 weights for tensor cores (sm_75 and later); 0: fp32
    std::int32_t dimension, classes, head, closed_form, probes, activation, smooth, taps;
    std::int32_t layers, width[6], hidden_rows, rows;
    std::uint32_t split_at, split_bias_at, layer_at[6], bias_at[6];
    std::uint32_t later_at, later_bytes, table_at, offsets_at, data_bytes;
    std::int32_t parts;  // of the score; what they are called, the bundle's manifest says in the same order
    PackedPart part[kMostParts];
};

/// A batch in device memory. Strides in elements; 0 means without gaps.
struct ScoreInput {
    int batch = 0;               // B, 0 to 1024
    int half = 1;                // of data and tangents: fp16, else fp32
    void const* data = nullptr;  // the map y [B, D, H, W] or [B, H, W, D]; without a closed form z [B, D]
    int height = 0, width = 0;   // of the map; 0 for z
    int channels_last = 0;
    int position_stride = 0;  // channels last: from one position to the next, at least D
    long long sample_stride = 0;
    void const* tangents = nullptr;  // [K, B, D], for a scorer with probes
    int probes = 0;                  // K
    long long tangent_sample_stride = 0, probe_stride = 0;
    void const* logits = nullptr;  // [B, C], for an external head
    int logits_half = 0;
    long long logits_stride = 0;
    // Of the device (cudaDevAttrMultiProcessorCount): small batches are spread over them. 0: not known. No
    // verdict depends on it, nor does the workspace's size.
    int multiprocessors = 0;
    // Of the device, 10 * major + minor of its compute capability: 87 for Orin. With it and multiprocessors a
    // plan that was measured on such a device is taken, where there is one. From 90 on blocks work in
    // clusters, where the device has a place for one; a score may then differ in its last bits. 0: not known.
    int architecture = 0;
    // 0: the verdicts are cleared in the stream before each launch. 1: they are not, which saves a node of a
    // graph. Each launch then puts the next number into bits 8 to 31 of each verdict's flags (modulo 2^24);
    // clear the verdicts once, when they are allocated (cudaMemsetAsync(verdicts, 0, B * sizeof(Verdict),
    // stream)), and take a batch only if all its verdicts have flag 1 and one number, and it is not the
    // number of the batch that was taken last. After a batch that was not taken, clear the verdicts again and
    // the workspace (init_fused_score). Verdicts of mapped host memory: leave 0, for old flags are read.
    int numbered = 0;
};

/// One sample's answer, 80 bytes. Without flag 1 the launch did not get there: take it as unknown. Mask the
/// flags: bits 8 to 31 may have a number, see ScoreInput::numbered.
struct alignas(16) Verdict {
    std::int32_t label;       // of the top logit, also if not accepted
    std::uint32_t flags;      // 1 written, 2 accepted, 4 not finite
    float score;              // larger = more unknown; NaN if not finite
    std::uint32_t layout;     // kVerdictVersion, and the number of values << 16
    float value[kMostParts];  // the score parts in the bundle's order, larger = more unknown; NaN beyond them
};
static_assert(sizeof(Verdict) == 80 && offsetof(Verdict, layout) == 12 && offsetof(Verdict, value) == 16);

/// What a launch needs; of `blocks` 0 (an empty batch) nothing is launched.
struct ScorePlan {
    int blocks, threads, tile;
    std::size_t shared_bytes, workspace_bytes, counter_bytes;
    char const* origin;  // of the tiles: "rule", or "table, measured on NAME"; never freed
};

/// Find the parts of a packed scorer file. Returns the offset of its data (`scorer->data_bytes` long), to be
/// copied to device memory aligned to 16 bytes; 0 if the file is damaged, foreign or of another version.
std::size_t read_packed_scorer(void const* file, std::size_t bytes, PackedScorer* scorer);

/// Plan a launch on the host. Returns null, or what cannot be taken: expected and got (valid until this
/// thread's next call). Pointers of `input` are not looked at.
char const* plan_fused_score(PackedScorer const& scorer, ScoreInput const& input, ScorePlan* plan);

/// Clear a workspace's counters, once, before its first launch and after each change of the batch size or the
/// scorer. One workspace serves one launch at a time: give each graph in flight its own. Aligned to 16 bytes.
cudaError_t init_fused_score(ScorePlan const& plan, void* workspace, cudaStream_t stream);

/// Score a batch: clear the verdicts unless they are numbered, then one kernel. Returns
/// cudaErrorInvalidValue where plan_fused_score has words, a pointer is missing or misaligned; cudaSuccess
/// for an empty batch. data, verdicts and workspace: device memory; verdicts [B] and workspace aligned to 16
/// bytes.
cudaError_t launch_fused_score(PackedScorer const& scorer,
                               void const* scorer_data,
                               ScoreInput const& input,
                               void* workspace,
                               Verdict* verdicts,
                               cudaStream_t stream);

/// Use another threshold from here on in the stream's order; captured graphs follow. The host waits for the
/// copy.
cudaError_t set_fused_score_threshold(void* scorer_data, float threshold, cudaStream_t stream);

}  // namespace edgeosr
