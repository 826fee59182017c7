// The plug-in's table of functions: the C boundary, where nothing is thrown across.
#include <algorithm>
#include <new>
#include <string_view>

#include "backends/tensorrt_abi.h"
#include "base/failure.h"
#include "engine.h"
#include "nvinfer.h"

using edgeosr::Failure;
using edgeosr::joined;
namespace trt = edgeosr::trt;

struct edgeosr_tensorrt_engine {
    edgeosr_tensorrt_engine(trt::Cuda const& cuda, edgeosr_tensorrt_bundle const& bundle)
        : engine(cuda, bundle) {}
    trt::Engine engine;
};

namespace {

using Words = edgeosr_tensorrt_words;

constexpr char kGoesOn[] = "; this runtime can go on";

void put(Words* words, std::string_view text) {
    edgeosr::put_words(words->text, sizeof words->text, text);
}

/// Words for a driver's call that failed; a lost device ends the engine. engine: null while it is opened.
std::int32_t told(trt::Cuda const& cuda,
                  trt::CudaError const& error,
                  trt::Engine* engine,
                  char const* doing,
                  Words* words) {
    if (error.code == CUDA_ERROR_OUT_OF_MEMORY) {
        put(words,
            joined("the GPU's memory is full while ",
                   doing,
                   " (",
                   error.call,
                   "); close other programs on it, ",
                   engine != nullptr ? "judge fewer frames in one call, " : "",
                   "or take the back end onnxruntime",
                   engine != nullptr ? kGoesOn : ""));
        return EDGEOSR_NO_MEMORY;
    }
    if (!trt::is_fatal(error.code)) {
        put(words,
            joined(trt::described(cuda, error),
                   ", while ",
                   doing,
                   engine != nullptr ? kGoesOn : "",
                   "; if it happens again, take the back end onnxruntime"));
        return EDGEOSR_BACKEND_FAILED;
    }
    std::string const text = joined(
        "the GPU failed while ",
        doing,
        ": ",
        trt::described(cuda, error),
        engine != nullptr ? "; this runtime judges no more, and" : ";",
        " CUDA allows no further use of the GPU in this process: start a new one; if it happens again, "
        "see dmesg");
    if (engine != nullptr) engine->lanes().lose(text);
    put(words, text);
    return EDGEOSR_BACKEND_FAILED;
}

/// Do it, and turn what is thrown into a status with words.
template <class Do>
std::int32_t guarded(trt::Engine* engine, char const* doing, Words* words, Do const& what) noexcept {
    trt::Cuda const* cuda = nullptr;
    try {
        cuda = engine != nullptr ? &engine->cuda() : &trt::driver();
        try {
            what(*cuda);
            return EDGEOSR_OK;
        } catch (trt::CudaError const& error) {
            return told(*cuda, error, engine, doing, words);
        }
    } catch (Failure const& failure) {
        put(words, failure.what());
        return failure.status();
    } catch (std::bad_alloc const&) {
        put(words,
            engine != nullptr ? "there is too little memory; judge fewer frames in one call"
                              : "there is too little memory to open the engine; close other programs");
        return EDGEOSR_NO_MEMORY;
    } catch (std::exception const& error) {
        put(words, error.what());
        return EDGEOSR_INTERNAL;
    } catch (...) {
        put(words, "a fault of the plug-in; please report it");
        return EDGEOSR_INTERNAL;
    }
}

std::int32_t open(edgeosr_tensorrt_bundle const* bundle, edgeosr_tensorrt_engine** out, Words* words) {
    *out = nullptr;
    return guarded(nullptr, "the engine is loaded", words, [&](trt::Cuda const& cuda) {
        *out = new edgeosr_tensorrt_engine(cuda, *bundle);
    });
}

void frame(edgeosr_tensorrt_engine const* engine, std::int32_t* height_px, std::int32_t* width_px) {
    *height_px = engine->engine.record().height_px;
    *width_px = engine->engine.record().width_px;
}

char const* library(edgeosr_tensorrt_engine const* engine) {
    return engine->engine.described();
}

constexpr char kJudging[] = "frames are judged";

edgeosr_tensorrt_run run_of(trt::Engine const& engine, trt::Lane& lane) {
    trt::Call const& call = lane.call;
    return {&lane, engine.at_once(), call.label.data(), call.score.data(), call.values.data()};
}

std::int32_t begin(edgeosr_tensorrt_engine* of,
                   std::size_t count,
                   std::int32_t height_px,
                   std::int32_t width_px,
                   edgeosr_tensorrt_run* run,
                   Words* words) {
    trt::Engine& engine = of->engine;
    return guarded(&engine, kJudging, words, [&](trt::Cuda const&) {
        auto const first = static_cast<std::int64_t>(std::min(count, engine.at_once()));
        trt::Lane* const lane = engine.lanes().take({first, height_px, width_px});
        try {
            lane->begin(count, height_px, width_px);
        } catch (...) {
            engine.lanes().give_back(lane);
            throw;
        }
        *run = run_of(engine, *lane);
    });
}

std::int32_t room(edgeosr_tensorrt_engine* of,
                  edgeosr_tensorrt_run* run,
                  std::size_t count,
                  std::uint8_t** frames,
                  Words* words) {
    return guarded(&of->engine, kJudging, words, [&](trt::Cuda const&) {
        auto* lane = static_cast<trt::Lane*>(run->lane);
        try {
            *frames = of->engine.lanes().room(lane, count);
        } catch (...) {
            run->lane = lane;
            throw;
        }
        *run = run_of(of->engine, *lane);
    });
}

std::int32_t judge(edgeosr_tensorrt_engine* of, edgeosr_tensorrt_run* run, std::int32_t bgr, Words* words) {
    return guarded(&of->engine, kJudging, words, [&](trt::Cuda const&) {
        static_cast<trt::Lane*>(run->lane)->judge(bgr != 0);
    });
}

void end(edgeosr_tensorrt_engine* of, edgeosr_tensorrt_run* run) {
    if (run->lane != nullptr) of->engine.lanes().give_back(static_cast<trt::Lane*>(run->lane));
}

void close(edgeosr_tensorrt_engine* engine) {
    delete engine;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) edgeosr_tensorrt_plugin const* edgeosr_tensorrt_open_plugin(
    std::uint32_t abi) {
    static edgeosr_tensorrt_plugin const kPlugin = {EDGEOSR_TENSORRT_ABI,
                                                    sizeof(edgeosr_tensorrt_plugin),
                                                    EDGEOSR_VERSION,
                                                    trt::made_for(),
                                                    open,
                                                    frame,
                                                    library,
                                                    begin,
                                                    room,
                                                    judge,
                                                    end,
                                                    close};
    return abi == EDGEOSR_TENSORRT_ABI ? &kPlugin : nullptr;
}
