// What ends while threads judge, for the sanitizers: exercise_ends exit|network BUNDLE.
//   exit     main returns, as of an application that does not join its threads
//   network  the only network of OpenVINO fails while others wait for it (the library runs on
//   openvino_shim.c,
//            and BUNDLE is taken from the disk, so that no further network can be made)
#include <dlfcn.h>
#include <edgeosr.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// As in exercise.cpp.
extern "C" void* dlopen(char const* path, int flags) {
    static auto const genuine = reinterpret_cast<void* (*)(char const*, int)>(dlsym(RTLD_NEXT, "dlopen"));
    return genuine(path, flags & ~RTLD_DEEPBIND);
}
#endif

namespace {

constexpr int kHeight = 20, kWidth = 30, kWaiting = 4;
std::atomic<int> judged{0};       // in threads that nobody joins
enum { kGenuine, kWait, kFail };  // of the shim

void check(bool good, char const* what) {
    if (good) return;
    std::fprintf(stderr, "not so: %s (%s)\n", what, edgeosr_last_error());
    std::_Exit(1);
}

edgeosr_status judge(edgeosr_runtime* runtime, edgeosr_verdict* verdict) {
    unsigned char pixels[3 * kHeight * kWidth] = {};
    edgeosr_frame const frame = {sizeof frame, EDGEOSR_RGB8, kHeight, kWidth, {pixels, nullptr}, {0, 0}};
    return edgeosr_judge(runtime, &frame, 1, verdict, sizeof *verdict);
}

void pause(int ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

void leave_while_threads_judge(edgeosr_runtime* runtime) {
    for (int i = 0; i < kWaiting; ++i)
        std::thread([runtime] {
            edgeosr_verdict verdict;
            for (;;) {  // onnxruntime fails some day at exit; that is told, too
                judge(runtime, &verdict);
                ++judged;
            }
        }).detach();
    pause(50);
}

void fail_while_others_wait(edgeosr_runtime* runtime, char const* bundle) {
    void* const shim = dlopen(std::getenv("EDGEOSR_OPENVINO"), RTLD_NOW | RTLD_NOLOAD);
    check(shim != nullptr, "the shim is loaded");
    auto const set = reinterpret_cast<void (*)(int)>(dlsym(shim, "shim_set"));
    auto const inside = reinterpret_cast<int (*)()>(dlsym(shim, "shim_inside"));
    edgeosr_verdict before;
    check(judge(runtime, &before) == EDGEOSR_OK, "a verdict");
    std::filesystem::remove_all(bundle);
    set(kWait);
    int const ran = inside();
    std::vector<edgeosr_status> said(kWaiting, EDGEOSR_OK);
    std::vector<std::thread> threads;
    auto const work = [&](std::size_t place) {
        edgeosr_verdict verdict;
        said[place] = judge(runtime, &verdict);
    };
    threads.emplace_back(work, 0);
    while (inside() == ran)
        pause(1);
    for (std::size_t place = 1; place < kWaiting; ++place)
        threads.emplace_back(work, place);
    pause(100);
    set(kFail);
    for (auto& thread : threads)
        thread.join();
    for (auto status : said)
        check(status == EDGEOSR_BACKEND_FAILED, "each is told");
    set(kGenuine);
    edgeosr_verdict after;
    check(judge(runtime, &after) == EDGEOSR_OK && after.score == before.score, "it goes on");
    edgeosr_close(runtime);
}

}  // namespace

int main(int argc, char** argv) {
    check(argc == 3, "a way to end, and a bundle");
    bool const network = std::strcmp(argv[1], "network") == 0;
    edgeosr_options options = {};
    options.struct_bytes = sizeof options;
    options.backend = network ? "openvino" : "onnxruntime";
    // Called after everything that is destroyed at exit: threads judge on meanwhile.
    if (!network)
        std::atexit([] {
            int const before = judged;
            pause(100);
            check(judged > before, "threads judge until the end");
        });
    edgeosr_runtime* runtime = nullptr;
    check(edgeosr_open(argv[2], &options, &runtime) == EDGEOSR_OK, "a bundle");
    if (network)
        fail_while_others_wait(runtime, argv[2]);
    else
        leave_while_threads_judge(runtime);
    std::printf("%s: ended\n", argv[1]);
    std::fflush(stdout);
#if defined(__SANITIZE_THREAD__)
    std::_Exit(0);  // as in exercise.cpp
#endif
    return 0;
}
