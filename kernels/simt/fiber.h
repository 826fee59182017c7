// One CUDA thread's stack and registers on the CPU, and the switch from one to another.
//
// x86-64: a hand-written switch (about 3 ns; glibc's swapcontext makes a system call each time). Elsewhere:
// ucontext. Both tell AddressSanitizer and ThreadSanitizer what happens, if those are on.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(EDGEOSR_SIMT_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(EDGEOSR_SIMT_TSAN)
extern "C" {
void* __tsan_get_current_fiber(void);
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);  // flags 1: the switch orders nothing
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_read_range(void* address, unsigned long size);
void __tsan_write_range(void* address, unsigned long size);
void AnnotateIgnoreReadsBegin(char const* file, int line);
void AnnotateIgnoreReadsEnd(char const* file, int line);
void AnnotateIgnoreWritesBegin(char const* file, int line);
void AnnotateIgnoreWritesEnd(char const* file, int line);
}
#endif

namespace simt {

/// A suspended stack. The one of the launching thread has stack == nullptr until it is first left.
struct Fiber {
#if defined(__x86_64__)
    void* stack_pointer = nullptr;
#else
    ucontext_t context;
#endif
    char* stack = nullptr;
    size_t stack_bytes = 0;
    [[maybe_unused]] void* asan_fake_stack = nullptr;
    [[maybe_unused]] void* tsan_fiber = nullptr;
};

/// While one lives, ThreadSanitizer judges nothing: the runtime's own memcpy and new, which it intercepts,
/// are no accesses of the kernel.
struct Unjudged {
#if defined(EDGEOSR_SIMT_TSAN)
    Unjudged() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~Unjudged() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
#else
    Unjudged() {}
#endif
    Unjudged(Unjudged const&) = delete;
    Unjudged& operator=(Unjudged const&) = delete;
};

/// Make `fiber` start `entry` on [stack, stack + bytes) at its first switch. `entry` must never return.
void prepare(Fiber& fiber, char* stack, size_t bytes, void (*entry)());

/// Save the running stack in `from` and go on in `to`. `last`: `from` will never run again.
void switch_fiber(Fiber& from, Fiber& to, bool last);

/// To be called first on a fresh stack, which was reached from `from`.
void arrived_on_fresh_stack(Fiber& from);

/// Free what the sanitizers hold for a fiber that will not run again.
void retire(Fiber& fiber);

}  // namespace simt
