// Frames of random sizes, formats and strides in blocks of exactly their bytes: fuzz COUNT. For the
// sanitizers.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "../../../edgeosr/runtime/native/src/front_end/front_end.h"

namespace {

std::mt19937 generator(1);

int from_to(int least, int most) {
    return std::uniform_int_distribution<int>(least, most)(generator);
}

/// height rows of row_bytes, stride apart: nothing behind the last row.
std::vector<unsigned char> plane(int height, int row_bytes, int stride) {
    std::vector<unsigned char> bytes(static_cast<std::size_t>(height - 1) * stride + row_bytes);
    for (auto& byte : bytes)
        byte = static_cast<unsigned char>(generator());
    return bytes;
}

bool judge_one() {
    using edgeosr::Fit;
    using edgeosr::PixelFormat;
    edgeosr::Preprocessing how;
    how.height_px = from_to(1, 40), how.width_px = from_to(1, 40);
    how.fit = static_cast<Fit>(from_to(0, 2));
    how.bgr = from_to(0, 1) == 1;
    if (how.fit == Fit::kCrop) how.crop_fraction = from_to(1, 8) / 8.0;
    if (how.fit != Fit::kLetterbox && from_to(0, 1) == 1) {
        how.crop_fraction = 1.0;
        how.resize_to_px = std::max(how.height_px, how.width_px) + from_to(0, 30);
    }
    edgeosr::Frame frame;
    frame.format = static_cast<PixelFormat>(from_to(0, 4));
    frame.height_px = from_to(1, 70), frame.width_px = from_to(1, 70);
    if (frame.format == PixelFormat::kYuyv) frame.width_px += frame.width_px % 2;
    int row_bytes = frame.width_px;
    if (frame.format == PixelFormat::kRgb8 || frame.format == PixelFormat::kBgr8) row_bytes *= 3;
    if (frame.format == PixelFormat::kYuyv) row_bytes *= 2;
    int const stride = row_bytes + from_to(0, 9);
    auto const first = plane(frame.height_px, row_bytes, stride);
    int const chroma_bytes = (frame.width_px + 1) / 2 * 2, chroma_stride = chroma_bytes + from_to(0, 9);
    auto const second = plane((frame.height_px + 1) / 2, chroma_bytes, chroma_stride);
    frame.plane[0] = first.data(), frame.plane[1] = second.data();
    frame.stride_bytes[0] = stride, frame.stride_bytes[1] = chroma_stride;
    edgeosr::FrontEnd const front_end(how, frame.height_px, frame.width_px);
    void* const scratch = std::aligned_alloc(64, (front_end.scratch_bytes() + 63) / 64 * 64);
    std::vector<float> pixels(static_cast<std::size_t>(3) * how.height_px * how.width_px, -1.0f);
    front_end.run(frame, scratch, pixels.data());
    std::free(scratch);
    for (float value : pixels)
        if (!(value >= 0.0f && value <= 1.0001f)) return false;  // each is written, by mean 0 and std 1
    return true;
}

}  // namespace

int main(int, char** argv) {
    int const count = std::atoi(argv[1]);
    for (int i = 0; i < count; ++i)
        if (!judge_one()) return std::fprintf(stderr, "frame %d has a pixel out of range\n", i), 1;
    std::printf("%d frames\n", count);
    return 0;
}
