#include "passes.h"

// Clang makes vectors of these loops at -O2 too; GCC does not, and takes three times as long.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace edgeosr {
namespace {

typedef float Vector4 __attribute__((vector_size(16)));

constexpr float kHalf = 0.501f;

}  // namespace

#define EDGEOSR_NAMESPACE baseline
#define EDGEOSR_NAME "baseline"
#define EDGEOSR_TARGET
#include "passes_body.h"

#if defined(__x86_64__)

#define EDGEOSR_NAMESPACE avx2
#define EDGEOSR_NAME "avx2"
#define EDGEOSR_TARGET __attribute__((target("avx2,fma")))
#include "passes_body.h"

#define EDGEOSR_NAMESPACE avx512
#define EDGEOSR_NAME "avx512"
#define EDGEOSR_TARGET __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#include "passes_body.h"

namespace {

/// What the processor has and the operating system keeps across a switch of tasks.
int instruction_sets() noexcept {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 1;
    bool const saved = (c & bit_OSXSAVE) != 0, fma = (c & bit_FMA) != 0;
    if (!saved || !fma || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 1;
    unsigned low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    constexpr unsigned kAvx = 0x06, kAvx512 = 0xe6;  // bits of XCR0
    if ((low & kAvx) != kAvx || (b & bit_AVX2) == 0) return 1;
    constexpr unsigned kWanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    return (low & kAvx512) == kAvx512 && (b & kWanted) == kWanted ? 3 : 2;
}

}  // namespace

int all_passes_here(Passes const* (&found)[3]) noexcept {
    found[0] = &baseline::passes, found[1] = &avx2::passes, found[2] = &avx512::passes;
    static int const count = instruction_sets();
    return count;
}

#else

int all_passes_here(Passes const* (&found)[3]) noexcept {
    found[0] = &baseline::passes;
    return 1;
}

#endif

Passes const& passes_here() noexcept {
    Passes const* found[3] = {nullptr, nullptr, nullptr};
    return *found[all_passes_here(found) - 1];
}

}  // namespace edgeosr
