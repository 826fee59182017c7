// A GPU out of host memory, as the library libcuda.so.1, for the sanitizers: exercise_engine.cpp runs the
// plug-in over it. What is put into a stream runs when the stream is waited for, or destroyed, so that memory
// freed under it is seen. It takes no lock: one would hide races of whoever calls it.
#pragma once

#include <cuda.h>

#include <functional>

#include "kernel_names.h"

namespace card {

/// What runs in place of the fused kernel; set before the first launch.
extern void (*kernel)(edgeosr::kernels::FusedScoreParams const& params);

/// Whether it shares the host's memory; set before the plug-in is opened.
void be_integrated(bool integrated);

/// Put work into a stream, as the driver's asynchronous calls and an engine do.
void put(CUstream stream, std::function<void()> work);

/// Let a driver's call fail once, after so many more of its name, or of any name where it is null. A code
/// that CUDA does not recover from loses the device: every later call says the same, until restart().
void fail_after(char const* call, long calls, CUresult code);
/// Say whether that call has not come yet, and forget it.
bool was_spared();
void restart();

/// Let so many bytes more be allocated than are now, the host's too; below 0: as many as one wants.
void allow(long more);

/// Streams that are alive.
long streams();
/// Blocks of memory, streams and modules that were made and are not freed.
long alive();
/// Contexts that this thread has pushed and not popped.
std::size_t pushed();

}  // namespace card
