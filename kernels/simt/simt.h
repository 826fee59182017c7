// The names of primitives.cuh on the CPU; primitives.cuh says what each means and includes this under
// EDGEOSR_SIMT. Loads and stores are plain C++ here, so that sanitizers and the counting build see them,
// after a check of the address. EDGEOSR_SIMT_ARCH chooses the hardware generation (900, 870 or 750), as
// __CUDA_ARCH__ does on the device.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "half.h"
#include "primitives.h"
#include "site.h"

#ifndef EDGEOSR_SIMT_ARCH
#define EDGEOSR_SIMT_ARCH 870
#endif

#define EDGEOSR_TENSOR_CORES 1
#define EDGEOSR_DEVICE inline
#define EDGEOSR_KERNEL(name) extern "C" void name

namespace edgeosr {

using simt::Site;

struct alignas(16) Words4 {
    unsigned x, y, z, w;
};
struct alignas(16) Floats4 {
    float x, y, z, w;
};
struct alignas(8) Floats2 {
    float x, y;
};

inline int thread_index() {
    return static_cast<int>(simt::thread_index());
}
inline int block_index() {
    return static_cast<int>(simt::block_index());
}
inline int lane_index() {
    return thread_index() & 31;
}
inline int warp_index() {
    return thread_index() >> 5;
}
inline unsigned char* shared_memory() {
    return simt::shared_window.begin;
}

template <class To, class From>
To same_bits(From const& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline unsigned bits_from_float(float value) {
    return same_bits<unsigned>(value);
}
inline float float_from_bits(unsigned bits) {
    return same_bits<float>(bits);
}
using simt::float_from_half;
using simt::half_from_float;

// Barriers and warps. The default argument is the caller's line.
constexpr uint32_t kWholeWarp = 0xffffffffu;
inline void block_sync(Site site = Site::here()) {
    simt::block_barrier(site);
}
inline void warp_sync(Site site = Site::here()) {
    simt::warp_barrier(kWholeWarp, site);
}
inline unsigned shuffle(unsigned value, int lane, Site site = Site::here()) {
    return simt::warp_shuffle(kWholeWarp, value, static_cast<unsigned>(lane) & 31, site);
}
inline int shuffle_xor(int value, int lanes, Site site = Site::here()) {
    return static_cast<int>(shuffle(static_cast<unsigned>(value), lane_index() ^ lanes, site));
}
inline float shuffle_xor(float value, int lanes, Site site = Site::here()) {
    return float_from_bits(shuffle(bits_from_float(value), lane_index() ^ lanes, site));
}
inline unsigned ballot(bool bit, Site site = Site::here()) {
    return simt::warp_ballot(kWholeWarp, bit, site);
}
inline bool any(bool bit, Site site = Site::here()) {
    return ballot(bit, site) != 0;
}
inline int population_count(unsigned bits) {
    return __builtin_popcount(bits);
}
inline int leading_zeros(unsigned bits) {
    return bits ? __builtin_clz(bits) : 32;
}
inline void thread_fence() {
    simt::fence();
}
inline unsigned atomic_increment(unsigned* counter, unsigned wrap, Site site = Site::here()) {
    unsigned const old = simt::atomic_increment(counter, wrap, site);
    simt::acquire();
    return old;
}

// Global memory. A vector type keeps 16 bytes one access, which counts as one request.
typedef unsigned Vector4 __attribute__((vector_size(16), may_alias));
typedef float Vector2 __attribute__((vector_size(8), may_alias));
typedef float __attribute__((may_alias)) AnyFloat;
typedef unsigned __attribute__((may_alias)) AnyWord;
typedef unsigned short __attribute__((may_alias)) AnyHalf;

inline Words4 load_16(void const* address, Site site = Site::here()) {
    simt::require_read_only(address, 16, site);
    return same_bits<Words4>(*static_cast<Vector4 const*>(address));
}
inline float load_f32(void const* address, Site site = Site::here()) {
    simt::require_read_only(address, 4, site);
    return *static_cast<AnyFloat const*>(address);
}
inline unsigned load_u32(void const* address, Site site = Site::here()) {
    simt::require_read_only(address, 4, site);
    return *static_cast<AnyWord const*>(address);
}
inline unsigned short load_u16(void const* address, Site site = Site::here()) {
    simt::require_read_only(address, 2, site);
    return *static_cast<AnyHalf const*>(address);
}
inline float load_shared_by_blocks_f32(float const* address, Site site = Site::here()) {
    simt::require_global(address, 4, site);
    return *static_cast<AnyFloat const*>(simt::seen(address));
}
inline Floats2 load_shared_by_blocks_x2(float const* address, Site site = Site::here()) {
    simt::require_global(address, 8, site);
    return same_bits<Floats2>(*reinterpret_cast<Vector2 const*>(simt::seen(address)));
}
inline Floats4 load_shared_by_blocks_x4(float const* address, Site site = Site::here()) {
    simt::require_global(address, 16, site);
    return same_bits<Floats4>(*reinterpret_cast<Vector4 const*>(simt::seen(address)));
}
inline void store_f32(float* address, float value, Site site = Site::here()) {
    simt::note_store(address, 4, site);
    *static_cast<AnyFloat*>(simt::seen(address)) = value;
}
inline void prefetch_l2(void const*) {}

// Shared memory.
inline void require_access(void const* address, size_t bytes, Site site) {
    simt::require_shared(address, bytes, site);
#if EDGEOSR_SIMT_ARCH >= 900
    simt::require_no_mail(address, bytes, site);
#endif
}
inline unsigned short shared_load_u16(void const* address, Site site = Site::here()) {
    require_access(address, 2, site);
    return *static_cast<AnyHalf const*>(address);
}
inline unsigned shared_load_u32(void const* address, Site site = Site::here()) {
    require_access(address, 4, site);
    return *static_cast<AnyWord const*>(address);
}
inline float shared_load_f32(void const* address, Site site = Site::here()) {
    require_access(address, 4, site);
    return *static_cast<AnyFloat const*>(address);
}
inline Floats2 shared_load_x2(void const* address, Site site = Site::here()) {
    require_access(address, 8, site);
    return same_bits<Floats2>(*static_cast<Vector2 const*>(address));
}
inline Floats4 shared_load_x4(void const* address, Site site = Site::here()) {
    require_access(address, 16, site);
    return same_bits<Floats4>(*static_cast<Vector4 const*>(address));
}
inline void shared_store_u16(void* address, unsigned short value, Site site = Site::here()) {
    require_access(address, 2, site);
    *static_cast<AnyHalf*>(address) = value;
}
inline void shared_store_u32(void* address, unsigned value, Site site = Site::here()) {
    require_access(address, 4, site);
    *static_cast<AnyWord*>(address) = value;
}
inline void shared_store_f32(void* address, float value, Site site = Site::here()) {
    require_access(address, 4, site);
    *static_cast<AnyFloat*>(address) = value;
}
inline void shared_store_x2(void* address, Floats2 value, Site site = Site::here()) {
    require_access(address, 8, site);
    *static_cast<Vector2*>(address) = same_bits<Vector2>(value);
}
inline void shared_store_x4(void* address, Floats4 value, Site site = Site::here()) {
    require_access(address, 16, site);
    *static_cast<Vector4*>(address) = same_bits<Vector4>(value);
}

// cp.async; before sm_80 a plain copy.
__attribute__((noinline)) inline void copy_async_16(void* shared,
                                                    void const* global,
                                                    Site site = Site::here()) {
    if (EDGEOSR_SIMT_ARCH >= 800)
        simt::copy_async(shared, global, 16, __builtin_return_address(0), site);
    else
        shared_store_x4(shared, same_bits<Floats4>(load_16(global, site)), site);
}
inline void copy_async_commit() {
    if (EDGEOSR_SIMT_ARCH >= 800) simt::copy_async_commit();
}
template <int kPending>
void copy_async_wait() {
    if (EDGEOSR_SIMT_ARCH >= 800) simt::copy_async_wait(kPending);
}

inline void mma_f16(float (&c)[4], Words4 const& a, unsigned b0, unsigned b1, Site site = Site::here()) {
    uint32_t const left[4] = {a.x, a.y, a.z, a.w}, right[2] = {b0, b1};
    if (EDGEOSR_SIMT_ARCH >= 800) {
        simt::warp_multiply(c, left, right, c, 16, site);
    } else {
        simt::warp_multiply(c, left, right, c, 8, site);
        simt::warp_multiply(c, left + 2, right + 1, c, 8, site);
    }
}

// Two halves a register (halves.cuh).
inline unsigned bytes_of(unsigned low, unsigned high, unsigned which) {
    uint64_t const all = static_cast<uint64_t>(high) << 32 | low;
    unsigned bytes = 0;
    for (unsigned i = 0; i < 4; ++i)
        bytes |= static_cast<unsigned>(all >> 8 * (which >> 4 * i & 7) & 0xff) << 8 * i;
    return bytes;
}
template <class Function>
unsigned halves_of(unsigned a, unsigned b, Function const& function) {
    unsigned found = 0;
    for (unsigned at = 0; at < 32; at += 16) {
        float const left = float_from_half(static_cast<uint16_t>(a >> at)),
                    right = float_from_half(static_cast<uint16_t>(b >> at));
        found |= static_cast<unsigned>(half_from_float(function(left, right))) << at;
    }
    return found;
}
inline unsigned halves_above(unsigned a, unsigned b) {
    return halves_of(a, b, [](float left, float right) { return left > right ? 1.0f : 0.0f; });
}
inline unsigned halves_not_below(unsigned a, unsigned b) {
    return halves_of(a, b, [](float left, float right) { return left >= right ? 1.0f : 0.0f; });
}
inline unsigned halves_times(unsigned a, unsigned b) {
    return halves_of(a, b, [](float left, float right) { return left * right; });
}
inline unsigned halves_multiply_add(unsigned a, unsigned b, unsigned c) {
    unsigned found = 0;  // exact in double; the kernel's sums are whole numbers that a half holds
    for (unsigned at = 0; at < 32; at += 16) {
        double const product = static_cast<double>(float_from_half(static_cast<uint16_t>(a >> at))) *
                               static_cast<double>(float_from_half(static_cast<uint16_t>(b >> at)));
        double const sum = product + static_cast<double>(float_from_half(static_cast<uint16_t>(c >> at)));
        found |= static_cast<unsigned>(half_from_float(static_cast<float>(sum))) << at;
    }
    return found;
}
inline void ballots_of_halves(unsigned halves, unsigned& low, unsigned& high, Site site = Site::here()) {
    low = ballot(float_from_half(static_cast<uint16_t>(halves)) > 0.0f, site);
    high = ballot(float_from_half(static_cast<uint16_t>(halves >> 16)) > 0.0f, site);
}

// Arithmetic.
inline float multiply_add(float a, float b, float c) {
    return std::fmaf(a, b, c);
}
inline float exponential(float x) {
    return std::exp(x);
}
inline float logarithm(float x) {
    return std::log(x);
}
inline float log_one_plus(float x) {
    return std::log1p(x);
}
inline float error_function(float x) {
    return std::erf(x);
}
inline float hyperbolic_tangent(float x) {
    return std::tanh(x);
}
inline float square_root(float x) {
    return std::sqrt(x);
}
inline float absolute(float x) {
    return std::fabs(x);
}
inline float largest_of(float a, float b) {
    return a > b ? a : b;
}
inline float least_of(float a, float b) {
    return a < b ? a : b;
}

}  // namespace edgeosr
