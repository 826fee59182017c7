// Small kernels that meet in groups of warps, rightly and wrongly. test_simt_groups.py runs them.
#include "cluster.cuh"
#include "harness.h"

struct Probe {
    void const* in;
    void* out;
    uint32_t* workspace;
    int choice;
};

using namespace edgeosr;

#define PROBE_KERNEL(name) EDGEOSR_KERNEL(name)(Probe p)

namespace {

constexpr int kThreads = 128;  // of a block

unsigned* word(int number) {
    return reinterpret_cast<unsigned*>(shared_memory()) + number;
}

}  // namespace

/// Warps 0 and 1 hand words on to each other in a group, round after round; warps 2 and 3 in another, at
/// another pace. Global memory too.
PROBE_KERNEL(groups) {
    int const t = thread_index(), pair = t / 64, other = pair * 64 + (t + 32) % 64;
    auto* const kept = reinterpret_cast<float*>(p.workspace + 1);
    unsigned value = static_cast<unsigned>(t);
    for (int round = 0; round < 3 + 2 * pair; ++round) {
        shared_store_u32(word(t), value);
        store_f32(kept + t, static_cast<float>(value));
        group_sync(1 + pair, 64);
        value =
            shared_load_u32(word(other)) * 3 + static_cast<unsigned>(load_shared_by_blocks_f32(kept + other));
        group_sync(p.choice == 1 ? 3 + pair : 1 + pair, 64);
    }
    static_cast<unsigned*>(p.out)[t] = value;
}

/// choice 0: two warps meet, then one of them and a third one under the same number; 1: each warp alone meets
/// under one number.
PROBE_KERNEL(turns) {
    int const t = thread_index(), warp = t / 32;
    shared_store_u32(word(t), static_cast<unsigned>(t + 1));
    if (p.choice == 1) {
        group_sync(7, 32);
        static_cast<unsigned*>(p.out)[t] = shared_load_u32(word(t ^ 31));
        return;
    }
    if (warp == 3) return;
    if (warp < 2) group_sync(15, 64);
    if (warp > 0) group_sync(14, 64);
    if (warp > 0) group_sync(15, 64);
    static_cast<unsigned*>(p.out)[t] = shared_load_u32(word(warp == 0 ? t + 32 : t ^ 96));
}

/// One thread stores for the group and fences after it, another block's reads when it counts last.
PROBE_KERNEL(settled) {
    int const t = thread_index();
    auto* const kept = reinterpret_cast<float*>(p.workspace + 1);
    store_f32(kept + block_index() * kThreads + t, static_cast<float>(t + 1));
    if (p.choice == 0) group_sync(1, kThreads);
    if (t == 64) {
        thread_fence();
        shared_store_u32(word(0), atomic_increment(p.workspace, 1));
    }
    group_sync(2, kThreads);
    if (shared_load_u32(word(0)) == 0) return;
    float const sum = load_shared_by_blocks_f32(kept + t) + load_shared_by_blocks_f32(kept + kThreads + t);
    store_f32(static_cast<float*>(p.out) + t, sum);
}

/// One misuse of a group per choice.
PROBE_KERNEL(wrong_group) {
    int const t = thread_index(), choice = p.choice;
    if (choice == 0) group_sync(0, kThreads);
    if (choice == 1) group_sync(16, kThreads);
    if (choice == 2) group_sync(1, 48);
    if (choice == 3) group_sync(1, kThreads + 32);
    if (choice == 4) group_sync(1, 0);
    if (choice == 5) group_sync(1, t < 64 ? 128 : 64);
    if (choice == 6 && t % 32 < 16) group_sync(1, 64);
    if (choice == 7) {
        if (t == 40)
            group_sync(1, kThreads);
        else
            group_sync(1, kThreads);
    }
    if (choice == 8) group_sync(t == 40 ? 3 : 2, kThreads);
    if (choice == 9 && t < 96) group_sync(1, kThreads);  // the last warp never comes
    if (choice == 10 && t < 64) group_sync(2, 96);       // it waits at the block's barrier
    if (choice == 10) block_sync();
    if (choice == 11) {  // a read and a store of two warps that have not met
        shared_store_u32(word(t), 1);
        if (t < 64) group_sync(1, 64);
        static_cast<unsigned*>(p.out)[t] = shared_load_u32(word(t ^ 64));
    }
    static_cast<unsigned*>(p.out)[t] = 1;
}

simt::Entry const simt::entries[] = {EDGEOSR_SIMT_ENTRY(groups, Probe),
                                     EDGEOSR_SIMT_ENTRY(turns, Probe),
                                     EDGEOSR_SIMT_ENTRY(settled, Probe),
                                     EDGEOSR_SIMT_ENTRY(wrong_group, Probe),
                                     {nullptr, nullptr, 0}};
