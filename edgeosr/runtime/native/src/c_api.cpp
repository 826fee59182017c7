// The functions of edgeosr.h: arguments checked, work done elsewhere, failures turned into a status and a
// text.
#include <cmath>
#include <cstring>
#include <new>
#include <stdexcept>

#include "base/failure.h"
#include "base/file.h"
#include "base/free_memory.h"
#include "edgeosr.h"
#include "runtime/runtime.h"

#ifndef EDGEOSR_VERSION
#error "define EDGEOSR_VERSION, as CMakeLists.txt and build.py do"
#endif

struct edgeosr_runtime {
    edgeosr_runtime(char const* bundle, edgeosr::Settings settings) : runtime(bundle, std::move(settings)) {}
    edgeosr::Runtime runtime;
};

namespace {

using edgeosr::fail;
using edgeosr::Failure;

constexpr std::int32_t kMostWarmUps = 10000;
// What else helps where memory runs out, by call.
constexpr char kFewerFrames[] = ", or judge fewer or smaller frames in one call";
constexpr char kLessOpen[] = ", or close what it does not need first";
constexpr char kNoSwap[] =
    ", or close this runtime and open the other bundle, for a swap has both open; this one goes on";
constexpr char kReport[] = ": a fault of libedgeosr " EDGEOSR_VERSION "; please report it";

// Plain bytes: telling an error allocates nothing, and a thread that ends has nothing to free.
thread_local char last_error[2048] = "";

edgeosr_status told(edgeosr_status status,
                    char const* text,
                    char const* more = "",
                    char const* last = "") noexcept {
    std::size_t used = 0;
    for (char const* each : {text, more, last}) {
        edgeosr::put_words(last_error + used, sizeof last_error - used, each);
        used += std::strlen(last_error + used);
    }
    return status;
}

edgeosr_status no_memory(char const* or_else) noexcept {
    return told(EDGEOSR_NO_MEMORY, "there is not enough memory", edgeosr::kMoreMemory, or_else);
}

bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

/// or_else: what helps beside more memory.
template <class Work>
edgeosr_status guarded(char const* or_else, Work&& work) noexcept {
    try {
        work();
        return EDGEOSR_OK;
    } catch (Failure const& failure) {
        bool const memory = ends_with(failure.what(), edgeosr::kMoreMemory);
        return told(failure.status(), failure.what(), memory ? or_else : "");
    } catch (std::bad_alloc const&) {
        return no_memory(or_else);
    } catch (std::length_error const&) {
        return no_memory(or_else);
    } catch (std::exception const& error) {
        return told(EDGEOSR_INTERNAL, error.what(), kReport);
    } catch (...) {
        return told(EDGEOSR_INTERNAL, "something was thrown that is no exception", kReport);
    }
}

template <class Work>
edgeosr_status guarded(Work&& work) noexcept {
    return guarded("", work);
}

template <class Pointer>
void require(Pointer const* pointer, char const* name) {
    if (pointer == nullptr) fail(EDGEOSR_BAD_ARGUMENT, name, " is NULL; pass an address");
}

void require_size(std::size_t got, std::size_t wanted, char const* what) {
    if (got != wanted)
        fail(EDGEOSR_BAD_ARGUMENT,
             "the size of ",
             what,
             " must be ",
             wanted,
             " bytes; got ",
             got,
             "; set it with sizeof, and compile with the header of this library (",
             EDGEOSR_VERSION,
             ")");
}

edgeosr::Settings settings_from(edgeosr_options const* options) {
    edgeosr::Settings made;
    made.backend.name = "auto";
    if (options == nullptr) return made;
    require_size(options->struct_bytes, sizeof *options, "edgeosr_options");
    if (options->backend != nullptr) made.backend.name = options->backend;
    if (options->backend_library != nullptr) {
        std::string const named = options->backend_library;
        if (named.empty())
            fail(
                EDGEOSR_BAD_ARGUMENT,
                "backend_library must be a path, or a name for the system to find; got an empty text; set it "
                "to NULL for the usual names");
        // So that a swap finds the same file after the program has changed its folder.
        made.backend.library = named.find('/') != std::string::npos ? edgeosr::absolute_path(named) : named;
    }
    if (options->threads < -1 || options->threads > 1024)
        fail(EDGEOSR_BAD_ARGUMENT,
             "threads must be from 1 to 1024, 0 for one, or -1 for one a physical core; got ",
             options->threads);
    made.backend.threads = options->threads == 0 ? 1 : options->threads == -1 ? 0 : options->threads;
    if (options->warmup_frames < -1 || options->warmup_frames > kMostWarmUps)
        fail(EDGEOSR_BAD_ARGUMENT,
             "warmup_frames must be from 1 to 10000, 0 for one, or -1 for none; got ",
             options->warmup_frames);
    made.warmup_frames = options->warmup_frames == 0    ? 1
                         : options->warmup_frames == -1 ? 0
                                                        : options->warmup_frames;
    double const limit = options->warmup_limit_s;
    if (!(limit >= 0) && limit != -1)
        fail(EDGEOSR_BAD_ARGUMENT,
             "warmup_limit_s must be a number of seconds, 0 for 60, or -1 for no limit; got ",
             limit);
    made.warmup_limit_s = limit == 0 ? 60 : limit == -1 || std::isinf(limit) ? 0 : limit;
    if (options->verify < 0 || options->verify > 1)
        fail(EDGEOSR_BAD_ARGUMENT, "verify must be 0 or 1; got ", options->verify);
    made.verify = options->verify == 1;
    if (options->reserved != 0)
        fail(
            EDGEOSR_BAD_ARGUMENT, "reserved must be 0; got ", options->reserved, "; clear the options first");
    return made;
}

}  // namespace

extern "C" {

edgeosr_status edgeosr_open(char const* bundle, edgeosr_options const* options, edgeosr_runtime** out) {
    return guarded(kLessOpen, [&] {
        require(out, "out");
        *out = nullptr;
        require(bundle, "bundle");
        *out = new edgeosr_runtime(bundle, settings_from(options));
    });
}

edgeosr_status edgeosr_judge(edgeosr_runtime* runtime,
                             edgeosr_frame const* frames,
                             size_t count,
                             edgeosr_verdict* verdicts,
                             size_t verdict_bytes) {
    return guarded(kFewerFrames, [&] {
        require(runtime, "runtime");
        require_size(verdict_bytes, sizeof *verdicts, "edgeosr_verdict");
        if (count == 0) return;
        require(verdicts, "verdicts");
        runtime->runtime.judge(frames, count, verdicts);
    });
}

edgeosr_status edgeosr_set_threshold(edgeosr_runtime* runtime, double threshold) {
    return guarded([&] {
        require(runtime, "runtime");
        runtime->runtime.set_limit(threshold);
    });
}

edgeosr_status edgeosr_set_class_thresholds(edgeosr_runtime* runtime,
                                            double const* thresholds,
                                            size_t count) {
    return guarded([&] {
        require(runtime, "runtime");
        require(thresholds, "thresholds");
        runtime->runtime.set_class_limits(thresholds, count);
    });
}

edgeosr_status edgeosr_thresholds(edgeosr_runtime const* runtime,
                                  double* thresholds,
                                  size_t capacity,
                                  size_t* count) {
    return guarded([&] {
        require(runtime, "runtime");
        require(count, "count");
        auto const limits = runtime->runtime.limits();
        *count = limits.size();
        if (thresholds == nullptr && capacity == 0) return;
        require(thresholds, "thresholds");
        if (capacity < limits.size())
            fail(EDGEOSR_BAD_ARGUMENT,
                 "thresholds must have room for ",
                 limits.size(),
                 " numbers; got ",
                 capacity,
                 "; ask for their number first, with thresholds NULL and capacity 0");
        std::memcpy(thresholds, limits.data(), limits.size() * sizeof(double));
    });
}

edgeosr_status edgeosr_swap(edgeosr_runtime* runtime, char const* bundle) {
    return guarded(kNoSwap, [&] {
        require(runtime, "runtime");
        require(bundle, "bundle");
        runtime->runtime.swap(bundle);
    });
}

edgeosr_status edgeosr_rollback(edgeosr_runtime* runtime) {
    return guarded([&] {
        require(runtime, "runtime");
        runtime->runtime.roll_back();
    });
}

edgeosr_status edgeosr_verify(edgeosr_runtime* runtime, edgeosr_verification* out) {
    return guarded([&] {
        require(runtime, "runtime");
        if (out != nullptr) require_size(out->struct_bytes, sizeof *out, "edgeosr_verification");
        if (out != nullptr) *out = {sizeof *out, 0, 0, 0, 0, 0, 0};
        runtime->runtime.verify(out);
    });
}

edgeosr_status edgeosr_warm_up(edgeosr_runtime* runtime, int32_t frames, double limit_s) {
    return guarded([&] {
        require(runtime, "runtime");
        if (frames < 0 || frames > kMostWarmUps)
            fail(EDGEOSR_BAD_ARGUMENT, "frames must be from 0 to 10000; got ", frames);
        if (!(limit_s >= 0))
            fail(EDGEOSR_BAD_ARGUMENT, "limit_s must be a number of seconds, or 0; got ", limit_s);
        runtime->runtime.warm_up(frames, std::isinf(limit_s) ? 0 : limit_s);
    });
}

edgeosr_status edgeosr_info(edgeosr_runtime const* runtime, char* json, size_t capacity, size_t* needed) {
    return guarded([&] {
        require(runtime, "runtime");
        std::string const text = runtime->runtime.info();
        if (needed != nullptr) *needed = text.size() + 1;
        if (json == nullptr && capacity == 0) return;
        require(json, "json");
        if (capacity < text.size() + 1)
            fail(EDGEOSR_BAD_ARGUMENT,
                 "json must have room for ",
                 text.size() + 1,
                 " bytes; got ",
                 capacity,
                 "; ask for them first, with json NULL and capacity 0");
        std::memcpy(json, text.c_str(), text.size() + 1);
    });
}

char const* edgeosr_part_name(edgeosr_runtime const* runtime, size_t index) {
    return runtime != nullptr ? runtime->runtime.part_name(index) : nullptr;
}

char const* edgeosr_class_name(edgeosr_runtime const* runtime, size_t index) {
    return runtime != nullptr ? runtime->runtime.class_name(index) : nullptr;
}

void edgeosr_close(edgeosr_runtime* runtime) {
    edgeosr::FreeMemoryGoesBack const after;
    delete runtime;
}

char const* edgeosr_last_error(void) {
    return last_error;
}

char const* edgeosr_version(void) {
    return EDGEOSR_VERSION;
}

int edgeosr_abi(void) {
    return EDGEOSR_ABI;
}

}  // extern "C"
