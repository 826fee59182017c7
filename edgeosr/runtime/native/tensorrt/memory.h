// Memory of the device, and page-locked memory of the host; freed where it goes out of scope.
#pragma once

#include <cstdint>
#include <utility>

#include "driver.h"

namespace edgeosr::trt {

class DeviceMemory {
  public:
    DeviceMemory() = default;
    DeviceMemory(Cuda const& cuda, std::size_t bytes) : cuda_(&cuda) {
        require(cuda.allocate(&address_, bytes > 0 ? bytes : 1), "cuMemAlloc");
    }
    ~DeviceMemory() {
        if (address_ != 0) cuda_->free(address_);
    }
    DeviceMemory(DeviceMemory&& other) noexcept
        : cuda_(other.cuda_), address_(std::exchange(other.address_, 0)) {}
    DeviceMemory& operator=(DeviceMemory&& other) noexcept {
        std::swap(cuda_, other.cuda_);
        std::swap(address_, other.address_);
        return *this;
    }
    CUdeviceptr address() const { return address_; }
    void* pointer() const { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address_)); }

  private:
    Cuda const* cuda_ = nullptr;
    CUdeviceptr address_ = 0;
};

/// Page-locked; `mapped`: the device works in it, where it lies.
class HostMemory {
  public:
    HostMemory() = default;
    HostMemory(Cuda const& cuda, std::size_t bytes, bool mapped) : cuda_(&cuda) {
        require(cuda.allocate_host(&data_, bytes > 0 ? bytes : 1, mapped ? CU_MEMHOSTALLOC_DEVICEMAP : 0),
                "cuMemHostAlloc");
        if (!mapped) return;
        CUresult const found = cuda.device_pointer(&address_, data_, 0);
        if (found == CUDA_SUCCESS) return;
        cuda.free_host(data_);
        throw CudaError{found, "cuMemHostGetDevicePointer"};
    }
    ~HostMemory() {
        if (data_ != nullptr) cuda_->free_host(data_);
    }
    HostMemory(HostMemory&& other) noexcept
        : cuda_(other.cuda_),
          data_(std::exchange(other.data_, nullptr)),
          address_(std::exchange(other.address_, 0)) {}
    HostMemory& operator=(HostMemory&& other) noexcept {
        std::swap(cuda_, other.cuda_);
        std::swap(data_, other.data_);
        std::swap(address_, other.address_);
        return *this;
    }
    void* data() const { return data_; }
    CUdeviceptr address() const { return address_; }  // for the device; 0: not mapped

  private:
    Cuda const* cuda_ = nullptr;
    void* data_ = nullptr;
    CUdeviceptr address_ = 0;
};

}  // namespace edgeosr::trt
