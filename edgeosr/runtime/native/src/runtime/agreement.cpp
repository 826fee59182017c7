#include "runtime/agreement.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"

namespace edgeosr {
namespace {

constexpr double kRelative = 1e-5, kMostTies = 0.25;

double limit_of(std::vector<double> const& limits, std::int64_t label) {
    return limits.size() == 1 ? limits[0] : limits[static_cast<std::size_t>(label)];
}

struct Comparison {
    Expected const& expected;
    Manifest const& manifest;
    std::vector<double> const& limits;

    double margin(std::size_t frame, std::int64_t label) const {
        return static_cast<double>(expected.score[frame]) - limit_of(limits, label);
    }

    /// Rounding decides: the decision, or which of two classes it is.
    bool cannot_be_told(std::size_t frame) const {
        if (!std::isfinite(expected.score[frame])) return false;
        return std::fabs(margin(frame, expected.label[frame])) <= kSameGraph ||
               static_cast<double>(expected.gap[frame]) <= kSameGraph;
    }

    /// Class and decision are the expected ones, or rounding alone can have changed them.
    bool as_expected(Found const& one) const {
        if (!std::isfinite(expected.score[one.frame])) return !one.accepted;  // the class is then any
        bool const near_class = static_cast<double>(expected.gap[one.frame]) <= kSameGraph &&
                                one.index == expected.second[one.frame];
        // A class that rounding brought to the front decides by its own threshold.
        double const distance =
            margin(one.frame, near_class ? expected.second[one.frame] : expected.label[one.frame]);
        bool const right_class = near_class || one.index == expected.label[one.frame];
        return right_class && (one.accepted == (distance <= 0) || std::fabs(distance) <= kSameGraph);
    }

    std::string said(bool accepted, std::int64_t label, float score) const {
        std::string const name = shown(manifest.classes[static_cast<std::size_t>(label)]);
        return accepted ? joined(name, " (score ", score, ")")
                        : joined("unknown (nearest ", name, ") (score ", score, ")");
    }

    std::string difference(Found const& one, bool blue_first) const {
        std::size_t const frame = one.frame;
        bool const accepted =
            std::isfinite(expected.score[frame]) && margin(frame, expected.label[frame]) <= 0;
        return joined("golden frame ",
                      frame,
                      blue_first ? " (bgr) " : " (rgb) ",
                      one.batched ? "in a batch" : "alone",
                      ": expected ",
                      said(accepted, expected.label[frame], expected.score[frame]),
                      ", got ",
                      said(one.accepted, one.index, one.score),
                      "; threshold ",
                      limit_of(limits, expected.label[frame]));
    }
};

/// Add a line for the scores, and one for each part, that rounding does not explain.
void add_far_away(Comparison const& comparison, std::vector<Found> const& found, Agreement& result) {
    std::size_t const parts = comparison.manifest.fusion.parts.size();
    std::vector<std::size_t> outside(parts + 1, 0);
    std::vector<double> worst(parts + 1, 0);
    for (Found const& one : found) {
        if (!one.finite || !std::isfinite(comparison.expected.score[one.frame])) continue;
        double const distance = std::fabs(static_cast<double>(one.score) -
                                          static_cast<double>(comparison.expected.score[one.frame]));
        result.distance = std::max(result.distance, distance);
        outside[0] += distance > kSameGraph ? 1 : 0;
        worst[0] = std::max(worst[0], distance);
        for (std::size_t i = 0; i < parts; ++i) {
            double const wanted = static_cast<double>(comparison.expected.values[one.frame * parts + i]);
            double const apart =
                std::fabs(static_cast<double>(one.values[i]) - wanted) - kRelative * std::fabs(wanted);
            double const share = std::max(apart, 0.0) / comparison.manifest.fusion.stds[i];
            outside[i + 1] += share > kSameGraph ? 1 : 0;
            worst[i + 1] = std::max(worst[i + 1], share);
        }
    }
    for (std::size_t i = 0; i <= parts; ++i)
        if (outside[i] > 0)
            result.lines.push_back(joined(i == 0 ? "scores" : "values of ",
                                          i == 0 ? "" : comparison.manifest.fusion.parts[i - 1],
                                          ": ",
                                          outside[i],
                                          " are more than ",
                                          kSameGraph,
                                          " from the expected ones, which rounding does not explain (",
                                          worst[i],
                                          " at most)"));
}

}  // namespace

Agreement agreement(Golden const& golden,
                    std::vector<Found> const& found,
                    Manifest const& manifest,
                    std::vector<double> const& limits) {
    Comparison const comparison{golden.portable, manifest, limits};
    Agreement result;
    for (Found const& one : found) {
        bool const finite = std::isfinite(golden.portable.score[one.frame]);
        if (finite == one.finite && comparison.as_expected(one)) {
            ++(comparison.cannot_be_told(one.frame) ? result.ties : result.agreed);
            continue;
        }
        ++result.differing;
        result.lines.push_back(comparison.difference(one, golden.bgr[one.frame]));
    }
    add_far_away(comparison, found, result);
    if (static_cast<double>(result.ties) > kMostTies * static_cast<double>(found.size()))
        result.lines.push_back(joined(result.ties,
                                      " of ",
                                      found.size(),
                                      " verdicts are within rounding of another one: the "
                                      "golden frames prove too little; export the bundle again"));
    return result;
}

}  // namespace edgeosr
