// TensorRT's library, libnvinfer: opened with dlopen, of the major version that this was compiled against.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <mutex>
#include <string>

namespace edgeosr::trt {

static_assert(NV_TENSORRT_MAJOR > 10 || (NV_TENSORRT_MAJOR == 10 && NV_TENSORRT_MINOR >= 3),
              "the headers of TensorRT must be of 10.3 or later");
static_assert(NV_TENSORRT_MAJOR < 12, "TensorRT 12 was not tried: its calls may be others");

struct Library {
    std::string path;
    int major = 0, minor = 0, patch = 0, build = 0;
    void* (*create)(void* logger, std::int32_t version) noexcept = nullptr;  // createInferRuntime_INTERNAL

    std::string version() const;
    /// Say whether a version as a bundle has it, 10.3.0 or 10.13.3.9, is this one's.
    bool is(std::string const& version) const;
};

/// Keeps TensorRT's first error since forget(), for the message of what it makes fail.
class Logger final : public nvinfer1::ILogger {
  public:
    void log(Severity severity, nvinfer1::AsciiChar const* text) noexcept override;
    /// How many this thread has said, forgotten ones too.
    static std::uint64_t errors();
    void forget();
    /// Return it and forget it; "it says not why" without one.
    std::string taken();

  private:
    std::mutex mutex_;
    std::string first_;
};

/// The only one of the process, never freed: TensorRT keeps the first that it is given for whatever it makes
/// later, and calls it after the engine that it came with is closed.
Logger& logger();

/// Return the library; `named`: a path, or "": EDGEOSR_TENSORRT, then the usual names. Call it only where the
/// driver has a GPU: TensorRT may end the process otherwise. Throws Failure: EDGEOSR_NO_BACKEND.
Library const& library(std::string const& named);

/// The headers' version, such as "TensorRT 10.3.0".
char const* made_for();

}  // namespace edgeosr::trt
