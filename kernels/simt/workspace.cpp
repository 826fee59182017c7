// The workspace, through which blocks talk, as each of them may see it.
//
// CUDA promises that a store of one block is seen by another only if (1) a fence follows the store, in the
// same thread or after a barrier, (2) an atomic of the fence's thread follows it, (3) an atomic of the other
// block reads what it left, and (4) that acquires, or a fence of its thread follows. So each block starts
// with the workspace as it was at the *launch*; what a thread has fenced is published at its next atomic; the
// block sees what is published once the thread of its atomic has acquired; all other stores appear when the
// kernel ends. Behind cluster_sync, the blocks of a cluster see one another's stores before it, and may fence
// them as their own. Mail (mail.cpp) orders none of this.
//
// A group's barrier orders the stores of its threads for all of the block, which is more than it promises; a
// kernel that relies on that races, as ThreadSanitizer sees.
//
// A block that runs alone finds its view of the workspace in the workspace itself. Blocks of a cluster, which
// run at once, have copies.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine.h"
#include "primitives.h"

namespace simt {

ptrdiff_t workspace_shift = 0;

namespace {

constexpr unsigned kNobody = ~0u;

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
    std::vector<Store> joined;  // of the running cluster, at cluster_sync
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

/// The block has acquired so many of the stores that blocks published, in their order; its own are later.
void see_published(View& view, size_t stores) {
    if (stores <= view.seen) return;
    Unjudged const guard;
    std::vector<Store> later;
    for (Store const& store : workspace.joined)
        later.push_back({store.word, view.words[store.word]});
    for (uint32_t const i : view.own)
        later.push_back({i, view.words[i]});
    for (; view.seen < stores; ++view.seen)
        view.words[workspace.log[view.seen].word] = workspace.log[view.seen].value;
    for (Store const& store : later)
        view.words[store.word] = store.value;
}

}  // namespace

bool in_workspace(void const* address) {
    auto const* byte = static_cast<unsigned char const*>(address);
    return byte >= machine.launch.workspace &&
           byte < machine.launch.workspace + machine.launch.workspace_bytes;
}

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

void begin_view(Block& block) {
    View& view = workspace.views[block.rank];
    block.workspace_shift = (view.words - words()) * static_cast<ptrdiff_t>(sizeof(uint32_t));
    view.counted = kNobody;
    view.counted_at = view.seen = 0;
}

void end_view(Block& block) {
    Unjudged const guard;
    workspace_shift = 0;
    View& view = workspace.views[block.rank];
    if (block.rank == 0)
        for (Store const& store : workspace.joined)
            if (store.value != workspace.published[store.word]) workspace.at_end.push_back(store);
    for (uint32_t const i : view.own)
        if (view.words[i] != workspace.published[i]) workspace.at_end.push_back({i, view.words[i]});
    if (view.seen) {
        std::copy(workspace.at_launch.begin(), workspace.at_launch.end(), view.words);
    } else {
        for (uint32_t const i : view.own)
            view.words[i] = workspace.at_launch[i];
        for (Store const& store : workspace.joined)
            view.words[store.word] = workspace.at_launch[store.word];
    }
    view.own.clear();
    view.settled.clear();
    view.fenced.clear();
    for (unsigned i = 0; i < machine.launch.threads; ++i)
        block.threads[i].stored.clear();
    if (block.rank + 1 == machine.launch.cluster) workspace.joined.clear();
}

void end_launch_memory() {
    for (View const& view : workspace.views)
        std::free(view.copy);
    if (!word_count()) return;
    for (Store const& store : workspace.at_end)
        workspace.published[store.word] = store.value;
    std::copy(workspace.published.begin(), workspace.published.end(), words());
}

void settle_stores(Thread& thread) {
    if (thread.stored.empty()) return;
    Unjudged const guard;
    std::vector<uint32_t>& settled = workspace.views[thread.block->rank].settled;
    settled.insert(settled.end(), thread.stored.begin(), thread.stored.end());
    thread.stored.clear();
}

void join_stores() {
    Unjudged const guard;
    std::vector<uint32_t> settled;
    for (Thread& thread : machine.threads)
        settle_stores(thread);
    for (View& view : workspace.views) {
        for (uint32_t const i : view.own)
            workspace.joined.push_back({i, view.words[i]});
        view.own.clear();
        settled.insert(settled.end(), view.settled.begin(), view.settled.end());
    }
    for (View& view : workspace.views) {
        for (Store const& store : workspace.joined)
            view.words[store.word] = store.value;
        view.settled = settled;
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
    View& view = own_view();
    if (view.counted == machine.current->linear) see_published(view, view.counted_at);
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
