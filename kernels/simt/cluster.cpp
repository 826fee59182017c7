// What the blocks of a cluster do together but for mail: the barrier of its start, and who waits for whom.
//
// A fault that shows only where the whole cluster meets in wait_for_mail (compilers before CUDA 12.1), or in
// some orders of threads only, is refused everywhere.
#include "machine.h"
#include "primitives.h"

namespace simt {

namespace {

struct Cluster {
    std::vector<std::vector<Site>> steps;  // of each warp: where it arrived, waited, waited for mail
    unsigned arrived = 0;                  // threads
    Thread const* absent = nullptr;        // returned without arriving
} cluster;

}  // namespace

std::string name(Thread const& thread) {
    return "block " + std::to_string(thread.block->index) + ", thread " + std::to_string(thread.linear);
}

void begin_cluster() {
    cluster = Cluster{};
    cluster.steps.resize(machine.warps.size());
    begin_mail();
}

unsigned cluster_rank() {
    return machine.current->block->rank;
}

void step_together(Site const& site) {
    Thread& me = *machine.current;
    std::vector<Site>& sites = cluster.steps[static_cast<size_t>(me.warp - machine.warps.data())];
    if (me.steps < sites.size() && !(sites[me.steps] == site))
        fail(site,
             "lanes of a warp are at different program points; others came to " + text(sites[me.steps]));
    Unjudged const guard;
    if (me.steps == sites.size()) sites.push_back(site);
    ++me.steps;
    me.site = site;
}

void cluster_arrive(Site site) {
    Thread& me = *machine.current;
    if (me.steps) fail(site, "cluster_arrive a second time");
    if (cluster.absent) fail(site, "cluster_arrive, but " + name(*cluster.absent) + " returned without");
    step_together(site);
    if (++cluster.arrived < machine.threads.size()) return;
    for (Thread& thread : machine.threads)
        if (thread.state == State::at_cluster_wait) wake(thread);
}

void cluster_wait(Site site) {
    Thread& me = *machine.current;
    if (me.steps != 1)
        fail(site, me.steps ? "cluster_wait a second time" : "cluster_wait without cluster_arrive");
    step_together(site);
    if (cluster.arrived < machine.threads.size()) {
        me.state = State::at_cluster_wait;
        suspend();
    }
    ++me.synchronisations;
}

void require_cluster_left(Thread& thread) {
    if (thread.steps == 0) {
        if (cluster.arrived) fail(thread.site, "the thread returns without cluster_arrive");
        cluster.absent = &thread;
        return;
    }
    if (thread.steps == 1) fail(thread.site, "the thread returns without cluster_wait");
    require_mail_waited_for(thread);
}

std::string waiting() {
    std::string found;
    Thread const* last = nullptr;
    for (Thread const& thread : machine.threads) {
        if (thread.state != State::for_mail && thread.state != State::at_cluster_wait) continue;
        if (last && last->block == thread.block && last->site == thread.site) continue;
        last = &thread;
        found += (found.empty() ? "" : "; ") + name(thread) + " waits at " + text(thread.site);
        if (thread.state == State::at_cluster_wait)
            found += " for cluster_arrive of all: " + std::to_string(cluster.arrived) + " of " +
                     std::to_string(machine.threads.size()) + " threads came";
        else
            found += " for " + missing_mail(thread);
    }
    return found;
}

}  // namespace simt
