// What threads of a block or a cluster do together but for mail: the cluster's one barrier, the named
// barriers of groups of warps, and who waits for whom.
//
// A fault that shows in some orders of threads only is refused in every order.
#include <array>

#include "machine.h"
#include "primitives.h"

namespace simt {

namespace {

constexpr unsigned kGroups = 16;  // named barriers of a block, with block_sync's

struct Step {
    Site site;
    unsigned name;
};

/// A named barrier of a block. Warps count, as soon as all their lanes are there.
struct Group {
    unsigned threads = 0, lanes = 0;  // asked for; that wait
    Thread const* first = nullptr;    // of them
    std::vector<Warp*> warps;         // whole ones that wait
};

struct Cluster {
    std::vector<std::vector<Step>> steps;            // of each warp
    std::vector<unsigned> lanes;                     // of each warp, that wait for their group
    std::vector<std::array<Group, kGroups>> groups;  // by rank
    unsigned arrived = 0;                            // threads at cluster_sync
    Thread const* absent = nullptr;                  // returned without
} cluster;

size_t number_of(Warp const& warp) {
    return static_cast<size_t>(&warp - machine.warps.data());
}

unsigned lanes_of(Warp const& warp) {
    return std::min(32u, machine.launch.threads - warp.lanes->linear);
}

void release(Group& group, Block& block) {
    Known all;
    for (Warp const* warp : group.warps)
        for (unsigned lane = 0; lane < lanes_of(*warp); ++lane)
            all.learn(warp->lanes[lane].known);
    for (Warp const* warp : group.warps)
        for (unsigned lane = 0; lane < lanes_of(*warp); ++lane) {
            Thread& thread = warp->lanes[lane];
            settle_stores(thread);
            thread.known = all;
            ++thread.synchronisations;
            if (&thread != machine.current) wake(thread);
        }
    ++machine.barriers;
    group.lanes = 0;
    for (unsigned i = 0; i < machine.launch.threads; ++i) {  // lanes whose warps are not whole yet
        Thread const& thread = block.threads[i];
        if (thread.state != State::at_group_sync || &cluster.groups[block.rank][thread.number] != &group)
            continue;
        if (group.lanes++ == 0) group.first = &thread;
    }
    group.warps.clear();
}

}  // namespace

std::string name(Thread const& thread) {
    return "block " + std::to_string(thread.block->index) + ", thread " + std::to_string(thread.linear);
}

void begin_cluster() {
    cluster = Cluster{};
    cluster.steps.resize(machine.warps.size());
    cluster.lanes.resize(machine.warps.size());
    cluster.groups.resize(machine.blocks.size());
    begin_mail();
}

unsigned cluster_rank() {
    return machine.current->block->rank;
}

void step_together(Site const& site, unsigned name_of_it) {
    Thread& me = *machine.current;
    std::vector<Step>& steps = cluster.steps[number_of(*me.warp)];
    if (me.steps == steps.size()) {
        for (unsigned lane = 0; lane < lanes_of(*me.warp); ++lane)
            if (me.warp->lanes[lane].state == State::done)
                fail(site, "whole warps come here, but " + name(me.warp->lanes[lane]) + " has returned");
        Unjudged const guard;
        steps.push_back({site, name_of_it});
    }
    Step const& step = steps[me.steps];
    if (!(step.site == site))
        fail(site, "lanes of a warp are at different program points; others came to " + text(step.site));
    if (step.name != name_of_it) fail(site, "lanes of a warp name different mailboxes or groups");
    ++me.steps;
    me.site = site;
}

void cluster_sync(Site site) {
    Thread& me = *machine.current;
    if (me.synced) fail(site, "cluster_sync a second time");
    if (cluster.absent) fail(site, "cluster_sync, but " + name(*cluster.absent) + " returned without");
    step_together(site, 0);
    me.synced = true;
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(&cluster);
#endif
    if (++cluster.arrived < machine.threads.size()) {
        me.state = State::at_cluster_sync;
        suspend();
    } else {
        join_stores();
        for (Block const& block : machine.blocks) {
            Known all;
            for (unsigned i = 0; i < machine.launch.threads; ++i)
                all.learn(block.threads[i].known);
            for (unsigned i = 0; i < machine.launch.threads; ++i) {
                block.threads[i].known = all;
                if (&block.threads[i] != &me) wake(block.threads[i]);
            }
        }
        ++machine.barriers;
    }
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_acquire(&cluster);
#endif
    ++me.synchronisations;
}

void group_sync(int number, int threads, Site site) {
    Thread& me = *machine.current;
    std::string const whose = "group_sync with number " + std::to_string(number);
    if (number < 1 || number >= static_cast<int>(kGroups)) fail(site, whose + ", which is not 1 to 15");
    if (threads < 32 || threads % 32 || static_cast<unsigned>(threads) > machine.launch.threads)
        fail(site,
             whose + " of " + std::to_string(threads) + " threads: not whole warps of a block of " +
                 std::to_string(machine.launch.threads));
    Group& group = cluster.groups[me.block->rank][static_cast<size_t>(number)];
    auto const asked = static_cast<unsigned>(threads);
    if (group.lanes && group.threads != asked)
        fail(site,
             whose + " of " + std::to_string(threads) + " threads, where " + name(*group.first) +
                 " waits for " + std::to_string(group.threads) + " at " + text(group.first->site));
    step_together(site, static_cast<unsigned>(number));
    if (group.lanes++ == 0) group.first = &me;
    group.threads = asked;
    me.number = static_cast<unsigned>(number);
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_release(&group);
#endif
    unsigned& lanes = cluster.lanes[number_of(*me.warp)];
    if (++lanes == lanes_of(*me.warp)) {
        Unjudged const guard;
        lanes = 0;
        group.warps.push_back(me.warp);
    }
    if (lanes == 0 && 32 * group.warps.size() >= asked) {
        Unjudged const guard;
        release(group, *me.block);
    } else {
        me.state = State::at_group_sync;
        suspend();
    }
#if defined(EDGEOSR_SIMT_TSAN)
    __tsan_acquire(&group);
#endif
}

void require_cluster_left(Thread& thread) {
    if (!thread.synced) {
        if (cluster.arrived) fail(thread.site, "the thread returns without cluster_sync");
        cluster.absent = &thread;
    }
    std::vector<Step> const& steps = cluster.steps[number_of(*thread.warp)];
    if (thread.steps < steps.size())
        fail(thread.site,
             "the thread returns, but others of its warp came to " + text(steps[thread.steps].site));
    if (thread.block->done + 1 == machine.launch.threads) require_mail_waited_for(thread);
}

std::string waiting() {
    std::string found;
    Thread const* last = nullptr;
    for (Thread const& thread : machine.threads) {
        State const state = thread.state;
        if (state != State::for_mail && state != State::at_cluster_sync && state != State::at_group_sync)
            continue;
        if (last && last->block == thread.block && last->site == thread.site) continue;
        last = &thread;
        found += (found.empty() ? "" : "; ") + name(thread) + " waits at " + text(thread.site) + " for ";
        Group const& group = cluster.groups[thread.block->rank][thread.number % kGroups];
        if (state == State::at_cluster_sync)
            found += "cluster_sync of all: " + std::to_string(cluster.arrived) + " of " +
                     std::to_string(machine.threads.size()) + " threads came";
        else if (state == State::at_group_sync)
            found += "group " + std::to_string(thread.number) + ": " + std::to_string(group.lanes) + " of " +
                     std::to_string(group.threads) + " threads came";
        else
            found += missing_mail(thread);
    }
    return found;
}

}  // namespace simt
