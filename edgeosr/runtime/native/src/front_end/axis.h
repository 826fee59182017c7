// Where the network's rows and columns lie in a frame, and the weights that make them: what
// Preprocessing.axes of edgeosr/preprocessing.py and fixed_bands of export/front_end/resampling.py compute,
// in float64 like them.
#pragma once

#include <vector>

#include "front_end.h"

namespace edgeosr {

/// Output positions offset .. offset + length - 1 sample the frame's interval [start, start + extent), in
/// pixels; all other positions are black.
struct Axis {
    double start = 0.0;
    double extent = 0.0;
    int offset = 0;
    int length = 0;
};

struct Axes {
    Axis rows;
    Axis columns;
};

/// frame_height_px, frame_width_px: from 1.
Axes axes_of(Preprocessing const& preprocessing, int frame_height_px, int frame_width_px);

/// One pass: output i is the sum over k < taps of weights[i taps + k] times input first[i] + k.
///
/// Every tap lies inside the frame; the weights of an output sum to 1. An axis that only cuts has one tap, of
/// weight 1. first never falls from one output to the next.
struct Bands {
    int length = 0;
    int taps = 0;
    std::vector<int> first;      // [length]
    std::vector<float> weights;  // [length, taps]

    int begin() const { return first.front(); }
    int end() const { return first.back() + taps; }  // one behind the last input that is read
};

/// The triangle filter of an axis, antialiased: its support grows with the shrink factor, as Pillow's does.
///
/// frame_px: the frame's size along this axis.
Bands bands_of(Axis const& axis, int frame_px);

}  // namespace edgeosr
