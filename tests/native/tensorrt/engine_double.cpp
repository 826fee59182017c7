#include "engine_double.h"

#include <NvInferVersion.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "card_double.h"
#include "nvinfer_calls.h"

namespace engine {
namespace {

namespace kernels = edgeosr::kernels;

constexpr std::int64_t kDimension = 12, kSide = 4, kActivationBytes = 1000;
constexpr char const* kNames[] = {"frames", "channel_order", "map", "logits"};
constexpr auto kRelaxed = std::memory_order_relaxed;

std::atomic<long> living{0};
std::atomic<char const*> refusing{nullptr};

void check(bool good, char const* what) {
    if (good) return;
    std::fprintf(stderr, "not so: %s\n", what);
    std::abort();
}

std::size_t frame_bytes(std::int64_t height) {
    return std::size_t{3} * kWidth * static_cast<std::size_t>(height);
}

/// Positions of the map from top to bottom: soon so many that the kernel takes more shared memory for them.
std::int64_t rows_of(std::int64_t height) {
    return kSide * (height - kHeight + 1);
}

/// Of a frame's map, float16.
std::size_t map_bytes(std::int64_t positions) {
    return static_cast<std::size_t>(kDimension * positions * 2);
}

bool refused(char const* what) {
    char const* const planned = refusing.load(kRelaxed);
    if (planned == nullptr || std::strcmp(planned, what) != 0) return false;
    refusing.store(nullptr, kRelaxed);
    return true;
}

struct Engine {
    char plan;
    // Not atomic, without a lock: TensorRT makes and frees contexts one by one, and here two at once race.
    int contexts = 0;
};

struct Context {
    Engine* engine;
    std::int64_t batch = 0, height = 0;
    std::map<std::string, void*> addresses{};
    void* activations = nullptr;
};

Engine* engine_of(std::int64_t number) {
    return reinterpret_cast<Engine*>(number);
}

Context* context_of(std::int64_t number) {
    return reinterpret_cast<Context*>(number);
}

template <class Made>
std::int64_t number_of(Made* made) {
    living.fetch_add(1, kRelaxed);
    return reinterpret_cast<std::int64_t>(made);
}

std::uint32_t sum_of(std::uint8_t const* pixels, std::size_t bytes, std::int64_t const* order) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < bytes; ++i)
        sum += pixels[i / 3 * 3 + static_cast<std::size_t>(order[i % 3])] * (i % 251 + 1);
    return static_cast<std::uint32_t>(sum % 65521);
}

Verdict verdict_from(std::uint32_t sum, char plan) {
    return {static_cast<std::int32_t>(sum % kClasses),
            static_cast<float>(sum % 4096) / 512 - 4 + (plan == 't' ? 0.25f : 0.0f)};
}

/// What the stream does when it gets there: the first bytes of each row hold the frame's verdict.
void run(Context const& own) {
    std::int64_t const batch = own.batch;
    auto const& addresses = own.addresses;
    std::size_t const bytes = frame_bytes(own.height), in_map = map_bytes(rows_of(own.height) * kSide);
    auto* const activations = static_cast<std::uint8_t*>(own.activations);
    activations[0] = activations[kActivationBytes - 1] = static_cast<std::uint8_t>(batch);
    auto const* const frames = static_cast<std::uint8_t const*>(addresses.at("frames"));
    auto const* const order = static_cast<std::int64_t const*>(addresses.at("channel_order"));
    auto* const map = static_cast<std::uint8_t*>(addresses.at("map"));
    auto* const logits = static_cast<float*>(addresses.at("logits"));
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch); ++i) {
        Verdict const said = verdict_from(sum_of(frames + i * bytes, bytes, order), own.engine->plan);
        std::memset(map + i * in_map, 0, in_map);
        std::memcpy(map + i * in_map, &said.score, sizeof said.score);
        for (int k = 0; k < kClasses; ++k)
            logits[i * kClasses + static_cast<std::size_t>(k)] = k == said.label ? 1.0f : 0.0f;
    }
    check(activations[0] == batch && activations[kActivationBytes - 1] == batch, "activations of its own");
}

/// As much of FusedScoreParams as a kernel that only repeats the engine needs.
void score(kernels::FusedScoreParams const& params) {
    auto* const counter = reinterpret_cast<std::uint32_t*>(params.workspace);
    if (*counter != 0) return;  // left by a launch that did not reach its end
    *counter = 1;
    float gain;  // of ScorerConstants: 1 without probes
    std::memcpy(&gain, params.scorer + 5 * sizeof gain, sizeof gain);
    check(gain == 1, "the scorer's weights");
    std::size_t const in_map = map_bytes(params.positions);
    for (int i = 0; i < params.batch; ++i) {
        auto const row = static_cast<std::size_t>(i);
        auto const* const map = static_cast<std::uint8_t const*>(params.input) + row * in_map;
        auto const* const logits = static_cast<float const*>(params.logits) + row * kClasses;
        auto& made = reinterpret_cast<kernels::Verdict*>(params.verdicts)[i];
        std::memcpy(&made.score, map, sizeof made.score);
        for (int k = 0; k < kClasses; ++k)
            if (logits[k] > 0) made.label = k;
        for (int k = 0; k < params.parts; ++k)
            made.value[k] = made.score + static_cast<float>(k);
        made.layout = kernels::kVerdictVersion | static_cast<std::uint32_t>(params.parts) << 16;
        made.flags = 1;
    }
    *counter = 0;
}

// What the double of libnvinfer calls.

std::int32_t started(std::int32_t version) {
    check(version == NV_TENSORRT_VERSION, "the headers' version");
    if (refused("start")) return 0;
    living.fetch_add(1, kRelaxed);
    return 1;
}

std::int64_t load(void const* plan, std::size_t bytes) {
    check(bytes >= 3, "a plan");
    if (refused("load")) return 0;
    return number_of(new Engine{*static_cast<char const*>(plan)});
}

std::int64_t made(std::int64_t number, std::int32_t) {
    if (refused("context")) return 0;
    ++engine_of(number)->contexts;
    return number_of(new Context{engine_of(number)});
}

std::int32_t count(std::int64_t) {
    return 4;
}

void name(std::int64_t, std::int32_t index, char* text) {
    std::strcpy(text, kNames[index]);
}

std::int32_t fact(std::int64_t, char const* tensor, char const* what) {
    bool const input = tensor[0] == 'f' || tensor[0] == 'c';
    if (std::strcmp(what, "mode") == 0) return input ? 1 : 2;
    if (std::strcmp(what, "dtype") != 0) return 0;  // on the device, linear
    return tensor[0] == 'f' ? 5 : tensor[0] == 'c' ? 8 : tensor[0] == 'm' ? 1 : 0;
}

std::int32_t profile(std::int64_t, char const*, std::int32_t, std::int32_t which, std::int64_t* sizes) {
    sizes[0] = which == 0 ? 1 : kMostFrames;
    sizes[1] = which == 2 ? kMostHeight : kHeight;
    sizes[2] = kWidth;
    sizes[3] = 3;
    return 4;
}

std::int64_t memory(std::int64_t) {
    return kActivationBytes;
}

void set_memory(std::int64_t context, void* address, std::int64_t bytes) {
    check(bytes >= kActivationBytes, "enough memory for activations");
    context_of(context)->activations = address;
}

std::int32_t set_shape(std::int64_t context, char const*, std::int32_t, std::int64_t const* sizes) {
    if (refused("shape")) return 0;
    context_of(context)->batch = sizes[0];
    context_of(context)->height = sizes[1];
    return 1;
}

std::int32_t shape(std::int64_t context, char const* tensor, std::int64_t* sizes) {
    bool const map = std::strcmp(tensor, "map") == 0;
    Context const& own = *context_of(context);
    std::int64_t const found[] = {own.batch, map ? kDimension : kClasses, rows_of(own.height), kSide};
    std::copy(found, found + (map ? 4 : 2), sizes);
    return map ? 4 : 2;
}

std::int32_t set_address(std::int64_t context, char const* tensor, void* address) {
    if (refused("address")) return 0;
    context_of(context)->addresses[tensor] = address;
    return 1;
}

std::int32_t enqueue(std::int64_t number, void* stream) {
    if (refused("enqueue")) return 0;
    Context const own = *context_of(number);
    check(own.addresses.size() == 4 && own.activations != nullptr, "every address");
    card::put(static_cast<CUstream>(stream), [own] { run(own); });
    return 1;
}

void gone(char const* what, std::int64_t number) {
    if (std::strcmp(what, "context") == 0) {
        --context_of(number)->engine->contexts;
        delete context_of(number);
    } else if (std::strcmp(what, "engine") == 0) {
        check(engine_of(number)->contexts == 0, "contexts are freed before their engine");
        delete engine_of(number);
    }
    living.fetch_sub(1, kRelaxed);
}

void said(char* text) {
    std::strcpy(text, "it was told to refuse this");
}

}  // namespace

Verdict verdict_of(std::uint8_t const* pixels, int height, bool bgr, char plan) {
    std::int64_t const order[] = {bgr ? 2 : 0, 1, bgr ? 0 : 2};
    return verdict_from(sum_of(pixels, frame_bytes(height), order), plan);
}

void install() {
    static Calls const calls = {started,
                                load,
                                made,
                                count,
                                name,
                                fact,
                                profile,
                                memory,
                                set_memory,
                                set_shape,
                                shape,
                                set_address,
                                enqueue,
                                gone,
                                said,
                                NV_TENSORRT_VERSION,
                                0};
    double_set(&calls);
    card::kernel = score;
}

void refuse(char const* what) {
    refusing.store(what, kRelaxed);
}

bool was_spared() {
    return refusing.exchange(nullptr, kRelaxed) != nullptr;
}

long alive() {
    return living.load(kRelaxed);
}

}  // namespace engine
