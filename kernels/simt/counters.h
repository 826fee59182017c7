// Counting build only: 32-byte sectors of global memory and wavefronts of shared memory.
//
// The kernel is compiled with -fsanitize=thread, which calls a hook before every load and store, and linked
// with the hooks of counters.cpp instead of the sanitizer's. Lanes run one after another, so the accesses of
// one warp's request are put together again by (instruction, warp, synchronisations so far, how often the
// lane has executed the instruction since). No cache is credited: each request's sectors count in full.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

/// A global array whose traffic is wanted, and the counts (filled by the launch).
struct EdgeosrCountedArray {
    void const* begin;
    uint64_t bytes;
    uint64_t load_requests, load_sectors, store_requests, store_sectors;
};

/// Shared memory: a wavefront serves at most one word from each of the 32 banks. Compulsory: what the request
/// would take without a conflict (1; 2 for 8-byte and 4 for 16-byte accesses of a whole warp).
struct EdgeosrSharedCounts {
    uint64_t requests, wavefronts, compulsory;
};

/// Program point with bank conflicts: address in the library, for addr2line.
struct EdgeosrConflict {
    uint64_t offset, requests, excess;
};
}

namespace simt {

void begin_counting(EdgeosrCountedArray* arrays, size_t count);
void end_cluster_counting();
/// Totals since begin_counting, and up to `room` program points with conflicts; returns how many.
size_t end_counting(EdgeosrSharedCounts* shared, EdgeosrConflict* conflicts, size_t room);

/// An access that no hook sees: by a primitive, for the instruction that called it.
void count_access(void const* address, size_t bytes, bool store, void const* instruction);

}  // namespace simt
