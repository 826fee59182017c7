// Resident blocks of one multiprocessor by NVIDIA's cuda_occupancy.h, a plain C++ header that needs no
// driver.
//   occupancy MAJOR MINOR THREADS_PER_SM SHARED_PER_SM SHARED_PER_BLOCK THREADS REGISTERS SHARED
#include <cuda_occupancy.h>

#include <cstdio>
#include <cstdlib>

int main(int count, char** words) {
    if (count != 9) return 2;
    int value[9];
    for (int i = 1; i < 9; ++i)
        value[i] = std::atoi(words[i]);
    cudaOccDeviceProp device{};
    device.computeMajor = value[1];
    device.computeMinor = value[2];
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = value[3];
    device.regsPerBlock = 65536;
    device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 49152;
    device.sharedMemPerMultiprocessor = static_cast<size_t>(value[4]);
    device.numSms = 1;
    device.sharedMemPerBlockOptin = static_cast<size_t>(value[5]);
    device.reservedSharedMemPerBlock = value[1] >= 8 ? 1024 : 0;
    cudaOccFuncAttributes function{};
    function.maxThreadsPerBlock = value[6];
    function.numRegs = value[7];
    function.partitionedGCConfig = PARTITIONED_GC_OFF;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.maxDynamicSharedSizeBytes = static_cast<size_t>(value[5]);
    function.numBlockBarriers = 1;
    cudaOccDeviceState state{};
    cudaOccResult result;
    cudaOccError const error = cudaOccMaxActiveBlocksPerMultiprocessor(
        &result, &device, &function, &state, value[6], static_cast<size_t>(value[8]));
    if (error) return 3;
    std::printf("%d\n", result.activeBlocksPerMultiprocessor);
}
