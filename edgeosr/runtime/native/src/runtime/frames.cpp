#include "runtime/frames.h"

#include <cstring>

#include "base/failure.h"

namespace edgeosr {
namespace {

constexpr std::size_t kLargestStride = std::size_t{1} << 31;

char const* format_name(PixelFormat format) {
    static char const* const kNames[] = {"RGB8", "BGR8", "NV12", "YUYV", "GRAY8"};
    return kNames[static_cast<int>(format)];
}

/// Bytes that a row of a plane has at least; 0 for a plane that the format does not have.
std::size_t row_bytes(PixelFormat format, int width_px, int plane) {
    auto const width = static_cast<std::size_t>(width_px);
    switch (format) {
        case PixelFormat::kRgb8:
        case PixelFormat::kBgr8:
            return plane == 0 ? 3 * width : 0;
        case PixelFormat::kYuyv:
            return plane == 0 ? 2 * width : 0;
        case PixelFormat::kNv12:
            return plane == 0 ? width : (width + 1) / 2 * 2;
        default:
            return plane == 0 ? width : 0;
    }
}

Frame checked(edgeosr_frame const& frame, std::size_t index, std::optional<Size> fixed) {
    if (frame.format < EDGEOSR_RGB8 || frame.format > EDGEOSR_GRAY8)
        fail(EDGEOSR_BAD_FRAME,
             "frame ",
             index,
             " has the format ",
             frame.format,
             ", which is none; set one of edgeosr_format");
    Frame made;
    made.format = static_cast<PixelFormat>(frame.format);
    made.height_px = frame.height_px;
    made.width_px = frame.width_px;
    auto const height = static_cast<std::uint64_t>(frame.height_px),
               width = static_cast<std::uint64_t>(frame.width_px);
    if (frame.height_px < 1 || frame.width_px < 1)
        fail(EDGEOSR_BAD_FRAME,
             "frame ",
             index,
             " must have at least one pixel; got ",
             frame.height_px,
             "x",
             frame.width_px);
    if (height * width > kLargestFrame || height > kLongestSide || width > kLongestSide)
        fail(EDGEOSR_BAD_FRAME,
             "a frame must be of at most ",
             kLargestFrame,
             " pixels and ",
             kLongestSide,
             " a side; got ",
             frame.height_px,
             "x",
             frame.width_px,
             ": make it smaller first");
    if (fixed && (frame.height_px != fixed->height_px || frame.width_px != fixed->width_px))
        fail(EDGEOSR_BAD_FRAME,
             "this bundle takes frames of ",
             fixed->height_px,
             "x",
             fixed->width_px,
             " only (height x width); got ",
             frame.height_px,
             "x",
             frame.width_px,
             ": export it again without --frame, or with this size");
    if (made.format == PixelFormat::kYuyv && frame.width_px % 2 != 0)
        fail(EDGEOSR_BAD_FRAME, "a YUYV frame must have an even width; got ", frame.width_px);
    for (int plane = 0; plane < 2; ++plane) {
        std::size_t const least = row_bytes(made.format, frame.width_px, plane);
        if (least == 0) continue;
        if (frame.plane[plane] == nullptr)
            fail(EDGEOSR_BAD_ARGUMENT,
                 "plane ",
                 plane,
                 " of frame ",
                 index,
                 " is NULL; ",
                 format_name(made.format),
                 " needs it");
        std::size_t const stride = frame.stride_bytes[plane] != 0 ? frame.stride_bytes[plane] : least;
        if (stride < least || stride > kLargestStride)
            fail(EDGEOSR_BAD_FRAME,
                 "the stride of plane ",
                 plane,
                 " must be at least ",
                 least,
                 " bytes for ",
                 format_name(made.format),
                 " of ",
                 frame.width_px,
                 " pixels a row; got ",
                 frame.stride_bytes[plane],
                 "; it counts bytes, not pixels");
        made.plane[plane] = static_cast<std::uint8_t const*>(frame.plane[plane]);
        made.stride_bytes[plane] = stride;
    }
    return made;
}

edgeosr_frame const& nth(char const* frames, std::size_t step, std::size_t index) {
    return *reinterpret_cast<edgeosr_frame const*>(frames + index * step);
}

std::uint8_t clamped(int value) {
    value = (value + 32768) >> 16;
    return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

/// BT.601 of limited range, in whole numbers; see front_end.h.
void put_yuv(int y, int u, int v, std::uint8_t* out) {
    int const light = 76309 * (y - 16), blue = u - 128, red = v - 128;
    out[0] = clamped(light + 104597 * red);
    out[1] = clamped(light - 25675 * blue - 53279 * red);
    out[2] = clamped(light + 132201 * blue);
}

void pack_row(Frame const& frame, int row, std::uint8_t* out) {
    int const width = frame.width_px;
    std::uint8_t const* from = frame.plane[0] + static_cast<std::size_t>(row) * frame.stride_bytes[0];
    switch (frame.format) {
        case PixelFormat::kRgb8:
        case PixelFormat::kBgr8:
            std::memcpy(out, from, static_cast<std::size_t>(width) * 3);
            return;
        case PixelFormat::kGray8:
            for (int x = 0; x < width; ++x, out += 3)
                out[0] = out[1] = out[2] = from[x];
            return;
        case PixelFormat::kYuyv:
            for (int x = 0; x < width; ++x, out += 3)
                put_yuv(from[2 * x], from[x / 2 * 4 + 1], from[x / 2 * 4 + 3], out);
            return;
        case PixelFormat::kNv12: {
            std::uint8_t const* chroma =
                frame.plane[1] + static_cast<std::size_t>(row / 2) * frame.stride_bytes[1];
            for (int x = 0; x < width; ++x, out += 3)
                put_yuv(from[x], chroma[x / 2 * 2], chroma[x / 2 * 2 + 1], out);
            return;
        }
    }
}

}  // namespace

Frames::Frames(edgeosr_frame const* frames, std::size_t count, std::optional<Size> fixed)
    : frames_(reinterpret_cast<char const*>(frames)), count_(count) {
    if (frames == nullptr) fail(EDGEOSR_BAD_ARGUMENT, "frames is NULL; pass the address of an edgeosr_frame");
    step_ = frames->struct_bytes;
    for (std::size_t i = 0; i < count; ++i) {
        auto const& frame = nth(frames_, step_, i);
        if (frame.struct_bytes < sizeof(edgeosr_frame) || frame.struct_bytes != step_ ||
            step_ % alignof(edgeosr_frame) != 0)
            fail(EDGEOSR_BAD_ARGUMENT,
                 "struct_bytes of frame ",
                 i,
                 " must be sizeof(edgeosr_frame), ",
                 sizeof(edgeosr_frame),
                 "; got ",
                 frame.struct_bytes,
                 "; set it, or compile with this library's header");
        Frame const one = checked(frame, i, fixed);
        if (i == 0) first_ = one;
        if (one.format != first_.format || one.height_px != first_.height_px ||
            one.width_px != first_.width_px)
            fail(EDGEOSR_BAD_FRAME,
                 "frames of one call must have one size and format; frame ",
                 i,
                 " is another than frame 0: call once for each");
    }
}

Frame Frames::at(std::size_t index) const {
    auto const& frame = nth(frames_, step_, index);
    Frame made = first_;
    for (int plane = 0; plane < 2; ++plane) {
        made.plane[plane] = static_cast<std::uint8_t const*>(frame.plane[plane]);
        std::size_t const least = row_bytes(first_.format, first_.width_px, plane);
        made.stride_bytes[plane] = frame.stride_bytes[plane] != 0 ? frame.stride_bytes[plane] : least;
    }
    return made;
}

std::uint8_t const* Frames::packed_already() const {
    bool const three = first_.format == PixelFormat::kRgb8 || first_.format == PixelFormat::kBgr8;
    bool const tight = first_.stride_bytes[0] == static_cast<std::size_t>(first_.width_px) * 3;
    return count_ == 1 && three && (tight || first_.height_px == 1) ? first_.plane[0] : nullptr;
}

void pack(Frame const& frame, std::uint8_t* out) {
    for (int row = 0; row < frame.height_px; ++row, out += static_cast<std::size_t>(frame.width_px) * 3)
        pack_row(frame, row, out);
}

}  // namespace edgeosr
