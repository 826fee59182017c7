#include "rows.h"

#include <algorithm>

namespace edgeosr {
namespace {

std::uint8_t byte_of(int fixed) {
    return static_cast<std::uint8_t>(std::clamp(fixed >> 16, 0, 255));
}

/// Two pixels or one with their chroma, by the rule of front_end.h.
struct Chroma {
    int red, green, blue;

    Chroma(int u, int v)
        : red(104597 * (v - 128) + 32768),
          green(-25675 * (u - 128) - 53279 * (v - 128) + 32768),
          blue(132201 * (u - 128) + 32768) {}

    void write(int y, std::uint8_t* rgb) const {
        int const luma = 76309 * (y - 16);
        rgb[0] = byte_of(luma + red);
        rgb[1] = byte_of(luma + green);
        rgb[2] = byte_of(luma + blue);
    }
};

/// luma(column) and chroma(pair) read bytes; a pair is columns 2 pair and 2 pair + 1.
template <typename Luma, typename ChromaOf>
void write_pairs(int begin, int end, std::uint8_t* rgb, Luma luma, ChromaOf chroma) {
    int column = begin;
    if (column < end && column % 2 != 0) {
        chroma(column / 2).write(luma(column), rgb);
        ++column, rgb += 3;
    }
    for (; column + 1 < end; column += 2, rgb += 6) {
        Chroma const shared = chroma(column / 2);
        shared.write(luma(column), rgb);
        shared.write(luma(column + 1), rgb + 3);
    }
    if (column < end) chroma(column / 2).write(luma(column), rgb);
}

}  // namespace

void rgb_from_row(Frame const& frame, int row, int begin, int end, std::uint8_t* rgb) noexcept {
    std::uint8_t const* const y = frame.plane[0] + static_cast<std::size_t>(row) * frame.stride_bytes[0];
    if (frame.format == PixelFormat::kGray8) {
        for (int column = begin; column < end; ++column, rgb += 3)
            rgb[0] = rgb[1] = rgb[2] = y[column];
    } else if (frame.format == PixelFormat::kYuyv) {
        write_pairs(
            begin,
            end,
            rgb,
            [=](int column) { return y[2 * column]; },
            [=](int pair) { return Chroma(y[4 * pair + 1], y[4 * pair + 3]); });
    } else {
        std::uint8_t const* const uv =
            frame.plane[1] + static_cast<std::size_t>(row / 2) * frame.stride_bytes[1];
        write_pairs(
            begin,
            end,
            rgb,
            [=](int column) { return y[column]; },
            [=](int pair) { return Chroma(uv[2 * pair], uv[2 * pair + 1]); });
    }
}

}  // namespace edgeosr
