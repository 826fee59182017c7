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
    auto w = static_cast<unsigned>(machine.current ? machine.current->warp - machine.warps.data() : 0);
    Schedule const schedule = machine.launch.schedule;
    uint64_t const random = schedule == Schedule::shuffled ? next_random() : 0;
    if (schedule == Schedule::shuffled && (random & 7) == 0) w = static_cast<unsigned>(random >> 8) % warps;
    // Half the time one block of a cluster falls behind: the others run ahead as far as they can.
    if (machine.blocks.size() > 1 && schedule == Schedule::shuffled && (random & 0xff000) == 0)
        machine.held = static_cast<unsigned>((random >> 20) % (2 * machine.blocks.size()));
    Thread* held = nullptr;
    for (unsigned step = 0; step < warps; ++step) {
        if (uint32_t const ready = machine.warps[w].ready) {
            unsigned lane = static_cast<unsigned>(random >> 3) % 32;  // 0 unless shuffled
            if (schedule == Schedule::reverse)
                lane = 31 - static_cast<unsigned>(__builtin_clz(ready));
            else
                lane = bit_from(ready, lane);
            Thread* const thread = machine.warps[w].lanes + lane;
            if (thread->block->rank != machine.held) return thread;
            if (!held) held = thread;
        }
        if (schedule == Schedule::reverse)
            w = w ? w - 1 : warps - 1;
        else
            w = w + 1 < warps ? w + 1 : 0;
    }
    return held;
}

/// All threads of the block are at one barrier, or the kernel is wrong.
void release_barrier(Block& block) {
    Thread* const threads = block.threads;
    Thread const* first = threads;
    while (first->state != State::at_barrier)
        ++first;
    machine.current = const_cast<Thread*>(first);
    if (block.at_barrier != machine.launch.threads) {
        bool const returned = block.at_barrier + block.done == machine.launch.threads;
        fail(first->site,
             "barrier reached by " + std::to_string(block.at_barrier) + " of " +
                 std::to_string(machine.launch.threads) + " threads; " +
                 (returned ? "the others have returned" : waiting()));
    }
    for (unsigned i = 0; i < machine.launch.threads; ++i)
        if (!(threads[i].site == first->site))
            fail(threads[i].site,
                 "divergent barrier: thread " + std::to_string(first->linear) + " waits at " +
                     text(first->site));
    ++machine.barriers;
    Known all;
    for (unsigned i = 0; i < machine.launch.threads; ++i)
        all.learn(threads[i].known);
    block.at_barrier = 0;
    for (unsigned i = 0; i < machine.launch.threads; ++i) {
        settle_stores(threads[i]);
        threads[i].known = all;
        wake(threads[i]);
        ++threads[i].synchronisations;
    }
}

/// No thread can run: every thread of a block is at one barrier, or the kernel is wrong.
void go_on() {
    for (Thread const& thread : machine.threads) {
        if (thread.state == State::in_warp_operation) {
            Meeting const* meeting = nullptr;
            for (Meeting const& m : thread.warp->meetings)
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
    }
    for (Block& block : machine.blocks)
        if (block.at_barrier) return release_barrier(block);
    for (Thread& thread : machine.threads)
        if (thread.state != State::done) {
            machine.current = &thread;
            fail(thread.site, "deadlock: " + waiting());
        }
}

/// The running thread's block: what the kernel's accesses are checked against.
void enter(Block const& block) {
    shared_window = block.shared;
    workspace_shift = block.workspace_shift;
}

void leave(bool last) {
    Thread& me = *machine.current;
    // At once, so that a block can be whole barriers ahead of others.
    if (machine.blocks.size() > 1 && me.block->at_barrier == machine.launch.threads)
        release_barrier(*me.block);
    if (machine.under_way) perhaps_bring_mail();
    Thread* next = choose();
    while (!next && machine.done < machine.threads.size()) {
        if (!bring_mail()) go_on();
        next = choose();
    }
    ++machine.switches;
    machine.current = next;
    if (next == &me) return;
    if (next && next->block != me.block) enter(*next->block);
    switch_fiber(me.fiber, next ? next->fiber : machine.main, last);
}

void start() {
    arrived_on_fresh_stack(machine.main);
    kernel(kernel_argument);
    Thread& me = *machine.current;
    require_no_copies_left(me);
    require_cluster_left(me);
    me.state = State::done;
    me.warp->ready &= ~(1u << (me.linear % 32));
    ++me.block->done;
    ++machine.done;
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(&machine.done);
#endif
    leave(true);
    __builtin_trap();
}

void begin_block(Block& block, char* stacks) {
    unsigned const count = machine.launch.threads, warps = (count + 31) / 32;
    block.threads = &machine.threads[block.rank * count];
    block.at_barrier = block.done = 0;
    for (unsigned i = 0; i < count; ++i) {
        Thread& thread = block.threads[i];
        thread.block = &block;
        thread.warp = &machine.warps[block.rank * warps + i / 32];
        if (i % 32 == 0) thread.warp->lanes = &thread;
        thread.linear = i;
        thread.site = Site{};
        thread.synchronisations = thread.commits = 0;
        thread.known = {};
        thread.steps = 0;
        thread.synced = false;
        thread.copies.clear();
        prepare(thread.fiber, stacks + kStride * (block.rank * count + i), kStackBytes, start);
        wake(thread);
    }
}

/// The cluster that begins with this block of the grid.
bool run_cluster(unsigned first_block, char* stacks) {
    auto const size = static_cast<unsigned>(machine.blocks.size());
    machine.warps.assign(size * ((machine.launch.threads + 31) / 32), Warp{});
    machine.done = 0;
    machine.held = size;
    begin_cluster();
    for (unsigned rank = 0; rank < size; ++rank) {  // all memory before any fiber: that orders them
        machine.blocks[rank].rank = rank;
        machine.blocks[rank].index = first_block + rank;
        begin_block_memory(machine.blocks[rank]);
    }
    for (Block& block : machine.blocks)
        begin_block(block, stacks);
    machine.current = nullptr;
    Thread* first = choose();
    enter(*first->block);
    machine.current = first;
    switch_fiber(machine.main, first->fiber, false);
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_acquire(&machine.done);
#endif
    for (Thread& thread : machine.threads)
        retire(thread.fiber);
    machine.current = nullptr;
#if defined(EDGEOSR_SIMT_COUNT)
    end_cluster_counting();
#endif
    for (Block& block : machine.blocks)
        end_block_memory(block);
    return machine.error.empty();
}

}  // namespace

std::string text(Site const& site) {
    char const* slash = std::strrchr(site.file, '/');
    return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

void fail(Site const& site, std::string const& what) {
    Thread const& me = *machine.current;
    machine.error = "block " + std::to_string(me.block->index) + ", thread " + std::to_string(me.linear) +
                    ", " + text(site) + ": " + what;
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(&machine.done);  // the message, which the launching thread prints
#endif
    Fiber abandoned = me.fiber;
    switch_fiber(abandoned, machine.main, true);
    __builtin_trap();
}

void suspend() {
    Thread& me = *machine.current;
    me.warp->ready &= ~(1u << (me.linear % 32));
    leave(false);
}

char const* run(Launch const& launch, void (*entry)(void*), void* argument) {
    machine.launch = launch;
    machine.error.clear();
    machine.random = launch.seed * 2654435761u + 88172645463325252ull;
    machine.switches = machine.barriers = machine.warp_operations = machine.multiplications = 0;
    kernel = entry;
    kernel_argument = argument;
    unsigned const blocks = launch.blocks, cluster = launch.cluster;
    if (launch.threads == 0 || launch.threads > 1024) return "a block has 1 to 1024 threads";
    if (cluster == 0 || cluster > 8) return "a cluster has 1 to 8 blocks";
    if (blocks % cluster) return "the grid's blocks are no multiple of the cluster's";
    unsigned const threads = cluster * launch.threads;
    machine.blocks = std::vector<Block>(cluster);
    machine.threads = std::vector<Thread>(threads);
    auto* stacks = static_cast<char*>(std::aligned_alloc(4096, (kStride * threads + 4095) / 4096 * 4096));
#if defined(EDGEOSR_SIMT_TSAN)
    machine.main.tsan_fiber = __tsan_get_current_fiber();
#endif
    std::vector<unsigned> order(blocks / cluster);
    std::iota(order.begin(), order.end(), 0u);
    if (launch.schedule == Schedule::reverse) std::reverse(order.begin(), order.end());
    if (launch.schedule == Schedule::shuffled) permute(order);
    begin_launch_memory();
    for (unsigned const c : order)
        if (!run_cluster(c * cluster, stacks)) break;
    end_launch_memory();
    std::free(stacks);
    return machine.error.empty() ? nullptr : machine.error.c_str();
}

}  // namespace simt
