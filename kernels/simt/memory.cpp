// Shared memory, cp.async, and the workspace through which blocks talk.
//
// The workspace as a block may see it. CUDA promises that a store of one block is seen by another only if (1)
// a fence follows the store, in the same thread or after a barrier, (2) an atomic of the fence's thread
// follows it, (3) an atomic of the other block reads what it left, and (4) that acquires, or a fence of its
// thread follows. So each block starts with the workspace as it was at the *launch*; what a thread has fenced
// is published at its next atomic; the block sees what is published once the thread of its atomic has
// acquired; all other stores appear when the kernel ends. Mail (mail.cpp) orders none of this, but for what
// its sender had acquired with an atomic before, or published with it: the receiver sees that too. Threads
// that meet at a barrier, or at one of their warp, have acquired it together.
//
// A block that runs alone finds its view of the workspace in the workspace itself. Blocks of a cluster, which
// run at once, have copies.
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
ptrdiff_t workspace_shift = 0;

namespace {

constexpr unsigned kNobody = ~0u;
constexpr int kPoison = 0xff;  // as a float or a half: not a number

struct Store {
    size_t word;
    uint32_t value;
};

/// A block's view.
struct View {
    char* copy = nullptr;  // an allocation; null: the workspace itself
    uint32_t* words = nullptr;
    std::vector<uint32_t> own;                       // every word it stored
    std::vector<uint32_t> settled;                   // stored before a barrier, not fenced
    std::vector<std::pair<unsigned, Store>> fenced;  // by the thread that fenced them
    unsigned counted = kNobody;                      // the thread of the last atomic
    size_t counted_at = 0;                           // what was published at that atomic
    size_t seen = 0;                                 // of what is published: so many stores
};

struct Workspace {
    std::vector<uint32_t> at_launch, published;
    std::vector<Store> log;     // what was published, in that order
    std::vector<Store> at_end;  // never published: of all blocks
    std::vector<View> views;    // of the running blocks, by rank
} workspace;

uint32_t* words() {
    return reinterpret_cast<uint32_t*>(machine.launch.workspace);
}
size_t word_count() {
    return machine.launch.workspace_bytes / 4;
}
View& own_view() {
    return workspace.views[machine.current->block->rank];
}

bool in_workspace(void const* address) {
    auto const* byte = static_cast<unsigned char const*>(address);
    return byte >= machine.launch.workspace &&
           byte < machine.launch.workspace + machine.launch.workspace_bytes;
}

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

void begin_launch_memory() {
    workspace = Workspace{};
    if (word_count()) {
        workspace.at_launch.assign(words(), words() + word_count());
        workspace.published = workspace.at_launch;
    }
    workspace.views.resize(machine.launch.cluster);
    for (View& view : workspace.views) {
        view.words = words();
        if (machine.launch.cluster == 1 || !word_count()) continue;
        // As far past a multiple of 128 as the workspace, and no longer: sectors and the sanitizer see no
        // difference.
        size_t const past = reinterpret_cast<uintptr_t>(words()) % 128;
        void* copy = nullptr;
        if (posix_memalign(&copy, 128, past + machine.launch.workspace_bytes)) std::abort();
        view.copy = static_cast<char*>(copy);
        view.words = reinterpret_cast<uint32_t*>(view.copy + past);
        std::memcpy(view.words, words(), machine.launch.workspace_bytes);
    }
}

void begin_block_memory(Block& block) {
    // A fresh allocation for each block, so that AddressSanitizer guards its end.
    size_t const bytes = std::max<size_t>(machine.launch.dynamic_shared_bytes, 1);
    void* shared = nullptr;
    if (posix_memalign(&shared, 128, bytes)) std::abort();
    std::memset(shared, kPoison, bytes);
    block.shared = {static_cast<unsigned char*>(shared), bytes};
    View& view = workspace.views[block.rank];
    block.workspace_shift = (view.words - words()) * static_cast<ptrdiff_t>(sizeof(uint32_t));
    view.counted = kNobody;
    view.counted_at = view.seen = 0;
}

void end_block_memory(Block& block) {
    Unjudged const guard;  // after a misuse, threads that used it have not ended
    std::free(block.shared.begin);
    shared_window = block.shared = {};
    workspace_shift = 0;
    View& view = workspace.views[block.rank];
    for (uint32_t const i : view.own)
        if (view.words[i] != workspace.published[i]) workspace.at_end.push_back({i, view.words[i]});
    if (view.seen)
        std::copy(workspace.at_launch.begin(), workspace.at_launch.end(), view.words);
    else
        for (uint32_t const i : view.own)
            view.words[i] = workspace.at_launch[i];
    view.own.clear();
    view.settled.clear();
    view.fenced.clear();
    for (unsigned i = 0; i < machine.launch.threads; ++i)
        block.threads[i].stored.clear();
}

void end_launch_memory() {
    for (View const& view : workspace.views)
        std::free(view.copy);
    if (!word_count()) return;
    for (Store const& store : workspace.at_end)
        workspace.published[store.word] = store.value;
    std::copy(workspace.published.begin(), workspace.published.end(), words());
}

void settle_stores(Block& block) {
    Unjudged const guard;
    std::vector<uint32_t>& settled = workspace.views[block.rank].settled;
    for (unsigned i = 0; i < machine.launch.threads; ++i) {
        std::vector<uint32_t>& stored = block.threads[i].stored;
        settled.insert(settled.end(), stored.begin(), stored.end());
        stored.clear();
    }
}

void fence() {
    Unjudged const guard;
    View& view = own_view();
    std::vector<uint32_t>& mine = machine.current->stored;
    for (std::vector<uint32_t>* stores : {&view.settled, &mine}) {
        for (uint32_t const i : *stores)
            view.fenced.push_back({machine.current->linear, {i, view.words[i]}});
        stores->clear();
    }
    acquire();
}

void acquire() {
    View const& view = own_view();
    if (view.counted == machine.current->linear) see_published(view.counted_at);
}

void see_published(size_t stores) {
    Unjudged const guard;
    machine.current->known.learn({0, stores});
    View& view = own_view();
    if (stores <= view.seen) return;
    std::vector<uint32_t> values;
    for (uint32_t const i : view.own)
        values.push_back(view.words[i]);
    for (; view.seen < stores; ++view.seen)
        view.words[workspace.log[view.seen].word] = workspace.log[view.seen].value;
    for (size_t i = 0; i < values.size(); ++i)
        view.words[view.own[i]] = values[i];
}

uint32_t atomic_increment(uint32_t* counter, uint32_t limit, Site site) {
    require_global(counter, 4, site);
    Unjudged const guard;
    uint32_t const old = *counter;
    *counter = old >= limit ? 0 : old + 1;
    if (in_workspace(counter)) {  // immediate for every block
        auto const i = static_cast<size_t>(counter - words());
        workspace.at_launch[i] = workspace.published[i] = *counter;
        for (View& view : workspace.views)
            view.words[i] = *counter;
        View& view = own_view();
        std::vector<std::pair<unsigned, Store>> others;
        for (auto const& fenced : view.fenced) {
            if (fenced.first != machine.current->linear) {
                others.push_back(fenced);
                continue;
            }
            workspace.published[fenced.second.word] = fenced.second.value;
            workspace.log.push_back(fenced.second);
        }
        view.fenced.swap(others);
        view.counted = machine.current->linear;
        view.counted_at = workspace.log.size();
    }
    return old;
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

void note_store(void* address, size_t bytes, Site site) {
    require_global(address, bytes, site);
    if (!in_workspace(address)) return;
    Unjudged const guard;
    std::vector<uint32_t>& own = own_view().own;
    auto const first = static_cast<uint32_t>(static_cast<uint32_t*>(address) - words());
    for (uint32_t i = first; i < first + bytes / 4; ++i) {
        machine.current->stored.push_back(i);
        own.push_back(i);
    }
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

uintptr_t seen_in_workspace(uintptr_t address) {
    uintptr_t const from = address - reinterpret_cast<uintptr_t>(words());
    return from < machine.launch.workspace_bytes ? address + static_cast<uintptr_t>(workspace_shift)
                                                 : address;
}
uintptr_t address_in_workspace(uintptr_t seen) {
    uintptr_t const address = seen - static_cast<uintptr_t>(workspace_shift);
    uintptr_t const from = address - reinterpret_cast<uintptr_t>(words());
    return from < machine.launch.workspace_bytes ? address : seen;
}

}  // namespace simt
