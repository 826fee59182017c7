#include "nvinfer.h"

#include <cstdlib>

#include "backends/find_library.h"

namespace edgeosr::trt {
namespace {

#define EDGEOSR_TEXT_OF(number) #number
#define EDGEOSR_TEXT(number) EDGEOSR_TEXT_OF(number)
constexpr char kUsual[] = "libnvinfer.so." EDGEOSR_TEXT(NV_TENSORRT_MAJOR);
constexpr char kInstall[] =
    "it comes with JetPack, or from NVIDIA's package source; name its file in EDGEOSR_TENSORRT or in "
    "backend_library of the options";
// Newer headers have functions that an older library has not.
constexpr int kHeaders = NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;

thread_local std::uint64_t said = 0;  // errors, by this thread

Library opened(void* handle, std::string const& path) {
    using Number = std::int32_t (*)() noexcept;
    Library made;
    made.path = path;
    made.create = reinterpret_cast<decltype(made.create)>(dlsym(handle, "createInferRuntime_INTERNAL"));
    auto const version = reinterpret_cast<Number>(dlsym(handle, "getInferLibVersion"));
    auto const build = reinterpret_cast<Number>(dlsym(handle, "getInferLibBuildVersion"));
    if (made.create == nullptr || version == nullptr)
        fail(EDGEOSR_NO_BACKEND,
             path,
             " is no TensorRT: it has no function ",
             made.create == nullptr ? "createInferRuntime_INTERNAL" : "getInferLibVersion",
             "; ",
             kInstall);
    int const number = version();
    made.major = number / 10000;
    made.minor = number / 100 % 100;
    made.patch = number % 100;
    made.build = build != nullptr ? build() : 0;
    if (made.major != NV_TENSORRT_MAJOR || number < kHeaders)
        fail(EDGEOSR_NO_BACKEND,
             path,
             " is TensorRT ",
             made.version(),
             ", and this plug-in was compiled against ",
             made_for(),
             "; build the plug-in against the headers of that TensorRT (docs/embed-c.md)");
    return made;
}

}  // namespace

std::string Library::version() const {
    std::string text = joined(major, ".", minor, ".", patch);
    if (build > 0) text += joined(".", build);
    return text;
}

bool Library::is(std::string const& version) const {
    int const own[] = {major, minor, patch, build};
    char const* at = version.c_str();
    for (int place = 0; place < 4; ++place) {
        char* end = nullptr;
        long const number = std::strtol(at, &end, 10);
        if (end == at || number != own[place]) return false;
        if (*end == '\0') return place >= 2;  // a build is not always said
        if (*end != '.') return false;
        at = end + 1;
    }
    return false;
}

void Logger::log(Severity severity, nvinfer1::AsciiChar const* text) noexcept {
    if (severity > Severity::kERROR || text == nullptr) return;
    ++said;
    try {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (first_.empty()) first_ = shown(text, 600);  // what follows is what came of it
    } catch (...) {
        // Without memory for the words the failure itself is told.
    }
}

std::uint64_t Logger::errors() {
    return said;
}

void Logger::forget() {
    std::lock_guard<std::mutex> const lock(mutex_);
    first_.clear();
}

std::string Logger::taken() {
    std::lock_guard<std::mutex> const lock(mutex_);
    std::string const said = first_.empty() ? "it says not why" : first_;
    first_.clear();
    return said;
}

Logger& logger() {
    static auto& kept = *new Logger;
    return kept;
}

Library const& library(std::string const& named) {
    static Sought const sought{"EDGEOSR_TENSORRT", {kUsual}, "TensorRT was not found", kInstall};
    return find_library<Library>(sought, named, opened);
}

char const* made_for() {
    return "TensorRT " EDGEOSR_TEXT(NV_TENSORRT_MAJOR) "." EDGEOSR_TEXT(NV_TENSORRT_MINOR) "." EDGEOSR_TEXT(
        NV_TENSORRT_PATCH);
}

}  // namespace edgeosr::trt
