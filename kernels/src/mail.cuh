// What a block of a cluster has of a tile, and what comes to it. All blocks of a cluster, and no others, have
// one tile: a slab each in phase A, then a share of every hidden layer's rows, and a sample each (that of its
// rank) for classes, parts and the verdict.
//
// Mailbox 0 brings what a block needs of the scorer, asked for when the kernel starts; mailbox 1 + n the
// hidden values of layer n. No word comes too early: who sends values of layer n + 1 has those of layer n
// from every block, and a block that has sent its rows of layer n reads nothing of layer n - 1 any more,
// whose room layer n + 1 takes; a block without rows of layer n sends a word that says it has layer n - 1.
// Values of layer 0 are sent behind cluster_sync, where every block has left phase A.
#pragma once
#include "cluster.cuh"
#include "tile.cuh"

namespace edgeosr {

EDGEOSR_DEVICE Mailbox* mailbox(FusedScoreParams const& p, int which) {
    return reinterpret_cast<Mailbox*>(shared_memory() + p.mailboxes_at) + which;
}

// A block's row tiles of a hidden layer: the first one, and how many.
EDGEOSR_DEVICE int first_tile(FusedScoreParams const& p, int layer) {
    return cluster_rank() * p.layer_tiles[layer];
}
EDGEOSR_DEVICE int own_tiles(FusedScoreParams const& p, int layer) {
    int const left = (padded16(p.width[layer]) >> 4) - first_tile(p, layer);
    return smaller(left < 0 ? 0 : left, p.layer_tiles[layer]);
}
EDGEOSR_DEVICE int steps_of(FusedScoreParams const& p, int layer) {  // of k, 16 each
    return padded16(p.width[layer - 1]) >> 4;
}

// Whether blocks without rows of a layer say so: where another layer takes the room of the one before.
EDGEOSR_DEVICE bool all_answer(FusedScoreParams const& p, int layer) {
    return layer > 0 && layer < p.layers - 2;
}
// What comes with a hidden layer's mailbox: two bytes a value, a word of each block without rows.
EDGEOSR_DEVICE unsigned mail_of_layer(FusedScoreParams const& p, int layer, int valid) {
    int const rows = padded16(p.width[layer]), tiles = p.layer_tiles[layer];
    int const with = ((rows >> 4) + tiles - 1) * p.layer_inverse[layer] >> 20;
    return static_cast<unsigned>(rows * valid * 2 + (all_answer(p, layer) ? (kMostCluster - with) * 4 : 0));
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

// By the last warp, while the map streams in: open the mailboxes, ask for what mailbox 0 brings: the scorer's
// constants, the last layer's weights, biases of the block's rows, and where there is room their weights.
EDGEOSR_DEVICE void ask_for_own(FusedScoreParams const& p, int valid) {
    int const lane = lane_again();
    unsigned const last_bytes =
        p.layers > 1 ? static_cast<unsigned>(padded16(p.width[p.layers - 2])) * 4u : 0u;
    if (lane == 0) {
        unsigned bytes = static_cast<unsigned>(sizeof(ScorerConstants)) + last_bytes;
#pragma unroll 1
        for (int layer = 1; layer < p.layers - 1; ++layer)
            bytes += static_cast<unsigned>(own_tiles(p, layer)) *
                     (64u + (p.keeps_layers ? static_cast<unsigned>(steps_of(p, layer)) * 512u : 0u));
        open_mailbox(mailbox(p, 0), bytes);
    } else if (lane < p.layers) {
        open_mailbox(mailbox(p, lane), mail_of_layer(p, lane - 1, valid));
    }
    warp_sync();
    if (lane == 0) copy_by_mail(shared_memory() + p.own_at, p.scorer, sizeof(ScorerConstants), mailbox(p, 0));
    if (lane == 1 && last_bytes)
        copy_by_mail(last_weights(p), p.scorer + p.layer_at[p.layers - 1], last_bytes, mailbox(p, 0));
#pragma unroll 1
    for (int layer = 1; layer < p.layers - 1; ++layer) {
        unsigned const tiles = static_cast<unsigned>(own_tiles(p, layer));
        unsigned const first = static_cast<unsigned>(first_tile(p, layer));
        if (tiles == 0) continue;
        if (lane == 1 + layer)
            copy_by_mail(
                own_biases(p, layer), p.scorer + p.bias_at[layer] + first * 64u, tiles * 64u, mailbox(p, 0));
        unsigned const all = static_cast<unsigned>(padded16(p.width[layer])) >> 4;
#pragma unroll 1
        for (int step = lane; p.keeps_layers && step < steps_of(p, layer); step += 32)
            copy_by_mail(own_weights(p, layer) + step * p.layer_tiles[layer] * 512,
                         p.scorer + p.layer_at[layer] + (static_cast<unsigned>(step) * all + first) * 512u,
                         tiles * 512u,
                         mailbox(p, 0));
    }
}

// Two neighbouring fp16 values of a sample to every block of the cluster.
EDGEOSR_DEVICE void send_to_all(FusedScoreParams const& p, void* place, unsigned word, int which) {
#pragma unroll 1
    for (int rank = 0; rank < kMostCluster; ++rank)
        send(place, word, mailbox(p, which), rank);
}

EDGEOSR_DEVICE unsigned halves_from(float low, float high) {
    return half_from_float(low) | static_cast<unsigned>(half_from_float(high)) << 16;
}

}  // namespace edgeosr
