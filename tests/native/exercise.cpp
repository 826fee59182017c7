// Everything that edgeosr.h offers, from several threads, for the sanitizers: exercise BUNDLE OTHER
// HOSTILE... The bundles are tiny ones of 4 classes; each HOSTILE is opened, and refused or judged with.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <edgeosr.hpp>
#include <string>
#include <thread>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <dlfcn.h>
// OpenVINO opens its plugins with a flag that the sanitizer refuses, for its own functions would not be
// found.
extern "C" void* dlopen(char const* path, int flags) {
    static auto const genuine = reinterpret_cast<void* (*)(char const*, int)>(dlsym(RTLD_NEXT, "dlopen"));
    return genuine(path, flags & ~RTLD_DEEPBIND);
}
#endif

namespace {

constexpr int kHeight = 20, kWidth = 30;

void check(bool good, char const* what) {
    if (good) return;
    std::fprintf(stderr, "not so: %s (%s)\n", what, edgeosr_last_error());
    std::exit(1);
}

/// Exactly as many bytes as a frame needs, so that a read beyond it is seen.
edgeosr_frame frame_of(edgeosr_format format,
                       std::vector<unsigned char>& first,
                       std::vector<unsigned char>& second) {
    int const width = format == EDGEOSR_NV12 ? kWidth - 1 : kWidth;
    int const bytes = format == EDGEOSR_RGB8 || format == EDGEOSR_BGR8 ? 3 * width
                      : format == EDGEOSR_YUYV                         ? 2 * width
                                                                       : width;
    std::size_t const stride = static_cast<std::size_t>(bytes) + 5;
    first.assign(stride * (kHeight - 1) + static_cast<std::size_t>(bytes), 90);
    second.assign(static_cast<std::size_t>((width + 1) / 2 * 2) * ((kHeight + 1) / 2), 130);
    for (std::size_t i = 0; i < first.size(); ++i)
        first[i] = static_cast<unsigned char>(i * 37);
    return {sizeof(edgeosr_frame), format, kHeight, width, {first.data(), second.data()}, {stride, 0}};
}

void judge_every_format(edgeosr::Runtime& runtime, int turns) {
    std::vector<unsigned char> first, second;
    for (int turn = 0; turn < turns; ++turn)
        for (int format = EDGEOSR_RGB8; format <= EDGEOSR_GRAY8; ++format) {
            auto const frame = frame_of(static_cast<edgeosr_format>(format), first, second);
            auto const one = runtime.judge(frame);
            auto const three = runtime.judge({frame, frame, frame});
            check(one.part_count >= 1 && three.size() == 3, "parts, three verdicts");
            check(std::strlen(one.label) > 0 && std::strlen(one.nearest) > 0, "names");
        }
}

void fail_in_every_way(edgeosr::Runtime& runtime, char const* other) {
    std::vector<unsigned char> first, second;
    auto const good = frame_of(EDGEOSR_NV12, first, second);
    edgeosr_verdict verdict;
    for (int kind = 0; kind < 8; ++kind) {
        auto bad = good;
        if (kind == 0) bad.plane[1] = nullptr;
        if (kind == 1) bad.stride_bytes[0] = 3;
        if (kind == 2) bad.format = 99;
        if (kind == 3) bad.height_px = -1;
        if (kind == 4) bad.width_px = 1 << 30;
        if (kind == 5) bad.struct_bytes = 1;
        auto const status = edgeosr_judge(
            runtime.get(), kind == 6 ? nullptr : &bad, 1, &verdict, kind == 7 ? 3 : sizeof verdict);
        check(status != EDGEOSR_OK && edgeosr_last_error()[0] != '\0', "a status with words");
    }
    check(edgeosr_set_threshold(runtime.get(), NAN) == EDGEOSR_BAD_ARGUMENT, "no NaN");
    double room[4];
    std::size_t count = 0;
    check(edgeosr_thresholds(runtime.get(), room, 0, &count) == EDGEOSR_BAD_ARGUMENT && count >= 1,
          "no room");
    check(edgeosr_swap(runtime.get(), "nowhere") == EDGEOSR_BAD_BUNDLE, "no bundle");
    check(edgeosr_verify(runtime.get(), nullptr) == EDGEOSR_OK, other);
}

/// Frames, thresholds and descriptions from five threads, while bundles come and go.
void all_at_once(edgeosr::Runtime& runtime, char const* bundle, char const* other) {
    std::atomic<bool> done{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            while (!done)
                judge_every_format(runtime, 1);
        });
    threads.emplace_back([&] {
        while (!done) {
            runtime.set_threshold(1.0);
            runtime.set_class_thresholds({1.0, 2.0, 3.0, 4.0});
            check(runtime.info().size() > 100, "a description");
            check(edgeosr_class_name(runtime.get(), 1) != nullptr, "a class name");
        }
    });
    for (int turn = 0; turn < 3; ++turn) {
        runtime.swap(turn % 2 == 0 ? other : bundle);
        runtime.rollback();
        runtime.verify();
    }
    done = true;
    for (auto& thread : threads)
        thread.join();
}

}  // namespace

int main(int argc, char** argv) {
    check(argc > 2, "two bundles");
    edgeosr_options given = {};
    given.backend = std::getenv("EXERCISE_BACKEND");  // none: the default
    edgeosr::Runtime runtime(argv[1], given);
    check(given.backend == nullptr ||
              runtime.info().find(std::string("\"backend\": \"") + given.backend) != std::string::npos,
          "the back end");
    judge_every_format(runtime, 3);
    check(edgeosr_warm_up(runtime.get(), 1, 1e-9) == EDGEOSR_BACKEND_FAILED, "too little time");
    fail_in_every_way(runtime, argv[2]);
    all_at_once(runtime, argv[1], argv[2]);
    int taken = 0;
    for (int i = 3; i < argc; ++i) {
        edgeosr_options options = {};
        options.struct_bytes = sizeof options;
        options.verify = 1;
        edgeosr_runtime* opened = nullptr;
        taken += edgeosr_open(argv[i], &options, &opened) == EDGEOSR_OK ? 1 : 0;
        edgeosr_close(opened);
    }
    std::printf("%d hostile bundles, %d of them judge as expected\n", argc - 3, taken);
#if defined(__SANITIZE_THREAD__)
    std::fflush(stdout);
    std::_Exit(0);  // onnxruntime's handlers at exit unlock what the sanitizer has not seen locked
#endif
    return 0;
}
