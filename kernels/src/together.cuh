// Phase B, by all blocks of a cluster for their tile: sums over slabs, hidden layers, head, parts, fusion,
// threshold, verdict. The last four warps of a block have its sample's classes and parts, the others the
// hidden layers; they do not wait for one another until the verdict.
#pragma once
#include "mail.cuh"
#include "own_verdict.cuh"
#include "verdict.cuh"

namespace edgeosr {

// The cluster is one size: shifts instead of divisions.
constexpr int kClusterBits = 3;
static_assert(1 << kClusterBits == kMostCluster, "blocks of a cluster");

// Four neighbouring rows of the split matrix, of one sample.
struct Quad {
    int sample, quad;
    bool there;
};

// What a block adds up: its share of the hidden rows of all samples, then all other rows of its own sample.
EDGEOSR_DEVICE Quad quad_at(FusedScoreParams const& p, int valid, int number) {
    int const quads = p.rows >> 2, hidden = p.layers > 1 ? p.hidden_rows >> 2 : 0, rank = cluster_rank();
    int const first = rank * p.hidden_quads, left = hidden - first < 0 ? 0 : hidden - first;
    int const share = smaller(left, p.hidden_quads);
    int sample = 0;
    while (sample < valid && number >= share) {
        number -= share;
        ++sample;
    }
    if (sample < valid) return {sample, first + number, true};
    return {rank, hidden + number, rank < valid && number < quads - hidden};
}

// Sums over slabs, four neighbours two threads: layer 1's become hidden values of every block, the head's are
// kept for find_top, those of parts go back to the first slab's place.
EDGEOSR_DEVICE void add_own_rows(FusedScoreParams const& p, int valid, float* partials) {
    int const thread = thread_index_again(), pitch = hidden_pitch<true>(p.hidden_rows);
    int const head_end = p.hidden_rows + (p.head == kHeadExternal ? 0 : p.classes);
    float const slope = shared_load_f32(&own_constants(p)->slope);
#pragma unroll 1
    for (int number = thread >> 1;; number += kThreads / 2) {
        Quad const own = quad_at(p, valid, number);
        if (!any(own.there)) return;
        int const row = own.quad * 4 + (thread & 1) * 2;
        Floats2 bias = {0.0f, 0.0f};
        if (own.there && row < p.hidden_rows)
            bias = {load_f32(split_bias(p) + row), load_f32(split_bias(p) + row + 1)};
        Floats4 const quad_sums =
            quad_over_slabs<kSlabsOfLane>(partials + (own.there ? own.sample * p.rows + own.quad * 4 : 0),
                                          p.samples * p.rows,
                                          own.there ? p.slabs : 0);
        Floats2 sums = thread & 1 ? Floats2{quad_sums.z, quad_sums.w} : Floats2{quad_sums.x, quad_sums.y};
        warp_sync();  // the odd lane stores where the even one has loaded
        if (!own.there) continue;
        if (row < p.hidden_rows) {
            sums = {sums.x + bias.x, sums.y + bias.y};
            if (p.layers > 1)
                send_to_all(p,
                            reinterpret_cast<unsigned short*>(hidden_values(p, 0)) + own.sample * pitch + row,
                            halves_from(leaky(sums.x, slope), leaky(sums.y, slope)),
                            0);
            else if (row == 0)
                shared_store_f32(result(kLogit, own.sample), sums.x);
        } else if (row < head_end) {
            keep_product(p, partials, own.sample, row - p.hidden_rows, sums.x);
            if (row + 1 < head_end) keep_product(p, partials, own.sample, row + 1 - p.hidden_rows, sums.y);
        } else {
            store_f32(partials + own.sample * p.rows + row, sums.x);
            store_f32(partials + own.sample * p.rows + row + 1, sums.y);
        }
    }
}

// The parts' sums of a block's rows: [part, sample, pitch] float. No two rows of a warp's access share banks.
EDGEOSR_DEVICE int sums_pitch(FusedScoreParams const& p, int layer) {
    return p.layer_tiles[layer] * 16 + 4;
}

// Values of a row tile with all of k to every block: lanes of two neighbouring rows take a sample each.
EDGEOSR_DEVICE void send_tile(
    FusedScoreParams const& p, int layer, int valid, unsigned short* to, int tile, float const (&c)[4]) {
    int const lane = lane_again(), odd = lane >> 2 & 1, sample = (lane & 3) * 2 + odd;
    float const slope = shared_load_f32(&own_constants(p)->slope);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int const row = tile * 16 + (lane >> 2) + half * 8;
        float const bias = shared_load_f32(own_biases(p, layer) + row);
        float const first = leaky(c[half * 2] + bias, slope), second = leaky(c[half * 2 + 1] + bias, slope);
        float const other = shuffle_xor(odd ? first : second, 4);
        if (sample < valid)
            send_to_all(
                p,
                to + sample * hidden_pitch<true>(p.width[layer]) + first_tile(p, layer) * 16 + row - odd,
                halves_from(odd ? other : first, odd ? second : other),
                layer);
    }
}

// The sums over parts, with bias and LeakyReLU, to every block: a thread has two rows of a sample, and one
// block to send them to.
EDGEOSR_DEVICE void send_sums(FusedScoreParams const& p, int layer, int valid, unsigned short* to) {
    constexpr int kAtOnce = kLayerTeamWarps * 32 >> kClusterBits;
    int const thread = thread_index_again(), pairs = own_tiles(p, layer) * 8, pitch = sums_pitch(p, layer);
    float const slope = shared_load_f32(&own_constants(p)->slope);
    float const* const sums = reinterpret_cast<float const*>(shared_memory() + p.sums_at);
    int sample = 0, pair = thread >> kClusterBits;
#pragma unroll 1
    for (;; pair += kAtOnce) {
        while (pair >= pairs && sample < valid) {
            pair -= pairs;
            ++sample;
        }
        bool const there = sample < valid;
        if (!any(there)) return;
        Floats2 const bias = shared_load_x2(own_biases(p, layer) + (there ? pair * 2 : 0));
        Floats2 value = {0.0f, 0.0f};
        float const* from = sums + sample * pitch + pair * 2;
#pragma unroll 4
        for (int part = 0; there && part < p.layer_parts[layer]; ++part) {
            Floats2 const sum = shared_load_x2(from);
            value.x += sum.x;
            value.y += sum.y;
            from += kTileMma * pitch;
        }
        warp_sync();  // words to this block let its warps store the next layer's sums: all lanes have read
        if (there)
            send(to + sample * hidden_pitch<true>(p.width[layer]) + first_tile(p, layer) * 16 + pair * 2,
                 halves_from(leaky(value.x + bias.x, slope), leaky(value.y + bias.y, slope)),
                 mailbox(p, layer),
                 thread & (kMostCluster - 1));
    }
}

// c [16 rows, 8 samples] += steps of k of one row tile, whose weights follow one another.
template <bool kKept>
EDGEOSR_DEVICE void multiply_steps(float (&c)[4],
                                   unsigned char const* weights,
                                   int steps,
                                   unsigned short const* column) {
#pragma unroll 4
    for (int step = 0; step < steps; ++step) {
        Words4 word;
        if (kKept) {
            word = shared_words(weights);
        } else {
            word = load_16(weights);
        }
        mma_f16(c, word, shared_load_u32(column), shared_load_u32(column + 8));
        weights += 512;
        column += 16;
    }
}

// Layer `layer` (1 .. layers - 2), by the layers' warps: the block's rows, sent to all. A warp has a row tile
// times a part along k at a time.
EDGEOSR_DEVICE void own_layer(FusedScoreParams const& p, int layer, int valid) {
    int const lane = lane_again(), parts = p.layer_parts[layer], share = p.layer_share[layer];
    if (own_tiles(p, layer) == 0) {
        int const thread = thread_index_again();
        if (thread < kMostCluster) send(idle_words(p, layer) + cluster_rank(), 0u, mailbox(p, layer), thread);
        return;
    }
    wait_for_mail(copies_mailbox(p, layer));
    int const units = own_tiles(p, layer) * parts, inputs = hidden_pitch<true>(p.width[layer - 1]);
    unsigned short const* const columns =
        column_of_lane(reinterpret_cast<unsigned short const*>(hidden_values(p, layer - 1)), inputs, lane);
    unsigned short* const to = reinterpret_cast<unsigned short*>(hidden_values(p, layer));
    float* const sums = reinterpret_cast<float*>(shared_memory() + p.sums_at);
#pragma unroll 1
    for (int unit = thread_index_again() >> 5; unit < units; unit += kLayerTeamWarps) {
        int const tile = unit * p.parts_inverse[layer] >> 20, part = unit - tile * parts;
        int const first = part * share, steps = smaller(share, steps_of(p, layer) - first);
        float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (p.keeps_layers)
            multiply_steps<true>(
                c,
                own_weights(p, layer) + (tile * steps_of(p, layer) + first) * 512 + lane * 16,
                steps,
                columns + first * 16);
        else
            multiply_steps<false>(
                c,
                p.scorer + p.layer_at[layer] +
                    static_cast<unsigned>((first_tile(p, layer) + tile) * steps_of(p, layer) + first) * 512u +
                    lane * 16,
                steps,
                columns + first * 16);
        if (parts == 1) {
            warp_sync();  // all lanes have read the layer before, in whose place others' values come later
            send_tile(p, layer, valid, to, tile, c);
        } else {
            int const pitch = sums_pitch(p, layer);
            float* const sum = sums + (part * kTileMma + (lane & 3) * 2) * pitch + tile * 16 + (lane >> 2);
            shared_store_f32(sum, c[0]);
            shared_store_f32(sum + pitch, c[1]);
            shared_store_f32(sum + 8, c[2]);
            shared_store_f32(sum + pitch + 8, c[3]);
        }
    }
    if (parts == 1) return;
    group_sync(kLayerBarrier, kLayerTeamWarps * 32);
    send_sums(p, layer, valid, to);
}

// The hidden layers and the last one, by their warps.
EDGEOSR_DEVICE void own_layers(FusedScoreParams const& p) {
    if (p.layers < 2) return;
    wait_for_mail(mailbox(p, 0));
#pragma unroll 1
    for (int layer = 1; layer < p.layers - 1; ++layer) {
        own_layer(p, layer, this_block(p).valid);
        wait_for_mail(mailbox(p, layer));
    }
    int const column = cluster_rank();
    if (thread_index_again() >> 5 > 0 || column >= this_block(p).valid) return;
    float const logit = last_layer<true>(p, hidden_values(p, p.layers - 2), column);
    if (lane_again() == 0)
        shared_store_f32(result(kLogit, column), logit + shared_load_f32(&own_constants(p)->last_bias));
    meet_for_logit();
}

template <bool kMap>
EDGEOSR_DEVICE void finish_together(FusedScoreParams const& p) {
    {
        Block const block = this_block(p);
        int const thread = thread_index_again(), column = cluster_rank();
        if (thread >> 5 == kWarps - 1 && column < block.valid)
            finish_norms<kMap>(
                p, slab_stats(p, block.tile, 0) + column * p.stats, p.samples * p.stats, column);
        int const word = kThreads - 33 - thread;  // of the two warps before the last
        if (word >= 0 && word < static_cast<int>(sizeof(ScorerConstants) / 4))
            shared_store_u32(result(kKeptConstants, word),
                             shared_load_u32(reinterpret_cast<unsigned const*>(own_constants(p)) + word));
        add_own_rows(p, block.valid, slab_partials(p, block.tile, 0));
        block_sync();
    }
    if (stops_after(4)) {
        if (p.layers > 1) wait_for_mail(mailbox(p, 0));
        return drop_own(p);
    }
    if (thread_index_again() >> 5 >= kLayerTeamWarps)
        own_classes(p);
    else
        own_layers(p);
}

}  // namespace edgeosr
