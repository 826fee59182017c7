// Does a back end say what it must? Golden verdicts against those that came (edgeosr/runtime/agreement.py,
// bands.py).
#pragma once

#include <string>
#include <vector>

#include "bundle/golden.h"

namespace edgeosr {

/// What rounding can do.
struct Band {
    double score = 0, gap = 0;   // in standard deviations of known images, and of the logits
    std::vector<double> values;  // of each part, in the stds of the fusion;
    double relative = 0;         // and on top of that, as a share of a value
    double most_outside = 0;     // share of the frames that may lie outside, by up to 8 bands
    std::vector<char> steps;     // of each part, whether rounding may move it by a step; or empty
};

/// Of one graph in float32 that runs elsewhere, where sums come in another order; and of a body. kinked: a
/// Jacobian norm may step, see is_kinked of the scorer.
Band same_graph_band(std::vector<std::string> const& parts, bool kinked);
Band engine_band(Rounding const& rounding);

/// A verdict that came.
struct Found {
    std::size_t frame = 0;
    std::size_t batch = 0, place = 0;  // frames that were judged with it, 0: alone; and which of them it is
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
    bool only_ties = false;          // nothing of that; but too many cannot be told
};

/// expected: of the golden frames, by the graph that runs. limits: one number, or one a class.
Agreement agreement(Golden const& golden,
                    Expected const& expected,
                    Band const& band,
                    std::vector<Found> const& found,
                    Manifest const& manifest,
                    std::vector<double> const& limits);

}  // namespace edgeosr
