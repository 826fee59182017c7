// The few entries of onnxruntime's C API that are called, by their place in its table of functions.
//
// onnxruntime promises that entries are only ever added behind the last one of a released version, so a place
// is a fact of its binary interface (documentation: onnxruntime.ai/docs/api/c, struct OrtApi). These
// declarations are our own; a test calls every one of them in a genuine library.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgeosr::ort {

constexpr std::uint32_t kApiVersion =
    20;  // onnxruntime 1.20, the oldest that can leave out an optimizer by name

struct Env;
struct Status;
struct MemoryInfo;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;

/// What OrtGetApiBase() returns.
struct ApiBase {
    void const* const* (*api)(std::uint32_t version);  // the table, or null if it is too new for this library
    char const* (*version)();
};

// Of enums of that API.
constexpr int kLogFatal = 4, kOptimizeAll = 99, kArenaAllocator = 1, kMemoryDefault = 0;
constexpr int kElementFloat = 1, kElementUint8 = 2, kElementInt64 = 7;

/// The table; functions that return a Status return null on success.
class Api {
  public:
    explicit Api(void const* const* table) : table_(table) {}

    char const* message(Status const* status) const { return at<char const* (*)(Status const*)>(2)(status); }
    Status* create_env(int level, char const* name, Env** out) const {
        return at<Status* (*)(int, char const*, Env**)>(3)(level, name, out);
    }
    Status* create_session_from_file(Env const* env,
                                     char const* path,
                                     SessionOptions const* options,
                                     Session** out) const {
        return at<Status* (*)(Env const*, char const*, SessionOptions const*, Session**)>(7)(
            env, path, options, out);
    }
    Status* create_session(Env const* env,
                           void const* model,
                           std::size_t bytes,
                           SessionOptions const* options,
                           Session** out) const {
        return at<Status* (*)(Env const*, void const*, std::size_t, SessionOptions const*, Session**)>(8)(
            env, model, bytes, options, out);
    }
    Status* run(Session* session,
                RunOptions const* options,
                char const* const* inputs,
                Value const* const* given,
                std::size_t input_count,
                char const* const* outputs,
                std::size_t output_count,
                Value** made) const {
        using Run = Status* (*)(Session*,
                                RunOptions const*,
                                char const* const*,
                                Value const* const*,
                                std::size_t,
                                char const* const*,
                                std::size_t,
                                Value**);
        return at<Run>(9)(session, options, inputs, given, input_count, outputs, output_count, made);
    }
    Status* create_session_options(SessionOptions** out) const {
        return at<Status* (*)(SessionOptions**)>(10)(out);
    }
    Status* set_log_level(SessionOptions* options, int level) const {
        return at<Status* (*)(SessionOptions*, int)>(22)(options, level);
    }
    Status* set_optimization(SessionOptions* options, int level) const {
        return at<Status* (*)(SessionOptions*, int)>(23)(options, level);
    }
    Status* set_threads(SessionOptions* options, int threads) const {
        return at<Status* (*)(SessionOptions*, int)>(24)(options, threads);
    }
    Status* set_graph_threads(SessionOptions* options, int threads) const {
        return at<Status* (*)(SessionOptions*, int)>(25)(options, threads);
    }
    Status* create_run_options(RunOptions** out) const { return at<Status* (*)(RunOptions**)>(39)(out); }
    Status* set_terminate(RunOptions* options) const { return at<Status* (*)(RunOptions*)>(46)(options); }
    Status* create_tensor(MemoryInfo const* memory,
                          void* data,
                          std::size_t bytes,
                          std::int64_t const* shape,
                          std::size_t axes,
                          int type,
                          Value** out) const {
        using Create = Status* (*)(
            MemoryInfo const*, void*, std::size_t, std::int64_t const*, std::size_t, int, Value**);
        return at<Create>(49)(memory, data, bytes, shape, axes, type, out);
    }
    Status* create_cpu_memory(int allocator, int kind, MemoryInfo** out) const {
        return at<Status* (*)(int, int, MemoryInfo**)>(69)(allocator, kind, out);
    }
    void release(Env* env) const { at<void (*)(Env*)>(92)(env); }
    void release(Status* status) const { at<void (*)(Status*)>(93)(status); }
    void release(MemoryInfo* memory) const { at<void (*)(MemoryInfo*)>(94)(memory); }
    void release(Session* session) const { at<void (*)(Session*)>(95)(session); }
    void release(Value* value) const { at<void (*)(Value*)>(96)(value); }
    void release(RunOptions* options) const { at<void (*)(RunOptions*)>(97)(options); }
    void release(SessionOptions* options) const { at<void (*)(SessionOptions*)>(100)(options); }
    Status* add_config(SessionOptions* options, char const* key, char const* value) const {
        return at<Status* (*)(SessionOptions*, char const*, char const*)>(130)(options, key, value);
    }
    Status* add_run_config(RunOptions* options, char const* key, char const* value) const {
        return at<Status* (*)(RunOptions*, char const*, char const*)>(165)(options, key, value);
    }

  private:
    template <class Function>
    Function at(std::size_t place) const {
        return reinterpret_cast<Function>(const_cast<void*>(table_[place]));
    }

    void const* const* table_;
};

/// An object of that API, released with it.
template <class Object>
class Owned {
  public:
    explicit Owned(Api const& api) : api_(&api) {}
    ~Owned() { reset(); }
    Owned(Owned&& other) noexcept : api_(other.api_), object_(other.object_) { other.object_ = nullptr; }
    Owned(Owned const&) = delete;
    Owned& operator=(Owned const&) = delete;
    Owned& operator=(Owned&&) = delete;

    Object* get() const { return object_; }
    /// Where a function puts a new one; what was there is released first.
    Object** out() {
        reset();
        return &object_;
    }

  private:
    void reset() {
        if (object_ != nullptr) api_->release(object_);
        object_ = nullptr;
    }

    Api const* api_;
    Object* object_ = nullptr;
};

}  // namespace edgeosr::ort
