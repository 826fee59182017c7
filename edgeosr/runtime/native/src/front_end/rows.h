// Rows of any pixel format as bytes of three interleaved channels.
#pragma once

#include "front_end.h"

namespace edgeosr {

/// Whether the rows of a format are three interleaved channels as they lie in memory.
inline bool is_interleaved(PixelFormat format) {
    return format == PixelFormat::kRgb8 || format == PixelFormat::kBgr8;
}

/// Write columns [begin, end) of a row as R, G, B bytes: [end - begin, 3]. Not for interleaved formats.
void rgb_from_row(Frame const& frame, int row, int begin, int end, std::uint8_t* rgb) noexcept;

}  // namespace edgeosr
