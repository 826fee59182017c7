#include "runtime/frames.h"

#include <cstring>

#include "base/failure.h"
#include "front_end/rows.h"

namespace edgeosr {
namespace {

constexpr std::size_t kLargestStride = std::size_t{1} << 31;
constexpr std::size_t kMostInOneCall = std::size_t{1} << 20;  // more is no batch, but such as a -1

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
             frame.width_px,
             ": set height_px and width_px, and check that the camera gives frames");
    if (height * width > kLargestFrame || height > kLongestSide || width > kLongestSide)
        fail(EDGEOSR_BAD_FRAME,
             "frame ",
             index,
             " must be of at most ",
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
        fail(EDGEOSR_BAD_FRAME,
             "frame ",
             index,
             " is YUYV and must have an even width; got ",
             frame.width_px,
             ": leave its last column out");
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
                 " needs it: pass its address");
        std::size_t const stride = frame.stride_bytes[plane] != 0 ? frame.stride_bytes[plane] : least;
        if (stride < least || stride > kLargestStride)
            fail(EDGEOSR_BAD_FRAME,
                 "the stride of plane ",
                 plane,
                 " of frame ",
                 index,
                 " must be at least ",
                 least,
                 " bytes for ",
                 format_name(made.format),
                 " of ",
                 frame.width_px,
                 " pixels a row; got ",
                 frame.stride_bytes[plane],
                 stride > kLargestStride ? "; negative strides are not taken: copy the rows in order"
                                         : "; it counts bytes, not pixels");
        made.plane[plane] = static_cast<std::uint8_t const*>(frame.plane[plane]);
        made.stride_bytes[plane] = stride;
    }
    return made;
}

}  // namespace

Frames::Frames(edgeosr_frame const* frames, std::size_t count, std::optional<Size> fixed)
    : frames_(frames), count_(count) {
    if (frames == nullptr) fail(EDGEOSR_BAD_ARGUMENT, "frames is NULL; pass the address of an edgeosr_frame");
    // Before they are read: a wrong count reaches beyond them.
    if (count > kMostInOneCall)
        fail(EDGEOSR_BAD_ARGUMENT,
             "count must be at most ",
             kMostInOneCall,
             " frames in one call; got ",
             count,
             ": judge them in several calls");
    for (std::size_t i = 0; i < count; ++i) {
        auto const& frame = frames_[i];
        if (frame.struct_bytes != sizeof(edgeosr_frame))
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
    auto const& frame = frames_[index];
    Frame made = first_;
    for (int plane = 0; plane < 2; ++plane) {
        made.plane[plane] = static_cast<std::uint8_t const*>(frame.plane[plane]);
        std::size_t const least = row_bytes(first_.format, first_.width_px, plane);
        made.stride_bytes[plane] = frame.stride_bytes[plane] != 0 ? frame.stride_bytes[plane] : least;
    }
    return made;
}

std::uint8_t const* Frames::packed_already() const {
    bool const tight = first_.stride_bytes[0] == static_cast<std::size_t>(first_.width_px) * 3;
    return count_ == 1 && is_interleaved(first_.format) && (tight || first_.height_px == 1) ? first_.plane[0]
                                                                                            : nullptr;
}

void pack(Frame const& frame, std::uint8_t* out) {
    std::size_t const bytes = static_cast<std::size_t>(frame.width_px) * 3;
    for (int row = 0; row < frame.height_px; ++row, out += bytes)
        if (is_interleaved(frame.format))
            std::memcpy(out, frame.plane[0] + static_cast<std::size_t>(row) * frame.stride_bytes[0], bytes);
        else
            rgb_from_row(frame, row, 0, frame.width_px, out);
}

}  // namespace edgeosr
