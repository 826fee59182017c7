#include "runtime/coming_frame.h"

#include "base/failure.h"

namespace edgeosr {

void LastFrame::set(Size size) {
    std::uint64_t const packed =
        static_cast<std::uint64_t>(size.height_px) << 32 | static_cast<std::uint64_t>(size.width_px);
    // Read first: threads that all judge frames of one size then share the line.
    if (packed_.load(std::memory_order_relaxed) != packed) packed_.store(packed, std::memory_order_relaxed);
}

std::optional<Size> LastFrame::size() const {
    std::uint64_t const packed = packed_.load(std::memory_order_relaxed);
    if (packed == 0) return std::nullopt;
    return Size{static_cast<int>(packed >> 32), static_cast<int>(packed & 0xffffffff)};
}

void require_frame(std::string const& path, std::optional<Size> taken, std::optional<Size> coming) {
    if (!taken || !coming || (taken->height_px == coming->height_px && taken->width_px == coming->width_px))
        return;
    fail(EDGEOSR_BAD_FRAME,
         path,
         " takes frames of ",
         taken->height_px,
         "x",
         taken->width_px,
         " only (height x width), and this runtime judges those of ",
         coming->height_px,
         "x",
         coming->width_px,
         ": export it without --frame or with this size, or build its engine for this size; for another "
         "camera, "
         "open it instead");
}

}  // namespace edgeosr
