// What one call at a time uses of an engine: a stream, activation memory, and for each size of batch and
// frame a slot: an execution context with its buffers. Nothing is allocated after the first run of a size, of
// the last kMostSlots.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "backends/tensorrt_abi.h"
#include "engine_io.h"
#include "kernel.h"
#include "memory.h"

namespace edgeosr::trt {

/// Addresses that TensorRT takes are multiples of 256, as cuMemAlloc gives them; so are mapped pages.
constexpr std::size_t kMostSlots = 8;

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

/// One run prepared for one shape.
class Slot {
  public:
    Slot(Machinery const& shared, CUdeviceptr activations, std::int64_t activation_bytes, Shape shape);

    Shape const shape;
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
    std::size_t verdict_bytes_ = 0, cleared_bytes_ = 0;
    bool counters_clear_ = false, bgr_ = false;
};

/// What a lane has of the call that it is taken for; the room for rows stays for the next one.
struct Call {
    std::int64_t height = 0, width = 0;
    std::size_t done = 0;  // rows that are there
    std::vector<std::int64_t> label;
    std::vector<float> score, values;
};

class Lane {
  public:
    /// The context must be current. Throws CudaError; Failure.
    explicit Lane(Machinery const& shared);
    ~Lane();
    Lane(Lane const&) = delete;
    Lane& operator=(Lane const&) = delete;

    /// Make room for the rows of a call, of `count` frames.
    void begin(std::size_t count, std::int64_t height, std::int64_t width);
    std::uint8_t* room(std::size_t count);
    void judge(bool bgr);
    /// Say whether a run of this shape allocates nothing; of a lane that nobody has taken.
    bool has(Shape const& shape) const;

    Call call;

  private:
    void settle();
    Slot& slot_for(Shape const& shape);
    void take_rows();

    Machinery const& shared_;
    CUstream stream_ = nullptr;
    std::int64_t activation_bytes_ = 0;
    DeviceMemory activations_;
    std::vector<std::unique_ptr<Slot>> slots_;  // the one that was used last comes last
    Slot* slot_ = nullptr;                      // of the run that is being made
    bool busy_ = false;                         // what the stream holds was not waited for
};

}  // namespace edgeosr::trt
