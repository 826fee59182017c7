// The first of a slab's columns of the split matrix in shared memory, in a cluster and as far as the plan has
// room. They depend on nothing: one thread's one copy (they are one piece of memory) brings them beside the
// map, where loads from L2 would stand between pooling and the cluster's barrier.
#pragma once
#include "block.cuh"
#include "cluster.cuh"

namespace edgeosr {

EDGEOSR_DEVICE unsigned char const* split_tiles(FusedScoreParams const& p, Block const& block) {
    return p.scorer + p.split_at + static_cast<long long>(block.channel >> 4) * (p.rows >> 4) * 512;
}

// Steps of k whose columns a block keeps, of as many as its slab has.
EDGEOSR_DEVICE int kept_steps(FusedScoreParams const& p, Block const& block) {
    return smaller(p.kept_steps, block.channels >> 4);
}

EDGEOSR_DEVICE Mailbox* columns_mailbox(FusedScoreParams const& p) {  // behind those of mail (mail.cuh)
    return reinterpret_cast<Mailbox*>(shared_memory() + p.mailboxes_at) + kMaxLayers;
}

EDGEOSR_DEVICE unsigned char* kept_columns(FusedScoreParams const& p) {  // [kept_steps, rows / 16, 512]
    return shared_memory() + p.columns_at;
}

EDGEOSR_DEVICE unsigned kept_bytes(FusedScoreParams const& p, Block const& block) {
    return static_cast<unsigned>(kept_steps(p, block) * p.rows) * 32u;
}

// Behind a barrier after they were asked for (mail.cuh).
EDGEOSR_DEVICE void wait_for_columns(FusedScoreParams const& p, Block const& block) {
    if (kept_bytes(p, block) > 0) wait_for_mail(columns_mailbox(p));
}

}  // namespace edgeosr
