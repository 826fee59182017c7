// What OpenVINO is to run of a bundle: its body, with the scorer for what that gives, or model.onnx in
// float32.
#pragma once

#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "scoring/scorer.h"

namespace edgeosr {

/// What the network says, and in which precision it is computed.
struct Plan {
    std::string model;  // an ONNX file from `pixels`
    bool body = false;  // else it gives label, score and values
    bool bf16 = false;
    std::vector<char const*> outputs;
};

Plan plan_of_body(Bundle const& bundle, BodyRecord const& record);

/// model.onnx from `pixels` on: what makes a verdict of its last tensor stays in it, as in Python. Throws
/// EDGEOSR_BACKEND_FAILED if it cannot be cut there.
Plan plan_of_model(Bundle const& bundle);

/// The scorer for what the body gives. The file's own is of an engine, which may have another fusion and
/// gain. Throws EDGEOSR_BAD_BUNDLE if it takes something else.
Scorer scorer_for(Bundle const& bundle, BodyRecord const& record);

}  // namespace edgeosr
