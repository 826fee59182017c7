// Frames as an application gives them: checked, and packed for a back end that takes whole pictures.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "bundle/manifest.h"
#include "edgeosr.h"
#include "front_end/front_end.h"

namespace edgeosr {

/// Frames of one call, checked, all of one size and format. Walks over the application's array; copies
/// nothing.
class Frames {
  public:
    /// fixed: the only size that the bundle takes. Throws Failure: EDGEOSR_BAD_ARGUMENT or EDGEOSR_BAD_FRAME.
    Frames(edgeosr_frame const* frames, std::size_t count, std::optional<Size> fixed);

    std::size_t count() const { return count_; }
    int height_px() const { return first_.height_px; }
    int width_px() const { return first_.width_px; }
    bool bgr() const { return first_.format == PixelFormat::kBgr8; }
    /// One frame, its strides filled in.
    Frame at(std::size_t index) const;
    /// Bytes of one frame as RGB8 or BGR8 without gaps.
    std::size_t packed_bytes() const {
        return static_cast<std::size_t>(first_.height_px) * static_cast<std::size_t>(first_.width_px) * 3;
    }
    /// The pixels of the only frame where it lies without gaps in three bytes a pixel; null otherwise.
    std::uint8_t const* packed_already() const;

  private:
    edgeosr_frame const* frames_;
    std::size_t count_;
    Frame first_;
};

/// Copy a frame into 3 bytes a pixel without gaps: BGR where it is BGR8, else RGB, by the rule of
/// front_end.h.
void pack(Frame const& frame, std::uint8_t* out);

}  // namespace edgeosr
