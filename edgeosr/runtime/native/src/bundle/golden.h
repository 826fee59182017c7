// golden.npz: frames with the verdicts that were given where the bundle was made (edgeosr/runtime/golden.py).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"

namespace edgeosr {

/// What a graph says of n frames.
struct Expected {
    std::vector<std::int64_t> label, second;  // the nearest class, and the one behind it,
    std::vector<float> gap;                   // how far behind
    std::vector<float> score;                 // the unknown score
    std::vector<float> values;                // [n, parts]
};

/// How far a graph in a lower precision is from the float32 one with its fusion, in the median of the frames.
struct Rounding {
    double score = 0, gap = 0;   // in standard deviations of known images, and of the logits
    std::vector<double> values;  // of each part, in the stds of the fusion
};

struct Golden {
    std::vector<std::uint8_t> frames;  // [n, height, width, 3], in the channel order of bgr
    std::size_t count = 0;
    Size stored;  // of the frames
    Size size;    // that they are judged at, pixels repeated
    std::vector<bool> bgr;
    Expected portable;
    Expected body;   // of body.onnx; empty in a bundle without one
    Expected typed;  // of backbone.onnx with scorer.npz, likewise: what an engine must say
    Rounding body_rounding, typed_rounding;
};

/// Parse and check every field, those for a typed backbone and a body too. portable: the manifest's threshold
/// of model.onnx, whatever graph runs. path: of the bundle, for messages. Throws Failure.
Golden read_golden(std::string_view data,
                   Manifest const& manifest,
                   Threshold const& portable,
                   std::string const& path = {});

/// Golden frames that are judged in one call. An engine has its memory already; a processor's beside the
/// frames that an application judges is the less, the fewer they are.
std::size_t frames_at_once(Size size, bool engine);

/// Fill uint8 [size, 3] with one stored frame, pixels repeated.
void enlarge(Golden const& golden, std::size_t frame, std::uint8_t* out);

}  // namespace edgeosr
