// The front end for Python's ctypes: what the tests and the speed table call. No part of libedgeosr.
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "../src/front_end/front_end.h"
#include "../src/front_end/passes.h"

namespace {

struct Driver {
    edgeosr::FrontEnd front_end;
    void* scratch;
};

}  // namespace

extern "C" {

/// numbers: height, width, fit (0 crop, 1 stretch, 2 letterbox), resize_to, bgr, frame's height and width.
/// reals: crop_fraction, mean [3], std [3]. Null if memory is full.
Driver* front_end_new(int const* numbers, double const* reals) {
    edgeosr::Preprocessing how;
    how.height_px = numbers[0];
    how.width_px = numbers[1];
    how.fit = static_cast<edgeosr::Fit>(numbers[2]);
    how.resize_to_px = numbers[3];
    how.bgr = numbers[4] != 0;
    how.crop_fraction = reals[0];
    for (int channel = 0; channel < 3; ++channel) {
        how.mean[channel] = reals[1 + channel];
        how.std[channel] = reals[4 + channel];
    }
    try {
        edgeosr::FrontEnd made(how, numbers[5], numbers[6]);
        void* const scratch = std::aligned_alloc(64, (made.scratch_bytes() + 63) / 64 * 64);
        return scratch == nullptr ? nullptr : new Driver{std::move(made), scratch};
    } catch (std::bad_alloc const&) {
        return nullptr;
    }
}

void front_end_run(Driver* driver,
                   int format,
                   int height,
                   int width,
                   unsigned char const* plane0,
                   std::size_t stride0,
                   unsigned char const* plane1,
                   std::size_t stride1,
                   float* pixels) {
    edgeosr::Frame frame;
    frame.format = static_cast<edgeosr::PixelFormat>(format);
    frame.height_px = height;
    frame.width_px = width;
    frame.plane[0] = plane0, frame.plane[1] = plane1;
    frame.stride_bytes[0] = stride0, frame.stride_bytes[1] = stride1;
    driver->front_end.run(frame, driver->scratch, pixels);
}

/// What the passes run on here.
char const* front_end_instructions() {
    return edgeosr::passes_here().name;
}

int front_end_passes() {
    edgeosr::Passes const* found[3];
    return edgeosr::all_passes_here(found);
}

/// One pass of instruction set `which` over the rows of an image, bytes [taps, count].
void front_end_down(
    int which, unsigned char const* image, int taps, int count, float const* weights, float* mid) {
    edgeosr::Passes const* found[3];
    edgeosr::all_passes_here(found);
    std::vector<unsigned char const*> rows;
    for (int k = 0; k < taps; ++k)
        rows.push_back(image + static_cast<std::size_t>(k) * count);
    found[which]->down(rows.data(), weights, taps, count, mid);
}

/// One pass of instruction set `which` along a row of frame_px pixels, float [frame_px, 3] and kBehindRow
/// more, to planes [3, length] and to bytes [length, 3].
void front_end_across(
    int which, float const* row, int frame_px, int length, float* planes, unsigned char* bytes) {
    edgeosr::Passes const* found[3];
    edgeosr::all_passes_here(found);
    auto const bands = edgeosr::bands_of({0.0, static_cast<double>(frame_px), 0, length}, frame_px);
    edgeosr::Planes const out{
        {1, 1, 1, 0}, {0, 0, 0, 0}, {planes, planes + length, planes + 2 * static_cast<std::size_t>(length)}};
    found[which]->across(bands, 0, row, out, 0);
    found[which]->across_rounded(bands, 0, row, bytes);
}

void front_end_free(Driver* driver) {
    if (driver != nullptr) std::free(driver->scratch);
    delete driver;
}
}
