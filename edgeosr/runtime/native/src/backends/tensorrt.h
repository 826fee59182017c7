// The TensorRT back end: an engine of the bundle and the fused kernel, by a plug-in that is opened with
// dlopen (tensorrt_abi.h), for it alone is compiled against TensorRT's headers.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace edgeosr {

/// Tell whether `auto` tries it: the bundle has an engine and one threshold for all classes, as
/// edgeosr/runtime/backends/choose.py asks.
bool has_engine(Manifest const& manifest);

/// Open the newest engine of the bundle that can run here. Throws Failure: EDGEOSR_NO_BACKEND,
/// EDGEOSR_BACKEND_FAILED, EDGEOSR_BAD_BUNDLE, EDGEOSR_NO_MEMORY.
std::unique_ptr<Backend> open_tensorrt(Bundle const& bundle, BackendOptions const& options);

}  // namespace edgeosr
