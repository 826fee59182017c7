// A double of libnvinfer behind TensorRT's own classes: each call goes to what double_set was given, of
// Python (doubles.py) or of C++ (engine_double.cpp). What the plug-in must not call ends the process, by
// nvinfer_stubs.inc, which is made of the headers' classes.
#include <NvInferRuntime.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "nvinfer_calls.h"

namespace {

[[noreturn]] void unexpected(char const* name) {
    std::fprintf(stderr, "the plug-in called %s, which it does not say it uses\n", name);
    std::abort();
}

}  // namespace

#include "nvinfer_stubs.inc"

extern "C" {

static Calls calls;

void double_set(Calls const* to) {
    calls = *to;
}

}  // extern "C"

namespace {

using namespace nvinfer1;

std::atomic<ILogger*> logger{nullptr};

void log_error() {
    char text[1000] = {};
    calls.said(text);
    if (text[0] != '\0') logger.load()->log(ILogger::Severity::kERROR, text);
    logger.load()->log(ILogger::Severity::kINFO, "of no interest");
}

Dims dims_of(std::int32_t rank, std::int64_t const* sizes) {
    Dims made{};
    made.nbDims = rank;
    for (std::int32_t i = 0; i < rank; ++i)
        made.d[i] = sizes[i];
    return made;
}

class Context final : public IExecutionContext, StubExecutionContext {
  public:
    explicit Context(std::int64_t number) : number_(number) { mImpl = this; }
    ~Context() noexcept override { calls.gone("context", number_); }
    void setDeviceMemoryV2(void* memory, std::int64_t size) noexcept override {
        calls.set_memory(number_, memory, size);
    }
    bool setInputShape(char const* name, Dims const& dims) noexcept override {
        std::int64_t sizes[8] = {};
        for (std::int32_t i = 0; i < dims.nbDims; ++i)
            sizes[i] = dims.d[i];
        return checked(calls.set_shape(number_, name, dims.nbDims, sizes));
    }
    Dims getTensorShape(char const* name) const noexcept override {
        std::int64_t sizes[8] = {};
        std::int32_t const rank = calls.shape(number_, name, sizes);
        return dims_of(rank, sizes);
    }
    bool setTensorAddress(char const* name, void* data) noexcept override {
        return checked(calls.set_address(number_, name, data));
    }
    bool enqueueV3(cudaStream_t stream) noexcept override { return checked(calls.enqueue(number_, stream)); }

  private:
    static bool checked(std::int32_t good) {
        if (good == 0) log_error();
        return good != 0;
    }
    std::int64_t number_;
};

class Engine final : public ICudaEngine, StubCudaEngine {
  public:
    explicit Engine(std::int64_t number) : number_(number) {
        mImpl = this;
        for (std::int32_t i = 0; i < calls.count(number); ++i) {
            char text[1000] = {};
            calls.name(number, i, text);
            names_.push_back(text);
        }
    }
    ~Engine() noexcept override { calls.gone("engine", number_); }
    std::int32_t getNbIOTensors() const noexcept override { return static_cast<std::int32_t>(names_.size()); }
    char const* getIOTensorName(std::int32_t index) const noexcept override {
        return names_[static_cast<std::size_t>(index)].c_str();
    }
    DataType getTensorDataType(char const* name) const noexcept override {
        return static_cast<DataType>(calls.fact(number_, name, "dtype"));
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return static_cast<TensorIOMode>(calls.fact(number_, name, "mode"));
    }
    TensorLocation getTensorLocation(char const* name) const noexcept override {
        return static_cast<TensorLocation>(calls.fact(number_, name, "location"));
    }
    TensorFormat getTensorFormat(char const* name) const noexcept override {
        return static_cast<TensorFormat>(calls.fact(number_, name, "format"));
    }
    Dims getProfileShape(char const* name,
                         std::int32_t index,
                         OptProfileSelector select) const noexcept override {
        std::int64_t sizes[8] = {};
        std::int32_t const rank =
            calls.profile(number_, name, index, static_cast<std::int32_t>(select), sizes);
        return dims_of(rank, sizes);
    }
    std::int64_t getDeviceMemorySizeV2() const noexcept override { return calls.memory(number_); }
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override {
        std::int64_t const number = calls.made(number_, static_cast<std::int32_t>(strategy));
        if (number == 0) log_error();
        return number != 0 ? new Context(number) : nullptr;
    }

  private:
    std::int64_t number_;
    std::vector<std::string> names_;
};

class Runtime final : public IRuntime, StubRuntime {
  public:
    Runtime() { mImpl = this; }
    ~Runtime() noexcept override { calls.gone("runtime", 0); }
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
        std::int64_t const number = calls.load(blob, size);
        if (number == 0) log_error();
        return number != 0 ? new Engine(number) : nullptr;
    }
};

}  // namespace

extern "C" {

void* createInferRuntime_INTERNAL(void* given, std::int32_t version) noexcept {
    // The first one is TensorRT's for as long as anything of it lives.
    ILogger* none = nullptr;
    logger.compare_exchange_strong(none, static_cast<ILogger*>(given));
    if (logger != given) unexpected("createInferRuntime_INTERNAL with another logger than the first");
    std::int32_t const how = calls.started(version);
    if (how != 1) log_error();
    return how != 0 ? static_cast<IRuntime*>(new Runtime) : nullptr;
}

std::int32_t getInferLibVersion() noexcept {
    return calls.version;
}

std::int32_t getInferLibBuildVersion() noexcept {
    return calls.build;
}

}  // extern "C"
