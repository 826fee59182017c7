// What decides what stays in registers: 64 a thread are all there are, and compilers do not always choose
// well. No result depends on any of it.
#pragma once
#include "primitives.cuh"

// Compilers before CUDA 13, and those of older devices, get by with them less well.
#if defined(__CUDACC_VER_MAJOR__) && __CUDACC_VER_MAJOR__ < 13
#define EDGEOSR_OLD_COMPILER 1
#else
#define EDGEOSR_OLD_COMPILER 0
#endif

namespace edgeosr {

constexpr bool kOldCompiler = EDGEOSR_OLD_COMPILER != 0;
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ < 900 || __CUDA_ARCH__ >= 1200)
constexpr bool kFewRegisters = true;
#else
constexpr bool kFewRegisters = kOldCompiler;
#endif

// Whether clusters have fewer of them for layer 1's sums: compilers for these devices spill otherwise.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr bool kFewInClusters = true;
#else
constexpr bool kFewInClusters = kOldCompiler;
#endif

// Whether layer 1's first weights are asked for while the embedding is waited for.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr bool kAsksAhead = false;
#else
constexpr bool kAsksAhead = !kOldCompiler;
#endif

// thread_index, read again: what follows from it is computed anew in the phase that asks, and does not stay
// in registers from one phase to the next.
EDGEOSR_DEVICE int thread_index_again() {
#ifdef EDGEOSR_SIMT
    return thread_index();
#else
    int index;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
    return index;
#endif
}

EDGEOSR_DEVICE int lane_again() {
    return thread_index_again() & 31;
}

// address + elements, computed here and now: a compiler that hoists the multiples of a stride out of loops
// fills registers with them.
template <class Element>
EDGEOSR_DEVICE const Element* stepped(Element const* address, unsigned elements) {
    address += elements;
#ifndef EDGEOSR_SIMT
    asm volatile("" : "+l"(address));
#endif
    return address;
}

// The value, to be kept in a register: a compiler that computes it anew at each use takes longer.
EDGEOSR_DEVICE int held(int value) {
#if !defined(EDGEOSR_SIMT) && !EDGEOSR_OLD_COMPILER
    asm volatile("" : "+r"(value));
#endif
    return value;
}

// The same where there are registers to spare.
EDGEOSR_DEVICE int held_if_many(int value) {
    return kFewRegisters ? value : held(value);
}

}  // namespace edgeosr
