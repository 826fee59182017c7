// The fused scoring kernel: one launch from the backbone's last tensor to 80-byte verdicts.
// Compiled alone by nvcc or NVRTC (11.8 to 13): it includes nothing but the .cuh files beside it.
//
// Grid: tiles x slabs blocks of 512 threads, block = tile * slabs + slab. A tile is at most T samples (8 with
// fp16 weights, the columns of one mma; 4 with fp32 weights), and fewer where the device has multiprocessors
// for as many more tiles. A slab is slab_width channels of D: a multiple of 16 that depends on D, C and the
// hidden width and never on B.
//
// Phase A, every block: its tile's samples, its channels.
// - Map source: y goes to shared memory in chunks of (16 channels, sample), two halves in flight
//   (staging.cuh); activation, mean and the Jacobian's bit counts or products (pooling.cuh).
// - Tangent source: z; partial |t_k|^2 and t_k . z (tangents.cuh).
// - Both: not finite on the raw bits makes that z (or |t_k|^2) NaN, which nothing later can lose. Partial
//   |z|^2; the slab of z times its columns of the split matrix, layer 1 over the head over rows of parts
//   (dense.cuh). The first tile's blocks prefetch the later layers to L2.
// Then a barrier, and one thread's fence and acquiring atomic on the tile's counter, which wraps to 0 by
// itself. The block that arrives last does phase B for the tile: partials added over slabs, hidden layers in
// shared memory (hidden.cuh), beside them head and parts (classes.cuh, parts.cuh), then fusion, threshold,
// verdict (verdict.cuh). No grid barrier, no spinning, no float atomics; a sample's additions have one order
// that depends on the scorer, the map's shape, the dtypes and the entry alone: the same bits for every block
// order, position in the batch, batch size, alignment and number of multiprocessors.
//
// In a cluster (sm_90 and later, fp16 weights) a tile has kMostCluster slabs, whose blocks meet in the
// cluster's barrier and do phase B together: together.cuh, mail.cuh, own_layers.cuh, own_verdict.cuh. There
// is no counter.
//
// fp16 weights: z of a slab is scaled by a power of two to at most 1 and split into a high and a low half
// (two mma a fragment: z keeps about 22 bits); hidden values are one fp16 each, and beyond 65504 "not
// finite".
//
// Workspace: unsigned counters [tiles] | stats [tile, slab, samples, 2 + 2 K] |
// partials [tile, slab, samples, rows].
// Entries: fused_score_{map|tangents}_{mma|cluster|fma}_{f16|f32}: source, weights, dtype of y or of z and t;
// no mma before sm_75, no cluster before sm_90.
#include "block.cuh"
#include "dense.cuh"
#include "params.cuh"
#include "pooling.cuh"
#include "primitives.cuh"
#include "tangents.cuh"
#include "together.cuh"
#include "verdict.cuh"

namespace edgeosr {

// |z|^2 and the slab's J^2 sum of each sample -> stats[0], stats[1]; one warp a sample, the last ones: the
// first ones split z meanwhile.
template <int kTile, bool kMap>
EDGEOSR_DEVICE void reduce_embedding(FusedScoreParams const& p, Block const& block, float* stats) {
    int const sample = kWarps - 1 - warp_index(), lane = lane_index();
    if (sample >= block.valid) return;
    float square = 0.0f, jacobian = 0.0f;
    for (int k = lane; k < block.channels; k += 32) {
        float const z = shared_load_f32(embedding(p, sample) + k);
        square = multiply_add(z, z, square);
        if (kMap) jacobian += shared_load_f32(jacobians<kTile>(p, sample) + k);
    }
    square = warp_sum(square);
    if (kMap) jacobian = warp_sum(jacobian);
    if (lane == 0) {
        store_f32(stats + sample * p.stats, square);
        store_f32(stats + sample * p.stats + 1, jacobian);
    }
}

// The first tile's blocks ask for their columns of the split matrix and each for its share of the later
// layers, while the map streams in.
template <bool kMma, bool kCluster>
EDGEOSR_DEVICE void prefetch_weights(FusedScoreParams const& p, Block const& block) {
    if (block.tile != 0) return;
    unsigned const column = static_cast<unsigned>(p.rows) * (kMma ? 2u : 4u);
    unsigned const end = static_cast<unsigned>(block.channels) * column;
    unsigned const kept = kCluster ? static_cast<unsigned>(kept_steps(p, block)) * 16u * column : 0u;
#pragma unroll 1
    for (unsigned at = kept + static_cast<unsigned>(thread_index()) * 128u; at < end; at += kThreads * 128u)
        prefetch_l2(p.scorer + p.split_at + static_cast<unsigned>(block.channel) * column + at);
#pragma unroll 1
    for (unsigned at = (static_cast<unsigned>(block.slab * kThreads + thread_index())) * 128u;
         !kCluster && at < p.later_bytes;  // in a cluster each asks for its own (mail.cuh)
         at += static_cast<unsigned>(p.slabs * kThreads) * 128u)
        prefetch_l2(p.scorer + p.later_at + at);
}

// The end of a build that stops early.
template <bool kCluster>
EDGEOSR_DEVICE void drop_copies(FusedScoreParams const& p) {
    if (!kCluster) return;
    wait_for_columns(p, this_block(p));
    wait_for_mail(copies_mailbox(p, 0));
    drop_own(p);
}

template <bool kMap, bool kMma, bool kHalf, bool kCluster>
EDGEOSR_DEVICE void fused_score(FusedScoreParams const& p) {
    constexpr int kTile = kMma ? kTileMma : kTileFma;
    Block const block = this_block(p);
    // FMAs run over all columns of a tile.
    if (!kMma && warp_index() >= block.valid && warp_index() < kTile)
        for (int k = lane_index(); k < p.slab_width; k += 32)
            shared_store_f32(embedding(p, warp_index()) + k, 0.0f);
    Sharing by = {};
    if (kMap) {
        by = sharing(p);
        ask_for_map<kHalf>(p, block, by);
    }

    if (kCluster) ask_for_own(p, block);
    prefetch_weights<kMma, kCluster>(p, block);
    if (kMap)
        pool_map<kTile, kHalf, kCluster>(p, block, by);
    else
        load_embedding<kTile, kHalf>(p, block);
    AskedTiles asked;
    if (!kCluster) ask_for_slab<kMma>(p, block, asked);
    block_sync();
    reduce_embedding<kTile, kMap>(p, block, slab_stats(p, block.tile, block.slab));
    if (!kMap) reduce_tangents<kTile, kHalf>(p, block, slab_stats(p, block.tile, block.slab));
    if (stops_after(1)) return drop_copies<kCluster>(p);
    if (p.rows > 0) {
        if (kMma) {
            split_embedding(p, block);
            block_sync();
        }
        multiply_slab<kMma, kCluster>(p, block, asked, slab_partials(p, block.tile, block.slab));
    }
    if (stops_after(2)) return drop_copies<kCluster>(p);

    if (kCluster) {
        wait_for_mail(copies_mailbox(p, 0));
        cluster_sync();
        if (stops_after(3)) return drop_own(p);
        finish_together<kMap>(p);
        return;
    }
    // One thread publishes the stores of all, counts the block in, and sees for all what others published:
    // barriers make its fence and its atomic theirs.
    block_sync();
    if (thread_index() == 0) {
        unsigned const wrap = static_cast<unsigned>(p.slabs) - 1u;
        thread_fence();
        unsigned const arrived =
            atomic_increment(reinterpret_cast<unsigned*>(p.workspace) + block.tile, wrap);
        shared_store_u32(result(kLast, 0), arrived == wrap ? 1u : 0u);
    }
    block_sync();
    if (stops_after(3)) return;
    if (shared_load_u32(result(kLast, 0)) == 0u) return;
    finish_tile<kMap, kMma>(p);
}

}  // namespace edgeosr

#define EDGEOSR_ENTRY(source, weights, dtype, map, mma, half, cluster)                              \
    EDGEOSR_KERNEL(fused_score_##source##_##weights##_##dtype)(const edgeosr::FusedScoreParams p) { \
        edgeosr::fused_score<map, mma, half, cluster>(p);                                           \
    }
#if EDGEOSR_TENSOR_CORES
EDGEOSR_ENTRY(map, mma, f16, true, true, true, false)
EDGEOSR_ENTRY(map, mma, f32, true, true, false, false)
EDGEOSR_ENTRY(tangents, mma, f16, false, true, true, false)
EDGEOSR_ENTRY(tangents, mma, f32, false, true, false, false)
#endif
EDGEOSR_ENTRY(map, fma, f16, true, false, true, false)
EDGEOSR_ENTRY(map, fma, f32, true, false, false, false)
EDGEOSR_ENTRY(tangents, fma, f16, false, false, true, false)
EDGEOSR_ENTRY(tangents, fma, f32, false, false, false, false)
#if EDGEOSR_CLUSTERS || !(defined(__CUDA_ARCH__) || defined(EDGEOSR_SIMT))
EDGEOSR_ENTRY(map, cluster, f16, true, true, true, true)
EDGEOSR_ENTRY(map, cluster, f32, true, true, false, true)
EDGEOSR_ENTRY(tangents, cluster, f16, false, true, true, true)
EDGEOSR_ENTRY(tangents, cluster, f32, false, true, false, true)
#elif defined( \
    EDGEOSR_ALL_ENTRIES)  // a launcher names them whatever it is compiled for, and never launches these
EDGEOSR_KERNEL(fused_score_map_cluster_f16)(edgeosr::FusedScoreParams const) {}
EDGEOSR_KERNEL(fused_score_map_cluster_f32)(edgeosr::FusedScoreParams const) {}
EDGEOSR_KERNEL(fused_score_tangents_cluster_f16)(edgeosr::FusedScoreParams const) {}
EDGEOSR_KERNEL(fused_score_tangents_cluster_f32)(edgeosr::FusedScoreParams const) {}
#endif
