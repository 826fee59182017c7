#include "base/sha256.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace edgeosr {
namespace {

alignas(16) constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t kStart[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

using Blocks = void (*)(std::uint32_t* state, std::uint8_t const* data, std::size_t blocks);

std::uint32_t turned(std::uint32_t word, int by) {
    return word >> by | word << (32 - by);
}

void portable_blocks(std::uint32_t* state, std::uint8_t const* data, std::size_t blocks) {
    for (; blocks > 0; --blocks, data += 64) {
        std::uint32_t w[64];
        for (int i = 0; i < 16; ++i) {
            std::uint8_t const* at = data + 4 * i;
            w[i] =
                std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
        }
        for (int i = 16; i < 64; ++i) {
            std::uint32_t const a = w[i - 15], b = w[i - 2];
            w[i] = w[i - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + w[i - 7] +
                   (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
        }
        std::uint32_t s[8];
        std::memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; ++i) {
            std::uint32_t const e = s[4], a = s[0];
            std::uint32_t const first = s[7] + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) +
                                        ((e & s[5]) ^ (~e & s[6])) + kRounds[i] + w[i];
            std::uint32_t const second =
                (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            for (int k = 7; k > 0; --k)
                s[k] = s[k - 1];
            s[4] += first;
            s[0] = first + second;
        }
        for (int i = 0; i < 8; ++i)
            state[i] += s[i];
    }
}

#if defined(__x86_64__)

__attribute__((target("sha,sse4.1"))) void own_blocks(std::uint32_t* state,
                                                      std::uint8_t const* data,
                                                      std::size_t blocks) {
    __m128i const swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i const dcba = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(state)), 0xb1);
    __m128i const hgfe =
        _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(dcba, hgfe, 8);
    __m128i cdgh = _mm_blend_epi16(hgfe, dcba, 0xf0);
    for (; blocks > 0; --blocks, data += 64) {
        __m128i const abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; ++i)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<__m128i const*>(data) + i), swap);
        // Unrolled, so that w stays in registers.
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            __m128i const keys = _mm_load_si128(reinterpret_cast<__m128i const*>(kRounds) + i);
            __m128i sum = _mm_add_epi32(w[i & 3], keys);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
            if (i < 12) {  // the four words that come 16 later
                __m128i const next = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
                __m128i const part = _mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]), next);
                w[i & 3] = _mm_sha256msg2_epu32(part, w[(i + 3) & 3]);
            }
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i const feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state), _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

Blocks best_blocks() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool const sha = __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bit_SHA) != 0;
    return sha && __builtin_cpu_supports("sse4.1") ? own_blocks : portable_blocks;
}

#elif defined(__aarch64__)

__attribute__((target("+crypto"))) void own_blocks(std::uint32_t* state,
                                                   std::uint8_t const* data,
                                                   std::size_t blocks) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; blocks > 0; --blocks, data += 64) {
        uint32x4_t const abcd_before = abcd, efgh_before = efgh;
        uint32x4_t w[4];
        for (int i = 0; i < 4; ++i)
            w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(data + 16 * i)));
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            uint32x4_t const sum = vaddq_u32(w[i & 3], vld1q_u32(kRounds + 4 * i)), old = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, old, sum);
            if (i < 12)
                w[i & 3] = vsha256su1q_u32(
                    vsha256su0q_u32(w[i & 3], w[(i + 1) & 3]), w[(i + 2) & 3], w[(i + 3) & 3]);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

Blocks best_blocks() {
    constexpr unsigned long kHasSha2 = 1ul << 6;  // HWCAP_SHA2 of the kernel's interface
    return (getauxval(AT_HWCAP) & kHasSha2) != 0 ? own_blocks : portable_blocks;
}

#else

Blocks best_blocks() {
    return portable_blocks;
}

#endif

std::string digest(Blocks take, std::uint8_t const* data, std::size_t bytes) {
    std::uint32_t state[8];
    std::memcpy(state, kStart, sizeof state);
    std::size_t const whole = bytes / 64;
    take(state, data, whole);
    // What is left, a one bit, zeros, and the length in bits: one block or two.
    std::uint8_t last[128] = {};
    std::size_t const left = bytes - 64 * whole, blocks = left < 56 ? 1 : 2;
    if (left > 0) std::memcpy(last, data + 64 * whole, left);
    last[left] = 0x80;
    for (int i = 0; i < 8; ++i)
        last[64 * blocks - 1 - i] = static_cast<std::uint8_t>(std::uint64_t{bytes} * 8 >> 8 * i);
    take(state, last, blocks);
    std::string text;
    for (std::uint32_t word : state)
        for (int shift = 28; shift >= 0; shift -= 4)
            text.push_back("0123456789abcdef"[word >> shift & 15]);
    return text;
}

}  // namespace

std::string sha256_hex(std::uint8_t const* data, std::size_t bytes) {
    static Blocks const best = best_blocks();
    return digest(best, data, bytes);
}

std::string sha256_hex_portable(std::uint8_t const* data, std::size_t bytes) {
    return digest(portable_blocks, data, bytes);
}

}  // namespace edgeosr
