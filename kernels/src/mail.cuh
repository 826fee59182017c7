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
#include "kept_columns.cuh"
#include "tile.cuh"

namespace edgeosr {

// The cluster is one size: shifts instead of divisions.
constexpr int kClusterBits = 3;
static_assert(1 << kClusterBits == kMostCluster, "blocks of a cluster");

EDGEOSR_DEVICE Mailbox* mailbox(FusedScoreParams const& p, int layer) {
    return reinterpret_cast<Mailbox*>(shared_memory() + p.mailboxes_at) + layer;
}

// What brings the copies that a block asks for itself: of layer 0's the constants and the last weights.
EDGEOSR_DEVICE Mailbox* copies_mailbox(FusedScoreParams const& p, int layer) {
    return columns_mailbox(p) + 1 + layer;
}

// A word of each block that has no rows of a hidden layer.
EDGEOSR_DEVICE unsigned* idle_words(FusedScoreParams const& p, int layer) {
    return reinterpret_cast<unsigned*>(shared_memory() + p.mailboxes_at + 2 * kMaxLayers * 8) +
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
                                          int layer) {  // [layer_tiles, steps, 512]
    return shared_memory() + p.own_layer_at[layer];
}

// A run of global memory, and where in shared memory it goes; 0 bytes: none.
struct Run {
    int to;
    unsigned char const* from;
    unsigned bytes;
};

// Open the mailboxes, and ask for the slab's columns, for the scorer's constants and the last layer's
// weights, and of each hidden layer for the biases of the block's rows, and where there is room their
// weights: whole runs, by a thread of a warp of its own for each of these, while the map is on its way. A
// copy of 512 bytes takes as long to ask for as one of 50 KB.
EDGEOSR_DEVICE void ask_for_own(FusedScoreParams const& p, Block const& block) {
    int const layer = kWarps - 2 - (thread_index_again() >> 5);  // the last warp asks for columns
    if (lane_again() != 0 || layer > (p.layers > 1 ? p.layers - 2 : 0)) return;
    if (layer >= 0 && layer + 1 < p.layers)
        open_mailbox(mailbox(p, layer),
                     static_cast<unsigned>(padded16(p.width[layer]) * block.valid) * 2u +
                         static_cast<unsigned>(p.layer_idle[layer]) * 4u);
    Run run = {p.columns_at, split_tiles(p, block), kept_bytes(p, block)}, next = {0, nullptr, 0u};
    if (layer == 0) {
        run = {p.own_at, p.scorer, sizeof(ScorerConstants)};
        if (p.layers > 1)
            next = {p.last_at,
                    p.scorer + p.layer_at[p.layers - 1],
                    static_cast<unsigned>(p.width[p.layers - 2] + 3) / 4u * 16u};
    } else if (layer > 0) {
        unsigned const tiles = static_cast<unsigned>(own_tiles(p, layer, block.valid)),
                       first = static_cast<unsigned>(first_tile(p, layer)),
                       step_bytes = static_cast<unsigned>(steps_of(p, layer)) * 512u;
        run = {p.own_bias_at[layer], p.scorer + p.bias_at[layer] + first * 64u, tiles * 64u};
        next = {p.own_layer_at[layer],
                p.scorer + p.layer_at[layer] + first * step_bytes,
                p.keeps_layers ? tiles * step_bytes : 0u};
    }
    if (run.bytes == 0) return;
    Mailbox* const box = copies_mailbox(p, layer);
    open_mailbox(box, run.bytes + next.bytes);
#pragma unroll 1
    for (; run.bytes; run = next, next.bytes = 0u)
        copy_by_mail(shared_memory() + run.to, run.from, run.bytes, box);
}

// All that was asked for is there: for a block that ends before it uses it.
EDGEOSR_DEVICE void drop_own(FusedScoreParams const& p) {
#pragma unroll 1
    for (int layer = 1; layer < p.layers - 1; ++layer)
        if (own_tiles(p, layer, this_block(p).valid) > 0) wait_for_mail(copies_mailbox(p, layer));
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
