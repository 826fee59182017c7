#include "driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <fstream>
#include <mutex>

#include "base/failure.h"

namespace edgeosr::trt {
namespace {

constexpr char kLibrary[] = "libcuda.so.1";
constexpr char kInstead[] = "; run this on the device, or take the back end onnxruntime";

Cuda table() {
    void* const handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr)
        fail(EDGEOSR_NO_BACKEND,
             "there is no NVIDIA driver here (",
             kLibrary,
             " cannot be loaded); install it, in a container start it with --runtime nvidia or --gpus all",
             kInstead);
    Cuda made;
#define EDGEOSR_TEXT_OF(name) #name
#define EDGEOSR_TEXT(name) EDGEOSR_TEXT_OF(name)
#define EDGEOSR_FIND(member, name) \
    made.member = reinterpret_cast<decltype(made.member)>(dlsym(handle, EDGEOSR_TEXT(name)));
#define EDGEOSR_REQUIRE(member, name)                     \
    EDGEOSR_FIND(member, name)                            \
    if (made.member == nullptr)                           \
        fail(EDGEOSR_NO_BACKEND,                          \
             kLibrary,                                    \
             " is no NVIDIA driver: it has no function ", \
             EDGEOSR_TEXT(name),                          \
             kInstead);
    EDGEOSR_CUDA_FUNCTIONS(EDGEOSR_REQUIRE)
    EDGEOSR_CUDA_CLUSTER_FUNCTIONS(EDGEOSR_FIND)
#undef EDGEOSR_REQUIRE
#undef EDGEOSR_FIND
#undef EDGEOSR_TEXT
#undef EDGEOSR_TEXT_OF
    return made;
}

/// Of a GPU that shares the system's memory: what Linux has left.
std::uint64_t system_memory(std::uint64_t most) {
    std::ifstream lines("/proc/meminfo");
    for (std::string line; std::getline(lines, line);)
        if (line.compare(0, 13, "MemAvailable:") == 0)
            return std::min<std::uint64_t>(most, std::strtoull(line.c_str() + 13, nullptr, 10) << 10);
    return most;
}

}  // namespace

bool is_fatal(CUresult code) {
    // After these the context works on. Any other, one not known yet too, counts as lost: CUDA repeats an
    // error that it cannot recover from at every later call, and a verdict after it would be worth nothing.
    for (CUresult each : {CUDA_ERROR_OUT_OF_MEMORY,
                          CUDA_ERROR_INVALID_VALUE,
                          CUDA_ERROR_NOT_SUPPORTED,
                          CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                          CUDA_ERROR_NOT_PERMITTED})
        if (code == each) return false;
    // What a capture of the application forbids; it ends the capture alone.
    return code < CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED || code > CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
}

std::string described(Cuda const& cuda, CudaError const& error) {
    char const* name = nullptr;
    if (cuda.error_name(error.code, &name) != CUDA_SUCCESS || name == nullptr) name = "an unknown error";
    return joined(error.call, ": ", name);
}

std::string Device::architecture() const {
    return joined("sm_", major, minor);
}

Cuda const& driver() {
    // Never freed: threads of the application may still judge while the process ends.
    static auto& mutex = *new std::mutex;
    static Cuda const* found = nullptr;
    std::lock_guard<std::mutex> const lock(mutex);
    if (found == nullptr) found = new Cuda(table());
    CUresult const code = found->init(0);
    if (code != CUDA_SUCCESS)
        fail(EDGEOSR_NO_BACKEND,
             "the NVIDIA driver finds no GPU it can use (",
             described(*found, {code, "cuInit"}),
             "); check nvidia-smi (Jetson: tegrastats) and CUDA_VISIBLE_DEVICES",
             kInstead);
    return *found;
}

Device find_device(Cuda const& cuda) {
    Device made;
    int count = 0, version = 0;
    require(cuda.count(&count), "cuDeviceGetCount");
    if (count < 1) fail(EDGEOSR_NO_BACKEND, "the NVIDIA driver lists no GPU", kInstead);
    require(cuda.version(&version), "cuDriverGetVersion");
    made.driver_major = version / 1000;
    made.driver_minor = version % 1000 / 10;
    CUcontext current = nullptr;
    CUdevice device = 0;
    require(cuda.current(&current), "cuCtxGetCurrent");
    if (current != nullptr)
        require(cuda.current_device(&device), "cuCtxGetDevice");
    else
        require(cuda.device(&device, 0), "cuDeviceGet");
    made.ordinal = static_cast<int>(device);
    char name[256] = {};
    require(cuda.device_name(name, sizeof name - 1, device), "cuDeviceGetName");
    made.name = name;
    auto const attribute = [&](CUdevice_attribute which) {
        int value = 0;
        require(cuda.attribute(&value, which, device), "cuDeviceGetAttribute");
        return value;
    };
    made.major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    made.minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    made.integrated = attribute(CU_DEVICE_ATTRIBUTE_INTEGRATED) != 0;
    made.multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    std::size_t memory = 0;
    require(cuda.total_memory(&memory, device), "cuDeviceTotalMem");
    made.memory = made.integrated ? system_memory(memory) : memory;
    return made;
}

CUcontext context_of(Cuda const& cuda, Device const& device) {
    CUcontext found = nullptr;
    require(cuda.current(&found), "cuCtxGetCurrent");
    if (found == nullptr)
        require(cuda.retain(&found, static_cast<CUdevice>(device.ordinal)), "cuDevicePrimaryCtxRetain");
    return found;
}

}  // namespace edgeosr::trt
