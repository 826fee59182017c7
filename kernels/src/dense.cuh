// Matrix products of a tile. fp16 weights: tensor cores with the weights as the A operand, packed in fragment
// order [k / 16, row / 16, lane, 16 bytes]. fp32 weights: FMAs on [k / 4, row, 4]. Both orders run along k,
// so that the columns of a slab are one piece of memory, and every weight load is 16 bytes a lane.
#pragma once
#include "kept_columns.cuh"
#include "split_embedding.cuh"

namespace edgeosr {

// Weight loads of the later layers in flight a lane: 12 warps x 6 x 512 B = 36 KB a block. Fewer where 64
// registers would not do (no result depends on it).
#if (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800) || EDGEOSR_OLD_COMPILER
constexpr int kAhead = 4;
#else
constexpr int kAhead = 6;
#endif
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ >= 1000 || __CUDA_ARCH__ < 750 || EDGEOSR_OLD_COMPILER)
constexpr int kAheadFma = 2;
#else
constexpr int kAheadFma = 3;
#endif

// Row tiles of layer 1 and head that a warp multiplies at a time.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kTilesAtOnce = 2;
#else
constexpr int kTilesAtOnce = 3;
#endif

EDGEOSR_DEVICE float leaky(float value, float slope) {
    return value > 0.0f ? value : value * slope;
}

// The B operand of a lane: the column (sample) of its group of four lanes, its pair of rows of k.
EDGEOSR_DEVICE const unsigned short* column_of_lane(unsigned short const* columns, int pitch, int lane) {
    return columns + (lane >> 2) * pitch + (lane & 3) * 2;
}

// Two steps of k of a warp's row tiles, on their way.
struct AskedTiles {
    Words4 word[2][kTilesAtOnce];
};

// Ask for steps k and k + 1 < steps of row tiles row, row + 16, .. < rows; `from`: the lane's place in the
// first one. Returns where the next two are; `jump`: from one step of k to the next.
EDGEOSR_DEVICE unsigned char const* ask_for_tiles(
    unsigned char const* from, unsigned jump, int row, int rows, int k, int steps, AskedTiles& asked) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int i = 0; i < kTilesAtOnce; ++i) {
            asked.word[step][i] = {0u, 0u, 0u, 0u};
            if (k + step < steps && row + i * kWarps < rows)
                asked.word[step][i] = load_16(from + i * (kWarps * 512));
        }
        from = stepped(from, jump);
    }
    return from;
}

// Ask for a warp's first weights of the slab's share: they arrive while the embedding is waited for.
template <bool kMma>
EDGEOSR_DEVICE void ask_for_slab(FusedScoreParams const& p, Block const& block, AskedTiles& asked) {
    if (!kMma || !kAsksAhead) return;
    int const row = thread_index_again() >> 5, rows = p.rows >> 4;
    ask_for_tiles(split_tiles(p, block) + static_cast<unsigned>(row) * 512u + lane_again() * 16,
                  static_cast<unsigned>(rows) * 512u,
                  row,
                  rows,
                  0,
                  block.channels >> 4,
                  asked);
}

// c += the products of a step. columns hold a high and a low half of z, `low_at` elements apart; `column`:
// the lane's place in that of the step.
EDGEOSR_DEVICE void multiply_step(float (&c)[kTilesAtOnce][4],
                                  Words4 const (&word)[kTilesAtOnce],
                                  unsigned short const* column,
                                  int low_at) {
    unsigned const high_0 = shared_load_u32(column), high_1 = shared_load_u32(column + 8);
    unsigned const low_0 = shared_load_u32(column + low_at), low_1 = shared_load_u32(column + low_at + 8);
#pragma unroll
    for (int i = 0; i < kTilesAtOnce; ++i) {
        mma_f16(c[i], word[i], high_0, high_1);
        mma_f16(c[i], word[i], low_0, low_1);
    }
}

// The same of steps k and k + 1 < steps.
EDGEOSR_DEVICE void multiply_asked(float (&c)[kTilesAtOnce][4],
                                   AskedTiles const& asked,
                                   unsigned short const* column,
                                   int low_at,
                                   int k,
                                   int steps) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
        if (k + step < steps) multiply_step(c, asked.word[step], column, low_at);
        column += 16;
    }
}

// The same for row tiles warp, warp + 16, .. < rows, several at a time: steps k and k + 1 of all of them are
// in flight together, and share their columns. c goes to sink(row tile, c). asked: what ask_for_slab did.
template <class Sink>
EDGEOSR_DEVICE void multiply_tiles(unsigned char const* weights,
                                   int rows,
                                   int steps,
                                   unsigned short const* columns,
                                   int pitch,
                                   int low_at,
                                   AskedTiles& asked,
                                   Sink const& sink) {
    int const lane = thread_index_again() & 31;
    unsigned const jump = static_cast<unsigned>(rows) * 512u;
    unsigned short const* const first_column = column_of_lane(columns, pitch, lane);
    bool there = kAsksAhead;
#pragma unroll 1
    for (int row = thread_index_again() >> 5; row < rows; row += kTilesAtOnce * kWarps) {
        unsigned char const* from = weights + static_cast<unsigned>(row) * 512u + lane * 16;
        unsigned short const* column = first_column;
        float c[kTilesAtOnce][4] = {};
#pragma unroll 1
        for (int k = 0; k < steps; k += 2) {
            if (there)
                from = stepped(from, 2 * jump);
            else
                from = ask_for_tiles(from, jump, row, rows, k, steps, asked);
            there = false;
            multiply_asked(c, asked, column, low_at, k, steps);
            column += 32;
        }
#pragma unroll
        for (int i = 0; i < kTilesAtOnce; ++i)
            if (row + i * kWarps < rows) sink(row + i * kWarps, c[i]);
    }
}

// The same additions in a cluster's block, which keeps the columns of the first `kept` steps.
template <class Sink>
EDGEOSR_DEVICE void multiply_kept_tiles(unsigned char const* weights,
                                        unsigned char const* kept_weights,
                                        int kept,
                                        int rows,
                                        int steps,
                                        unsigned short const* columns,
                                        int pitch,
                                        int low_at,
                                        Sink const& sink) {
    int const lane = thread_index_again() & 31;
    unsigned const jump = static_cast<unsigned>(rows) * 512u;
    unsigned short const* const first_column = column_of_lane(columns, pitch, lane);
#pragma unroll 1
    for (int row = thread_index_again() >> 5; row < rows; row += kTilesAtOnce * kWarps) {
        unsigned const place = static_cast<unsigned>(row) * 512u + static_cast<unsigned>(lane) * 16u;
        unsigned char const* from = weights + place + static_cast<unsigned>(kept) * jump;
        unsigned char const* own = kept_weights + place;
        unsigned short const* column = first_column;
        float c[kTilesAtOnce][4] = {};
        Words4 ahead[kTilesAtOnce] = {};  // of the first step that is not kept
#pragma unroll
        for (int i = 0; i < kTilesAtOnce; ++i)
            if (kept < steps && row + i * kWarps < rows) ahead[i] = load_16(from + i * (kWarps * 512));
#pragma unroll 1
        for (int k = 0; k < kept; ++k) {
            unsigned const high_0 = shared_load_u32(column), high_1 = shared_load_u32(column + 8);
            unsigned const low_0 = shared_load_u32(column + low_at),
                           low_1 = shared_load_u32(column + low_at + 8);
#pragma unroll
            for (int i = 0; i < kTilesAtOnce; ++i) {
                if (row + i * kWarps < rows) {
                    Words4 const word = shared_words(own + i * (kWarps * 512));
                    mma_f16(c[i], word, high_0, high_1);
                    mma_f16(c[i], word, low_0, low_1);
                }
            }
            own += jump;
            column += 16;
        }
        if (kept < steps) multiply_step(c, ahead, column, low_at);
        from = stepped(from, jump);
        column += 16;
#pragma unroll 1
        for (int k = kept + 1; k < steps; k += 2) {
            AskedTiles asked;
            from = ask_for_tiles(from, jump, row, rows, k, steps, asked);
            multiply_asked(c, asked, column, low_at, k, steps);
            column += 32;
        }
#pragma unroll
        for (int i = 0; i < kTilesAtOnce; ++i)
            if (row + i * kWarps < rows) sink(row + i * kWarps, c[i]);
    }
}

// value[s] = sum over quads quad, quad + step, ... < quads of weights[quad, row] . columns[s], s < 4.
EDGEOSR_DEVICE void multiply_row(unsigned char const* weights,
                                 int rows,
                                 int row,
                                 int quad,
                                 int step,
                                 int quads,
                                 float const* columns,
                                 int pitch,
                                 float (&value)[kTileFma]) {
#pragma unroll
    for (int s = 0; s < kTileFma; ++s)
        value[s] = 0.0f;
    unsigned char const* from = weights + static_cast<unsigned>(quad * rows + row) * 16u;
    unsigned const jump = static_cast<unsigned>(step * rows) * 16u;
    float const* column = columns + quad * 4;
#pragma unroll 1
    for (; quad < quads; quad += step * kAheadFma) {
        Words4 words[kAheadFma];
#pragma unroll
        for (int i = 0; i < kAheadFma; ++i) {
            if (quad + i * step < quads) words[i] = load_16(from);
            from = stepped(from, jump);
        }
#pragma unroll
        for (int i = 0; i < kAheadFma; ++i) {
            if (quad + i * step < quads) {
#pragma unroll
                for (int s = 0; s < kTileFma; ++s) {
                    Floats4 const x = shared_load_x4(column + s * pitch);
                    value[s] = multiply_add(float_from_bits(words[i].x), x.x, value[s]);
                    value[s] = multiply_add(float_from_bits(words[i].y), x.y, value[s]);
                    value[s] = multiply_add(float_from_bits(words[i].z), x.z, value[s]);
                    value[s] = multiply_add(float_from_bits(words[i].w), x.w, value[s]);
                }
            }
            column += step * 4;
        }
    }
}

// Where a lane's first sum of the first row tile goes.
EDGEOSR_DEVICE float* own_place(FusedScoreParams const& p, float* partials) {
    int const lane = thread_index_again() & 31;
    return partials + (lane & 3) * 2 * p.rows + (lane >> 2);
}

// The slab's share of layer 1 and of the head -> partials [samples, rows].
template <bool kMma, bool kCluster>
EDGEOSR_DEVICE void multiply_slab(FusedScoreParams const& p,
                                  Block const& block,
                                  AskedTiles& asked,
                                  float* partials) {
    if (kMma) {
        constexpr bool kAnew = kFewRegisters || (kCluster && kFewInClusters);
        int const sample = (thread_index_again() & 3) * 2;
        float* const own = own_place(p, partials);
        float scale = 0.0f, next_scale = 0.0f;
        if (!kAnew) {
            scale = shared_load_f32(scales() + sample);
            next_scale = shared_load_f32(scales() + sample + 1);
        }
        auto const keep = [&](int row, float const(&c)[4]) {
            // Found anew where, kept, they would take registers from the weights in flight.
            Block const here = kAnew ? this_block(p) : block;
            float* const at = (kAnew ? own_place(p, slab_partials(p, here.tile, here.slab)) : own) +
                              static_cast<unsigned>(row) * 16u;
            if (sample < here.valid) {
                if (kAnew) scale = shared_load_f32(scales() + sample);
                store_f32(at, c[0] * scale);
                store_f32(at + 8, c[2] * scale);
            }
            if (sample + 1 < here.valid) {
                if (kAnew) next_scale = shared_load_f32(scales() + sample + 1);
                store_f32(at + p.rows, c[1] * next_scale);
                store_f32(at + p.rows + 8, c[3] * next_scale);
            }
        };
        int const pitch = pitch_of_halves(p), rows = p.rows >> 4, steps = block.channels >> 4;
        unsigned char const* const weights = split_tiles(p, block);
        unsigned short const* const columns = embedding_halves(p);
        if constexpr (kCluster) {
            wait_for_columns(p, block);
            multiply_kept_tiles(weights,
                                kept_columns(p),
                                kept_steps(p, block),
                                rows,
                                steps,
                                columns,
                                pitch,
                                kTileMma * pitch,
                                keep);
        } else {
            multiply_tiles(weights, rows, steps, columns, pitch, kTileMma * pitch, asked, keep);
        }
    } else {
        unsigned char const* weights =
            p.scorer + p.split_at + static_cast<long long>(block.channel >> 2) * p.rows * 16;
#pragma unroll 1
        for (int row = thread_index(); row < p.rows; row += kThreads) {
            float value[kTileFma];
            multiply_row(weights, p.rows, row, 0, 1, block.channels >> 2, embedding(p, 0), p.z_pitch, value);
#pragma unroll
            for (int s = 0; s < kTileFma; ++s)
                if (s < block.valid) store_f32(partials + s * p.rows + row, value[s]);
        }
    }
}

}  // namespace edgeosr
