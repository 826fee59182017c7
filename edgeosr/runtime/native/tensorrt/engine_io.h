// Inputs and outputs of a loaded engine, held against what the bundle says its backbone has
// (edgeosr/runtime/backends/engine_io.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/tensorrt_abi.h"
#include "nvinfer.h"

namespace edgeosr::trt {

constexpr char kFrames[] = "frames", kChannelOrder[] = "channel_order", kMap[] = "map",
               kEmbedding[] = "embedding", kTangents[] = "tangents", kLogits[] = "logits";

/// Frames of one run: [batch, height, width, 3].
struct Shape {
    std::int64_t batch = 0, height = 0, width = 0;

    bool operator==(Shape const& other) const {
        return batch == other.batch && height == other.height && width == other.width;
    }
    std::size_t bytes() const { return static_cast<std::size_t>(batch * height * width * 3); }
};

struct EngineIo {
    std::vector<std::string> outputs;
    bool half = false;  // of all outputs but the logits
    Shape least, most;  // of the profile

    /// Throw EDGEOSR_BAD_FRAME unless the profile has such frames. batch: the smallest that will come.
    void require_frames(std::int64_t height, std::int64_t width, std::int64_t batch) const;
    std::size_t element_bytes(std::string const& output) const { return half && output != kLogits ? 2 : 4; }
};

/// Look at an engine. Throws Failure: EDGEOSR_BACKEND_FAILED if a tensor is missing, unknown, or of another
/// type, place or format.
EngineIo engine_io(nvinfer1::ICudaEngine const& engine, edgeosr_tensorrt_bundle const& bundle);

}  // namespace edgeosr::trt
