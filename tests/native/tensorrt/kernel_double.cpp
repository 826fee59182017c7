// The plug-in's kernel.cpp without a driver: each call is printed, and answered as main's words say:
// DEVICE BUILD CLUSTERS FAILING_CALL MISSING_CALL LAUNCHES. Its plans have clusters of 8 from sm_90 on.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "images.h"
#include "kernel.h"
#include "packing.h"

namespace {

int device_architecture, build_architecture, clusters;
char const* failing;
int allowed = 48 * 1024;

CUresult answer(char const* name) {
    std::printf("%s\n", name);
    return std::strcmp(name, failing) == 0 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
}

void print(unsigned blocks, unsigned threads, unsigned bytes, CUstream stream) {
    std::printf("  %u x %u, %u bytes%s, stream %p",
                blocks,
                threads,
                bytes,
                static_cast<int>(bytes) <= allowed ? "" : " NOT ALLOWED",
                static_cast<void*>(stream));
}

void print(CUlaunchConfig const& config) {
    print(config.gridDimX * config.gridDimY * config.gridDimZ,
          config.blockDimX * config.blockDimY * config.blockDimZ,
          config.sharedMemBytes,
          config.hStream);
    for (unsigned i = 0; i < config.numAttrs; ++i) {
        auto const& size = config.attrs[i].value.clusterDim;
        std::printf(", attribute %d: %u %u %u", static_cast<int>(config.attrs[i].id), size.x, size.y, size.z);
    }
    std::printf("\n");
}

CUresult launch(CUfunction,
                unsigned x,
                unsigned y,
                unsigned z,
                unsigned threads,
                unsigned,
                unsigned,
                unsigned bytes,
                CUstream stream,
                void** arguments,
                void**) {
    CUresult const code = answer("cuLaunchKernel");
    print(x * y * z, threads, bytes, stream);
    std::printf("\n  batch %d\n", static_cast<edgeosr_kernels::FusedScoreParams*>(arguments[0])->batch);
    return code;
}

CUresult launch_in_clusters(CUlaunchConfig const* config, CUfunction, void** arguments, void**) {
    CUresult const code = answer("cuLaunchKernelEx");
    print(*config);
    std::printf("  batch %d\n", static_cast<edgeosr_kernels::FusedScoreParams*>(arguments[0])->batch);
    return code;
}

CUresult clusters_at_once(int* found, CUfunction, CUlaunchConfig const* config) {
    CUresult const code = answer("cuOccupancyMaxActiveClusters");
    print(*config);
    *found = code == CUDA_SUCCESS ? clusters : 0;
    return code;
}

edgeosr::trt::Cuda table(char const* missing) {
    edgeosr::trt::Cuda made;
    made.load = [](CUmodule*, void const*) { return CUDA_SUCCESS; };
    made.unload = [](CUmodule) { return CUDA_SUCCESS; };
    made.function = [](CUfunction* found, CUmodule, char const*) {
        *found = reinterpret_cast<CUfunction>(0x10);
        return CUDA_SUCCESS;
    };
    made.set_attribute = [](CUfunction, CUfunction_attribute, int value) {
        allowed = value;
        return CUDA_SUCCESS;
    };
    made.allocate = [](CUdeviceptr* found, std::size_t) {
        *found = 0x1000;
        return CUDA_SUCCESS;
    };
    made.free = [](CUdeviceptr) { return CUDA_SUCCESS; };
    made.copy_in = [](CUdeviceptr, void const*, std::size_t, CUstream) { return CUDA_SUCCESS; };
    made.synchronize = [](CUstream) { return CUDA_SUCCESS; };
    made.launch = launch;
    if (std::strcmp(missing, "cuLaunchKernelEx") != 0) made.launch_in_clusters = launch_in_clusters;
    if (std::strcmp(missing, "cuOccupancyMaxActiveClusters") != 0) made.clusters_at_once = clusters_at_once;
    return made;
}

}  // namespace

namespace edgeosr::trt {

std::string described(Cuda const&, CudaError const& error) {
    return error.call;
}
Image image_for(Device const&) {
    return {Bytes(1), "a build", build_architecture};
}
std::vector<std::uint8_t> packed_scorer(edgeosr::Scorer const&, bool) {
    return std::vector<std::uint8_t>(528);
}

}  // namespace edgeosr::trt

namespace edgeosr_kernels {

std::size_t read_packed_scorer(void const*, std::size_t, PackedScorer*) {
    return 512;
}
#include "../../kernels/plan_double.h"

}  // namespace edgeosr_kernels

int main(int, char** words) {
    device_architecture = std::atoi(words[1]);
    build_architecture = std::atoi(words[2]);
    clusters = std::atoi(words[3]);
    failing = words[4];
    edgeosr::trt::Cuda const cuda = table(words[5]);
    edgeosr::trt::Device device;
    device.major = device_architecture / 10;
    device.minor = device_architecture % 10;
    edgeosr::trt::Kernel kernel(cuda, device, edgeosr::Scorer{});
    edgeosr_kernels::ScoreInput input;
    input.batch = 3;
    edgeosr::trt::Launch made = kernel.planned(input);
    for (int n = std::atoi(words[6]); n > 0; --n)
        try {
            kernel.launch(made, reinterpret_cast<CUstream>(0x5EED));
        } catch (edgeosr::trt::CudaError const& error) {
            std::printf("%s failed: %d\n", error.call, static_cast<int>(error.code));
        }
}
