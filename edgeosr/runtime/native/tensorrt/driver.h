// The CUDA driver, opened with dlopen, and the GPU of this process.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <string>

namespace edgeosr::trt {

// Our name and the driver's: what is looked for is what cuda.h makes of it, such as cuMemAlloc_v2.
#define EDGEOSR_CUDA_FUNCTIONS(FUNCTION)                \
    FUNCTION(init, cuInit)                              \
    FUNCTION(version, cuDriverGetVersion)               \
    FUNCTION(count, cuDeviceGetCount)                   \
    FUNCTION(device, cuDeviceGet)                       \
    FUNCTION(device_name, cuDeviceGetName)              \
    FUNCTION(attribute, cuDeviceGetAttribute)           \
    FUNCTION(total_memory, cuDeviceTotalMem)            \
    FUNCTION(retain, cuDevicePrimaryCtxRetain)          \
    FUNCTION(current, cuCtxGetCurrent)                  \
    FUNCTION(current_device, cuCtxGetDevice)            \
    FUNCTION(push, cuCtxPushCurrent)                    \
    FUNCTION(pop, cuCtxPopCurrent)                      \
    FUNCTION(load, cuModuleLoadData)                    \
    FUNCTION(unload, cuModuleUnload)                    \
    FUNCTION(function, cuModuleGetFunction)             \
    FUNCTION(set_attribute, cuFuncSetAttribute)         \
    FUNCTION(memory_left, cuMemGetInfo)                 \
    FUNCTION(allocate, cuMemAlloc)                      \
    FUNCTION(free, cuMemFree)                           \
    FUNCTION(allocate_host, cuMemHostAlloc)             \
    FUNCTION(free_host, cuMemFreeHost)                  \
    FUNCTION(device_pointer, cuMemHostGetDevicePointer) \
    FUNCTION(copy_in, cuMemcpyHtoDAsync)                \
    FUNCTION(copy_out, cuMemcpyDtoHAsync)               \
    FUNCTION(clear, cuMemsetD32Async)                   \
    FUNCTION(make_stream, cuStreamCreate)               \
    FUNCTION(destroy_stream, cuStreamDestroy)           \
    FUNCTION(synchronize, cuStreamSynchronize)          \
    FUNCTION(launch, cuLaunchKernel)                    \
    FUNCTION(error_name, cuGetErrorName)

// From CUDA 11.8 on.
#define EDGEOSR_CUDA_CLUSTER_FUNCTIONS(FUNCTION)   \
    FUNCTION(launch_in_clusters, cuLaunchKernelEx) \
    FUNCTION(clusters_at_once, cuOccupancyMaxActiveClusters)

/// The driver's functions; every one is there but those for clusters, which an old driver lacks: then null.
struct Cuda {
#define EDGEOSR_MEMBER(name, function) decltype(&::function) name = nullptr;
    EDGEOSR_CUDA_FUNCTIONS(EDGEOSR_MEMBER)
    EDGEOSR_CUDA_CLUSTER_FUNCTIONS(EDGEOSR_MEMBER)
#undef EDGEOSR_MEMBER
};

/// A driver's call that failed. Not a Failure: what it means depends on the call that it ends.
struct CudaError {
    CUresult code;
    char const* call;
};

inline void require(CUresult code, char const* call) {
    if (code != CUDA_SUCCESS) throw CudaError{code, call};
}

/// Say whether the GPU is of no more use to this process (edgeosr/runtime/backends/device_failure.py).
bool is_fatal(CUresult code);

/// "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY".
std::string described(Cuda const& cuda, CudaError const& error);

struct Device {
    int ordinal = 0;
    std::string name;
    int major = 0, minor = 0;                // compute capability, 8 and 7 of an Orin
    bool integrated = false;                 // it shares the host's memory
    int driver_major = 0, driver_minor = 0;  // the newest CUDA that the driver supports
    int multiprocessors = 0;
    std::uint64_t memory = 0;  // bytes that a plan may hope for

    std::string architecture() const;  // sm_87
};

/// Return the driver, started. Throws Failure: EDGEOSR_NO_BACKEND where there is none, or no GPU.
Cuda const& driver();

/// Return the GPU of the calling thread's context, else number 0. Throws CudaError.
Device find_device(Cuda const& cuda);

/// Return the calling thread's context if there is one, else the primary one of the device, which is kept for
/// good: whatever TensorRT makes lives in it. Throws CudaError.
CUcontext context_of(Cuda const& cuda, Device const& device);

/// Makes a context current on this thread; at the end the one before it is again. Throws CudaError.
class Within {
  public:
    Within(Cuda const& cuda, CUcontext context) : cuda_(cuda) {
        require(cuda.push(context), "cuCtxPushCurrent");
    }
    ~Within() {
        CUcontext popped;
        cuda_.pop(&popped);  // a lost one cannot be popped; the error that lost it is told
    }
    Within(Within const&) = delete;
    Within& operator=(Within const&) = delete;

  private:
    Cuda const& cuda_;
};

}  // namespace edgeosr::trt
