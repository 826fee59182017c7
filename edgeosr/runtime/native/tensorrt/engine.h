// An engine that is loaded, with the fused kernel, and its lanes.
#pragma once

#include <memory>
#include <string>

#include "lanes.h"
#include "records.h"

namespace edgeosr::trt {

class Engine {
  public:
    /// Find the bundle's engine for this GPU and load it. Throws Failure; CudaError.
    Engine(Cuda const& cuda, edgeosr_tensorrt_bundle const& bundle);
    ~Engine();
    Engine(Engine const&) = delete;
    Engine& operator=(Engine const&) = delete;

    Cuda const& cuda() const { return shared_.cuda; }
    std::size_t at_once() const { return static_cast<std::size_t>(shared_.io.most.batch); }
    EngineRecord const& record() const { return record_; }
    char const* described() const { return described_.c_str(); }
    Lanes& lanes() { return *lanes_; }

  private:
    void end();

    EngineRecord record_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<Kernel> kernel_;
    DeviceMemory orders_;
    Machinery shared_;
    std::string described_;
    std::unique_ptr<Lanes> lanes_;
};

}  // namespace edgeosr::trt
