// OpenVINO's library: found, opened once a process and path, and asked what this processor is for.
#pragma once

#include <csignal>
#include <string>
#include <string_view>

#include "backends/openvino_abi.h"
#include "base/failure.h"
#include "bundle/manifest.h"

namespace edgeosr::ov {

/// Never closed: its threads may outlive our use of it.
struct Library {
    std::string path, version;
    Api api{};
    Core* core = nullptr;
};

/// Puts the calling thread's stack for signals back: OpenVINO leaves its own there, which is gone some day,
/// and a program's next signal with it (edgeosr/runtime/openvino_module.py).
class SameSignalStack {
  public:
    SameSignalStack() { sigaltstack(nullptr, &before_); }
    ~SameSignalStack() { sigaltstack(&before_, nullptr); }
    SameSignalStack(SameSignalStack const&) = delete;
    SameSignalStack& operator=(SameSignalStack const&) = delete;

  private:
    stack_t before_{};
};

/// Return the library; `named`: a path, or "" to search. Throws Failure: EDGEOSR_NO_BACKEND.
Library const& library(std::string const& named);

/// Throw EDGEOSR_BACKEND_FAILED (or EDGEOSR_NO_MEMORY) with the library's words unless `status` is kOk;
/// `what` and `file`: what it could not do. Allocates nothing where all is well.
void require(Library const& library, int status, char const* what, std::string_view file = {});

/// Why this processor is not for a body in bf16 or int8; "" if it is (edgeosr/runtime/openvino_module.py).
std::string why_not(Library const& library, BodyPrecision precision);

/// As the manifest writes it: f32, bf16 or int8.
char const* name_of(BodyPrecision precision);

}  // namespace edgeosr::ov
