#include "card_double.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <thread>
#include <vector>

namespace card {

void (*kernel)(edgeosr::kernels::FusedScoreParams const& params);

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;  // it orders nothing for those who call
constexpr char kEveryCall[] = "";
constexpr std::size_t kBefore = 256;  // a block, where its size is; as much as blocks are aligned to
constexpr long kPlenty = 1L << 40;

std::atomic<bool> integrated_memory{false};
std::atomic<char const*> failing{nullptr};
std::atomic<long> calls_left{0}, living{0}, streams_living{0}, used{0}, limit{kPlenty};
std::atomic<CUresult> code{CUDA_SUCCESS}, lost{CUDA_SUCCESS};

thread_local std::vector<CUcontext> contexts;
thread_local std::deque<std::function<void()>> default_stream;

struct Stream {
    std::deque<std::function<void()>> waiting;
};

struct Function {
    std::atomic<unsigned> shared_bytes{0};
};
struct Module {
    std::array<Function, 8> functions;
};

std::deque<std::function<void()>>& waiting(CUstream stream) {
    return stream == nullptr ? default_stream : reinterpret_cast<Stream*>(stream)->waiting;
}

void drain(CUstream stream) {
    for (auto& queue = waiting(stream); !queue.empty(); queue.pop_front())
        queue.front()();
}

CUresult refusal(char const* call) {
    if (CUresult const known = lost.load(kRelaxed); known != CUDA_SUCCESS) return known;
    char const* const planned = failing.load(kRelaxed);
    if (planned == nullptr || (planned != kEveryCall && std::strcmp(planned, call) != 0)) return CUDA_SUCCESS;
    if (calls_left.fetch_sub(1, kRelaxed) != 0) return CUDA_SUCCESS;
    failing.store(nullptr, kRelaxed);
    CUresult const made = code.load(kRelaxed);
    if (made != CUDA_ERROR_OUT_OF_MEMORY && made != CUDA_ERROR_INVALID_VALUE) lost.store(made, kRelaxed);
    return made;
}

std::size_t left() {
    long const more = limit.load(kRelaxed) - used.load(kRelaxed);
    return more > 0 ? static_cast<std::size_t>(more) : 0;
}

/// Of the size that was asked for, so that a byte beyond it is seen; fresh memory holds anything. The size
/// lies before it. Null: there is no room.
void* block(std::size_t bytes) {
    auto const size = static_cast<long>(bytes);
    if (used.fetch_add(size, kRelaxed) + size > limit.load(kRelaxed)) {
        used.fetch_sub(size, kRelaxed);
        return nullptr;
    }
    void* made = nullptr;
    if (posix_memalign(&made, kBefore, kBefore + bytes) != 0) std::abort();
    std::memcpy(made, &size, sizeof size);
    auto* const data = static_cast<unsigned char*>(made) + kBefore;
    std::memset(data, 0xff, bytes);
    living.fetch_add(1, kRelaxed);
    return data;
}

void give_back(void* data) {
    void* const made = static_cast<unsigned char*>(data) - kBefore;
    long size = 0;
    std::memcpy(&size, made, sizeof size);
    std::free(made);
    used.fetch_sub(size, kRelaxed);
    living.fetch_sub(1, kRelaxed);
}

void* at(CUdeviceptr address) {
    return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address));
}

}  // namespace

void be_integrated(bool integrated) {
    integrated_memory = integrated;
}

void put(CUstream stream, std::function<void()> work) {
    waiting(stream).push_back(std::move(work));
}

void fail_after(char const* call, long calls, CUresult with) {
    calls_left.store(calls, kRelaxed);
    code.store(with, kRelaxed);
    failing.store(call != nullptr ? call : kEveryCall, kRelaxed);
}

bool was_spared() {
    return failing.exchange(nullptr, kRelaxed) != nullptr;
}

void restart() {
    lost.store(CUDA_SUCCESS, kRelaxed);
    failing.store(nullptr, kRelaxed);
}

void allow(long more) {
    limit.store(more < 0 ? kPlenty : used.load(kRelaxed) + more, kRelaxed);
}

long streams() {
    return streams_living.load(kRelaxed);
}

long alive() {
    return living.load(kRelaxed);
}

std::size_t pushed() {
    return contexts.size();
}

}  // namespace card

// The driver's functions. What frees does so on a lost device too, as the end of the process would.
#define REFUSED(call) \
    if (CUresult const refused = card::refusal(call); refused != CUDA_SUCCESS) return refused
#define NEEDS_CONTEXT(call) \
    REFUSED(call);          \
    if (card::contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT

extern "C" {

CUresult cuInit(unsigned) {
    REFUSED("cuInit");
    return CUDA_SUCCESS;
}

CUresult cuDriverGetVersion(int* version) {
    REFUSED("cuDriverGetVersion");
    *version = 12060;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
    REFUSED("cuDeviceGetCount");
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    REFUSED("cuDeviceGet");
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int bytes, CUdevice) {
    REFUSED("cuDeviceGetName");
    std::strncpy(name, "Orin", static_cast<std::size_t>(bytes));
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
    REFUSED("cuDeviceGetAttribute");
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR   ? 8
             : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR ? 7
             : attribute == CU_DEVICE_ATTRIBUTE_INTEGRATED               ? card::integrated_memory.load()
                                                                         : 16;
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(std::size_t* bytes, CUdevice) {
    REFUSED("cuDeviceTotalMem");
    *bytes = std::size_t{8} << 30;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    REFUSED("cuDevicePrimaryCtxRetain");
    *context = reinterpret_cast<CUcontext>(&card::living);
    return CUDA_SUCCESS;
}

CUresult cuCtxGetCurrent(CUcontext* context) {
    REFUSED("cuCtxGetCurrent");
    *context = card::contexts.empty() ? nullptr : card::contexts.back();
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
    NEEDS_CONTEXT("cuCtxGetDevice");
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext context) {
    REFUSED("cuCtxPushCurrent");
    card::contexts.push_back(context);
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext* context) {
    // A lost one is let go all the same: the threads of this program see the device restarted.
    if (card::contexts.empty()) return CUDA_ERROR_INVALID_CONTEXT;
    *context = card::contexts.back();
    card::contexts.pop_back();
    REFUSED("cuCtxPopCurrent");
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadData(CUmodule* module, void const*) {
    NEEDS_CONTEXT("cuModuleLoadData");
    *module = reinterpret_cast<CUmodule>(new card::Module);
    card::living.fetch_add(1, card::kRelaxed);
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
    delete reinterpret_cast<card::Module*>(module);
    card::living.fetch_sub(1, card::kRelaxed);
    REFUSED("cuModuleUnload");
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, char const* name) {
    NEEDS_CONTEXT("cuModuleGetFunction");
    bool const tangents = std::strstr(name, "tangents") != nullptr, fma = std::strstr(name, "fma") != nullptr;
    bool const single = std::strstr(name, "f32") != nullptr;
    std::size_t const entry = (tangents ? 4 : 0) + (fma ? 2 : 0) + (single ? 1 : 0);
    *function = reinterpret_cast<CUfunction>(&reinterpret_cast<card::Module*>(module)->functions[entry]);
    return CUDA_SUCCESS;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute, int value) {
    NEEDS_CONTEXT("cuFuncSetAttribute");
    auto& own = *reinterpret_cast<card::Function*>(function);
    // Long enough for other lanes to come to it meanwhile.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    own.shared_bytes.store(static_cast<unsigned>(value), card::kRelaxed);
    return CUDA_SUCCESS;
}

CUresult cuMemGetInfo(std::size_t* left, std::size_t* all) {
    NEEDS_CONTEXT("cuMemGetInfo");
    *left = card::left();
    *all = *left;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr* address, std::size_t bytes) {
    NEEDS_CONTEXT("cuMemAlloc");
    void* const made = card::block(bytes);
    *address = reinterpret_cast<CUdeviceptr>(made);
    return made != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFree(CUdeviceptr address) {
    card::give_back(card::at(address));
    REFUSED("cuMemFree");
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** data, std::size_t bytes, unsigned) {
    NEEDS_CONTEXT("cuMemHostAlloc");
    *data = card::block(bytes);
    return *data != nullptr ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemFreeHost(void* data) {
    card::give_back(data);
    REFUSED("cuMemFreeHost");
    return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer(CUdeviceptr* address, void* data, unsigned) {
    NEEDS_CONTEXT("cuMemHostGetDevicePointer");
    *address = reinterpret_cast<CUdeviceptr>(data);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, void const* from, std::size_t bytes, CUstream stream) {
    NEEDS_CONTEXT("cuMemcpyHtoDAsync");
    if (stream == nullptr) {  // pageable memory is taken before the call returns
        std::memcpy(card::at(to), from, bytes);
        return CUDA_SUCCESS;
    }
    card::put(stream, [=] { std::memcpy(card::at(to), from, bytes); });
    return CUDA_SUCCESS;
}

CUresult cuMemcpyDtoHAsync(void* to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
    NEEDS_CONTEXT("cuMemcpyDtoHAsync");
    card::put(stream, [=] { std::memcpy(to, card::at(from), bytes); });
    return CUDA_SUCCESS;
}

CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, std::size_t count, CUstream stream) {
    NEEDS_CONTEXT("cuMemsetD32Async");
    if (value != 0) return CUDA_ERROR_INVALID_VALUE;
    card::put(stream, [=] { std::memset(card::at(to), 0, 4 * count); });
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    NEEDS_CONTEXT("cuStreamCreate");
    if (flags != CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    *stream = reinterpret_cast<CUstream>(new card::Stream);
    card::living.fetch_add(1, card::kRelaxed);
    card::streams_living.fetch_add(1, card::kRelaxed);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    // Of a lost device nothing runs any more.
    if (card::lost.load(card::kRelaxed) == CUDA_SUCCESS) card::drain(stream);
    delete reinterpret_cast<card::Stream*>(stream);
    card::living.fetch_sub(1, card::kRelaxed);
    card::streams_living.fetch_sub(1, card::kRelaxed);
    REFUSED("cuStreamDestroy");
    return CUDA_SUCCESS;
}

CUresult cuStreamSynchronize(CUstream stream) {
    NEEDS_CONTEXT("cuStreamSynchronize");
    card::drain(stream);
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function,
                        unsigned blocks,
                        unsigned,
                        unsigned,
                        unsigned threads,
                        unsigned,
                        unsigned,
                        unsigned shared_bytes,
                        CUstream stream,
                        void** arguments,
                        void**) {
    NEEDS_CONTEXT("cuLaunchKernel");
    auto const& own = *reinterpret_cast<card::Function*>(function);
    if (blocks == 0 || threads != edgeosr::kernels::kThreads ||
        shared_bytes > own.shared_bytes.load(card::kRelaxed))
        return CUDA_ERROR_INVALID_VALUE;
    auto const params = *static_cast<edgeosr::kernels::FusedScoreParams const*>(arguments[0]);
    card::put(stream, [params] { card::kernel(params); });
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult code, char const** name) {
    *name = code == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_DOUBLE";
    return CUDA_SUCCESS;
}

}  // extern "C"
