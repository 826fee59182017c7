// The C interface of a library that holds kernels to be run on the CPU, and their table.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

/// A kernel by name. `call` passes it the bytes of its parameter struct.
struct Entry {
    char const* name;
    void (*call)(void const* parameters);
    size_t parameter_bytes;
};

/// Written by whoever includes the kernel's source: its kernels, ended by {nullptr, nullptr, 0}.
extern Entry const entries[];

/// Table line for the kernel `function(Parameters)`.
#define EDGEOSR_SIMT_ENTRY(function, Parameters) \
    {#function, [](const void* p) { function(*static_cast<const Parameters*>(p)); }, sizeof(Parameters)}

}  // namespace simt

extern "C" {

struct EdgeosrRun {
    uint32_t blocks, threads;
    uint64_t dynamic_shared_bytes;
    int32_t schedule;  // simt::Schedule
    uint32_t cluster;  // blocks of a cluster; 1: none
    uint64_t seed;
    void* workspace;
    uint64_t workspace_bytes;
};

struct EdgeosrRunCounts {
    uint64_t switches, barriers, warp_operations, multiplications;
};

/// Run a kernel. Returns null, or what it did wrong (valid until the next call). Not thread-safe.
char const* edgeosr_simt_run(char const* entry,
                             void const* parameters,
                             uint64_t parameter_bytes,
                             EdgeosrRun const* run,
                             EdgeosrRunCounts* counts);
}
