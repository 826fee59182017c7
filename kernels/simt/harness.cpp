#include "harness.h"

#include <cstring>

#include "machine.h"

namespace {

struct Call {
    void (*function)(void const*);
    void const* parameters;
};

void call(void* argument) {
    auto const* it = static_cast<Call const*>(argument);
    it->function(it->parameters);
}

}  // namespace

char const* edgeosr_simt_run(char const* entry,
                             void const* parameters,
                             uint64_t parameter_bytes,
                             EdgeosrRun const* run,
                             EdgeosrRunCounts* counts) {
    simt::Entry const* found = simt::entries;
    while (found->name && std::strcmp(found->name, entry) != 0)
        ++found;
    if (!found->name) return "no kernel of this name in the library";
    if (found->parameter_bytes != parameter_bytes) return "the parameter struct has another size";
    simt::Launch launch;
    launch.blocks = run->blocks;
    launch.threads = run->threads;
    launch.dynamic_shared_bytes = run->dynamic_shared_bytes;
    launch.cluster = run->cluster;
    launch.schedule = static_cast<simt::Schedule>(run->schedule);
    launch.seed = run->seed;
    launch.workspace = static_cast<unsigned char*>(run->workspace);
    launch.workspace_bytes = run->workspace_bytes;
    Call argument{found->call, parameters};
    char const* error = simt::run(launch, call, &argument);
    *counts = {simt::machine.switches,
               simt::machine.barriers,
               simt::machine.warp_operations,
               simt::machine.multiplications};
    return error;
}

#if defined(EDGEOSR_SIMT_COUNT)
#include "counters.h"

extern "C" void edgeosr_simt_begin_counting(EdgeosrCountedArray* arrays, uint64_t count) {
    simt::begin_counting(arrays, count);
}

extern "C" uint64_t edgeosr_simt_end_counting(EdgeosrSharedCounts* shared,
                                              EdgeosrConflict* conflicts,
                                              uint64_t room) {
    return simt::end_counting(shared, conflicts, room);
}
#endif
