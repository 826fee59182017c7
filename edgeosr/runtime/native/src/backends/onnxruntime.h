// The onnxruntime back end: model.onnx whole, on the CPU; its library is opened with dlopen.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace edgeosr {

/// Load a scoring graph. parts: of the bundle. Throws Failure: EDGEOSR_NO_BACKEND, EDGEOSR_BACKEND_FAILED.
std::unique_ptr<Backend> open_onnxruntime(Bytes const& model,
                                          std::size_t parts,
                                          BackendOptions const& options);

}  // namespace edgeosr
