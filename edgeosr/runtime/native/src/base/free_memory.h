// What is free in the heap goes back to the system.
#pragma once

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace edgeosr {

/// At its end, as the last of what a call makes: loading a network and judging golden frames leave as much
/// free as the network takes, which nothing needs before the next swap.
struct FreeMemoryGoesBack {
    FreeMemoryGoesBack() = default;
    FreeMemoryGoesBack(FreeMemoryGoesBack const&) = delete;
    FreeMemoryGoesBack& operator=(FreeMemoryGoesBack const&) = delete;
    ~FreeMemoryGoesBack() {
#if defined(__GLIBC__)
        malloc_trim(0);
#endif
    }
};

}  // namespace edgeosr
