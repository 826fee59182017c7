// Who a block is, and where its shared memory goes. kernels/plan.py computes the same sizes.
#pragma once
#include "params.cuh"
#include "primitives.cuh"

namespace edgeosr {

EDGEOSR_DEVICE int padded16(int value) { return (value + 15) & ~15; }
EDGEOSR_DEVICE int smaller(int a, int b) { return a < b ? a : b; }
EDGEOSR_DEVICE bool is_smooth(int activation) { return activation >= kHardSwish; }

struct Block {
  int tile, slab;
  int first;     // sample of the tile's first column
  int valid;     // samples of this tile, 1 .. T
  int channel;   // first of the slab
  int channels;  // of the slab, padded to 16: the padding reads as z = 0
};

template <int kTile>
EDGEOSR_DEVICE Block this_block(const FusedScoreParams& p) {
  Block block;
  block.tile = block_index() / p.slabs;
  block.slab = block_index() - block.tile * p.slabs;
  block.first = block.tile * kTile;
  block.valid = smaller(p.batch - block.first, kTile);
  block.channel = block.slab * p.slab_width;
  block.channels = smaller(p.slab_width, padded16(p.dimension) - block.channel);
  return block;
}

// Phase A's shared memory, in this order; every part starts at a multiple of 16 bytes.
struct PhaseA {
  unsigned char* stage;    // two halves of chunks_per_half chunks (map source)
  float* slopes;           // [16, Q], smooth activations of fp16 maps (fp32: in place of y)
  unsigned* masks;         // [16, 8], a warp's bits
  unsigned* inside;        // [words + 1, taps]: the positions whose partner is in the map; flat offsets
  float* jacobian;         // [16, 8], a warp's J^2 partial per sample
  float* scale;            // [8], power of two that was taken out of a sample's slab
  float* z;                // [T, pitch_of_z], fp32
  unsigned short* halves;  // high [8, pitch_of_halves], low the same (fp16 weights)
};

EDGEOSR_DEVICE int pitch_of_z(const FusedScoreParams& p) { return p.slab_width + 4; }
EDGEOSR_DEVICE int pitch_of_halves(const FusedScoreParams& p) { return p.slab_width + 8; }

template <bool kMap, int kTile, bool kHalf>
EDGEOSR_DEVICE PhaseA phase_a(const FusedScoreParams& p) {
  PhaseA part;
  unsigned char* at = shared_memory();
  part.stage = at;
  const int positions = p.height * p.width_of_map;
  if (kMap) at += 2 * p.chunks_per_half * p.chunk_bytes;
  part.slopes = reinterpret_cast<float*>(at);
  if (kMap && kHalf && is_smooth(p.activation)) at += kGroup * positions * 4;
  part.masks = reinterpret_cast<unsigned*>(at);
  at += kWarps * 8 * 4;
  part.jacobian = reinterpret_cast<float*>(at);
  at += kWarps * 8 * 4;
  part.scale = reinterpret_cast<float*>(at);
  at += 32;
  part.inside = reinterpret_cast<unsigned*>(at);
  if (kMap) at += ((((positions + 31) >> 5) + 1) * p.taps * 4 + 15) & ~15;
  part.z = reinterpret_cast<float*>(at);
  at += kTile * pitch_of_z(p) * 4;
  part.halves = reinterpret_cast<unsigned short*>(at);
  return part;
}

}  // namespace edgeosr
