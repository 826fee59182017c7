// Running a kernel: what a test program passes, and what it gets back.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

/// Order of threads, of blocks, and of words under way in a cluster. `shuffled` depends on the seed alone.
enum class Schedule : int { forward = 0, reverse = 1, shuffled = 2 };

struct Launch {
    unsigned blocks = 0;
    unsigned threads = 0;  // a block
    size_t dynamic_shared_bytes = 0;
    unsigned cluster = 1;  // blocks that run at once; `blocks` is a multiple of it
    Schedule schedule = Schedule::forward;
    uint64_t seed = 0;
    /// Global memory through which blocks talk: a block's stores to it reach the others only as fences say.
    /// May be null. The counters in it are touched by atomics, whose effect is immediate.
    unsigned char* workspace = nullptr;
    size_t workspace_bytes = 0;
};

/// Run `entry(argument)` in every thread of every block.
/// Returns null, or what the kernel did wrong (valid until the next launch); then it stopped there.
char const* run(Launch const& launch, void (*entry)(void*), void* argument);

}  // namespace simt
