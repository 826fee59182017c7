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

// Phase B's shared memory: results of the tile's samples, then the hidden buffers.
enum Result : int { kNorm = 0, kJacobian = 8, kLogit = 16, kBest = 24, kLabel = 152, kOthers = 280 };
EDGEOSR_DEVICE float* result(Result which, int at) {  // [8]; best, label, others [8, 16]: a warp's top class
  return reinterpret_cast<float*>(shared_memory()) + which + at;
}
EDGEOSR_DEVICE unsigned char* hidden_values(const FusedScoreParams& p, int layer) {
  return shared_memory() + (layer & 1 ? p.odd_at : static_cast<int>(kEvenAt));
}

// |z| and J of one sample, one warp.
template <bool kMap>
EDGEOSR_DEVICE void finish_norms(const FusedScoreParams& p, const float* stats,
                                 int stride, int sample) {
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
    square = warp_sum(square) * load_f32(&constants_of(p)->probe_scale);
  }
  if (lane_index() == 0) {
    float jacobian = 1.0f;
    if (kMap || p.probes > 0) jacobian = square_root(square < 0.0f ? 0.0f : square) / norm;
    if (!finite(square)) jacobian = float_from_bits(0x7fc00000u);
    shared_store_f32(result(kNorm, sample), finite(squared) ? norm : float_from_bits(0x7fc00000u));
    shared_store_f32(result(kJacobian, sample), jacobian);
  }
}

// Layer 1's sums, bias and LeakyReLU -> hidden values; with a single layer its one output is the logit.
template <bool kMma>
EDGEOSR_DEVICE void finish_first_layer(const FusedScoreParams& p, const float* partials,
                                       int valid) {
  constexpr int kTile = kMma ? kTileMma : kTileFma;
  const float* bias = reinterpret_cast<const float*>(p.scorer + p.split_bias_at);
  const int stride = kTile * p.rows;
  const float slope = load_f32(&constants_of(p)->slope);
  if (p.layers == 1) {
    if (thread_index() < valid)
      shared_store_f32(result(kLogit, thread_index()),
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
      store_hidden<kMma>(hidden_values(p, 0), pitch, sample, row, value);
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

EDGEOSR_DEVICE LossTerms loss_terms(const FusedScoreParams& p) {
  const ScorerConstants* constants = constants_of(p);
  return {load_f32(&constants->temperature), load_f32(&constants->cos_margin),
          load_f32(&constants->sin_margin), p.head == kHeadCosine};
}

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
  const int loser = keep_a ? b.label : a.label;
  float others = a.others + b.others;
  if (loser != kNoClass) others += softplus(scaled(terms, keep_a ? b.best : a.best));
  return {keep_a ? a.best : b.best, keep_a ? a.label : b.label, others};
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
EDGEOSR_DEVICE void head(const FusedScoreParams& p, const Block& block,
                         const float* partials) {
  const LossTerms terms = loss_terms(p);
  const int stride = kTile * p.rows;
  const float* bias = reinterpret_cast<const float*>(p.scorer + p.split_bias_at) + p.hidden_rows;
  for (int sample = 0; sample < block.valid; ++sample) {
    if (warp_index() * 32 >= p.classes) break;
    const float* from = partials + sample * p.rows + p.hidden_rows;
    const float norm = shared_load_f32(result(kNorm, sample));
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
      shared_store_f32(result(kBest, at), top.best);
      shared_store_u32(result(kLabel, at), static_cast<unsigned>(top.label));
      shared_store_f32(result(kOthers, at), top.others);
    }
  }
}

// One warp: the warps' top classes, the loss, the fused score, the threshold; 32 bytes out.
EDGEOSR_DEVICE void write_verdict(const FusedScoreParams& p, int sample, int column) {
  const LossTerms terms = loss_terms(p);
  const int lane = lane_index();
  TopClass top = {-float_from_bits(0x7f800000u), kNoClass, 0.0f};
  if (lane < kWarps && lane * 32 < p.classes) {
    const int at = column * kWarps + lane;
    top = {shared_load_f32(result(kBest, at)), static_cast<int>(shared_load_u32(result(kLabel, at))),
           shared_load_f32(result(kOthers, at))};
  }
  top = merge_lanes(top, terms);
  if (lane != 0) return;
  const float norm = shared_load_f32(result(kNorm, column)), jacobian = shared_load_f32(result(kJacobian, column));
  const float known = p.layers > 0 ? shared_load_f32(result(kLogit, column)) : 0.0f;
  const float loss = top.others + softplus(-scaled(terms, top.best));
  const float value[5] = {logarithm(not_below_floor(jacobian)), -known, loss, -top.best, -logarithm(norm)};
  float score = 0.0f;
#pragma unroll
  for (int i = 0; i < 5; ++i)
    score = multiply_add(load_f32(&constants_of(p)->gain[i]), value[i] - load_f32(&constants_of(p)->mean[i]), score);
  const bool sound = finite(jacobian) && finite(known) && finite(loss) && finite(top.best) && finite(norm);
  if (!sound) score = float_from_bits(0x7fc00000u);
  unsigned flags = kWritten;
  if (!sound) flags |= kNotFinite;
  if (sound && score <= load_f32(&constants_of(p)->threshold)) flags |= kAccepted;
  const unsigned label = static_cast<unsigned>(top.label < p.classes ? top.label : 0);
  FusedVerdict* verdict = p.verdicts + sample;
  store_16(&verdict->label, {label, flags, bits_from_float(score), bits_from_float(jacobian)});
  store_16(&verdict->discriminator, {bits_from_float(known), bits_from_float(loss), bits_from_float(top.best),
                                     bits_from_float(norm)});
}

template <bool kMap, bool kMma>
EDGEOSR_DEVICE void finish_tile(const FusedScoreParams& p, const Block& block, const float* stats,
                                const float* partials) {
  constexpr int kTile = kMma ? kTileMma : kTileFma;
  const int warp = warp_index();
  if (warp < block.valid) finish_norms<kMap>(p, stats + warp * p.stats, kTile * p.stats, warp);
  if (p.layers > 0) finish_first_layer<kMma>(p, partials, block.valid);
  block_sync();
  head<kTile>(p, block, partials);
  for (int layer = 1; layer < p.layers - 1; ++layer) {
    hidden_layer<kMma>(p, layer, hidden_values(p, layer - 1), hidden_values(p, layer),
                       reinterpret_cast<float*>(shared_memory() + p.sums_at));
    block_sync();
  }
  if (p.layers > 1 && warp < block.valid) {
    const float logit = last_layer<kMma>(p, hidden_values(p, p.layers - 2), warp);
    if (lane_index() == 0) shared_store_f32(result(kLogit, warp), logit + load_f32(&constants_of(p)->last_bias));
  }
  block_sync();
  if (warp < block.valid) write_verdict(p, block.first + warp, warp);
}

}  // namespace edgeosr
