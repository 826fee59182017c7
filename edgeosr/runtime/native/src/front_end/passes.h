// The two passes of a resize, as the processor at hand runs them best.
#pragma once

#include <cstdint>

#include "axis.h"

namespace edgeosr {

/// Floats that may be read, and bytes too, behind the last pixel of a row of three channels.
constexpr int kBehindRow = 16;

/// Into what the last pass writes: value of channel c becomes value scale[c] + shift[c] in planes[c].
struct Planes {
    float scale[4];
    float shift[4];
    float* planes[3];
};

/// Every function takes interleaved pixels of three channels. Rounding is to whole numbers, floor(x + 0.501),
/// that of export/front_end/resized_cut.py.
struct Passes {
    char const* name;  // of the instructions: "avx512", "avx2", "baseline"

    /// mid[j] = sum over k < taps of weights[k] rows[k][j], for j < count. weights: of one output row.
    void (*down)(std::uint8_t const* const* rows, float const* weights, int taps, int count, float* mid);

    /// wide[j] = bytes[j], for j < count.
    void (*widen)(std::uint8_t const* bytes, int count, float* wide);

    /// Output columns from mid, whose first pixel is column `begin`; row: where in the planes they go.
    void (*across)(Bands const& bands, int begin, float const* mid, Planes const& out, std::size_t row);

    /// The same, rounded to bytes [bands.length, 3].
    void (*across_rounded)(Bands const& bands, int begin, float const* mid, std::uint8_t* bytes);

    /// Columns as they are, count of them, rounded; into the planes.
    void (*rounded)(float const* mid, int count, Planes const& out, std::size_t row);
};

/// The fastest that this processor runs.
Passes const& passes_here() noexcept;

/// All that this processor runs, the slowest first, for tests. Returns how many; at most 3.
int all_passes_here(Passes const* (&found)[3]) noexcept;

}  // namespace edgeosr
