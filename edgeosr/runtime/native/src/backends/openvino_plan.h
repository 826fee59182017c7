// What OpenVINO is to run of a bundle: its body, with the scorer for what that gives, or model.onnx in
// float32.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/bundle.h"
#include "scoring/scorer.h"

namespace edgeosr {

/// What is run of a bundle, and in which precision it is computed.
struct Plan {
    bool body = false;  // body.onnx; else model.onnx from `pixels` on, which gives label, score and values
    BodyPrecision precision = BodyPrecision::kF32;
    std::vector<char const*> outputs;
    std::string directory;
    FileRecord file;
    Preprocessing input;
    std::size_t parts = 0;
};

/// with_body: the bundle has one. What makes a verdict of the last tensor of model.onnx stays in it, as in
/// Python.
Plan plan_of(Bundle const& bundle, bool with_body);

/// Return the network from `pixels`, an ONNX file; `data`: of the plan's file, to which it may refer; `room`:
/// for one that is cut. Throws EDGEOSR_BACKEND_FAILED if it cannot be cut there.
std::string_view network_of(Plan const& plan, std::string_view data, std::string& room);

/// The scorer for what the body gives. The file's own is of an engine, which may have another fusion and
/// gain. Throws EDGEOSR_BAD_BUNDLE if it takes something else.
Scorer scorer_for(Bundle const& bundle, BodyRecord const& record);

}  // namespace edgeosr
