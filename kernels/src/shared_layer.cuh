// A hidden layer of tensor cores that the blocks of a cluster share: each multiplies its row tiles, and sends
// their values to all (mail.cuh).
#pragma once
#include "hidden.cuh"
#include "mail.cuh"

namespace edgeosr {

EDGEOSR_DEVICE float* kept_biases(FusedScoreParams const& p, int layer) {  // of the block's rows, in order
    return reinterpret_cast<float*>(shared_memory() + p.kept_bias_at[layer]);
}

// The biases of the block's rows of each hidden layer to shared memory.
EDGEOSR_DEVICE void keep_biases(FusedScoreParams const& p) {
#pragma unroll 1
    for (int layer = 1; layer < p.layers - 1; ++layer)
#pragma unroll 1
        for (int row = thread_index_again(); row < own_rows(p, layer); row += kThreads)
            shared_store_f32(kept_biases(p, layer) + row,
                             load_f32(layer_bias(p, layer) + first_tile(p, layer) * 16 + row));
}

// The parts' sums of a block's rows, where they are sent: [part, sample, pitch] float. No two rows of a
// warp's access share banks.
EDGEOSR_DEVICE int sums_pitch(FusedScoreParams const& p, int layer) {
    return p.layer_tiles[layer] * 16 + 4;
}

EDGEOSR_DEVICE unsigned halves_from(float low, float high) {
    return half_from_float(low) | static_cast<unsigned>(half_from_float(high)) << 16;
}

// Values of a unit with all of k to every block: lanes of two neighbouring rows take a sample each.
EDGEOSR_DEVICE void send_unit(FusedScoreParams const& p,
                              int layer,
                              unsigned short* to,
                              int pitch,
                              Unit const& unit,
                              float const (&c)[4]) {
    int const lane = lane_again(), odd = lane >> 2 & 1, sample = (lane & 3) * 2 + odd;
    float const slope = shared_load_f32(&kept_constants()->slope);
    int const valid = this_block(p).valid;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        int const row = unit.tile * 16 + (lane >> 2) + half * 8;
        float const bias = shared_load_f32(kept_biases(p, layer) + row - first_tile(p, layer) * 16);
        float const first = leaky(c[half * 2] + bias, slope), second = leaky(c[half * 2 + 1] + bias, slope);
        float const other = shuffle_xor(odd ? first : second, 4);
        if (sample < valid)
            send_to_all(p,
                        to + sample * pitch + row - odd,
                        halves_from(odd ? other : first, odd ? second : other),
                        layer + 1);
    }
}

// The block's sums over parts, with bias and LeakyReLU, to every block: a thread has two rows of a sample,
// and one block to send them to.
EDGEOSR_DEVICE void send_sums(
    FusedScoreParams const& p, int layer, unsigned short* to, int pitch, float const* sums) {
    int const thread = thread_index_again(), bits = 31 - leading_zeros(static_cast<unsigned>(p.cluster));
    int const valid = this_block(p).valid, pairs = own_rows(p, layer) >> 1, sums_step = sums_pitch(p, layer);
    float const slope = shared_load_f32(&kept_constants()->slope);
    int sample = 0, pair = thread >> bits;
#pragma unroll 1
    for (;; pair += kThreads >> bits) {
        while (pair >= pairs && sample < valid) {
            pair -= pairs;
            ++sample;
        }
        if (sample >= valid) return;
        Floats2 const bias = shared_load_x2(kept_biases(p, layer) + pair * 2);
        Floats2 value = {0.0f, 0.0f};
        float const* from = sums + sample * sums_step + pair * 2;
#pragma unroll 1
        for (int part = 0; part < p.layer_parts[layer]; ++part) {
            Floats2 const sum = shared_load_x2(from);
            value.x += sum.x;
            value.y += sum.y;
            from += kTileMma * sums_step;
        }
        send_to(p,
                to + sample * pitch + first_tile(p, layer) * 16 + pair * 2,
                halves_from(leaky(value.x + bias.x, slope), leaky(value.y + bias.y, slope)),
                layer + 1,
                thread & (p.cluster - 1));
    }
}

// A hidden layer of tensor cores whose values go to every block of the cluster; as hidden_layer.
template <class Meanwhile>
EDGEOSR_DEVICE void shared_layer(FusedScoreParams const& p,
                                 int layer,
                                 unsigned char const* inputs,
                                 unsigned char* outputs,
                                 float* sums,
                                 Asked& asked,
                                 Meanwhile const& meanwhile) {
    int const pitch = hidden_pitch<true>(p.width[layer]);
    unsigned short const* const from = reinterpret_cast<unsigned short const*>(inputs);
    unsigned short* const to = reinterpret_cast<unsigned short*>(outputs);
    if (thread_index_again() >> 5 >= layer_warps(p))
        meanwhile();
    else
        multiply_units(p, layer, from, asked, [&](Unit const& unit, float const(&c)[4]) {
            if (p.layer_parts[layer] == 1) {
                send_unit(p, layer, to, pitch, unit, c);
                return;
            }
            int const lane = lane_again(), step = sums_pitch(p, layer);
            float* const sum = sums + (unit.part * kTileMma + (lane & 3) * 2) * step +
                               (unit.tile - first_tile(p, layer)) * 16 + (lane >> 2);
            shared_store_f32(sum, c[0]);
            shared_store_f32(sum + step, c[1]);
            shared_store_f32(sum + 8, c[2]);
            shared_store_f32(sum + step + 8, c[3]);
        });
    if (p.layer_parts[layer] == 1) return;
    block_sync();
    send_sums(p, layer, to, pitch, sums);
}

}  // namespace edgeosr
