// Every hardware primitive of the fused kernel as a small inline function, and nothing else: what these mean
// on a CPU is kernels/simt/simt.h, which defines the same names (EDGEOSR_SIMT). Device code of ours touches
// shared and global memory only through them, so that the emulation can count sectors and wavefronts.
//
// - thread_index, block_index: threadIdx.x (0 .. kThreads - 1), blockIdx.x; blocks are one-dimensional
// - shared_memory: the block's dynamic shared memory, aligned to 16, undefined at block start
// - block_sync: __syncthreads; warp_sync: __syncwarp, orders memory among the 32 lanes
// - shuffle_xor, shuffle, ballot, any: all 32 lanes; exchange, order no memory
// - thread_fence: the thread's earlier global stores, and those that a barrier ordered before, become visible
//   to all blocks before its later ones
// - atomic_increment: p = old >= wrap ? 0 : old + 1; returns old; acquires: what other blocks published
//   before they counted is seen, by the thread and behind a barrier by its block
// - load_*: global memory that no one writes during the launch (ld.global.nc)
// - load_shared_by_blocks_f32, _x2, _x4: global workspace that another block may have written (ld.global.cg)
// - shared_load_*, shared_store_*: the block's shared memory; _x2 and _x4 are 8 and 16 bytes, aligned
// - copy_async_16: 16 bytes global to shared, both aligned; there, for the calling thread only, after
//   copy_async_wait<n> of its group (at most n newest groups pending); on sm_7x a plain copy
// - prefetch_l2: a hint for the 128-byte line of the address
// - mma_f16: m16n8k16, fp16 in, fp32 out (PTX ISA fragments); on sm_75 two m16n8k8; older devices have no
//   entry that calls it (EDGEOSR_TENSOR_CORES)
// - float_from_half, half_from_float: raw fp16 bits, round to nearest even, overflow to infinity
#pragma once
#ifdef EDGEOSR_SIMT
#include "simt.h"
#else

namespace edgeosr {

struct alignas(16) Words4 {
    unsigned x, y, z, w;
};
struct alignas(16) Floats4 {
    float x, y, z, w;
};
struct alignas(8) Floats2 {
    float x, y;
};

// 0 where the fp16-weight entries are left out: sm_72's scorers are packed with fp32 weights.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
#define EDGEOSR_TENSOR_CORES 0
#else
#define EDGEOSR_TENSOR_CORES 1
#endif
#define EDGEOSR_DEVICE __device__ __forceinline__
#define EDGEOSR_KERNEL(name) extern "C" __global__ void __launch_bounds__(512, 2) name

EDGEOSR_DEVICE int thread_index() {
    return static_cast<int>(threadIdx.x);
}
EDGEOSR_DEVICE int block_index() {  // read anew at each call: what follows from it need not stay in registers
    int index;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(index));
    return index;
}
EDGEOSR_DEVICE int lane_index() {
    return static_cast<int>(threadIdx.x) & 31;
}
EDGEOSR_DEVICE int warp_index() {
    return static_cast<int>(threadIdx.x) >> 5;
}

EDGEOSR_DEVICE unsigned char* shared_memory() {
    extern __shared__ Words4 edgeosr_shared[];
    return reinterpret_cast<unsigned char*>(edgeosr_shared);
}

EDGEOSR_DEVICE void block_sync() {
    __syncthreads();
}
EDGEOSR_DEVICE void warp_sync() {
    __syncwarp(0xffffffffu);
}
EDGEOSR_DEVICE float shuffle_xor(float value, int lanes) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
}
EDGEOSR_DEVICE int shuffle_xor(int value, int lanes) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
}
EDGEOSR_DEVICE unsigned shuffle(unsigned value, int lane) {
    return __shfl_sync(0xffffffffu, value, lane);
}
EDGEOSR_DEVICE unsigned ballot(bool bit) {
    return __ballot_sync(0xffffffffu, bit);
}
EDGEOSR_DEVICE bool any(bool bit) {
    return __any_sync(0xffffffffu, bit) != 0;
}
EDGEOSR_DEVICE int population_count(unsigned bits) {
    return __popc(bits);
}
EDGEOSR_DEVICE int leading_zeros(unsigned bits) {
    return __clz(static_cast<int>(bits));
}
EDGEOSR_DEVICE void thread_fence() {
    asm volatile("fence.acq_rel.gpu;" : : : "memory");
}
EDGEOSR_DEVICE unsigned atomic_increment(unsigned* counter, unsigned wrap) {
    unsigned old;
    asm volatile("atom.acquire.gpu.global.inc.u32 %0, [%1], %2;"
                 : "=r"(old)
                 : "l"(counter), "r"(wrap)
                 : "memory");
    return old;
}

EDGEOSR_DEVICE unsigned bits_from_float(float value) {
    return __float_as_uint(value);
}
EDGEOSR_DEVICE float float_from_bits(unsigned bits) {
    return __uint_as_float(bits);
}
EDGEOSR_DEVICE float float_from_half(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
EDGEOSR_DEVICE unsigned short half_from_float(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

// Global memory.
EDGEOSR_DEVICE Words4 load_16(void const* address) {
    Words4 v;
    asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(address));
    return v;
}
EDGEOSR_DEVICE float load_f32(void const* address) {
    float value;
    asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(value) : "l"(address));
    return value;
}
EDGEOSR_DEVICE unsigned load_u32(void const* address) {
    return bits_from_float(load_f32(address));
}
EDGEOSR_DEVICE unsigned short load_u16(void const* address) {
    unsigned short value;
    asm volatile("ld.global.nc.u16 %0, [%1];" : "=h"(value) : "l"(address));
    return value;
}
EDGEOSR_DEVICE float load_shared_by_blocks_f32(float const* address) {
    float value;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(address) : "memory");
    return value;
}
EDGEOSR_DEVICE Floats2 load_shared_by_blocks_x2(float const* address) {
    Floats2 value;
    asm volatile("ld.global.cg.v2.f32 {%0,%1}, [%2];"
                 : "=f"(value.x), "=f"(value.y)
                 : "l"(address)
                 : "memory");
    return value;
}
EDGEOSR_DEVICE Floats4 load_shared_by_blocks_x4(float const* address) {
    Floats4 value;
    asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
                 : "l"(address)
                 : "memory");
    return value;
}
EDGEOSR_DEVICE void store_f32(float* address, float value) {
    *address = value;
}
EDGEOSR_DEVICE void prefetch_l2(void const* address) {
    asm volatile("prefetch.global.L2 [%0];" : : "l"(address));
}

// Shared memory.
EDGEOSR_DEVICE unsigned short shared_load_u16(void const* address) {
    return *static_cast<unsigned short const*>(address);
}
EDGEOSR_DEVICE unsigned shared_load_u32(void const* address) {
    return *static_cast<unsigned const*>(address);
}
EDGEOSR_DEVICE float shared_load_f32(void const* address) {
    return *static_cast<float const*>(address);
}
EDGEOSR_DEVICE Floats2 shared_load_x2(void const* address) {
    return *static_cast<Floats2 const*>(address);
}
EDGEOSR_DEVICE Floats4 shared_load_x4(void const* address) {
    return *static_cast<Floats4 const*>(address);
}
EDGEOSR_DEVICE void shared_store_u16(void* address, unsigned short value) {
    *static_cast<unsigned short*>(address) = value;
}
EDGEOSR_DEVICE void shared_store_u32(void* address, unsigned value) {
    *static_cast<unsigned*>(address) = value;
}
EDGEOSR_DEVICE void shared_store_f32(void* address, float value) {
    *static_cast<float*>(address) = value;
}
EDGEOSR_DEVICE void shared_store_x2(void* address, Floats2 value) {
    *static_cast<Floats2*>(address) = value;
}
EDGEOSR_DEVICE void shared_store_x4(void* address, Floats4 value) {
    *static_cast<Floats4*>(address) = value;
}

EDGEOSR_DEVICE void copy_async_16(void* shared, void const* global) {
#if __CUDA_ARCH__ >= 800
    unsigned const to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(to), "l"(global) : "memory");
#else
    *static_cast<Words4*>(shared) = load_16(global);
#endif
}
EDGEOSR_DEVICE void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" : : : "memory");
#endif
}
template <int kPending>
EDGEOSR_DEVICE void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" : : "n"(kPending) : "memory");
#endif
}

// c [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and t = lane % 4, each register two halves, low first:
// a.x row g, k 2t, 2t+1; a.y row g+8, the same k; a.z row g, k 2t+8, 2t+9; a.w row g+8, those;
// b0 k 2t, 2t+1 of column g; b1 k 2t+8, 2t+9; c[0], c[1] row g, columns 2t, 2t+1; c[2], c[3] row g+8.
EDGEOSR_DEVICE void mma_f16(float (&c)[4], Words4 const& a, unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
#elif __CUDA_ARCH__ >= 750
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.x), "r"(a.y), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.z), "r"(a.w), "r"(b1));
#endif
}

// Arithmetic: the accurate functions of CUDA's library, never the fast ones.
EDGEOSR_DEVICE float multiply_add(float a, float b, float c) {
    return fmaf(a, b, c);
}
EDGEOSR_DEVICE float exponential(float x) {
    return expf(x);
}
EDGEOSR_DEVICE float logarithm(float x) {
    return logf(x);
}
EDGEOSR_DEVICE float log_one_plus(float x) {
    return log1pf(x);
}
EDGEOSR_DEVICE float error_function(float x) {
    return erff(x);
}
EDGEOSR_DEVICE float hyperbolic_tangent(float x) {
    return tanhf(x);
}
EDGEOSR_DEVICE float square_root(float x) {
    return sqrtf(x);
}
EDGEOSR_DEVICE float absolute(float x) {
    return fabsf(x);
}
EDGEOSR_DEVICE float largest_of(float a, float b) {  // b if a is not a number
    return fmaxf(a, b);
}
EDGEOSR_DEVICE float least_of(float a, float b) {
    return fminf(a, b);
}

}  // namespace edgeosr
#endif

namespace edgeosr {

// Inf or NaN, on the raw bits: no comparison or activation can hide it (ReLU of NaN is 0).
EDGEOSR_DEVICE bool half_not_finite(unsigned short bits) {
    return (bits & 0x7c00u) == 0x7c00u;
}
EDGEOSR_DEVICE bool float_not_finite(unsigned bits) {
    return (bits & 0x7f800000u) == 0x7f800000u;
}
EDGEOSR_DEVICE bool finite(float value) {
    return !float_not_finite(bits_from_float(value));
}

EDGEOSR_DEVICE float warp_sum(float value) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes >>= 1)
        value += shuffle_xor(value, lanes);
    return value;
}

// The same additions as a loop, for what runs once: that takes longer to fetch than to execute.
EDGEOSR_DEVICE float warp_sum_once(float value) {
#pragma unroll 1
    for (int lanes = 16; lanes > 0; lanes >>= 1)
        value += shuffle_xor(value, lanes);
    return value;
}

// The same sum, and what its additions lost by rounding: together they are the sum to twice as many bits.
EDGEOSR_DEVICE Floats2 exact_warp_sum(float value) {
    float lost = 0.0f;
#pragma unroll 1
    for (int lanes = 16; lanes > 0; lanes >>= 1) {
        float const other = shuffle_xor(value, lanes), lost_there = shuffle_xor(lost, lanes);
        float const sum = value + other, back = sum - value;
        lost = lost + lost_there + ((value - (sum - back)) + (other - back));
        value = sum;
    }
    return {value, lost};
}

}  // namespace edgeosr
