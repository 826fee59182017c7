#include "machine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

#if defined(EDGEOSR_SIMT_COUNT)
#include "counters.h"
#endif

namespace simt {

Machine machine;

namespace {

#if defined(EDGEOSR_SIMT_ASAN) || defined(EDGEOSR_SIMT_TSAN)
constexpr size_t kStackBytes = 256 * 1024;
#else
constexpr size_t kStackBytes = 64 * 1024;
#endif
// Stacks 13 cache lines off a power of two: page-aligned ones fight for the same cache sets.
constexpr size_t kStride = kStackBytes + 13 * 64;

void (*kernel)(void*);
void* kernel_argument;

template <class T>
void permute(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i)
        std::swap(items[i - 1], items[next_random() % i]);
}

/// The first set bit at or after `from`, cyclically.
unsigned bit_from(uint32_t bits, unsigned from) {
    uint32_t const turned = from ? bits >> from | bits << (32 - from) : bits;
    return (static_cast<unsigned>(__builtin_ctz(turned)) + from) % 32;
}

/// The thread to run next, or null if none can. Stays in the warp while it can, as a warp's lanes run
/// together.
Thread* choose() {
    auto const warps = static_cast<unsigned>(machine.warps.size());
    unsigned w = machine.current ? machine.current->linear / 32 : 0;
    Schedule const schedule = machine.launch.schedule;
    uint64_t const random = schedule == Schedule::shuffled ? next_random() : 0;
    if (schedule == Schedule::shuffled && (random & 7) == 0) w = static_cast<unsigned>(random >> 8) % warps;
    for (unsigned step = 0; step < warps; ++step) {
        if (uint32_t const ready = machine.warps[w].ready) {
            unsigned lane = static_cast<unsigned>(random >> 3) % 32;  // 0 unless shuffled
            if (schedule == Schedule::reverse)
                lane = 31 - static_cast<unsigned>(__builtin_clz(ready));
            else
                lane = bit_from(ready, lane);
            return &machine.threads[w * 32 + lane];
        }
        if (schedule == Schedule::reverse)
            w = w ? w - 1 : warps - 1;
        else
            w = w + 1 < warps ? w + 1 : 0;
    }
    return nullptr;
}

/// No thread can run: every thread is at one barrier, or the kernel is wrong.
void release_barrier() {
    Thread const* first = nullptr;
    for (Thread const& thread : machine.threads) {
        if (thread.state == State::in_warp_operation) {
            Meeting const* meeting = nullptr;
            for (Meeting const& m : machine.warps[thread.linear / 32].meetings)
                if (m.mask >> (thread.linear % 32) & 1 && m.arrived) meeting = &m;
            char masks[96];
            std::snprintf(masks,
                          sizeof masks,
                          "mask %08x, arrived %08x",
                          meeting ? meeting->mask : 0,
                          meeting ? meeting->arrived : 0);
            machine.current = const_cast<Thread*>(&thread);
            fail(thread.site,
                 std::string("lanes named in the mask never came to this warp operation (") + masks + ")");
        }
        if (thread.state == State::at_barrier && !first) first = &thread;
    }
    machine.current = const_cast<Thread*>(first);
    if (machine.at_barrier != machine.threads.size())
        fail(first->site,
             "barrier reached by " + std::to_string(machine.at_barrier) + " of " +
                 std::to_string(machine.threads.size()) + " threads; the others have returned");
    for (Thread& thread : machine.threads)
        if (!(thread.site == first->site))
            fail(thread.site,
                 "divergent barrier: thread " + std::to_string(first->linear) + " waits at " +
                     text(first->site));
    ++machine.barriers;
    settle_stores();
    machine.at_barrier = 0;
    for (Thread& thread : machine.threads) {
        thread.state = State::ready;
        ++thread.synchronisations;
        machine.warps[thread.linear / 32].ready |= 1u << (thread.linear % 32);
    }
}

void leave(bool last) {
    Thread& me = *machine.current;
    Thread* next = choose();
    if (!next && machine.done < machine.threads.size()) {
        release_barrier();
        next = choose();
    }
    ++machine.switches;
    machine.current = next;
    if (next == &me) return;
    switch_fiber(me.fiber, next ? next->fiber : machine.main, last);
}

void start() {
    arrived_on_fresh_stack(machine.main);
    kernel(kernel_argument);
    Thread& me = *machine.current;
    require_no_copies_left(me);
    me.state = State::done;
    machine.warps[me.linear / 32].ready &= ~(1u << (me.linear % 32));
    ++machine.done;
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(&machine.done);
#endif
    leave(true);
    __builtin_trap();
}

bool run_block(char* stacks) {
    auto const count = static_cast<unsigned>(machine.threads.size());
    machine.warps.assign((count + 31) / 32, Warp{});
    machine.at_barrier = machine.done = 0;
    for (unsigned i = 0; i < count; ++i) {
        Thread& thread = machine.threads[i];
        thread.linear = i;
        thread.state = State::ready;
        thread.site = Site{};
        thread.synchronisations = thread.commits = 0;
        thread.copies.clear();
        prepare(thread.fiber, stacks + kStride * i, kStackBytes, start);
        machine.warps[i / 32].ready |= 1u << (i % 32);
    }
    machine.current = nullptr;
    Thread* first = choose();
    machine.current = first;
    switch_fiber(machine.main, first->fiber, false);
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_acquire(&machine.done);
#endif
    for (Thread& thread : machine.threads)
        retire(thread.fiber);
    machine.current = nullptr;
    return machine.error.empty();
}

}  // namespace

std::string text(Site const& site) {
    char const* slash = std::strrchr(site.file, '/');
    return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

void fail(Site const& site, std::string const& what) {
    machine.error = "block " + std::to_string(machine.block) + ", thread " +
                    std::to_string(machine.current ? machine.current->linear : 0) + ", " + text(site) + ": " +
                    what;
    Fiber abandoned = machine.current ? machine.current->fiber : Fiber{};
    switch_fiber(abandoned, machine.main, true);
    __builtin_trap();
}

void suspend() {
    Thread& me = *machine.current;
    machine.warps[me.linear / 32].ready &= ~(1u << (me.linear % 32));
    leave(false);
}

char const* run(Launch const& launch, void (*entry)(void*), void* argument) {
    machine.launch = launch;
    machine.error.clear();
    machine.random = launch.seed * 2654435761u + 88172645463325252ull;
    machine.switches = machine.barriers = machine.warp_operations = machine.multiplications = 0;
    kernel = entry;
    kernel_argument = argument;
    unsigned const threads = launch.threads, blocks = launch.blocks;
    if (threads == 0 || threads > 1024) return "a block has 1 to 1024 threads";
    machine.threads = std::vector<Thread>(threads);
    auto* stacks = static_cast<char*>(std::aligned_alloc(4096, (kStride * threads + 4095) / 4096 * 4096));
#if defined(EDGEOSR_SIMT_TSAN)
    machine.main.tsan_fiber = __tsan_get_current_fiber();
#endif
    std::vector<unsigned> order(blocks);
    std::iota(order.begin(), order.end(), 0u);
    if (launch.schedule == Schedule::reverse) std::reverse(order.begin(), order.end());
    if (launch.schedule == Schedule::shuffled) permute(order);
    begin_launch_memory();
    for (unsigned const b : order) {
        machine.block = b;
        begin_block_memory();
        bool const good = run_block(stacks);
#if defined(EDGEOSR_SIMT_COUNT)
        end_block_counting();
#endif
        end_block_memory();
        if (!good) break;
    }
    end_launch_memory();
    std::free(stacks);
    return machine.error.empty() ? nullptr : machine.error.c_str();
}

}  // namespace simt
