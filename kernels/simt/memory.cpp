// Shared memory, cp.async, and checks of addresses.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"
#include "primitives.h"

#if defined(EDGEOSR_SIMT_COUNT)
#include "counters.h"
#endif

namespace simt {

SharedWindow shared_window;

namespace {

constexpr int kPoison = 0xff;  // as a float or a half: not a number

void deliver(Copy const& copy) {
    {
        Unjudged const guard;
        std::memcpy(copy.shared, copy.global, copy.bytes);
    }
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_write_range(copy.shared, copy.bytes);
#endif
}

}  // namespace

void begin_block_memory(Block& block) {
    // A fresh allocation for each block, so that AddressSanitizer guards its end.
    size_t const bytes = std::max<size_t>(machine.launch.dynamic_shared_bytes, 1);
    void* shared = nullptr;
    if (posix_memalign(&shared, 128, bytes)) std::abort();
    std::memset(shared, kPoison, bytes);
    block.shared = {static_cast<unsigned char*>(shared), bytes};
    begin_view(block);
}

void end_block_memory(Block& block) {
    Unjudged const guard;  // after a misuse, threads that used it have not ended
    std::free(block.shared.begin);
    shared_window = block.shared = {};
    end_view(block);
}

void copy_async(
    void* shared, void const* global, unsigned bytes, [[maybe_unused]] void const* code, Site site) {
    require_shared(shared, bytes, site);
    require_no_mail(shared, bytes, site);
    require_read_only(global, bytes, site);
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_read_range(const_cast<void*>(global), bytes);
    __tsan_write_range(shared, bytes);
#endif
#if defined(EDGEOSR_SIMT_COUNT)
    count_access(global, bytes, false, code);
#endif
    Unjudged const guard;
    std::memset(shared, kPoison, bytes);
    Thread& me = *machine.current;
    me.copies.push_back({shared, global, bytes, me.commits});
}

void copy_async_commit() {
    ++machine.current->commits;
}

void copy_async_wait(unsigned pending) {
    Thread& me = *machine.current;
    auto const first = me.copies.begin();
    auto last = first;  // groups are in order
    for (; last != me.copies.end() && last->group + pending < me.commits; ++last)
        deliver(*last);
    Unjudged const guard;
    me.copies.erase(first, last);
}

void require_no_copies_left(Thread& thread) {
    if (!thread.copies.empty())
        fail(thread.site,
             "the thread returns with " + std::to_string(thread.copies.size()) +
                 " cp.async that it never waited for");
}

void require_global(void const* address, size_t bytes, Site site) {
    auto const offset = reinterpret_cast<uintptr_t>(address) % bytes;
    if (offset)
        fail(
            site,
            "misaligned address: " + std::to_string(offset) + " past a multiple of " + std::to_string(bytes));
    auto const* byte = static_cast<unsigned char const*>(address);
    if (byte >= shared_window.begin && byte < shared_window.begin + shared_window.bytes)
        fail(site, "global access to shared memory");
}

void require_read_only(void const* address, size_t bytes, Site site) {
    require_global(address, bytes, site);
    if (in_workspace(address)) fail(site, "read-only (nc) load of the workspace, which the kernel writes");
}

void shared_misuse(void const* address, size_t bytes, Site site) {
    auto const offset = static_cast<unsigned char const*>(address) - shared_window.begin;
    fail(site,
         "shared access of " + std::to_string(bytes) + " bytes at byte " + std::to_string(offset) + " of " +
             std::to_string(shared_window.bytes) + ": misaligned, or outside");
}

unsigned thread_index() {
    return machine.current->linear;
}
unsigned block_index() {
    return machine.current->block->index;
}

}  // namespace simt
