// One run of an engine prepared for one size of batch and frame: an execution context with its buffers.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine_io.h"
#include "kernel.h"
#include "memory.h"
#include "want.h"

namespace edgeosr::trt {

/// What the lanes of an engine share.
struct Machinery {
    explicit Machinery(Cuda const& of) : cuda(of) {}

    Cuda const& cuda;
    Device device;
    CUcontext context = nullptr;
    nvinfer1::ICudaEngine* engine = nullptr;
    EngineIo io;
    Kernel* kernel = nullptr;
    std::size_t parts = 0, dimension = 0, classes = 0, probes = 0;  // of the scorer
    CUdeviceptr orders[2] = {0, 0};                                 // channel order RGB and BGR, int64 [3]
    // TensorRT's objects are not for several threads at once, but for contexts, each on its own thread: they
    // are made and let go one by one. All of them use profile 0, as TensorRT 10 and later allow.
    mutable std::mutex making;
};

class Slot {
  public:
    /// want: what was missing, where this throws for want of memory. Addresses that TensorRT takes are
    /// multiples of 256, as cuMemAlloc gives them; so are mapped pages.
    Slot(Machinery const& shared,
         CUdeviceptr activations,
         std::int64_t activation_bytes,
         Shape shape,
         Want& want);

    Shape const shape;
    /// All that it takes, but for what TensorRT takes for its context, which it does not say.
    Held const& held() const { return held_; }
    std::uint8_t* frames() const { return static_cast<std::uint8_t*>(host_frames_.data()); }
    /// Put the run into the stream: frames to the device, engine, kernel, verdicts to the host.
    void enqueue(CUstream stream, bool bgr);
    /// Of the run, once the stream is synchronised.
    kernels::Verdict const* verdicts() const {
        return static_cast<kernels::Verdict const*>(host_verdicts_.data());
    }
    /// After a launch that did not reach its end, its counters are not zero.
    void begin_anew() { counters_clear_ = false; }

  private:
    void prepare(CUdeviceptr activations, std::int64_t activation_bytes, Want& want);
    void allocate(Want& want);
    void point();
    std::size_t output_bytes(std::string const& name) const;
    void set_address(char const* name, CUdeviceptr address);
    kernels::ScoreInput measured() const;

    Machinery const& shared_;
    HostMemory host_frames_, host_verdicts_;
    DeviceMemory device_frames_, room_;  // room: verdicts, unless they lie in the host's memory; workspace
    std::vector<std::pair<std::string, DeviceMemory>> outputs_;
    struct LetGo {
        std::mutex* making;
        void operator()(nvinfer1::IExecutionContext* context) const {
            std::lock_guard<std::mutex> const lock(*making);
            delete context;
        }
    };
    std::unique_ptr<nvinfer1::IExecutionContext, LetGo> context_;
    Launch launch_;
    CUdeviceptr frames_ = 0, verdicts_ = 0;
    std::size_t verdict_bytes_ = 0, kept_bytes_ = 0, cleared_bytes_ = 0;  // kept: verdicts, on the device
    Held held_;
    bool counters_clear_ = false, bgr_ = false;
};

}  // namespace edgeosr::trt
