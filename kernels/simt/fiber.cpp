#include "fiber.h"

namespace simt {

#if defined(__x86_64__)
extern "C" void edgeosr_simt_switch(void** save_stack_pointer, void* stack_pointer);
// The System V callee-saved registers. MXCSR and the x87 control word are the same on every fiber.
asm(R"(
.text
.globl edgeosr_simt_switch
.hidden edgeosr_simt_switch
.type edgeosr_simt_switch, @function
edgeosr_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size edgeosr_simt_switch, .-edgeosr_simt_switch
)");
#endif

void prepare(Fiber& fiber, char* stack, size_t bytes, void (*entry)()) {
    fiber.stack = stack;
    fiber.stack_bytes = bytes;
    fiber.asan_fake_stack = nullptr;
#if defined(__x86_64__)
    // After `ret` the stack pointer is 8 below a multiple of 16, as the ABI wants it at a function's entry.
    auto top = (reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t{15};
    auto** slots = reinterpret_cast<void**>(top) - 8;
    for (int i = 0; i < 8; ++i)
        slots[i] = nullptr;
    slots[6] = reinterpret_cast<void*>(entry);
    fiber.stack_pointer = slots;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
#endif
#if defined(EDGEOSR_SIMT_TSAN)
    void* here = __tsan_get_current_fiber();
    fiber.tsan_fiber = __tsan_create_fiber(0);
    // A round trip with flags 0: what the launching thread did happens before the fiber starts.
    __tsan_switch_to_fiber(fiber.tsan_fiber, 0);
    __tsan_switch_to_fiber(here, 1);
#endif
}

void switch_fiber(Fiber& from, Fiber& to, [[maybe_unused]] bool last) {
#if defined(EDGEOSR_SIMT_ASAN)
    __sanitizer_start_switch_fiber(last ? nullptr : &from.asan_fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_switch_to_fiber(to.tsan_fiber, 1);
#endif
#if defined(__x86_64__)
    edgeosr_simt_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
#if defined(EDGEOSR_SIMT_ASAN)
    __sanitizer_finish_switch_fiber(from.asan_fake_stack, nullptr, nullptr);
#endif
}

void arrived_on_fresh_stack([[maybe_unused]] Fiber& from) {
#if defined(EDGEOSR_SIMT_ASAN)
    void const* bottom = nullptr;
    size_t bytes = 0;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
    if (!from.stack) {  // only the launching thread's stack is unknown
        from.stack = static_cast<char*>(const_cast<void*>(bottom));
        from.stack_bytes = bytes;
    }
#endif
}

void retire([[maybe_unused]] Fiber& fiber) {
#if defined(EDGEOSR_SIMT_TSAN)
    if (fiber.tsan_fiber) __tsan_destroy_fiber(fiber.tsan_fiber);
    fiber.tsan_fiber = nullptr;
#endif
}

}  // namespace simt
