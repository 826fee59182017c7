// An engine that is loaded, with the fused kernel, and its lanes.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lane.h"
#include "records.h"

namespace edgeosr::trt {

/// Calls that run at once; further ones wait. More would share one GPU, and each holds activations.
constexpr std::size_t kMostLanes = 4;
/// Calls that wait for a lane, after there was no memory for one more, before another is tried.
constexpr std::size_t kPatience = 100;

class Engine {
  public:
    /// Find the bundle's engine for this GPU and load it. Throws Failure; CudaError.
    Engine(Cuda const& cuda, edgeosr_tensorrt_bundle const& bundle);
    ~Engine();
    Engine(Engine const&) = delete;
    Engine& operator=(Engine const&) = delete;

    Cuda const& cuda() const { return shared_.cuda; }
    CUcontext context() const { return shared_.context; }
    std::size_t at_once() const { return static_cast<std::size_t>(shared_.io.most.batch); }
    EngineRecord const& record() const { return record_; }
    char const* described() const { return described_.c_str(); }

    /// Take a lane, whose context is then current on this thread, until give_back; one that has had this
    /// shape, if it is free.
    Lane* take(Shape const& first);
    void give_back(Lane* lane) noexcept;
    /// Return the lane's room for frames. If there is no memory for it, the lane is let go and another one is
    /// waited for, which goes on with the call; the last one's failure is told. lane: null if none was taken.
    std::uint8_t* room(Lane*& lane, std::size_t count);
    /// After an error that CUDA does not recover from, every later call is refused with these words.
    void lose(std::string const& words);

  private:
    void require_alive() const;
    std::unique_ptr<Lane> out_of_use(Lane const* lane);

    EngineRecord record_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<Kernel> kernel_;
    DeviceMemory orders_;
    Machinery shared_;
    std::string described_;
    std::mutex mutex_;  // of what follows, held for moments
    std::condition_variable changed_;
    std::vector<std::unique_ptr<Lane>> lanes_;  // all of them
    std::vector<Lane*> free_;
    std::size_t made_ = 0;      // lanes, or being made; kMostLanes at most
    std::size_t patience_ = 0;  // calls that are still to wait
    std::string lost_;          // why no call is taken any more
};

}  // namespace edgeosr::trt
