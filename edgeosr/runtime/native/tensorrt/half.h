// float16 numbers as their bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace edgeosr::trt {

/// Return the nearest float16, ties to even; infinity beyond 65504 (rounded).
inline std::uint16_t half_from_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    auto const sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
    std::uint32_t const magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);
    std::uint32_t made;
    if (magnitude < 0x38800000u) {  // below 2^-14: counted in units of 2^-24
        made = static_cast<std::uint32_t>(std::lrint(std::ldexp(std::fabs(static_cast<double>(value)), 24)));
    } else {
        std::uint32_t const kept = magnitude - 0x38000000u;  // the exponent's bias is 15, not 127
        made = (kept + 0x0fffu + (kept >> 13 & 1u)) >> 13;
    }
    return static_cast<std::uint16_t>(sign | made);
}

}  // namespace edgeosr::trt
