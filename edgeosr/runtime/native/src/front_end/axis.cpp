#include "axis.h"

#include <algorithm>
#include <cmath>

namespace edgeosr {
namespace {

using Whole = std::int64_t;

/// number / 2, a half rounded to the even neighbour.
Whole even_half(Whole number) {
    return (number + number % 4 / 3) / 2;
}

/// An axis that is resized to whole pixels, and then cut.
Axis resized_axis(int frame, int shorter, int cut, int side, Fit fit) {
    Whole const resized = fit == Fit::kStretch ? Whole{side} : Whole{side} * frame / shorter;
    Whole const first = even_half(resized - cut);
    double const whole_frame = frame, length = static_cast<double>(resized);
    return {static_cast<double>(first) * whole_frame / length, cut * whole_frame / length, 0, cut};
}

/// numerator / denominator, a half rounded up, at least 1.
int rounded_quotient(Whole numerator, Whole denominator) {
    return static_cast<int>(std::max<Whole>(1, (2 * numerator + denominator) / (2 * denominator)));
}

Axis whole_frame(int frame, int network, int length) {
    return {0.0, static_cast<double>(frame), (network - length) / 2, length};
}

}  // namespace

Axes axes_of(Preprocessing const& preprocessing, int frame_height_px, int frame_width_px) {
    int const height = preprocessing.height_px, width = preprocessing.width_px;
    double const tall = frame_height_px, wide = frame_width_px;
    if (preprocessing.resize_to_px > 0) {
        int const shorter = std::min(frame_height_px, frame_width_px), side = preprocessing.resize_to_px;
        return {resized_axis(frame_height_px, shorter, height, side, preprocessing.fit),
                resized_axis(frame_width_px, shorter, width, side, preprocessing.fit)};
    }
    if (preprocessing.fit == Fit::kStretch)
        return {whole_frame(frame_height_px, height, height), whole_frame(frame_width_px, width, width)};
    if (preprocessing.fit == Fit::kCrop) {
        double const ratio = std::min(tall / height, wide / width) * preprocessing.crop_fraction;
        double const rows = ratio * height, columns = ratio * width;
        return {{(tall - rows) / 2, rows, 0, height}, {(wide - columns) / 2, columns, 0, width}};
    }
    int rows = height, columns = width;
    if (Whole{frame_height_px} * width >= Whole{frame_width_px} * height)
        columns = rounded_quotient(Whole{frame_width_px} * height, frame_height_px);
    else
        rows = rounded_quotient(Whole{frame_height_px} * width, frame_width_px);
    return {whole_frame(frame_height_px, height, rows), whole_frame(frame_width_px, width, columns)};
}

Bands bands_of(Axis const& axis, int frame_px) {
    double const scale = axis.extent / axis.length, support = std::max(scale, 1.0);
    Bands bands;
    bands.length = axis.length;
    std::vector<int> ends;
    auto const centre = [&](int i) { return axis.start + (i + 0.5) * scale; };
    auto const weight = [&](int i, int pixel) { return support - std::fabs(pixel + 0.5 - centre(i)); };
    for (int i = 0; i < axis.length; ++i) {
        int first = std::max(static_cast<int>(std::floor(centre(i) - support)), 0);
        int last = std::min(static_cast<int>(std::ceil(centre(i) + support)), frame_px) - 1;
        while (first < last && weight(i, first) <= 0)
            ++first;
        while (last > first && weight(i, last) <= 0)
            --last;
        bands.first.push_back(first);
        ends.push_back(last + 1);
        bands.taps = std::max(bands.taps, last + 1 - first);
    }
    bands.weights.resize(static_cast<std::size_t>(bands.length) * bands.taps);
    for (int i = 0; i < axis.length; ++i) {
        double sum = 0.0;
        for (int pixel = bands.first[i]; pixel < ends[i]; ++pixel)
            sum += weight(i, pixel);
        int const first = std::min(bands.first[i], frame_px - bands.taps);
        float* const row = bands.weights.data() + static_cast<std::size_t>(i) * bands.taps;
        for (int pixel = bands.first[i]; pixel < ends[i]; ++pixel)
            row[pixel - first] = static_cast<float>(weight(i, pixel) / sum);
        bands.first[i] = first;
    }
    return bands;
}

}  // namespace edgeosr
