// The launcher of kernels/src/launch.cu without a device: each call of CUDA is printed, and answered as
// main's words say: PTX_VERSION CLUSTERS FAILING_CALL DEVICES LAUNCHES NUMBERED. Its plans have clusters of 8
// from sm_90 on.
#include <cuda_runtime_api.h>
#include <edgeosr/fused_score.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "plan.h"

namespace {

int ptx_version, clusters, devices, launches;
std::size_t cleared;
char const* failing;
std::size_t allowed = 48 * 1024;
cudaError_t last = cudaSuccess;

cudaError_t answer(char const* name) {
    std::printf("%s\n", name);
    if (std::strcmp(name, failing) == 0) last = cudaErrorNotSupported;
    return std::strcmp(name, failing) == 0 ? last : cudaSuccess;
}

void print(cudaLaunchConfig_t const& config) {
    bool const fits = config.dynamicSmemBytes <= allowed;
    std::printf("  %u x %u, %zu bytes%s, stream %p",
                config.gridDim.x * config.gridDim.y * config.gridDim.z,
                config.blockDim.x * config.blockDim.y * config.blockDim.z,
                config.dynamicSmemBytes,
                fits ? "" : " NOT ALLOWED",
                static_cast<void*>(config.stream));
    for (unsigned i = 0; i < config.numAttrs; ++i) {
        cudaLaunchAttribute const& one = config.attrs[i];
        auto const& size = one.val.clusterDim;
        std::printf(", attribute %d: %u %u %u", static_cast<int>(one.id), size.x, size.y, size.z);
    }
    std::printf("\n");
}

}  // namespace

extern "C" {
cudaError_t cudaGetDevice(int* device) {
    *device = launches % devices;  // another one for each launch
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    cudaError_t const found = last;
    last = cudaSuccess;
    return found;
}
cudaError_t cudaFuncSetAttribute(void const*, cudaFuncAttribute, int value) {
    allowed = static_cast<std::size_t>(value);
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, void const*) {
    found->ptxVersion = ptx_version;
    found->binaryVersion = 90;  // of what runs, compiled by the driver or not
    return answer("cudaFuncGetAttributes");
}
cudaError_t cudaOccupancyMaxActiveClusters(int* found, void const*, cudaLaunchConfig_t const* config) {
    cudaError_t const code = answer("cudaOccupancyMaxActiveClusters");
    print(*config);
    *found = code == cudaSuccess ? clusters : 0;
    return code;
}
cudaError_t cudaMemsetAsync(void*, int, std::size_t bytes, cudaStream_t) {
    cleared += bytes;
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void*, void const*, std::size_t, cudaMemcpyKind, cudaStream_t) {
    return cudaSuccess;
}
cudaError_t cudaLaunchKernelExC(cudaLaunchConfig_t const* config, void const*, void** arguments) {
    cudaError_t const code = answer("cudaLaunchKernelExC");
    auto const& params = *static_cast<edgeosr::FusedScoreParams const*>(arguments[0]);
    print(*config);
    std::printf("  batch %d, verdicts at %p\n", params.batch, static_cast<void*>(params.verdicts));
    if (params.numbered) std::printf("  numbered\n");
    std::printf("  cleared: %zu bytes\n", cleared);
    cleared = 0;
    return code;
}
}

namespace edgeosr {

#include "plan_double.h"

}  // namespace edgeosr

int main(int, char** words) {
    ptx_version = std::atoi(words[1]);
    clusters = std::atoi(words[2]);
    failing = words[3];
    devices = std::atoi(words[4]);
    int const architecture = ptx_version == 0 ? 87 : 90;
    edgeosr::PackedScorer scorer{};
    scorer.closed_form = 1;
    edgeosr::ScoreInput input;
    input.batch = 3;
    input.architecture = architecture;
    input.numbered = std::atoi(words[6]);
    alignas(16) static unsigned char data[16], workspace[16];
    alignas(16) static edgeosr::Verdict verdicts[3];
    input.data = data;
    for (launches = 0; launches < std::atoi(words[5]); ++launches) {
        cudaError_t const code = edgeosr::launch_fused_score(
            scorer, data, input, workspace, verdicts, reinterpret_cast<cudaStream_t>(0x5EED));
        std::printf("launched: %d, left behind: %d\n", static_cast<int>(code), static_cast<int>(last));
    }
}
