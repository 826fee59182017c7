// From the network's last tensor to values and score, on the CPU: the arithmetic of
// edgeosr/scoring/reference.py.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "edgeosr.h"
#include "scoring/scorer.h"

namespace edgeosr {

/// What a network without the scoring gives of one frame, float32.
struct ScoreInput {
    float const* map =
        nullptr;                // y before the last activation, [dimension, height, width], for a closed form
    int height = 0, width = 0;  // of the map
    float const* embedding = nullptr;  // z, [dimension]; null: the mean over positions of act(map)
    float const* tangents = nullptr;   // [probes][dimension], for a scorer with probes
    std::size_t tangent_stride = 0;    // floats from one probe's to the next
    float const* logits = nullptr;     // [classes], for an external head
};

struct Scored {
    std::int64_t label = 0;
    float score = 0;  // NaN if something was not finite
    float values[EDGEOSR_MOST_PARTS] = {};
};

/// Room that a call needs; one for each call in flight. Nothing is allocated after the first call of a size.
struct ScoreScratch {
    Floats z, slopes, logits, products;
    Floats layers[2];
};

inline double softplus(double x) {
    return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

Scored score(Scorer const& scorer, ScoreInput const& input, ScoreScratch& scratch);

/// Fill act(y) and act'(y) of a channel's positions; `parameters`: of the activation, or one a channel.
void activate(Activation activation,
              Floats const& parameters,
              std::size_t channel,
              float const* y,
              std::size_t count,
              float* value,
              float* slope);

}  // namespace edgeosr
