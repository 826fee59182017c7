// What a block of a cluster has of a tile, and what comes to it. All blocks of a cluster, and no others, have
// one tile: a slab each in phase A, then a share of every hidden layer's rows, and a sample each (that of its
// rank) for classes, parts and the verdict.
//
// Mailbox n brings the hidden values of layer n, and a word of each block that has no rows of it; of the last
// layer that goes by mail to the blocks that have a sample alone. No word comes too early: who sends values
// of layer n + 1 has heard of layer n from every block, and a block that has sent its own of layer n has all
// of layer n - 1 and reads none of it any more; layer n + 1 takes its room. Values of layer 0 are sent behind
// cluster_sync, where every block has left phase A.
#pragma once
#include "cluster.cuh"
#include "tile.cuh"

namespace edgeosr {

// The cluster is one size: shifts instead of divisions.
constexpr int kClusterBits = 3;
static_assert(1 << kClusterBits == kMostCluster, "blocks of a cluster");

EDGEOSR_DEVICE Mailbox* mailbox(FusedScoreParams const& p, int layer) {
    return reinterpret_cast<Mailbox*>(shared_memory() + p.mailboxes_at) + layer;
}

// A word of each block that has no rows of a hidden layer.
EDGEOSR_DEVICE unsigned* idle_words(FusedScoreParams const& p, int layer) {
    return reinterpret_cast<unsigned*>(shared_memory() + p.mailboxes_at + kMaxLayers * 8) +
           (layer - 1) * kMostCluster;
}

// Whether each block that has a sample computes the whole hidden layer for it: the last one, if it is small.
EDGEOSR_DEVICE bool is_lone(FusedScoreParams const& p, int layer) {
    return layer >= p.mailed_layers;
}

// Blocks that hear of a mailed layer, ranks 0 ..: of the last one those that have a sample.
EDGEOSR_DEVICE int hearers(FusedScoreParams const& p, int layer, int valid) {
    return layer + 1 < p.mailed_layers ? static_cast<int>(kMostCluster) : valid;
}

// A block's row tiles of a hidden layer: the first one, and how many.
EDGEOSR_DEVICE int first_tile(FusedScoreParams const& p, int layer) {
    return is_lone(p, layer) ? 0 : cluster_rank() * p.layer_tiles[layer];
}
EDGEOSR_DEVICE int own_tiles(FusedScoreParams const& p, int layer, int valid) {
    if (is_lone(p, layer)) return cluster_rank() < valid ? p.layer_tiles[layer] : 0;
    int const left = (padded16(p.width[layer]) >> 4) - first_tile(p, layer);
    return smaller(left < 0 ? 0 : left, p.layer_tiles[layer]);
}
EDGEOSR_DEVICE int steps_of(FusedScoreParams const& p, int layer) {  // of k, 16 each
    return padded16(p.width[layer - 1]) >> 4;
}

EDGEOSR_DEVICE const ScorerConstants* own_constants(FusedScoreParams const& p) {
    return reinterpret_cast<ScorerConstants const*>(shared_memory() + p.own_at);
}
EDGEOSR_DEVICE float* own_biases(FusedScoreParams const& p, int layer) {  // of the block's rows
    return reinterpret_cast<float*>(shared_memory() + p.own_bias_at[layer]);
}
EDGEOSR_DEVICE unsigned char* own_weights(FusedScoreParams const& p,
                                          int layer) {  // [steps, layer_tiles, 512]
    return shared_memory() + p.own_layer_at[layer];
}

// 16 bytes of weights that a lane has in shared memory.
EDGEOSR_DEVICE Words4 shared_words(unsigned char const* address) {
    Floats4 const kept = shared_load_x4(address);
    return {
        bits_from_float(kept.x), bits_from_float(kept.y), bits_from_float(kept.z), bits_from_float(kept.w)};
}

// Open the mailboxes, and ask for the scorer's constants, the last layer's weights, biases of the block's
// rows, and where there is room their weights. By the last warps, which have least to do while a small map is
// pooled.
EDGEOSR_DEVICE void ask_for_own(FusedScoreParams const& p, int valid) {
    constexpr int kAskers = kWarps / 2;
    constexpr int kPiece = 16, kConstants = static_cast<int>(sizeof(ScorerConstants)) / kPiece;
    int const thread = thread_index_again() - (kWarps - kAskers) * 32, lane = lane_again(),
              warp = thread >> 5;
    if (warp < 0) return;
    if (thread == kAskers * 32 - 1)
#pragma unroll 1
        for (int layer = 0; layer + 1 < p.layers; ++layer)
            open_mailbox(mailbox(p, layer),
                         static_cast<unsigned>(padded16(p.width[layer]) * valid) * 2u +
                             static_cast<unsigned>(p.layer_idle[layer]) * 4u);
    if (thread < kConstants)
        copy_async_16(shared_memory() + p.own_at + thread * kPiece, p.scorer + thread * kPiece);
    if (p.layers > 1 && thread < (p.width[p.layers - 2] + 3) / 4)
        copy_async_16(reinterpret_cast<unsigned char*>(last_weights(p)) + thread * kPiece,
                      p.scorer + p.layer_at[p.layers - 1] + thread * kPiece);
#pragma unroll 1
    for (int layer = 1; layer < p.layers - 1; ++layer) {
        int const tiles = own_tiles(p, layer, valid), first = first_tile(p, layer);
        if (warp == layer && lane < tiles * 4)
            copy_async_16(reinterpret_cast<unsigned char*>(own_biases(p, layer)) + lane * kPiece,
                          p.scorer + p.bias_at[layer] + first * 64 + lane * kPiece);
        int const all = padded16(p.width[layer]) >> 4, steps = p.keeps_layers ? steps_of(p, layer) : 0;
#pragma unroll 1
        for (int step = warp; step < steps; step += kAskers) {
            unsigned char* to = own_weights(p, layer) + step * p.layer_tiles[layer] * 512 + lane * kPiece;
            unsigned char const* from = p.scorer + p.layer_at[layer] +
                                        static_cast<unsigned>(step * all + first) * 512u + lane * kPiece;
#pragma unroll 1
            for (int tile = 0; tile < tiles; ++tile)
                copy_async_16(to + tile * 512, from + tile * 512);
        }
    }
    copy_async_commit();
}

// Two neighbouring fp16 values of a sample to every block that hears of the layer.
EDGEOSR_DEVICE void send_to_all(FusedScoreParams const& p, int valid, void* place, unsigned word, int layer) {
    int const those = hearers(p, layer, valid);
#pragma unroll
    for (int rank = 0; rank < kMostCluster; ++rank)
        if (rank < those) send(place, word, mailbox(p, layer), rank);
}

EDGEOSR_DEVICE unsigned halves_from(float low, float high) {
    return half_from_float(low) | static_cast<unsigned>(half_from_float(high)) << 16;
}

}  // namespace edgeosr
