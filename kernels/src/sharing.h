// How the work of one launch is shared out, on the host: kernels/sharing.py once more, where it is explained.
#pragma once
#include "plan.h"

namespace edgeosr {

/// Up to a multiple of 16.
int rounded(int size);
/// Blocks of a cluster; 1: none.
int cluster_of(PackedScorer const& scorer, ScoreInput const& input);
/// Channels of a slab, and into how many slabs D is cut.
int slab_width_of(PackedScorer const& scorer, int cluster);
int slabs_of(PackedScorer const& scorer, int slab_width, int cluster);
/// Where a block of a cluster may end in shared memory, in this launch and in any on the device; whether it
/// keeps columns of the split matrix.
struct ClusterRoom {
    int bytes, most;
    bool columns;
};
ClusterRoom cluster_room(int architecture, int blocks, int multiprocessors);
int samples_of_tile(int columns, int batch, int slabs, int multiprocessors, int cluster);
/// The chunks of the map that a block goes through, at most; and how many of them are staged together.
int chunks_of(FusedScoreParams const& params);
int chunks_at_once(int chunks, int chunk_bytes, int stage_bytes);
/// Of how many groups of warps each copies chunks of the map of its own: 2 to this.
int sharer_bits(FusedScoreParams const& params);
/// Floats of shared memory for one part's sums of a hidden layer, tensor cores.
int sums_of_part(FusedScoreParams const& params, int layer);
/// Share the hidden layers out; room: floats for the sums of parts; row: what class warps are taken from,
/// null: from the rule.
void share_layers(PackedScorer const& scorer, FusedScoreParams* params, int room, PlanRow const* row);

}  // namespace edgeosr
