// Who a block is, and where its shared memory goes. kernels/plan.py computes the same sizes.
#pragma once
#include "params.cuh"
#include "primitives.cuh"
#include "registers.cuh"

// A build that stops after a phase is timed for what the phase takes (kernels/build/phases.py has the names);
// its verdicts are never written. 0: the kernel.
#ifndef EDGEOSR_STOP_AFTER
#define EDGEOSR_STOP_AFTER 0
#endif

namespace edgeosr {

EDGEOSR_DEVICE bool stops_after(int phase) {  // no constant: compilers warn of code behind one
    return phase == EDGEOSR_STOP_AFTER;
}

EDGEOSR_DEVICE int padded16(int value) {
    return (value + 15) & ~15;
}
EDGEOSR_DEVICE int smaller(int a, int b) {
    return a < b ? a : b;
}
EDGEOSR_DEVICE bool is_smooth(int activation) {
    return activation >= kHardSwish;
}

EDGEOSR_DEVICE const ScorerConstants* constants_of(FusedScoreParams const& p) {
    return reinterpret_cast<ScorerConstants const*>(p.scorer);
}

struct Block {
    int tile, slab;
    int first;     // sample of the tile's first column
    int valid;     // samples of this tile, 1 .. T
    int channel;   // first of the slab
    int channels;  // of the slab, padded to 16: the padding reads as z = 0
    int inverse;   // of valid: number * inverse >> 16 is number / valid, for numbers below 8192
};

EDGEOSR_DEVICE Block this_block(FusedScoreParams const& p) {
    Block block;
    block.tile = block_index() * p.slabs_inverse >> 20;
    block.slab = block_index() - block.tile * p.slabs;
    block.first = block.tile * p.samples;
    block.valid = smaller(p.batch - block.first, p.samples);
    block.channel = block.slab * p.slab_width;
    int const left = padded16(p.dimension) - block.channel;  // in a cluster the last slabs may be empty
    block.channels = smaller(p.slab_width, left < 0 ? 0 : left);
    block.inverse = block.valid == p.samples ? p.samples_inverse : p.last_inverse;
    return block;
}

// 16 bytes of weights that a lane has in shared memory.
EDGEOSR_DEVICE Words4 shared_words(unsigned char const* address) {
    Floats4 const kept = shared_load_x4(address);
    return {
        bits_from_float(kept.x), bits_from_float(kept.y), bits_from_float(kept.z), bits_from_float(kept.w)};
}

EDGEOSR_DEVICE int pitch_of_halves(FusedScoreParams const& p) {
    return p.slab_width + 8;
}

// A block's own sums in the workspace; those of its tile's slabs lie one after the other.
EDGEOSR_DEVICE float* slab_stats(FusedScoreParams const& p, int tile, int slab) {  // [samples, stats]
    return reinterpret_cast<float*>(p.workspace + p.stats_at) + (tile * p.slabs + slab) * p.samples * p.stats;
}
EDGEOSR_DEVICE float* slab_partials(FusedScoreParams const& p, int tile, int slab) {  // [samples, rows]
    return reinterpret_cast<float*>(p.workspace + p.partials_at) +
           (tile * p.slabs + slab) * p.samples * p.rows;
}

// Phase A's shared memory. Places come from the plan or are constants: no register holds them.
EDGEOSR_DEVICE float* scales() {  // [8], power of two that was taken out of a sample's slab
    return reinterpret_cast<float*>(shared_memory());
}
EDGEOSR_DEVICE unsigned char* stage_half(FusedScoreParams const& p, int half) {
    return shared_memory() + kStageAt + half * p.chunks_per_half * p.chunk_bytes;
}
// Mask bits of more than 64 positions, [words, 8 channels] a warp, from this byte on; as many words and one
// behind them are read.
EDGEOSR_DEVICE int masks_of_warp(FusedScoreParams const& p) {
    return p.masks_at + warp_index() * (2 * p.words + 1) * 32;
}
EDGEOSR_DEVICE unsigned* shared_memory_of(int at) {
    return reinterpret_cast<unsigned*>(shared_memory() + at);
}
EDGEOSR_DEVICE float* slopes_of_warp(FusedScoreParams const& p) {
    return reinterpret_cast<float*>(shared_memory() + p.slopes_at) + warp_index() * p.positions;
}
// Of each tap: the positions that have their partner in the map, a bit each, then its flat offset; see
// taps.cuh.
EDGEOSR_DEVICE unsigned* inside_map(FusedScoreParams const& p) {
    return reinterpret_cast<unsigned*>(shared_memory() + p.inside_at);
}
EDGEOSR_DEVICE float* embedding(FusedScoreParams const& p, int sample) {
    return reinterpret_cast<float*>(shared_memory() + p.z_at) + sample * p.z_pitch;
}
template <int kTile>
EDGEOSR_DEVICE float* jacobians(FusedScoreParams const& p, int sample) {  // [T, z_pitch], behind z
    return embedding(p, kTile + sample);
}
EDGEOSR_DEVICE unsigned short* embedding_halves(FusedScoreParams const& p) {
    return reinterpret_cast<unsigned short*>(shared_memory() + p.halves_at);
}

}  // namespace edgeosr
