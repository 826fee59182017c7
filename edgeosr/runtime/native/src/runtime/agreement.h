// Does a back end say what it must? Golden verdicts against those that came (edgeosr/runtime/agreement.py,
// for one graph that runs elsewhere).
#pragma once

#include <string>
#include <vector>

#include "bundle/golden.h"

namespace edgeosr {

constexpr double kSameGraph = 1e-3;  // float32 sums in another order, in standard deviations of known images

/// A verdict that came.
struct Found {
    std::size_t frame = 0;
    bool batched = false;
    std::int64_t index = 0;
    float score = 0;
    std::vector<float> values;
    bool finite = false, accepted = false;
};

struct Agreement {
    int agreed = 0;  // verdicts that are the expected ones
    int ties = 0;    // too near to the threshold, or to a second class, to tell
    int differing = 0;
    double distance = 0;             // the largest of the scores; of those that are finite on both sides
    std::vector<std::string> lines;  // what differs, and what is wrong with many together
};

/// limits: one number, or one a class.
Agreement agreement(Golden const& golden,
                    std::vector<Found> const& found,
                    Manifest const& manifest,
                    std::vector<double> const& limits);

}  // namespace edgeosr
