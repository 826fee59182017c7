// The hardware's primitives on the CPU. simt.h gives them the names that the kernel calls.
// Each takes the program point of its call; a misuse ends the launch with a message (see machine.h, fail).
#pragma once

#include <cstddef>
#include <cstdint>

#include "site.h"

namespace simt {

unsigned thread_index();
unsigned block_index();

/// Every thread of the block must come to the same call.
void block_barrier(Site site);
/// All lanes of `mask`, and no others, must come to the same call of these.
void warp_barrier(uint32_t mask, Site site);
uint32_t warp_ballot(uint32_t mask, bool vote, Site site);
uint32_t warp_shuffle(uint32_t mask, uint32_t value, uint32_t source_lane, Site site);
/// mma.sync m16n8k16 (k = 16: a[4], b[2]) or m16n8k8 (k = 8: a[2], b[1]); c and d are float[4].
void warp_multiply(float* d, uint32_t const* a, uint32_t const* b, float const* c, int k, Site site);

/// Dynamic shared memory of the running block; not-a-number bytes at its start.
struct SharedWindow {
    unsigned char* begin = nullptr;
    size_t bytes = 0;
    uint8_t const* places = nullptr;  // each word's: not 0 where a mailbox is or mail comes; null: nowhere
};
extern SharedWindow shared_window;

/// The workspace as the running block sees it lies so far from the workspace: not 0 while blocks of a cluster
/// run at once.
extern ptrdiff_t workspace_shift;
uintptr_t seen_in_workspace(uintptr_t address);
/// The inverse, for counting.
uintptr_t address_in_workspace(uintptr_t seen);

/// Where the running block finds what is at a global address.
template <class T>
T* seen(T* address) {
    if (!workspace_shift) return address;
    return reinterpret_cast<T*>(seen_in_workspace(reinterpret_cast<uintptr_t>(address)));
}

[[noreturn]] void shared_misuse(void const* address, size_t bytes, Site site);

inline void require_shared(void const* address, size_t bytes, Site site) {
    auto const offset =
        reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(shared_window.begin);
    if (offset > shared_window.bytes || offset + bytes > shared_window.bytes || offset % bytes)
        shared_misuse(address, bytes, site);
}

/// Clusters (cluster.cuh). Each takes what its name there takes.
unsigned cluster_rank();
void open_mailbox(void* mailbox, unsigned bytes, Site site);
void cluster_sync(Site site);
void send(void* shared, uint32_t word, void* mailbox, int rank, Site site);
/// `code`: the instruction, for counting.
void copy_by_mail(
    void* shared, void const* global, unsigned bytes, void* mailbox, void const* code, Site site);
void wait_for_mail(void* mailbox, Site site);
void group_sync(int number, int threads, Site site);

/// An access of a word with a place of mail, by a thread that may have waited for it.
void mail_at(size_t word, Site site);

inline void require_no_mail(void const* address, size_t bytes, Site site) {
    if (!shared_window.places) return;
    auto const offset = static_cast<size_t>(static_cast<unsigned char const*>(address) - shared_window.begin);
    for (size_t word = offset / 4; word <= (offset + bytes - 1) / 4; ++word)
        if (shared_window.places[word]) mail_at(word, site);
}

/// Data arrive at the wait that covers their group; until then the destination holds not-a-numbers.
/// `code`: the instruction, for counting.
void copy_async(void* shared, void const* global, unsigned bytes, void const* code, Site site);
void copy_async_commit();
/// Wait for all but the `pending` youngest groups of this thread.
void copy_async_wait(unsigned pending);

/// A global store of 4 or 16 bytes, about to be made there (see `seen`).
void note_store(void* address, size_t bytes, Site site);
/// Orders this thread's stores, and those before a barrier, before the block's next atomic; after an atomic
/// of the block, also shows what other blocks published (workspace.cpp).
void fence();
void acquire();  // of the atomic before, by its thread
/// Wraps to 0 above `limit`; returns the old value.
uint32_t atomic_increment(uint32_t* counter, uint32_t limit, Site site);

/// Check the address of a global access: a multiple of its size, not shared memory; read-only: not written
/// during the launch.
void require_global(void const* address, size_t bytes, Site site);
void require_read_only(void const* address, size_t bytes, Site site);

}  // namespace simt
