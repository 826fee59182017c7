// The OpenVINO back end: the network on an x86 processor, between a front end and, with a body, a scoring of
// our own; its library is opened with dlopen.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace edgeosr {

/// Open it with the bundle's body, if it has one that this processor is for; else with model.onnx in float32,
/// from `pixels` on.
///
/// body_only: throw EDGEOSR_NO_BACKEND instead of taking model.onnx.
/// why: is set to what to say of the choice.
/// Throws Failure: EDGEOSR_NO_BACKEND, EDGEOSR_BACKEND_FAILED, EDGEOSR_BAD_BUNDLE.
std::unique_ptr<Backend> open_openvino(Bundle const& bundle,
                                       BackendOptions const& options,
                                       bool body_only,
                                       std::string& why);

}  // namespace edgeosr
