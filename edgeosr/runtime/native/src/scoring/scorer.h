// The packed scorer, every constant between the network's last tensor and the verdict: scorer.npz, by the
// rules of edgeosr/scoring/scorer_file.py and scorer_checks.py.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"

namespace edgeosr {

enum class Activation {
    kIdentity,
    kRelu,
    kLeakyRelu,
    kPrelu,
    kClip,
    kElu,
    kHardSwish,
    kSilu,
    kGelu,
    kGeluTanh,
    kMish
};

/// By the codes of edgeosr/scoring/parts.
enum class Part {
    kLogJacobian,
    kDiscriminator,
    kMovrLoss,
    kMaxLogit,
    kLogNorm,
    kOvrLoss,
    kRawJacobian,
    kBank,
    kRelativeMahalanobis,
    kClassJacobian
};

using Floats = std::vector<float>;

struct Layer {
    Floats weight, bias;  // [outputs, inputs], [outputs]
    std::size_t outputs() const { return bias.size(); }
};

/// What one part brings of its own.
struct PartConstants {
    Floats rows, biases, numbers;  // [biases.size(), dimension]
};

struct Scorer {
    std::size_t dimension = 0, classes = 0;
    float threshold = 0;
    Floats class_thresholds;  // empty: one for all
    Head head = Head::kCosine;
    Floats head_weight, head_bias;  // empty for an external head
    float temperature = 1, margin = 0;
    std::vector<Part> parts;
    std::vector<std::string> part_names;
    Floats means, stds, weights;
    std::vector<PartConstants> constants;  // one a part, empty where it brings none

    bool closed_form = false;
    Activation activation = Activation::kIdentity;
    Floats activation_parameters, table;  // table: [dimension, taps]
    std::vector<std::array<std::int32_t, 2>> offsets;

    std::size_t probes = 0;  // K; 0: none
    std::int64_t probe_space = 0;
    float probe_gain = 1;

    std::vector<Layer> layers;  // of the discriminator
    float slope = 0.2f;
};

/// Tell whether the part at a place of the list can be computed from what the scorer holds.
bool carries(Scorer const& scorer, std::size_t place);

/// Tell whether its Jacobian norm counts masks: rounding then moves it by whole steps.
bool is_kinked(Scorer const& scorer);

/// Throw unless it is the scorer that the manifest speaks of.
void require_scorer_of(Scorer const& scorer, Manifest const& manifest);

/// Parse scorer.npz and check every field; hold it against the manifest too, unless that is null. path: of
/// the bundle, for messages. Throws Failure.
Scorer read_scorer(std::string_view data, Manifest const* manifest, std::string const& path = {});

}  // namespace edgeosr
