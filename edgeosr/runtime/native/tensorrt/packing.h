// A scorer as the fused kernel reads it: the file of kernels/packed_file.py, byte by byte (a test compares
// the two); how its pieces lie is told in kernels/packing.py and matrices.py.
#pragma once

#include <cstdint>
#include <vector>

#include "scoring/scorer.h"

namespace edgeosr::trt {

constexpr int kKernelParts = 10;  // codes 0 to 9, as kernels/src/parts.cuh lists them

/// Return the file's bytes, 512 of header and then the data. half: fp16 weights for tensor cores, else fp32.
/// Throws Failure: EDGEOSR_NO_BACKEND for what the kernel does not take; it names the limit.
std::vector<std::uint8_t> packed_scorer(Scorer const& scorer, bool half);

}  // namespace edgeosr::trt
