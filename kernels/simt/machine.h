// The machine that runs a CUDA kernel's own source on the CPU: one fiber a CUDA thread, all on one OS thread.
// The blocks of a cluster run at once, clusters (blocks, where there are none) one after another. What a
// kernel sees of it is in simt.h and cluster.h; this is the inside.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "fiber.h"
#include "launch.h"
#include "primitives.h"
#include "site.h"

namespace simt {

enum class State : uint8_t {
    ready,
    at_barrier,
    in_warp_operation,
    at_group_sync,
    at_cluster_sync,
    for_mail,
    done
};

enum class WarpOperation : uint8_t { sync, ballot, shuffle, multiply };

/// A cp.async that its thread has not waited for yet.
struct Copy {
    void* shared;
    void const* global;
    unsigned bytes;
    unsigned group;  // number of commits by this thread before it
};

struct Block;
struct Warp;

/// What happened before, by a thread's own doing or that of threads that it met at barriers: a bit for each
/// mailbox of its block.
struct Known {
    uint64_t opened = 0, waited = 0;
    void learn(Known const& other) {
        opened |= other.opened;
        waited |= other.waited;
    }
};

struct Thread {
    Fiber fiber;
    Block* block = nullptr;
    Warp* warp = nullptr;
    unsigned linear = 0;  // in the block
    State state = State::ready;
    Site site;                      // where it waits
    uint32_t operand[10];           // what it brings to a warp operation: mma takes 4 + 2 + 4 words
    uint32_t result[4];             // what it takes away
    unsigned synchronisations = 0;  // barriers and whole-warp operations so far: aligns the lanes' requests
    unsigned commits = 0;
    std::vector<Copy> copies;
    std::vector<uint32_t> stored;  // words of the workspace since the last barrier or fence
    Known known;
    unsigned steps = 0;   // that its warp takes together, see step_together
    bool synced = false;  // with the cluster
    unsigned number = 0;  // of what it waits for: among its block's mailboxes, or of the group
};

/// The lanes of one warp that meet in one operation.
struct Meeting {
    uint32_t mask = 0;  // 0: free
    uint32_t arrived = 0;
    WarpOperation operation;
    int variant;
    Site site;
};

struct Warp {
    uint32_t ready = 0;  // lanes
    Thread* lanes = nullptr;
    Meeting meetings[32];
    unsigned active = 0;  // meetings in use are among the first `active`
};

/// A block of the cluster that runs.
struct Block {
    unsigned index = 0, rank = 0;  // in the grid, in the cluster
    SharedWindow shared;
    ptrdiff_t workspace_shift = 0;  // from the workspace to the block's view of it
    Thread* threads = nullptr;
    unsigned at_barrier = 0, done = 0;  // threads
};

struct Machine {
    Launch launch;
    Fiber main;
    Thread* current = nullptr;
    std::vector<Block> blocks;    // of the cluster that runs
    std::vector<Thread> threads;  // of all of them
    std::vector<Warp> warps;
    unsigned done = 0;     // threads
    unsigned held = 0;     // shuffled: rank of a block that runs only if no other can; of none
    bool mail = false;     // a mailbox is open
    size_t under_way = 0;  // of mail
    uint64_t random = 0;
    std::string error;
    uint64_t switches = 0, barriers = 0, warp_operations = 0, multiplications = 0;
};

extern Machine machine;

/// End the launch with "block b, thread t, file:line: what". Does not return.
[[noreturn]] void fail(Site const& site, std::string const& what);

/// Let other threads run until this one is ready again; its state says what it waits for.
void suspend();

/// A thread that waits may go on.
inline void wake(Thread& thread) {
    thread.state = State::ready;
    thread.warp->ready |= 1u << (thread.linear % 32);
}

inline uint64_t next_random() {  // xorshift64
    uint64_t state = machine.random;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    machine.random = state;
    return state >> 11;
}

std::string text(Site const& site);

// memory.cpp
void begin_block_memory(Block& block);
void end_block_memory(Block& block);
void require_no_copies_left(Thread& thread);

// workspace.cpp
void begin_launch_memory();
void begin_view(Block& block);
void end_view(Block& block);
void end_launch_memory();
bool in_workspace(void const* address);
/// At a barrier: what the thread stored before it, any of its block may fence after it.
void settle_stores(Thread& thread);
/// At cluster_sync: every block sees what any stored.
void join_stores();

// cluster.cpp
std::string name(Thread const& thread);
void begin_cluster();
/// The running thread takes its next step of those that whole warps take together: the instruction, and what
/// it names.
void step_together(Site const& site, unsigned name);
/// The thread returns.
void require_cluster_left(Thread& thread);
/// Who waits for the cluster, a group or mail, in words; empty: nobody.
std::string waiting();

// mail.cpp
void begin_mail();
/// Some mail under way comes; false if none is.
bool bring_mail();
void perhaps_bring_mail();
/// The block's last thread returns.
void require_mail_waited_for(Thread& thread);
/// Of what the thread waits for, in words.
std::string missing_mail(Thread const& thread);

}  // namespace simt
