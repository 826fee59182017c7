#include "backends/onnxruntime.h"

#include <dlfcn.h>

#include <cstring>
#include <mutex>
#include <vector>

#include "backends/find_library.h"
#include "backends/onnxruntime_abi.h"
#include "backends/time_limit.h"
#include "base/failure.h"

namespace edgeosr {
namespace {

using ort::Api;
using ort::Owned;

constexpr std::size_t kMostContexts = 1024;

/// The library, opened once a process and path, and never closed: its threads may outlive our use of it.
struct Library {
    std::string path, version;
    Api api{nullptr};
    ort::Env* env = nullptr;
};

[[noreturn]] void failed(Api const& api, ort::Status* status, std::string const& what, char const* way_out) {
    std::string const said = api.message(status);
    api.release(status);
    bool const memory = said.find("bad_alloc") != std::string::npos ||
                        said.find("bad allocation") != std::string::npos ||
                        said.find("allocate memory") != std::string::npos;
    fail(memory ? EDGEOSR_NO_MEMORY : EDGEOSR_BACKEND_FAILED,
         what,
         ": ",
         shown(said, 600),
         memory ? kMoreMemory : way_out);
}

void require(Api const& api, ort::Status* status, char const* what) {
    if (status != nullptr)
        failed(api, status, joined("onnxruntime could not ", what), "; try another version of it");
}

Library opened(void* handle, std::string const& path) {
    using Base = ort::ApiBase const* (*)();
    auto const base = reinterpret_cast<Base>(dlsym(handle, "OrtGetApiBase"));
    if (base == nullptr)
        fail(EDGEOSR_NO_BACKEND,
             path,
             " is no onnxruntime: it has no function OrtGetApiBase; name libonnxruntime.so itself, or set "
             "backend to openvino or tensorrt, if it is theirs");
    Library made;
    made.path = path;
    made.version = base()->version();
    // By the version first: a library that is asked for what it does not have writes a line of its own.
    std::size_t const point = made.version.find('.');
    bool const old = made.version.substr(0, point) == "1" && point != std::string::npos &&
                     std::strtoul(made.version.c_str() + point + 1, nullptr, 10) < ort::kApiVersion;
    void const* const* table = old ? nullptr : base()->api(ort::kApiVersion);
    if (table == nullptr)
        fail(EDGEOSR_NO_BACKEND,
             path,
             " is onnxruntime ",
             made.version,
             ", which is too old: version 1.",
             ort::kApiVersion,
             " or later is needed; install a newer one, for example: pip install -U onnxruntime");
    made.api = Api(table);
    require(made.api, made.api.create_env(ort::kLogFatal, "edgeosr", &made.env), "start");
    return made;
}

/// Return the library; `named`: a path, or "" to search.
Library const& library(std::string const& named) {
    static Sought const sought{"EDGEOSR_ONNXRUNTIME",
                               {"libonnxruntime.so.1", "libonnxruntime.so"},
                               "no library that runs networks was found",
                               "install onnxruntime (its wheel holds onnxruntime/capi/libonnxruntime.so."
                               "VERSION), and name the file in EDGEOSR_ONNXRUNTIME or in backend_library of "
                               "the options; or set backend to openvino, if that is installed"};
    return find_library<Library>(sought, named, opened);
}

char const* const kInputs[2] = {"frames", "channel_order"};
char const* const kOutputs[3] = {"label", "score", "values"};

/// What one call at a time uses: room for packed frames and for the rows of a batch.
struct Context {
    explicit Context(Api const& api) : label_value(api), score_value(api), values_value(api), options(api) {}

    std::vector<std::uint8_t> packed;
    std::vector<std::int64_t> label;
    std::vector<float> score, values;
    std::size_t count = 0;  // of frames that the values are made for
    Owned<ort::Value> label_value, score_value, values_value;
    Owned<ort::RunOptions> options;
};

class OnnxRuntime final : public Backend {
  public:
    OnnxRuntime(Bytes const& model, std::size_t parts, BackendOptions const& options)
        : library_(edgeosr::library(options.library)),
          api_(library_.api),
          parts_(parts),
          memory_(api_),
          session_(api_),
          orders_{Owned<ort::Value>(api_), Owned<ort::Value>(api_)} {
        Owned<ort::SessionOptions> settings(api_);
        require(api_, api_.create_session_options(settings.out()), "make options");
        require(api_, api_.set_threads(settings.get(), options.threads), "set its threads");
        require(api_, api_.set_graph_threads(settings.get(), 1), "set its threads");
        // What fails is told once, by us.
        require(api_, api_.set_log_level(settings.get(), ort::kLogFatal), "set its log level");
        require(api_, api_.set_optimization(settings.get(), ort::kOptimizeAll), "set its optimization");
        // It runs nodes while a graph is loaded, where no time limit is looked at; a bundle has none for it.
        require(
            api_,
            api_.add_config(settings.get(), "optimization.disable_specified_optimizers", "ConstantFolding"),
            "leave out an optimizer");
        if (auto* status =
                api_.create_session(library_.env, model.data(), model.size(), settings.get(), session_.out()))
            failed(api_,
                   status,
                   joined("onnxruntime ", library_.version, " cannot load model.onnx"),
                   "; a newer one may: pip install -U onnxruntime, or name its file in EDGEOSR_ONNXRUNTIME");
        require(api_,
                api_.create_cpu_memory(ort::kArenaAllocator, ort::kMemoryDefault, memory_.out()),
                "describe memory");
        std::int64_t const three = 3;
        for (int bgr = 0; bgr < 2; ++bgr)
            require(api_,
                    api_.create_tensor(memory_.get(),
                                       order_numbers_[bgr],
                                       sizeof order_numbers_[bgr],
                                       &three,
                                       1,
                                       ort::kElementInt64,
                                       orders_[bgr].out()),
                    "make a tensor");
        free_.reserve(kMostContexts);
    }

    char const* name() const override { return "onnxruntime"; }
    std::string library() const override {
        return joined(library_.path, " (onnxruntime ", library_.version, ")");
    }

    void run(Frames const& frames, RowSink& sink, double limit_s) override {
        std::unique_ptr<Context> context = take_context();
        make_room(*context, frames.count());
        std::uint8_t const* pixels = frames.packed_already();
        if (frames.count() > SIZE_MAX / frames.packed_bytes())
            fail(EDGEOSR_NO_MEMORY,
                 "frames of one call must fit in memory; got ",
                 frames.count(),
                 ": judge fewer in one call");
        std::size_t const bytes = frames.packed_bytes() * frames.count();
        if (pixels == nullptr) {
            if (context->packed.size() < bytes) context->packed.resize(bytes);
            for (std::size_t i = 0; i < frames.count(); ++i)
                pack(frames.at(i), context->packed.data() + i * frames.packed_bytes());
            pixels = context->packed.data();
        }
        Owned<ort::Value> input(api_);
        Size const size{frames.height_px(), frames.width_px()};
        frames_tensor(pixels, bytes, frames.count(), size, input.out());
        run_session(*context, input.get(), frames, limit_s);
        sink.take({context->label.data(), context->score.data(), context->values.data(), frames.count()});
        give_back(std::move(context));
    }

    void let_go(Size size) override {
        {
            std::vector<std::unique_ptr<Context>> old;
            old.reserve(kMostContexts);
            std::lock_guard<std::mutex> const lock(mutex_);
            std::swap(old, free_);
        }
        // A session gives back what its nodes took only at the end of a run. This one is ended before its
        // first node, which is no failure; nor is a build of onnxruntime that pools no memory.
        std::vector<std::uint8_t> const pixels(3 * static_cast<std::size_t>(size.height_px) *
                                               static_cast<std::size_t>(size.width_px));
        Owned<ort::RunOptions> options(api_);
        require(api_, api_.create_run_options(options.out()), "make options");
        require(api_,
                api_.add_run_config(options.get(), "memory.enable_memory_arena_shrinkage", "cpu:0"),
                "set options");
        require(api_, api_.set_terminate(options.get()), "end a run");
        Owned<ort::Value> input(api_);
        frames_tensor(pixels.data(), pixels.size(), 1, size, input.out());
        ort::Value const* const given[2] = {input.get(), orders_[0].get()};
        ort::Value* made[3] = {};
        auto* status = api_.run(session_.get(), options.get(), kInputs, given, 2, kOutputs, 3, made);
        if (status != nullptr) api_.release(status);
        for (auto* each : made)
            if (each != nullptr) api_.release(each);
    }

  private:
    /// An input is only read, though the function takes it for anything.
    void frames_tensor(
        std::uint8_t const* pixels, std::size_t bytes, std::size_t count, Size size, ort::Value** out) const {
        std::int64_t const shape[4] = {static_cast<std::int64_t>(count), size.height_px, size.width_px, 3};
        require(
            api_,
            api_.create_tensor(
                memory_.get(), const_cast<std::uint8_t*>(pixels), bytes, shape, 4, ort::kElementUint8, out),
            "make a tensor");
    }

    void run_session(Context& context, ort::Value const* input, Frames const& frames, double limit_s) {
        ort::Value const* const given[2] = {input, orders_[frames.bgr() ? 1 : 0].get()};
        ort::Value* made[3] = {
            context.label_value.get(), context.score_value.get(), context.values_value.get()};
        // Made anew for each run that has a limit: what ended one run would end the next.
        if (limit_s > 0) require(api_, api_.create_run_options(context.options.out()), "make options");
        ort::RunOptions* const options = limit_s > 0 ? context.options.get() : nullptr;
        TimeLimit limit(limit_s * static_cast<double>(frames.count()), [this, options] {
            if (auto* status = api_.set_terminate(options)) api_.release(status);
        });
        auto* status = api_.run(session_.get(), options, kInputs, given, 2, kOutputs, 3, made);
        bool const late = limit.stop();
        if (late) {
            if (status != nullptr) api_.release(status);
            fail(EDGEOSR_BACKEND_FAILED,
                 "model.onnx did not judge a frame within ",
                 limit_s,
                 " s; it is too slow for this processor, or made to be; allow it more time (warmup_limit_s "
                 "of the options, "
                 "limit_s of edgeosr_warm_up)");
        }
        if (status != nullptr)
            failed(api_,
                   status,
                   joined("onnxruntime could not run model.onnx on ",
                          frames.count(),
                          " frames of ",
                          frames.height_px(),
                          "x",
                          frames.width_px()),
                   "; try one smaller frame, or another version of onnxruntime");
    }

    std::unique_ptr<Context> take_context() {
        {
            std::lock_guard<std::mutex> const lock(mutex_);
            if (!free_.empty()) {
                auto context = std::move(free_.back());
                free_.pop_back();
                return context;
            }
        }
        return std::make_unique<Context>(api_);
    }

    void give_back(std::unique_ptr<Context> context) {
        std::lock_guard<std::mutex> const lock(mutex_);
        if (free_.size() < kMostContexts) free_.push_back(std::move(context));
    }

    /// The graph declares its ranks and sizes; with tensors of these shapes onnxruntime is held to them.
    void make_room(Context& context, std::size_t count) {
        if (context.count == count) return;
        context.count = 0;
        context.label.resize(count);
        context.score.resize(count);
        context.values.resize(count * parts_);
        std::int64_t const shape[2] = {static_cast<std::int64_t>(count), static_cast<std::int64_t>(parts_)};
        auto const tensor = [&](void* data, std::size_t bytes, std::size_t axes, int type, ort::Value** out) {
            require(api_,
                    api_.create_tensor(memory_.get(), data, bytes, shape, axes, type, out),
                    "make a tensor");
        };
        tensor(context.label.data(), count * 8, 1, ort::kElementInt64, context.label_value.out());
        tensor(context.score.data(), count * 4, 1, ort::kElementFloat, context.score_value.out());
        tensor(context.values.data(), count * parts_ * 4, 2, ort::kElementFloat, context.values_value.out());
        context.count = count;
    }

    Library const& library_;
    Api const& api_;
    std::size_t parts_;
    Owned<ort::MemoryInfo> memory_;
    Owned<ort::Session> session_;
    std::int64_t order_numbers_[2][3] = {{0, 1, 2}, {2, 1, 0}};
    Owned<ort::Value> orders_[2];
    std::mutex mutex_;
    std::vector<std::unique_ptr<Context>> free_;
};

}  // namespace

std::unique_ptr<Backend> open_onnxruntime(Bytes const& model,
                                          std::size_t parts,
                                          BackendOptions const& options) {
    return std::make_unique<OnnxRuntime>(model, parts, options);
}

}  // namespace edgeosr
