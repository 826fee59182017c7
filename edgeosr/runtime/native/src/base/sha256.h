// SHA-256 (FIPS 180-4), with the processor's own instructions where it has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace edgeosr {

/// Return the digest of bytes as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::uint8_t const* data, std::size_t bytes);

/// Likewise without those instructions; the two are held against each other by a test.
std::string sha256_hex_portable(std::uint8_t const* data, std::size_t bytes);

}  // namespace edgeosr
