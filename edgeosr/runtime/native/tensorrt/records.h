// The engines that a bundle lists: which of them can run here, and its bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "backends/tensorrt_abi.h"
#include "base/file.h"
#include "driver.h"
#include "nvinfer.h"

namespace edgeosr::trt {

/// One that TensorRT has built (edgeosr/bundle/engines.py).
struct EngineRecord {
    std::string file, sha256, version, device, backbone, created;
    std::vector<std::string> targets;  // architectures, such as sm_87
    std::uint64_t bytes = 0;
    std::int32_t height_px = 0, width_px = 0;  // of the frames it takes
};

/// Return the newest engine that can run here (edgeosr/runtime/engines/preflight.py and open_engine.py).
/// Throws Failure: EDGEOSR_NO_BACKEND with the reason of each.
EngineRecord usable_engine(edgeosr_tensorrt_bundle const& bundle, Device const& device);

/// Return an engine's bytes, whose size and hash are those of the manifest. Throws Failure:
/// EDGEOSR_BAD_BUNDLE, EDGEOSR_CANNOT_READ.
Bytes engine_bytes(edgeosr_tensorrt_bundle const& bundle, EngineRecord const& record);

}  // namespace edgeosr::trt
