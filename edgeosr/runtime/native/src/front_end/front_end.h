// From a camera's frame to the pixels that the network takes, as training's front end makes them
// (edgeosr/preprocessing.py; the graph's own: export/front_end). Needs nothing but the C++17 library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace edgeosr {

/// Numbers as in edgeosr.h.
enum class PixelFormat : std::int32_t {
    kRgb8 = 0,   // 3 bytes a pixel
    kBgr8 = 1,   // 3 bytes a pixel
    kNv12 = 2,   // plane 0: Y, a byte a pixel; plane 1: U and V of each square of 2 x 2 pixels, U first
    kYuyv = 3,   // Y0 U Y1 V for two pixels of a row; the width is even
    kGray8 = 4,  // a byte a pixel; R = G = B
};

/// A frame in memory that somebody else owns. Already checked: sizes from 1, planes there, strides large
/// enough (require_frame), so nothing here fails. An odd side of NV12 has one chroma sample more than half.
struct Frame {
    PixelFormat format = PixelFormat::kRgb8;
    int height_px = 0;
    int width_px = 0;
    std::uint8_t const* plane[2] = {nullptr, nullptr};
    std::size_t stride_bytes[2] = {0, 0};  // from one row to the next
};

enum class Fit : std::int32_t { kCrop, kStretch, kLetterbox };

/// What the manifest says under "preprocessing", checked; see edgeosr/preprocessing.py.
struct Preprocessing {
    int height_px = 0;  // of the network's input, 1 to 4096
    int width_px = 0;
    Fit fit = Fit::kCrop;
    double crop_fraction = 1.0;
    int resize_to_px = 0;              // 0: there is none
    double mean[3] = {0.0, 0.0, 0.0};  // in RGB order, of values scaled to 0..1
    double std[3] = {1.0, 1.0, 1.0};   // above 0
    bool bgr = false;                  // the network's planes are B, G, R ("color")
};

/// The front end for frames of one size (and any format and stride): its tables are made once.
///
/// NV12 and YUYV become RGB8 first, by BT.601 of limited range, chroma repeated and not interpolated, in
/// whole numbers; so a frame gives the same pixels as the RGB8 frame that the rule makes of it:
///   R = clamp((76309 (Y - 16)                   + 104597 (V - 128) + 32768) >> 16)
///   G = clamp((76309 (Y - 16) - 25675 (U - 128) -  53279 (V - 128) + 32768) >> 16)
///   B = clamp((76309 (Y - 16) + 132201 (U - 128)                   + 32768) >> 16)
///
/// Any number of threads may call run() of one object at once, each with a scratch of its own.
class FrontEnd {
  public:
    /// Throws std::bad_alloc alone. Sides of frames: 1 to 131072, at most 2^25 pixels.
    FrontEnd(Preprocessing const& preprocessing, int frame_height_px, int frame_width_px);
    ~FrontEnd();
    FrontEnd(FrontEnd&&) noexcept;
    FrontEnd& operator=(FrontEnd&&) noexcept;

    /// Bytes that run() needs beside the result.
    std::size_t scratch_bytes() const noexcept;

    /// Fill the network's input of one frame; allocates nothing.
    ///
    /// frame: of the size that this object was made for.
    /// scratch: scratch_bytes(), aligned to 64 bytes; its content is nobody's afterwards.
    /// pixels: float32 [3, height_px, width_px] of the network, planes in its colour order, normalised:
    ///         value / (255 std) - mean / std; borders of letterbox are black before that.
    void run(Frame const& frame, void* scratch, float* pixels) const noexcept;

  private:
    struct Tables;
    std::unique_ptr<Tables const> tables_;
};

}  // namespace edgeosr
