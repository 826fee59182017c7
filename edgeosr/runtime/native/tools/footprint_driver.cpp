// Memory and time of opening a network and judging a frame, by a back end alone or through libedgeosr: a
// program for `python -m edgeosr.bench.native_opening`, no part of the library.
//
//   footprint onnxruntime LIBRARY MODEL HxW              model.onnx with the session options of the library
//   footprint openvino LIBRARY NETWORK HxW PRECISION     a network from `pixels` on, f32 or bf16
//   footprint edgeosr LIBRARY BUNDLE HxW BACKEND LIBRARY
//
// Prints `version NAME NUMBER`, as the library that was loaded says it, which may be another file than is
// meant (LD_LIBRARY_PATH). Then a line a stage (load: the shared libraries; open: until frames can be judged;
// judge: one frame; trim: free heap given back; of libedgeosr then verify: the golden frames; and swap: to
// the same bundle, whose golden frames are judged, and one frame): its name, resident and anonymous memory
// and the peak in KiB, CPU and wall time in ms.
#include <dlfcn.h>
#include <sys/resource.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "../include/edgeosr.h"
#include "../src/backends/onnxruntime_abi.h"
#include "../src/backends/openvino_abi.h"

namespace {

namespace ort = edgeosr::ort;
namespace ov = edgeosr::ov;

[[noreturn]] void stop(char const* what, char const* why) {
    std::fprintf(stderr, "footprint: %s: %s\n", what, why);
    std::exit(1);
}

long kib(char const* file, char const* key) {
    std::ifstream lines(file);
    std::string line;
    while (std::getline(lines, line))
        if (line.compare(0, std::strlen(key), key) == 0) return std::atol(line.c_str() + std::strlen(key));
    stop(file, key);
}

double cpu_ms() {
    rusage used;
    getrusage(RUSAGE_SELF, &used);
    auto const ms = [](timeval const& time) {
        return 1e3 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_usec);
    };
    return ms(used.ru_utime) + ms(used.ru_stime);
}

double wall_ms() {
    using Ms = std::chrono::duration<double, std::milli>;
    return Ms(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Times a stage from the one before, and tells what the process holds at its end.
class Stages {
  public:
    void end(char const* name) {
        double const cpu = cpu_ms() - cpu_, wall = wall_ms() - wall_;
        std::printf("%s %ld %ld %ld %.3f %.3f\n",
                    name,
                    kib("/proc/self/smaps_rollup", "Rss:"),
                    kib("/proc/self/smaps_rollup", "Anonymous:"),
                    kib("/proc/self/status", "VmHWM:"),
                    cpu,
                    wall);
        std::fflush(stdout);
        cpu_ = cpu_ms();
        wall_ = wall_ms();
    }

  private:
    double cpu_ = cpu_ms(), wall_ = wall_ms();
};

void tell_version(char const* name, char const* number) {
    std::printf("version %s %.*s\n", name, static_cast<int>(std::strcspn(number, "-")), number);
}

/// What the back end alone would hold if the application gave free heap back, as the library does.
void trim(Stages& stages) {
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
    stages.end("trim");
}

void* opened(char const* path) {
    void* const handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) stop(path, dlerror());
    return handle;
}

template <class Function>
void find(void* handle, char const* name, Function* place) {
    void* const found = dlsym(handle, name);
    if (found == nullptr) stop(name, "is not in the library");
    *place = reinterpret_cast<Function>(found);
}

struct Frame {
    int height = 0, width = 0;
    std::vector<std::uint8_t> pixels;

    explicit Frame(char const* text) {
        if (std::sscanf(text, "%dx%d", &height, &width) != 2 || height < 1 || width < 1)
            stop(text, "is no size HxW");
        pixels.resize(3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width));
        for (std::size_t i = 0; i < pixels.size(); ++i)
            pixels[i] = static_cast<std::uint8_t>(i * 2654435761u >> 24);
    }
};

void run_onnxruntime(char const* library, char const* model, Frame& frame) {
    Stages stages;
    ort::ApiBase const* (*base)() = nullptr;
    find(opened(library), "OrtGetApiBase", &base);
    tell_version("onnxruntime", base()->version());
    ort::Api const api(base()->api(ort::kApiVersion));
    auto const require = [&](ort::Status* status) {
        if (status != nullptr) stop(model, api.message(status));
    };
    stages.end("load");
    ort::Env* env = nullptr;
    require(api.create_env(ort::kLogFatal, "footprint", &env));
    ort::Owned<ort::SessionOptions> options(api);
    require(api.create_session_options(options.out()));
    require(api.set_threads(options.get(), 1));
    require(api.set_graph_threads(options.get(), 1));
    require(api.set_log_level(options.get(), ort::kLogFatal));
    require(api.set_optimization(options.get(), ort::kOptimizeAll));
    require(api.add_config(options.get(), "optimization.disable_specified_optimizers", "ConstantFolding"));
    auto& session = *new ort::Owned<ort::Session>(api);  // until the process ends
    require(api.create_session_from_file(env, model, options.get(), session.out()));
    ort::Owned<ort::MemoryInfo> memory(api);
    require(api.create_cpu_memory(ort::kArenaAllocator, ort::kMemoryDefault, memory.out()));
    ort::Owned<ort::Value> given(api), order(api), label(api), score(api), values(api);
    std::int64_t channels[3] = {0, 1, 2}, three = 3;
    std::int64_t const shape[4] = {1, frame.height, frame.width, 3};
    require(api.create_tensor(
        memory.get(), channels, sizeof channels, &three, 1, ort::kElementInt64, order.out()));
    require(api.create_tensor(
        memory.get(), frame.pixels.data(), frame.pixels.size(), shape, 4, ort::kElementUint8, given.out()));
    stages.end("open");
    char const* const inputs[2] = {"frames", "channel_order"};
    char const* const outputs[3] = {"label", "score", "values"};
    ort::Value const* const all[2] = {given.get(), order.get()};
    ort::Value* made[3] = {};
    require(api.run(session.get(), nullptr, inputs, all, 2, outputs, 3, made));
    for (auto* each : made)
        api.release(each);
    stages.end("judge");
    trim(stages);
}

void run_openvino(char const* library, char const* network, Frame const& size, char const* precision) {
    Stages stages;
    ov::Api api{};
    void* const handle = opened(library);
    ov::for_each_function(api, [&](char const* name, auto* place) { find(handle, name, place); });
    auto const require = [&](int status) {
        if (status != ov::kOk) stop(network, api.last_error());
    };
    ov::Version version{};
    require(api.version(&version));
    tell_version("openvino", version.number);
    api.free_version(&version);
    stages.end("load");
    ov::Core* core = nullptr;
    require(api.create_core(&core));
    ov::Model* model = nullptr;
    {
        std::ifstream file(network, std::ios::binary | std::ios::ate);
        if (!file) stop(network, "cannot be read");
        std::string bytes(static_cast<std::size_t>(file.tellg()), '\0');
        file.seekg(0);
        file.read(&bytes[0], static_cast<std::streamsize>(bytes.size()));
        require(api.read_model(core, bytes.data(), bytes.size(), nullptr, &model));
    }
    std::int64_t const shape[4] = {1, 3, size.height, size.width};
    ov::PartialShape fixed{};
    require(api.create_shape(4, shape, &fixed));
    require(api.reshape_input(model, fixed));
    ov::Compiled* compiled = nullptr;
    require(api.compile(core,
                        model,
                        "CPU",
                        10,
                        &compiled,
                        "INFERENCE_PRECISION_HINT",
                        precision,
                        "NUM_STREAMS",
                        "1",
                        "PERFORMANCE_HINT",
                        "LATENCY",
                        "ENABLE_CPU_PINNING",
                        "NO",
                        "INFERENCE_NUM_THREADS",
                        "1"));  // clang-format skip
    api.free_model(model);
    ov::Request* request = nullptr;
    require(api.create_request(compiled, &request));
    stages.end("open");
    require(api.infer(request));
    stages.end("judge");
    trim(stages);
}

void run_edgeosr(char const* library,
                 char const* bundle,
                 Frame const& frame,
                 char const* backend,
                 char const* backend_library) {
    Stages stages;
    void* const handle = opened(library);
    decltype(&edgeosr_open) open = nullptr;
    decltype(&edgeosr_judge) judge = nullptr;
    decltype(&edgeosr_last_error) last_error = nullptr;
    decltype(&edgeosr_verify) verify = nullptr;
    decltype(&edgeosr_swap) swap = nullptr;
    decltype(&edgeosr_version) version = nullptr;
    find(handle, "edgeosr_open", &open);
    find(handle, "edgeosr_judge", &judge);
    find(handle, "edgeosr_last_error", &last_error);
    find(handle, "edgeosr_verify", &verify);
    find(handle, "edgeosr_swap", &swap);
    find(handle, "edgeosr_version", &version);
    tell_version("edgeosr", version());
    opened(backend_library);
    stages.end("load");
    edgeosr_options options{};
    options.struct_bytes = sizeof options;
    options.backend = backend;
    options.backend_library = backend_library;
    edgeosr_runtime* runtime = nullptr;
    if (open(bundle, &options, &runtime) != EDGEOSR_OK) stop(bundle, last_error());
    stages.end("open");
    edgeosr_frame const given = {
        sizeof given, EDGEOSR_RGB8, frame.height, frame.width, {frame.pixels.data(), nullptr}, {0, 0}};
    edgeosr_verdict verdict;
    if (judge(runtime, &given, 1, &verdict, sizeof verdict) != EDGEOSR_OK) stop(bundle, last_error());
    stages.end("judge");
    trim(stages);
    if (verify(runtime, nullptr) != EDGEOSR_OK) stop(bundle, last_error());
    stages.end("verify");
    if (swap(runtime, bundle) != EDGEOSR_OK) stop(bundle, last_error());
    if (judge(runtime, &given, 1, &verdict, sizeof verdict) != EDGEOSR_OK) stop(bundle, last_error());
    stages.end("swap");
}

}  // namespace

int main(int count, char** words) {
    if (count < 5) stop("words", "see the head of this file");
    std::string const how = words[1];
    Frame frame(words[4]);
    if (how == "onnxruntime")
        run_onnxruntime(words[2], words[3], frame);
    else if (how == "openvino" && count > 5)
        run_openvino(words[2], words[3], frame, words[5]);
    else if (how == "edgeosr" && count > 6)
        run_edgeosr(words[2], words[3], frame, words[5], words[6]);
    else
        stop(words[1], "see the head of this file");
    // What is open is left to the end of the process, as by an application that is stopped.
    std::fflush(stdout);
    std::_Exit(0);
}
