// In a cluster, by the first warps of a block: the hidden layers behind layer 1. What does not need the
// values of the layer before is done before they are waited for: a lane then has its weights in registers.
#pragma once
#include "classes.cuh"
#include "hidden.cuh"
#include "mail.cuh"

namespace edgeosr {

constexpr unsigned kStepBytes = 512u;  // weights of a row tile, 16 of k

// A row tile times a part along k: a warp's work.
struct Stripe {
    int tile, part, first, steps;  // of k, 16 each, and how many; 0: there is no such stripe
    unsigned at;                   // of a lane's weights, bytes
};

template <bool kKept>
EDGEOSR_DEVICE Stripe stripe_at(FusedScoreParams const& p, int layer, int tiles, int number) {
    int const parts = p.layer_parts[layer], share = p.layer_share[layer];
    int const tile = number * p.parts_inverse[layer] >> 20, part = number - tile * parts,
              first = part * share;
    Stripe stripe = {tile, part, first, 0, static_cast<unsigned>(lane_again()) * 16u};
    if (tile < tiles) stripe.steps = smaller(share, steps_of(p, layer) - first);
    if (kKept)
        stripe.at += static_cast<unsigned>(p.own_layer_at[layer]);
    else
        stripe.at += p.layer_at[layer];
    stripe.at +=
        static_cast<unsigned>((tile + (kKept ? 0 : first_tile(p, layer))) * steps_of(p, layer) + first) *
        kStepBytes;
    return stripe;
}

// Weights of as many steps, in registers.
constexpr int kHeld = 4;
template <bool kKept>
EDGEOSR_DEVICE void take_weights(FusedScoreParams const& p, Stripe const& stripe, Words4 (&held)[kHeld]) {
    unsigned at = stripe.at;
    if (kKept) {
#pragma unroll
        for (int i = 0; i < kHeld; ++i, at += kStepBytes)
            if (i < stripe.steps) held[i] = shared_words(shared_memory() + at);
    } else {
#pragma unroll
        for (int i = 0; i < kHeld; ++i, at += kStepBytes)
            if (i < stripe.steps) held[i] = load_16(p.scorer + at);
    }
}

// c [16 rows, 8 samples] of a stripe; held: what take_weights did; column: a lane's of the layer before. Even
// and odd steps are added up apart: each chain is half as long.
template <bool kKept>
EDGEOSR_DEVICE void multiply_stripe(FusedScoreParams const& p,
                                    Stripe stripe,
                                    Words4 (&held)[kHeld],
                                    unsigned short const* column,
                                    float (&c)[4]) {
    static_assert(kHeld % 2 == 0, "even steps stay even");
    constexpr int kAtOnce = kHeld / 2;
    float odd[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    column += stripe.first * 16;
#pragma unroll 1
    while (true) {
#pragma unroll
        for (int from = 0; from < kHeld; from += kAtOnce) {
            unsigned value[kAtOnce][2];
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i) {
                value[i][0] = value[i][1] = 0u;
                if (from + i < stripe.steps) {
                    value[i][0] = shared_load_u32(column + (from + i) * 16);
                    value[i][1] = shared_load_u32(column + (from + i) * 16 + 8);
                }
            }
#pragma unroll
            for (int i = 0; i < kAtOnce; ++i)
                if (from + i < stripe.steps) {
                    if ((from + i) % 2 == 0)
                        mma_f16(c, held[from + i], value[i][0], value[i][1]);
                    else
                        mma_f16(odd, held[from + i], value[i][0], value[i][1]);
                }
        }
        stripe.steps -= kHeld;
        if (stripe.steps <= 0) break;
        stripe.at += kHeld * kStepBytes;
        column += kHeld * 16;
        take_weights<kKept>(p, stripe, held);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        c[i] += odd[i];
}

// A lane's values of the layer before `layer`, of a sample.
EDGEOSR_DEVICE unsigned short const* inputs_of(FusedScoreParams const& p, int layer, int sample) {
    return reinterpret_cast<unsigned short const*>(hidden_values(p, layer - 1)) +
           sample * hidden_pitch<true>(p.width[layer - 1]) + (lane_again() & 3) * 2;
}

// The parts' sums of a block's rows: [part, sample, pitch] float. No two rows of a warp's access share banks.
EDGEOSR_DEVICE int sums_pitch(FusedScoreParams const& p, int layer) {
    return p.layer_tiles[layer] * 16 + 4;
}
EDGEOSR_DEVICE float* sums_of_parts(FusedScoreParams const& p) {
    return reinterpret_cast<float*>(shared_memory() + p.sums_at);
}

// Values of a row tile with all of k to the blocks that hear of them: lanes of two neighbouring rows take a
// sample each.
EDGEOSR_DEVICE void send_tile(
    FusedScoreParams const& p, int layer, int valid, int tile, float const (&c)[4]) {
    int const lane = lane_again(), odd = lane >> 2 & 1, sample = (lane & 3) * 2 + odd;
    float const slope = shared_load_f32(&own_constants(p)->slope);
    unsigned short* const to = reinterpret_cast<unsigned short*>(hidden_values(p, layer));
    warp_sync();  // all lanes have read the layer before, in whose place others' values come later
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int const row = tile * 16 + (lane >> 2) + half * 8;
        float const bias = shared_load_f32(own_biases(p, layer) + row);
        float const first = leaky(c[half * 2] + bias, slope), second = leaky(c[half * 2 + 1] + bias, slope);
        float const other = shuffle_xor(odd ? first : second, 4);
        if (sample < valid)
            send_to_all(
                p,
                valid,
                to + sample * hidden_pitch<true>(p.width[layer]) + first_tile(p, layer) * 16 + row - odd,
                halves_from(odd ? other : first, odd ? second : other),
                layer);
    }
}

// The sums over parts, with bias and LeakyReLU, to the blocks that hear of them: a thread has two rows of a
// sample, and one block to send them to. The barrier of those who made the sums is in here, behind all that
// does not need them.
EDGEOSR_DEVICE void send_sums(FusedScoreParams const& p, int layer, int valid, int tiles) {
    constexpr int kAtOnce = kLayerTeamWarps * 32 >> kClusterBits, kLoads = 8;
    int const thread = thread_index_again(), rank = thread & (kMostCluster - 1);
    int const pairs = tiles * 8, pitch = sums_pitch(p, layer), parts = p.layer_parts[layer];
    bool const hears = rank < hearers(p, layer, valid);
    float const slope = shared_load_f32(&own_constants(p)->slope);
    unsigned short* const to =
        reinterpret_cast<unsigned short*>(hidden_values(p, layer)) + first_tile(p, layer) * 16;
    int sample = 0, pair = thread >> kClusterBits;
    bool met = false;
#pragma unroll 1
    for (;; pair += kAtOnce) {
        while (pair >= pairs && sample < valid) {
            pair -= pairs;
            ++sample;
        }
        bool const there = sample < valid;
        Floats2 const bias = shared_load_x2(own_biases(p, layer) + (there ? pair * 2 : 0));
        float const* from = sums_of_parts(p) + (there ? sample * pitch + pair * 2 : 0);
        if (!met) group_sync(kLayerBarrier, kLayerTeamWarps * 32);
        met = true;
        if (!any(there)) return;
        Floats2 value = {0.0f, 0.0f};
#pragma unroll 1
        for (int left = parts; left > 0; left -= kLoads) {
            Floats2 sum[kLoads];
#pragma unroll
            for (int i = 0; i < kLoads; ++i) {
                sum[i] = {0.0f, 0.0f};
                if (there && i < left) sum[i] = shared_load_x2(from);
                from += kTileMma * pitch;
            }
#pragma unroll
            for (int i = 0; i < kLoads; ++i) {
                value.x += sum[i].x;
                value.y += sum[i].y;
            }
        }
        warp_sync();  // words to this block let its warps store the next layer's sums: all lanes have read
        if (there && hears)
            send(to + sample * hidden_pitch<true>(p.width[layer]) + pair * 2,
                 halves_from(leaky(value.x + bias.x, slope), leaky(value.y + bias.y, slope)),
                 mailbox(p, layer),
                 rank);
    }
}

// Layer `layer` (1 .. mailed_layers - 1): the block's rows, sent to all who hear of them.
template <bool kKept>
EDGEOSR_DEVICE void own_layer(FusedScoreParams const& p, int layer, int valid) {
    int const thread = thread_index_again(), lane = thread & 31, parts = p.layer_parts[layer];
    int const tiles = own_tiles(p, layer, valid), column = lane >> 2;
    // Columns without a sample read the first one's values, which costs no bank a turn.
    unsigned short const* const inputs = inputs_of(p, layer, column < valid ? column : 0);
    bool waited = false;
    if (tiles > 0) wait_for_mail(copies_mailbox(p, layer));  // biases too
#pragma unroll 1
    for (int number = thread >> 5;; number += kLayerTeamWarps) {
        Stripe const stripe = stripe_at<kKept>(p, layer, tiles, number);
        Words4 held[kHeld];
        take_weights<kKept>(p, stripe, held);
        if (!waited) wait_for_mail(mailbox(p, layer - 1));
        waited = true;
        if (stripe.steps == 0) break;
        float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        multiply_stripe<kKept>(p, stripe, held, inputs, c);
        if (parts == 1) {
            send_tile(p, layer, valid, stripe.tile, c);
        } else if ((lane & 3) * 2 < valid) {
            int const pitch = sums_pitch(p, layer);
            float* const sum = sums_of_parts(p) + (stripe.part * kTileMma + (lane & 3) * 2) * pitch +
                               stripe.tile * 16 + (lane >> 2);
            shared_store_f32(sum, c[0]);
            shared_store_f32(sum + pitch, c[1]);
            shared_store_f32(sum + 8, c[2]);
            shared_store_f32(sum + pitch + 8, c[3]);
        }
        if (number + kLayerTeamWarps >= tiles * parts) break;
    }
    if (tiles == 0) {
        if (thread < hearers(p, layer, valid))
            send(idle_words(p, layer) + cluster_rank(), 0u, mailbox(p, layer), thread);
    } else if (parts > 1) {
        send_sums(p, layer, valid, tiles);
    }
}

// Of a lone last hidden layer and the last layer's product with it, a row tile's share: one warp.
template <bool kKept>
EDGEOSR_DEVICE float share_of_logit(FusedScoreParams const& p, int tile) {
    int const layer = p.layers - 2, lane = lane_again();
    wait_for_mail(copies_mailbox(p, layer));
    Stripe const stripe = stripe_at<kKept>(p, layer, p.layer_tiles[layer], tile);
    Words4 held[kHeld];
    take_weights<kKept>(p, stripe, held);
    int const upper = tile * 16 + (lane >> 2), lower = upper + 8, width = p.width[layer];
    float const slope = shared_load_f32(&own_constants(p)->slope);
    float const bias = shared_load_f32(own_biases(p, layer) + upper),
                lower_bias = shared_load_f32(own_biases(p, layer) + lower);
    float const weight = upper < width ? shared_load_f32(last_weights(p) + upper) : 0.0f,
                lower_weight = lower < width ? shared_load_f32(last_weights(p) + lower) : 0.0f;
    unsigned short const* const inputs = inputs_of(p, layer, cluster_rank());  // all columns are this sample
    wait_for_mail(mailbox(p, layer - 1));
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    multiply_stripe<kKept>(p, stripe, held, inputs, c);
    // Hidden values are fp16 here too: what is beyond them is not finite.
    float share = float_from_half(half_from_float(leaky(c[0] + bias, slope))) * weight;
    share =
        multiply_add(float_from_half(half_from_float(leaky(c[2] + lower_bias, slope))), lower_weight, share);
#pragma unroll
    for (int lanes = 4; lanes < 32; lanes <<= 1)
        share += shuffle_xor(share, lanes);
    return share;
}

// For the block's own sample, by as many warps as a lone layer may have row tiles.
template <bool kKept>
EDGEOSR_DEVICE void lone_layer(FusedScoreParams const& p) {
    int const tile = thread_index_again() >> 5;
    if (tile >= kMostLoneTiles) return;
    if (tile < p.layer_tiles[p.layers - 2]) {
        float const share = share_of_logit<kKept>(p, tile);
        if (lane_again() == 0) shared_store_f32(result(kLogit, tile), share);
    }
    meet_for_logit();
}

// The hidden layers, by their warps. Whoever needs the last one's values waits for them.
template <bool kKept>
EDGEOSR_DEVICE void own_layers(FusedScoreParams const& p) {
    if (p.layers < 2) return;
    int const valid = this_block(p).valid;
#pragma unroll 1
    for (int layer = 1; layer < p.mailed_layers; ++layer)
        own_layer<kKept>(p, layer, valid);
    if (is_lone(p, p.layers - 2) && cluster_rank() < valid) lone_layer<kKept>(p);
}

}  // namespace edgeosr
