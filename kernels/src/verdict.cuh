// Phase B, in the last block of a tile to arrive: partials in slab order, head, loss, fusion, threshold, verdict.
#pragma once
#include "hidden.cuh"

namespace edgeosr {

constexpr float kFloor = 1e-12f;  // edgeosr/verdict.py's FLOOR
constexpr int kNoClass = 0x7fffffff;

EDGEOSR_DEVICE float not_below_floor(float value) { return value < kFloor ? kFloor : value; }  // NaN stays
EDGEOSR_DEVICE float softplus(float x) {
  return (x > 0.0f ? x : 0.0f) + log_one_plus(exponential(-absolute(x)));
}
EDGEOSR_DEVICE bool finite(float value) { return !float_not_finite(bits_from_float(value)); }

// A tile's sums in the workspace.
struct TileSums {
  const float* stats;     // [slabs, T, stats]
  const float* partials;  // [slabs, T, rows]
};

// Sum over slabs, in slab order, of from[slab * stride]; eight loads in flight.
EDGEOSR_DEVICE float sum_over_slabs(const float* from, int stride, int slabs) {
  constexpr int kLoads = 8;
  float sum = 0.0f;
#pragma unroll 1
  for (int first = 0; first < slabs; first += kLoads) {
    float value[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      value[i] = first + i < slabs ? load_shared_by_blocks_f32(from) : 0.0f;
      from += stride;
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) sum += value[i];
  }
  return sum;
}

// Phase B's shared memory behind the hidden buffers.
struct PhaseB {
  unsigned char* even;  // outputs of layers 0, 2, ..
  unsigned char* odd;
  float* sums;      // parts of a hidden layer, 8 KB
  float* norm;      // [8], |z|, not below FLOOR; NaN if |z|^2 is not finite
  float* jacobian;  // [8], NaN if its square is not finite
  float* logit;     // [8], of the discriminator
  float* best;      // [8, 16], a warp's top logit of a sample
  int* label;       // [8, 16], its class
  float* others;    // [8, 16], sum of softplus over the warp's other classes
};

template <bool kMma>
EDGEOSR_DEVICE PhaseB phase_b(const FusedScoreParams& p) {
  PhaseB part;
  int even = 0, odd = 0;
  for (int layer = 0; layer < p.layers - 1; ++layer) {
    const int size = (kMma ? kTileMma * 2 : kTileFma * 4) * hidden_pitch<kMma>(p.width[layer]);
    int& largest = layer & 1 ? odd : even;
    largest = largest > size ? largest : size;
  }
  unsigned char* at = shared_memory();
  part.even = at;
  part.odd = at + even;
  float* floats = reinterpret_cast<float*>(at + even + odd);
  part.sums = floats;
  if (p.layers > 2) floats += 2048;
  part.norm = floats;
  part.jacobian = floats + 8;
  part.logit = floats + 16;
  part.best = floats + 24;
  part.label = reinterpret_cast<int*>(floats + 24 + 128);
  part.others = floats + 24 + 256;
  return part;
}

// |z| and J of one sample, one warp.
template <bool kMap>
EDGEOSR_DEVICE void finish_norms(const FusedScoreParams& p, const PhaseB& part, const float* stats,
                                 int stride, int sample, const ScorerConstants* constants) {
  const float squared = sum_over_slabs(stats, stride, p.slabs);
  const float norm = not_below_floor(square_root(squared));
  float square = 0.0f;
  if (kMap) {
    const float positions = static_cast<float>(p.height * p.width_of_map);
    square = sum_over_slabs(stats + 1, stride, p.slabs) / (positions * positions);
  } else if (p.probes > 0) {
    if (lane_index() < p.probes) {
      const float length = sum_over_slabs(stats + 2 + lane_index(), stride, p.slabs);
      const float radial = sum_over_slabs(stats + 2 + p.probes + lane_index(), stride, p.slabs) / norm;
      const float across = length - radial * radial;
      square = across < 0.0f ? 0.0f : across;  // NaN stays
    }
    square = warp_sum(square) * load_f32(&constants->probe_scale);
  }
  if (lane_index() == 0) {
    float jacobian = 1.0f;
    if (kMap || p.probes > 0) jacobian = square_root(square < 0.0f ? 0.0f : square) / norm;
    if (!finite(square)) jacobian = float_from_bits(0x7fc00000u);
    shared_store_f32(part.norm + sample, finite(squared) ? norm : float_from_bits(0x7fc00000u));
    shared_store_f32(part.jacobian + sample, jacobian);
  }
}

// Layer 1's sums, bias and LeakyReLU -> the even buffer; with a single layer its one output is the logit.
template <bool kMma>
EDGEOSR_DEVICE void finish_first_layer(const FusedScoreParams& p, const PhaseB& part, const float* partials,
                                       int valid, float slope) {
  constexpr int kTile = kMma ? kTileMma : kTileFma;
  const float* bias = reinterpret_cast<const float*>(p.scorer + p.split_bias_at);
  const int stride = kTile * p.rows;
  if (p.layers == 1) {
    if (thread_index() < valid)
      shared_store_f32(part.logit + thread_index(),
                       sum_over_slabs(partials + thread_index() * p.rows, stride, p.slabs) + load_f32(bias));
    return;
  }
  const int pitch = hidden_pitch<kMma>(p.hidden_rows);
  for (int sample = 0; sample < kTile; ++sample)
    for (int row = thread_index(); row < p.hidden_rows; row += kThreads) {
      float value = 0.0f;
      if (sample < valid)
        value = leaky(sum_over_slabs(partials + sample * p.rows + row, stride, p.slabs) + load_f32(bias + row),
                      slope);
      store_hidden<kMma>(part.even, pitch, sample, row, value);
    }
}

struct TopClass {
  float best;
  int label;
  float others;  // of softplus(T s), the top class left out
};

struct LossTerms {
  float temperature, cos_margin, sin_margin;
  bool cosine;
};

// T s with the margin on: T cos(arccos(c) + m) for a cosine.
EDGEOSR_DEVICE float scaled(const LossTerms& terms, float logit) {
  if (terms.cosine) {
    const float square = (1.0f - logit) * (1.0f + logit);
    const float sine = square_root(square > 0.0f ? square : 0.0f);
    logit = logit * terms.cos_margin - sine * terms.sin_margin;
  }
  return logit * terms.temperature;
}

// The larger logit wins, the lower class among equal ones; the loser's softplus joins the others. Symmetric, so
// that all lanes of an exchange agree bit by bit.
EDGEOSR_DEVICE TopClass merge(const TopClass& a, const TopClass& b, const LossTerms& terms) {
  const bool first = a.best > b.best || (a.best == b.best && a.label < b.label) || b.label == kNoClass;
  const bool keep_a = first && a.label != kNoClass;
  const TopClass& winner = keep_a ? a : b;
  const TopClass& loser = keep_a ? b : a;
  float others = a.others + b.others;
  if (loser.label != kNoClass) others += softplus(scaled(terms, loser.best));
  return {winner.best, winner.label, others};
}

EDGEOSR_DEVICE TopClass merge_lanes(TopClass top, const LossTerms& terms) {
#pragma unroll 1
  for (int lanes = 16; lanes > 0; lanes >>= 1) {
    const TopClass other = {shuffle_xor(top.best, lanes), shuffle_xor(top.label, lanes),
                            shuffle_xor(top.others, lanes)};
    top = merge(top, other, terms);
  }
  return top;
}

EDGEOSR_DEVICE float external_logit(const FusedScoreParams& p, int sample, int label) {
  const long long at = sample * p.logits_stride + label;
  if (p.logits_half) return float_from_half(load_u16(static_cast<const unsigned short*>(p.logits) + at));
  return load_f32(static_cast<const float*>(p.logits) + at);
}

// Each warp's top class of every sample; class c belongs to thread c % 512 whatever B is.
template <int kTile>
EDGEOSR_DEVICE void head(const FusedScoreParams& p, const Block& block, const PhaseB& part,
                         const float* partials, const LossTerms& terms) {
  const int stride = kTile * p.rows;
  const float* bias = reinterpret_cast<const float*>(p.scorer + p.split_bias_at) + p.hidden_rows;
  for (int sample = 0; sample < block.valid; ++sample) {
    if (warp_index() * 32 >= p.classes) break;
    const float* from = partials + sample * p.rows + p.hidden_rows;
    const float norm = shared_load_f32(part.norm + sample);
    TopClass top = {-float_from_bits(0x7f800000u), kNoClass, 0.0f};
    for (int label = thread_index(); label < p.classes; label += kThreads) {
      float logit;
      if (p.head == kHeadExternal)
        logit = external_logit(p, block.first + sample, label);
      else
        logit = sum_over_slabs(from + label, stride, p.slabs);
      if (p.head == kHeadCosine) logit /= norm;
      if (p.head == kHeadLinear) logit += load_f32(bias + label);
      // Whatever becomes of -infinity in a softplus, the loss shall not be finite.
      top = merge(top, {logit, label, finite(logit) ? 0.0f : float_from_bits(0x7fc00000u)}, terms);
    }
    top = merge_lanes(top, terms);
    if (lane_index() == 0) {
      const int at = sample * kWarps + warp_index();
      shared_store_f32(part.best + at, top.best);
      shared_store_u32(part.label + at, static_cast<unsigned>(top.label));
      shared_store_f32(part.others + at, top.others);
    }
  }
}

// One warp: the warps' top classes, the loss, the fused score, the threshold; 32 bytes out.
EDGEOSR_DEVICE void write_verdict(const FusedScoreParams& p, const PhaseB& part, int sample, int column,
                                  const LossTerms& terms, const ScorerConstants* constants) {
  const int lane = lane_index();
  TopClass top = {-float_from_bits(0x7f800000u), kNoClass, 0.0f};
  if (lane < kWarps && lane * 32 < p.classes) {
    const int at = column * kWarps + lane;
    top = {shared_load_f32(part.best + at), static_cast<int>(shared_load_u32(part.label + at)),
           shared_load_f32(part.others + at)};
  }
  top = merge_lanes(top, terms);
  if (lane != 0) return;
  const float norm = shared_load_f32(part.norm + column), jacobian = shared_load_f32(part.jacobian + column);
  const float known = p.layers > 0 ? shared_load_f32(part.logit + column) : 0.0f;
  const float loss = top.others + softplus(-scaled(terms, top.best));
  const float value[5] = {logarithm(not_below_floor(jacobian)), -known, loss, -top.best, -logarithm(norm)};
  float score = 0.0f;
#pragma unroll
  for (int i = 0; i < 5; ++i)
    score = multiply_add(load_f32(&constants->gain[i]), value[i] - load_f32(&constants->mean[i]), score);
  const bool sound = finite(jacobian) && finite(known) && finite(loss) && finite(top.best) && finite(norm);
  if (!sound) score = float_from_bits(0x7fc00000u);
  unsigned flags = kWritten;
  if (!sound) flags |= kNotFinite;
  if (sound && score <= load_f32(&constants->threshold)) flags |= kAccepted;
  const unsigned label = static_cast<unsigned>(top.label < p.classes ? top.label : 0);
  FusedVerdict* verdict = p.verdicts + sample;
  store_16(&verdict->label, {label, flags, bits_from_float(score), bits_from_float(jacobian)});
  store_16(&verdict->discriminator, {bits_from_float(known), bits_from_float(loss), bits_from_float(top.best),
                                     bits_from_float(norm)});
}

template <bool kMap, bool kMma>
EDGEOSR_DEVICE void finish_tile(const FusedScoreParams& p, const Block& block, const TileSums& sums,
                                const ScorerConstants* constants) {
  constexpr int kTile = kMma ? kTileMma : kTileFma;
  const PhaseB part = phase_b<kMma>(p);
  const float slope = load_f32(&constants->slope);
  const LossTerms terms = {load_f32(&constants->temperature), load_f32(&constants->cos_margin),
                           load_f32(&constants->sin_margin), p.head == kHeadCosine};
  const int warp = warp_index();
  if (warp < block.valid)
    finish_norms<kMap>(p, part, sums.stats + warp * p.stats, kTile * p.stats, warp,
                       constants);
  if (p.layers > 0) finish_first_layer<kMma>(p, part, sums.partials, block.valid, slope);
  block_sync();
  head<kTile>(p, block, part, sums.partials, terms);
  for (int layer = 1; layer < p.layers - 1; ++layer) {
    hidden_layer<kMma>(p, layer, layer & 1 ? part.even : part.odd, layer & 1 ? part.odd : part.even, part.sums,
                       slope);
    block_sync();
  }
  if (p.layers > 1 && warp < block.valid) {
    const float logit = last_layer<kMma>(p, p.layers & 1 ? part.odd : part.even, warp);
    if (lane_index() == 0) shared_store_f32(part.logit + warp, logit + load_f32(&constants->last_bias));
  }
  block_sync();
  if (warp < block.valid) write_verdict(p, part, block.first + warp, warp, terms, constants);
}

}  // namespace edgeosr
