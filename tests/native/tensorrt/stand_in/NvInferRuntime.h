// The part of TensorRT's interface that the plug-in uses, written for the tests: names and numbers are
// NVIDIA's, the order in memory is not. With it the plug-in and the double of its library are compiled where
// NVIDIA's headers are not; "make native-tensorrt" takes those.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "NvInferVersion.h"

namespace nvinfer1 {

using AsciiChar = char;

struct Dims {
    std::int32_t nbDims;
    std::int64_t d[8];
};

enum class DataType : std::int32_t {
    kFLOAT = 0,
    kHALF = 1,
    kINT8 = 2,
    kINT32 = 3,
    kBOOL = 4,
    kUINT8 = 5,
    kINT64 = 8
};
enum class TensorIOMode : std::int32_t { kNONE = 0, kINPUT = 1, kOUTPUT = 2 };
enum class TensorLocation : std::int32_t { kDEVICE = 0, kHOST = 1 };
enum class TensorFormat : std::int32_t { kLINEAR = 0, kCHW2 = 1 };
enum class OptProfileSelector : std::int32_t { kMIN = 0, kOPT = 1, kMAX = 2 };
enum class ExecutionContextAllocationStrategy : std::int32_t {
    kSTATIC = 0,
    kON_PROFILE_CHANGE = 1,
    kUSER_MANAGED = 2
};

class ILogger {
  public:
    enum class Severity : std::int32_t {
        kINTERNAL_ERROR = 0,
        kERROR = 1,
        kWARNING = 2,
        kINFO = 3,
        kVERBOSE = 4
    };
    virtual void log(Severity severity, AsciiChar const* msg) noexcept = 0;
    virtual ~ILogger() = default;
};

class ICudaEngine;
class IExecutionContext;

namespace apiv {
class VRoot {
  public:
    virtual ~VRoot() noexcept = default;
};
class VRuntime : public VRoot {
  public:
    virtual ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept = 0;
};
class VCudaEngine : public VRoot {
  public:
    virtual std::int32_t getNbIOTensors() const noexcept = 0;
    virtual char const* getIOTensorName(std::int32_t index) const noexcept = 0;
    virtual DataType getTensorDataType(char const* name) const noexcept = 0;
    virtual TensorIOMode getTensorIOMode(char const* name) const noexcept = 0;
    virtual TensorLocation getTensorLocation(char const* name) const noexcept = 0;
    virtual TensorFormat getTensorFormat(char const* name) const noexcept = 0;
    virtual Dims getProfileShape(char const* name,
                                 std::int32_t index,
                                 OptProfileSelector select) const noexcept = 0;
    virtual std::int64_t getDeviceMemorySizeV2() const noexcept = 0;
    virtual IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy) noexcept = 0;
};
class VExecutionContext : public VRoot {
  public:
    virtual void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept = 0;
    virtual bool setInputShape(char const* name, Dims const& dims) noexcept = 0;
    virtual Dims getTensorShape(char const* name) const noexcept = 0;
    virtual bool setTensorAddress(char const* name, void* data) noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};
}  // namespace apiv

class INoCopy {
  public:
    INoCopy() = default;
    virtual ~INoCopy() = default;
    INoCopy(INoCopy const&) = delete;
    INoCopy& operator=(INoCopy const&) = delete;
};

class IRuntime : public INoCopy {
  public:
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept {
        return mImpl->deserializeCudaEngine(blob, size);
    }

  protected:
    apiv::VRuntime* mImpl;
};

class ICudaEngine : public INoCopy {
  public:
    std::int32_t getNbIOTensors() const noexcept { return mImpl->getNbIOTensors(); }
    char const* getIOTensorName(std::int32_t index) const noexcept { return mImpl->getIOTensorName(index); }
    DataType getTensorDataType(char const* name) const noexcept { return mImpl->getTensorDataType(name); }
    TensorIOMode getTensorIOMode(char const* name) const noexcept { return mImpl->getTensorIOMode(name); }
    TensorLocation getTensorLocation(char const* name) const noexcept {
        return mImpl->getTensorLocation(name);
    }
    TensorFormat getTensorFormat(char const* name) const noexcept { return mImpl->getTensorFormat(name); }
    Dims getProfileShape(char const* name, std::int32_t index, OptProfileSelector select) const noexcept {
        return mImpl->getProfileShape(name, index, select);
    }
    std::int64_t getDeviceMemorySizeV2() const noexcept { return mImpl->getDeviceMemorySizeV2(); }
    IExecutionContext* createExecutionContext(
        ExecutionContextAllocationStrategy strategy = ExecutionContextAllocationStrategy::kSTATIC) noexcept {
        return mImpl->createExecutionContext(strategy);
    }

  protected:
    apiv::VCudaEngine* mImpl;
};

class IExecutionContext : public INoCopy {
  public:
    void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept {
        mImpl->setDeviceMemoryV2(memory, size);
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept {
        return mImpl->setInputShape(name, dims);
    }
    Dims getTensorShape(char const* name) const noexcept { return mImpl->getTensorShape(name); }
    bool setTensorAddress(char const* name, void* data) noexcept {
        return mImpl->setTensorAddress(name, data);
    }
    bool enqueueV3(cudaStream_t stream) noexcept { return mImpl->enqueueV3(stream); }

  protected:
    apiv::VExecutionContext* mImpl;
};

}  // namespace nvinfer1

extern "C" {
void* createInferRuntime_INTERNAL(void* logger, std::int32_t version) noexcept;
std::int32_t getInferLibVersion() noexcept;
std::int32_t getInferLibBuildVersion() noexcept;
}
