// The plug-in for TensorRT over doubles, for the sanitizers: exercise_engine LIBRARY ONE TWO [integrated].
// LIBRARY is nvinfer_double.cpp's; ONE and TWO are bundles with an engine, whose golden frames are those that
// engine_double.cpp judges. Several threads on one handle, with frames of a height that is new to all of
// them, too; a swap under load; every call of the driver, and everything that TensorRT can refuse, fails
// once; memory that runs out, memory that is short, and a device that is lost, under load.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <edgeosr.hpp>
#include <thread>

#include "card_double.h"
#include "engine_double.h"

namespace {

constexpr int kThreads = 6;              // lanes are four
constexpr std::size_t kMostInCall = 14;  // in two runs; of more sizes than a lane keeps

void check(bool good, char const* what) {
    if (good) return;
    std::fprintf(stderr, "not so: %s (%s)\n", what, edgeosr_last_error());
    std::_Exit(1);
}

edgeosr_options options_with(char const* library) {
    edgeosr_options made = {};
    made.struct_bytes = sizeof made;
    made.backend = "tensorrt";
    made.backend_library = library;
    made.verify = 1;
    return made;
}

/// Frames of a call, each of its own content and exactly as many bytes as it needs.
class Call {
  public:
    explicit Call(unsigned seed, int height = engine::kHeight, std::size_t count = 0)
        : count_(count > 0 ? count : seed % kMostInCall + 1), height_(height), bgr_(seed % 2 == 1) {
        for (std::size_t i = 0; i < count_; ++i) {
            pixels_.emplace_back(std::size_t{3} * engine::kWidth * static_cast<std::size_t>(height));
            for (auto& each : pixels_.back())
                each = static_cast<unsigned char>((seed = seed * 1664525 + 1013904223) >> 24);
            frames_.push_back(edgeosr::frame(
                bgr_ ? EDGEOSR_BGR8 : EDGEOSR_RGB8, height, engine::kWidth, pixels_.back().data()));
        }
    }

    /// Judge them; a verdict that comes must be that of its own frame, by the engine of its generation.
    edgeosr_status judged(edgeosr_runtime* runtime) const {
        std::vector<edgeosr_verdict> said(count_);
        edgeosr_status const status =
            edgeosr_judge(runtime, frames_.data(), count_, said.data(), sizeof said[0]);
        check(card::pushed() == 0, "the thread's contexts are as before");
        if (status != EDGEOSR_OK) {
            check(edgeosr_last_error()[0] != '\0', "words");
            return status;
        }
        for (std::size_t i = 0; i < count_; ++i) {
            auto const wanted =
                engine::verdict_of(pixels_[i].data(), height_, bgr_, said[i].generation % 2 == 1 ? 'o' : 't');
            check(said[i].index == wanted.label && said[i].score == wanted.score, "its own verdict");
            check(said[i].parts[0] == wanted.score, "its own parts");
        }
        return status;
    }

  private:
    std::size_t count_;
    int height_;
    bool bgr_;
    std::vector<std::vector<unsigned char>> pixels_;
    std::vector<edgeosr_frame> frames_;
};

/// Threads that judge until they are stopped; what each call may say is checked.
class Load {
  public:
    template <class May>
    Load(edgeosr_runtime* runtime, May may) {
        for (unsigned i = 0; i < kThreads; ++i)
            threads_.emplace_back([this, runtime, may, i] {
                for (unsigned turn = 0; !done_; ++turn) {
                    check(may(Call(i + kThreads * turn).judged(runtime)), "a status that was to be expected");
                    calls_.fetch_add(1, std::memory_order_relaxed);
                }
            });
    }
    ~Load() {
        done_ = true;
        for (auto& thread : threads_)
            thread.join();
    }
    /// Wait until there were so many more.
    void wait(long calls) const {
        for (long const until = calls_ + calls; calls_ < until;)
            std::this_thread::yield();
    }

  private:
    std::atomic<bool> done_{false};
    std::atomic<long> calls_{0};
    std::vector<std::thread> threads_;
};

bool is_good(edgeosr_status status) {
    return status == EDGEOSR_OK;
}

bool is_good_or_without_memory(edgeosr_status status) {
    return status == EDGEOSR_OK || status == EDGEOSR_NO_MEMORY;
}

void several_threads(edgeosr_runtime* runtime) {
    Load(runtime, is_good).wait(200);
}

/// Frames taller than any before, in all lanes at once: each lane plans the kernel's launch for them, which
/// takes more shared memory than those before.
void taller_frames_at_once(edgeosr_runtime* runtime) {
    for (int height = engine::kHeight + 3; height <= engine::kMostHeight; height += 3) {
        std::atomic<int> ready{0};
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < kThreads; ++i)
            threads.emplace_back([&ready, runtime, height, i] {
                Call const call(i, height);
                for (++ready; ready < kThreads;)
                    std::this_thread::yield();
                check(is_good(call.judged(runtime)), "frames of another height");
            });
        for (auto& thread : threads)
            thread.join();
    }
}

void swap_under_load(edgeosr::Runtime& runtime, char const* one, char const* two) {
    Load const load(runtime.get(), is_good);
    for (int turn = 0; turn < 3; ++turn) {
        runtime.swap(two);
        load.wait(10);
        runtime.rollback();
        runtime.verify();
        runtime.swap(two);
        runtime.swap(one);
        load.wait(10);
    }
}

void memory_runs_out(edgeosr_runtime* runtime) {
    Load const load(runtime, is_good_or_without_memory);
    for (long turn = 0; turn < 60; ++turn) {
        char const* const calls[] = {"cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate"};
        card::fail_after(calls[turn % 3], turn % 7, CUDA_ERROR_OUT_OF_MEMORY);
        if (turn % 4 == 0) engine::refuse("context");
        load.wait(5);
    }
    card::was_spared();
    engine::was_spared();
}

/// Lanes give memory to one another, and calls go over to where their size is.
void memory_is_short(char const* library, char const* bundle) {
    constexpr long kSpare = 3000;  // less than two frames
    edgeosr::Runtime runtime(bundle, options_with(library));
    for (std::size_t count : {std::size_t{engine::kMostFrames}, std::size_t{1}})
        check(is_good(Call(1, engine::kHeight, count).judged(runtime.get())), "while there is plenty");
    card::allow(kSpare);
    {
        Load const load(runtime.get(), is_good_or_without_memory);
        for (unsigned turn = 0; turn < 30; ++turn) {
            Call const tall(turn, engine::kMostHeight, engine::kMostFrames);
            check(is_good_or_without_memory(tall.judged(runtime.get())), "frames that hardly fit");
            load.wait(10);
        }
    }
    check(is_good(Call(1, engine::kHeight, 1).judged(runtime.get())), "it goes on");
    card::allow(-1);
}

/// A batch that fits nowhere, unless lanes that are idle just then hold enough, beside others that judge on.
/// What it may take is in giving_way.py, in a fixed order.
void batches_hardly_fit(char const* library, char const* bundle) {
    constexpr unsigned kFew = 2;
    edgeosr::Runtime runtime(bundle, options_with(library));
    std::atomic<bool> done{false};
    std::vector<std::thread> threads;
    card::allow(0);
    for (unsigned i = 0; i < kFew; ++i)
        threads.emplace_back([&runtime, &done, i] {
            for (unsigned turn = 0; turn < 20 || !done; ++turn)
                check(is_good_or_without_memory(
                          Call(i + kFew * turn, engine::kHeight, 1).judged(runtime.get())),
                      "a single frame");
        });
    for (unsigned turn = 0; turn < 20; ++turn)
        check(is_good_or_without_memory(
                  Call(turn, engine::kMostHeight, engine::kMostFrames).judged(runtime.get())),
              "frames that hardly fit");
    done = true;
    for (auto& thread : threads)
        thread.join();
    card::allow(-1);
    check(is_good(Call(1, engine::kHeight, 1).judged(runtime.get())), "it goes on");
}

/// Every thread is told, those that wait for a lane too; nothing judges after it.
void device_is_lost(char const* library, char const* bundle) {
    edgeosr::Runtime runtime(bundle, options_with(library));
    {
        Load const load(runtime.get(), [](edgeosr_status status) {
            return status == EDGEOSR_OK || status == EDGEOSR_BACKEND_FAILED;
        });
        load.wait(20);
        card::fail_after("cuStreamSynchronize", 3, CUDA_ERROR_LAUNCH_FAILED);
        load.wait(100);
    }
    for (unsigned turn = 0; turn < 3; ++turn)
        check(Call(turn).judged(runtime.get()) == EDGEOSR_BACKEND_FAILED, "it is lost for good");
}

/// Of the driver's calls, the one that fails: so many after opening begins, or after it.
struct Failing {
    enum { kNone, kOpening, kJudging } when = kNone;
    long calls = 0;
    CUresult code = CUDA_SUCCESS;
};

/// Open a bundle, judge frames of several sizes and close it; returns what failed, if anything.
edgeosr_status whole_life(char const* library, char const* bundle, Failing const& failing = {}) {
    edgeosr_options const options = options_with(library);
    edgeosr_runtime* runtime = nullptr;
    if (failing.when == Failing::kOpening) card::fail_after(nullptr, failing.calls, failing.code);
    edgeosr_status status = edgeosr_open(bundle, &options, &runtime);
    check((status == EDGEOSR_OK) == (runtime != nullptr), "a handle, or none");
    if (failing.when == Failing::kJudging) card::fail_after(nullptr, failing.calls, failing.code);
    // More sizes than a lane keeps: what a call that failed has left in the stream ends before they go.
    for (unsigned turn = 0; runtime != nullptr && turn < 10; ++turn) {
        edgeosr_status const said = Call(turn).judged(runtime);
        if (status == EDGEOSR_OK) status = said;
    }
    edgeosr_close(runtime);
    check(card::pushed() == 0, "the thread's contexts are as before");
    check(card::alive() == 0 && engine::alive() == 0, "nothing is left behind");
    return status;
}

int every_call_fails_once(char const* library, char const* bundle) {
    constexpr long kOpening = 100;  // those beyond judge the golden frames, again and again
    int failed = 0;
    for (auto when : {Failing::kOpening, Failing::kJudging})
        for (CUresult code : {CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_LAUNCH_FAILED})
            for (long calls = 0; when == Failing::kJudging || calls < kOpening; ++calls) {
                edgeosr_status const status = whole_life(library, bundle, {when, calls, code});
                bool const spared = card::was_spared();
                card::restart();
                if (spared) {
                    check(status == EDGEOSR_OK, "nothing failed");
                    break;
                }
                failed += status != EDGEOSR_OK ? 1 : 0;
            }
    for (char const* what : {"start", "load", "context", "shape", "address", "enqueue"}) {
        engine::refuse(what);
        edgeosr_status const status = whole_life(library, bundle);
        check(!engine::was_spared() && status != EDGEOSR_OK, what);
        ++failed;
    }
    return failed;
}

}  // namespace

int main(int argc, char** argv) {
    check(argc > 3, "a library and two bundles");
    alarm(900);  // a call that nobody wakes
    char const *const library = argv[1], *const one = argv[2], *const two = argv[3];
    card::be_integrated(argc > 4);
    engine::install();
    check(whole_life(library, one) == EDGEOSR_OK, "a bundle that judges its golden frames");
    int const failed = every_call_fails_once(library, one);
    {
        edgeosr::Runtime runtime(one, options_with(library));
        several_threads(runtime.get());
        taller_frames_at_once(runtime.get());
        swap_under_load(runtime, one, two);
        memory_runs_out(runtime.get());
        check(Call(5).judged(runtime.get()) == EDGEOSR_OK, "it goes on");
    }
    memory_is_short(library, one);
    batches_hardly_fit(library, one);
    device_is_lost(library, one);
    check(card::alive() == 0 && engine::alive() == 0, "nothing is left behind");
    card::restart();
    check(whole_life(library, one) == EDGEOSR_OK, "after a restart");
    std::printf("%d failures told, nothing left behind\n", failed);
    return 0;
}
