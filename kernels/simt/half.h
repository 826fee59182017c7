// IEEE binary16 as raw bits: the same values as the hardware's cvt.f32.f16 and cvt.rn.f16.f32.
#pragma once

#include <cstdint>
#include <cstring>

namespace simt {

inline float float_from_half(uint16_t bits) {
    uint32_t const sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    uint32_t rest = bits & 0x7fffu;
    float value;
    if (rest >= 0x7c00u) {
        rest = 0x7f800000u | (rest & 0x3ffu) << 13;
    } else if (rest >= 0x400u) {
        rest = (rest << 13) + (112u << 23);
    } else {  // subnormal: a multiple of 2^-24, exact in float
        value = static_cast<float>(rest) * 0x1p-24f;
        std::memcpy(&rest, &value, 4);
    }
    rest |= sign;
    std::memcpy(&value, &rest, 4);
    return value;
}

inline uint16_t half_from_float(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    auto const sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7fffu);  // the NaN that cvt gives
    if (bits >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (bits < 0x38800000u) {  // below 2^-14: to the nearest multiple of 2^-24, ties to even
        float magnitude;
        std::memcpy(&magnitude, &bits, 4);
        magnitude += 0.5f;  // the float's last bit is then 2^-24
        std::memcpy(&bits, &magnitude, 4);
        return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
    }
    uint32_t const odd = bits >> 13 & 1;
    return static_cast<uint16_t>(sign | (bits + 0xfffu + odd - (112u << 23)) >> 13);
}

}  // namespace simt
