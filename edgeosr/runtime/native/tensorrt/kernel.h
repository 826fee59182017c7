// The fused kernel on a GPU: the build that suits it, the scorer's weights, and its launch through the driver
// (kernels/src/launch.cu does it through the CUDA runtime).
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "driver.h"
#include "kernel_names.h"
#include "scoring/scorer.h"

namespace edgeosr::trt {

/// A launch that is planned and has its addresses; for one stream.
struct Launch {
    CUfunction function = nullptr;
    kernels::HostPlan plan{};
};

class Kernel {
  public:
    /// The context must be current. Throws Failure: EDGEOSR_NO_BACKEND; CudaError.
    Kernel(Cuda const& cuda, Device const& device, Scorer const& scorer);
    ~Kernel();
    Kernel(Kernel const&) = delete;
    Kernel& operator=(Kernel const&) = delete;

    /// Plan a launch; pointers of `input` are not looked at. Throws Failure: EDGEOSR_BACKEND_FAILED;
    /// CudaError.
    Launch planned(kernels::ScoreInput input);
    void launch(Launch& made, CUstream stream) const;
    CUdeviceptr weights() const { return weights_; }
    std::string const& build() const { return build_; }

  private:
    void free();
    Launch planned_with(kernels::ScoreInput const& input, bool clusters);
    bool has_place(Launch const& made) const;

    Cuda const& cuda_;
    int architecture_, multiprocessors_;  // 87 and 8 of an Orin Nano
    bool clusters_ = true;                // of the build; a device may have none, too
    kernels::PackedScorer packed_{};
    std::string build_;
    CUmodule module_ = nullptr;
    CUdeviceptr weights_ = 0;
    std::mutex mutex_;                           // of what follows
    std::map<int, std::size_t> shared_allowed_;  // by entry: a function's attribute is all launches'
};

}  // namespace edgeosr::trt
