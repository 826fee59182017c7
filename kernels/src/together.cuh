// Phase B, by all blocks of a cluster for their tile: sums over slabs, hidden layers, head, parts, fusion,
// threshold, verdict. The last four warps of a block have its sample's classes, parts and verdict, the others
// the hidden layers; they do not wait for one another until the logit.
#pragma once
#include "own_layers.cuh"
#include "own_verdict.cuh"
#include "verdict.cuh"

namespace edgeosr {

// Layer 1's rows of a block's share, of all samples: two neighbouring ones a thread, added over slabs, become
// hidden values of every block that hears of them.
EDGEOSR_DEVICE void send_first_layer(FusedScoreParams const& p, int valid, float const* partials) {
    if (p.layers < 2) return;
    int const pitch = hidden_pitch<true>(p.hidden_rows), first = cluster_rank() * p.hidden_quads,
              left = (p.hidden_rows >> 2) - first;
    int const pairs = smaller(left < 0 ? 0 : left, p.hidden_quads) * 2;
    float const slope = shared_load_f32(&own_constants(p)->slope);
    int sample = 0, pair = thread_index_again();
#pragma unroll 1
    for (;; pair += kLayerTeamWarps * 32) {
        while (pair >= pairs && sample < valid) {
            pair -= pairs;
            ++sample;
        }
        if (sample >= valid) return;
        int const row = first * 4 + pair * 2;
        Floats2 const bias = {load_f32(split_bias(p) + row), load_f32(split_bias(p) + row + 1)};
        Floats2 const sums = pair_over_slabs(partials + sample * p.rows + row, p.samples * p.rows);
        send_to_all(p,
                    valid,
                    reinterpret_cast<unsigned short*>(hidden_values(p, 0)) + sample * pitch + row,
                    halves_from(leaky(sums.x + bias.x, slope), leaky(sums.y + bias.y, slope)),
                    0);
    }
}

// What the block's sample has but hidden rows, by the last warps: norms, the scorer's constants, and its
// other rows' sums over slabs, four neighbours a thread. The head's are kept for the top class, those of
// parts go back to the first slab's place.
template <bool kMap>
EDGEOSR_DEVICE void add_own_rows(FusedScoreParams const& p, Block const& block) {
    int const thread = thread_index_again() - kLayerTeamWarps * 32, column = cluster_rank();
    if (column >= block.valid) return;
    if (thread >> 5 == kClassTeamWarps - 1)
        finish_norms<kMap>(p, slab_stats(p, block.tile, 0) + column * p.stats, p.samples * p.stats, column);
    int const word = (kClassTeamWarps - 1) * 32 - 1 - thread;  // of the two warps before the last
    if (word >= 0 && word < static_cast<int>(sizeof(ScorerConstants) / 4))
        shared_store_u32(result(kKeptConstants, word),
                         shared_load_u32(reinterpret_cast<unsigned const*>(own_constants(p)) + word));
    int const hidden = p.layers > 1 ? p.hidden_rows : 0,
              head_end = p.hidden_rows + (p.head == kHeadExternal ? 0 : p.classes);
    float* const partials = slab_partials(p, block.tile, 0);
#pragma unroll 1
    for (int row = hidden + thread * 4; row < p.rows; row += kClassTeamWarps * 32 * 4) {
        float* const place = partials + column * p.rows + row;
        Floats4 const sums = quad_over_slabs_alone(place, p.samples * p.rows);
        if (row < p.hidden_rows) {  // a single layer: its one output is the logit
            if (row == 0) shared_store_f32(result(kLogit, column), sums.x + load_f32(split_bias(p)));
        } else if (row < head_end) {
            int const label = row - p.hidden_rows;
            keep_product(p, partials, column, label, sums.x);
            if (label + 1 < p.classes) keep_product(p, partials, column, label + 1, sums.y);
            if (label + 2 < p.classes) keep_product(p, partials, column, label + 2, sums.z);
            if (label + 3 < p.classes) keep_product(p, partials, column, label + 3, sums.w);
        } else {
            store_f32(place, sums.x);
            store_f32(place + 1, sums.y);
            store_f32(place + 2, sums.z);
            store_f32(place + 3, sums.w);
        }
    }
    sync_classes<true>();
}

template <bool kMap>
EDGEOSR_DEVICE void finish_together(FusedScoreParams const& p) {
    bool const of_classes = thread_index_again() >> 5 >= kLayerTeamWarps;
    {
        Block const block = this_block(p);
        if (of_classes)
            add_own_rows<kMap>(p, block);
        else
            send_first_layer(p, block.valid, slab_partials(p, block.tile, 0));
    }
    if (stops_after(4)) {
        if (p.layers > 1 && cluster_rank() < hearers(p, 0, this_block(p).valid)) wait_for_mail(mailbox(p, 0));
        return drop_own(p);
    }
    if (of_classes)
        own_classes(p);
    else if (p.keeps_layers)
        own_layers<true>(p);
    else
        own_layers<false>(p);
}

}  // namespace edgeosr
