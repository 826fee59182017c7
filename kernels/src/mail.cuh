// What the blocks of one cluster do for one another when they finish a tile: each has a share of every hidden
// layer's rows, and whole samples of its own for classes, parts and verdicts. Where there are no clusters a
// block is alone and has all.
//
// Mailbox 0 tells whether a block was its tile's last one to arrive; mailbox 1 + n brings the hidden values
// of layer n. Each is used once. No word comes too early: who sends values of layer n + 1 has those of layer
// n from every block, and a block that has sent its rows of layer n reads nothing of layer n - 1 any more,
// whose room layer n + 1 takes; and who sends values of layer 0 has been told by every block that it left
// phase A.
#pragma once
#include "block.cuh"
#include "cluster.cuh"

namespace edgeosr {

// Whether a block tells others at all: of entries with tensor cores, where the device has clusters.
template <bool kMma>
EDGEOSR_DEVICE constexpr bool sends_mail() {
    return kMma && EDGEOSR_CLUSTERS;
}

EDGEOSR_DEVICE int cluster_size(FusedScoreParams const& p) {
    return EDGEOSR_CLUSTERS ? p.cluster : 1;
}
EDGEOSR_DEVICE int own_rank(FusedScoreParams const& p) {
    return cluster_size(p) > 1 ? cluster_rank() : 0;
}
// The number-th of the tile's samples that are this block's: its column.
EDGEOSR_DEVICE int own_column(FusedScoreParams const& p, int number) {
    return own_rank(p) + number * cluster_size(p);
}

EDGEOSR_DEVICE Mailbox* mailbox(FusedScoreParams const& p, int which) {
    return reinterpret_cast<Mailbox*>(shared_memory() + p.mailboxes_at) + which;
}
EDGEOSR_DEVICE unsigned* last_flags(FusedScoreParams const& p) {  // [8], a word of each block
    return reinterpret_cast<unsigned*>(shared_memory() + p.mailboxes_at + kMaxLayers * 8);
}

// Whether blocks really form clusters: a block that is alone writes to itself, without mail.
EDGEOSR_DEVICE bool has_neighbours(FusedScoreParams const& p) {
    return cluster_size(p) > 1;
}

EDGEOSR_DEVICE void open_mailboxes(FusedScoreParams const& p, Block const& block) {
    if (!has_neighbours(p)) return;
    int const which = thread_index();
    if (which == 0) open_mailbox(mailbox(p, 0), static_cast<unsigned>(p.cluster) * 4u);
    if (which > 0 && which < p.layers)
        open_mailbox(mailbox(p, which),
                     static_cast<unsigned>(padded16(p.width[which - 1]) * block.valid) * 2u);
    cluster_arrive();
}

EDGEOSR_DEVICE void wait_for_neighbours(FusedScoreParams const& p) {  // their mailboxes are open
    if (has_neighbours(p)) cluster_wait();
}

// A word to the same place of block `rank`, or of all.
EDGEOSR_DEVICE void send_to(FusedScoreParams const& p, void* place, unsigned word, int which, int rank) {
    if (has_neighbours(p))
        send(place, word, mailbox(p, which), rank);
    else
        shared_store_u32(place, word);
}
EDGEOSR_DEVICE void send_to_all(FusedScoreParams const& p, void* place, unsigned word, int which) {
#pragma unroll 1
    for (int rank = 0; rank < p.cluster; ++rank)
        send_to(p, place, word, which, rank);
}

// Of all threads: what was sent with a mailbox is there.
EDGEOSR_DEVICE void receive(FusedScoreParams const& p, int which) {
    if (has_neighbours(p))
        wait_for_mail(mailbox(p, which));
    else
        block_sync();
}

}  // namespace edgeosr
