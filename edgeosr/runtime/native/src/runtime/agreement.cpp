#include "runtime/agreement.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/failure.h"
#include "runtime/decision.h"

namespace edgeosr {
namespace {

// As in Python, where each has its reason.
constexpr double kSameGraph = 1e-3, kSameGraphRelative = 1e-5, kKernel = 1e-2, kKernelRelative = 1e-3;
constexpr double kOtherOrder = 1, kMostTies = 0.25, kMostOutside = 0.1, kCeiling = 8;

constexpr std::size_t kAlone = 0, kAnyBatch = SIZE_MAX;  // of Found::batch

std::string judged(std::size_t batch) {
    if (batch == kAlone) return " alone";
    return batch == kAnyBatch ? " in a batch" : joined(" in a batch of ", batch);
}

struct Comparison {
    Expected const& expected;
    Band const& band;
    Manifest const& manifest;
    std::vector<double> const& limits;

    double margin(std::size_t frame, std::int64_t label) const {
        return static_cast<double>(expected.score[frame]) - limit_of(limits, label);
    }

    /// Rounding decides: the decision, or which of two classes it is.
    bool cannot_be_told(std::size_t frame) const {
        if (!std::isfinite(expected.score[frame])) return false;
        return std::fabs(margin(frame, expected.label[frame])) <= band.score ||
               static_cast<double>(expected.gap[frame]) <= band.gap;
    }

    /// Class and decision are the expected ones, or rounding alone can have changed them.
    bool as_expected(Found const& one) const {
        if (!std::isfinite(expected.score[one.frame])) return !one.accepted;  // the class is then any
        bool const near_class = static_cast<double>(expected.gap[one.frame]) <= band.gap &&
                                one.index == expected.second[one.frame];
        // A class that rounding brought to the front decides by its own threshold.
        double const distance =
            margin(one.frame, near_class ? expected.second[one.frame] : expected.label[one.frame]);
        bool const right_class = near_class || one.index == expected.label[one.frame];
        return right_class && (one.accepted == (distance <= 0) || std::fabs(distance) <= band.score);
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
                      blue_first ? " (bgr)" : " (rgb)",
                      judged(one.batch),
                      one.batch == kAlone ? "" : joined(", at place ", one.place + 1),
                      ": expected ",
                      said(accepted, expected.label[frame], expected.score[frame]),
                      ", got ",
                      said(one.accepted, one.index, one.score),
                      "; threshold ",
                      limit_of(limits, expected.label[frame]));
    }
};

/// How far a verdict lies from the expected one.
struct Distances {
    std::vector<double> of;    // the score, then each part, in the stds of the fusion
    double besides_steps = 0;  // the score, from where the parts that may step take it
};

Distances distances_of(Comparison const& comparison, Found const& one) {
    Fusion const& fusion = comparison.manifest.fusion;
    Band const& band = comparison.band;
    std::size_t const parts = fusion.parts.size();
    double const off =
        static_cast<double>(one.score) - static_cast<double>(comparison.expected.score[one.frame]);
    std::vector<double> of{std::fabs(off)};
    double follows = 0;
    for (std::size_t i = 0; i < parts; ++i) {
        double const wanted = static_cast<double>(comparison.expected.values[one.frame * parts + i]);
        double const moved = static_cast<double>(one.values[i]) - wanted;
        double const apart =
            std::max(std::fabs(moved) - band.relative * std::fabs(wanted), 0.0) / fusion.stds[i];
        of.push_back(apart);
        if (i < band.steps.size() && band.steps[i])
            follows += fusion.weights[i] * std::copysign(apart, moved);
    }
    return {std::move(of), std::fabs(off - follows)};
}

/// A step of the Jacobian norm, and nothing else, is what lies outside.
bool is_step(Comparison const& comparison, Distances const& distances) {
    Band const& band = comparison.band;
    bool outside = false;
    for (std::size_t i = 0; i < band.steps.size(); ++i) {
        double const apart = distances.of[i + 1];
        if (apart > kCeiling * band.values[i] || (!band.steps[i] && apart > band.values[i])) return false;
        outside = outside || apart > band.values[i];
    }
    return outside && distances.besides_steps <= band.score;
}

/// Add a line for the scores, and one for each part, that rounding does not explain; of verdicts that were
/// judged alike: alone, in any batch, or in one of so many frames, of which one may lie outside however few
/// they are.
void add_far_away(Comparison const& comparison,
                  std::vector<Found> const& found,
                  std::size_t group,
                  Agreement& result) {
    double const least = group == kAlone || group == kAnyBatch ? 0 : 1;
    Band const& band = comparison.band;
    std::size_t const parts = comparison.manifest.fusion.parts.size();
    std::vector<std::size_t> outside(parts + 1, 0);
    std::vector<double> worst(parts + 1, 0);
    std::vector<std::size_t> frames(parts + 1, 0);  // the worst ones
    std::vector<std::pair<std::size_t, Distances>> judged_alike;
    std::size_t steps = 0;
    for (Found const& one : found) {
        bool const in = group == kAnyBatch ? one.batch != kAlone : one.batch == group;
        if (!in || !one.finite || !std::isfinite(comparison.expected.score[one.frame])) continue;
        judged_alike.emplace_back(one.frame, distances_of(comparison, one));
        result.distance = std::max(result.distance, judged_alike.back().second.of[0]);
        steps += is_step(comparison, judged_alike.back().second) ? 1 : 0;
    }
    auto const count = static_cast<double>(judged_alike.size());
    bool const explained = static_cast<double>(steps) <= std::max(kMostOutside * count, least);
    for (auto const& [frame, distances] : judged_alike) {
        if (explained && is_step(comparison, distances)) continue;
        for (std::size_t i = 0; i <= parts; ++i) {
            double const distance = distances.of[i];
            outside[i] += distance > (i == 0 ? band.score : band.values[i - 1]) ? 1 : 0;
            if (distance > worst[i]) frames[i] = frame;
            worst[i] = std::max(worst[i], distance);
        }
    }
    for (std::size_t i = 0; i <= parts; ++i) {
        double const allowed = i == 0 ? band.score : band.values[i - 1];
        double const most = std::max(band.most_outside * count, least);
        if (static_cast<double>(outside[i]) <= most && worst[i] <= kCeiling * allowed) continue;
        result.lines.push_back(joined(i == 0 ? "scores" : "values of ",
                                      i == 0 ? "" : comparison.manifest.fusion.parts[i - 1],
                                      judged(group),
                                      ": ",
                                      outside[i],
                                      " of ",
                                      judged_alike.size(),
                                      " are more than ",
                                      allowed,
                                      " from the expected ones, which rounding does not explain (",
                                      worst[i],
                                      " at most, golden frame ",
                                      frames[i],
                                      ")"));
    }
}

}  // namespace

Band same_graph_band(std::vector<std::string> const& parts, bool kinked) {
    Band made{
        kSameGraph, kSameGraph, std::vector<double>(parts.size(), kSameGraph), kSameGraphRelative, 0, {}};
    for (auto const& name : parts)
        made.steps.push_back(kinked &&
                             std::find(std::begin(kSteppingParts), std::end(kSteppingParts), name) !=
                                 std::end(kSteppingParts));
    return made;
}

Band engine_band(Rounding const& rounding) {
    Band made{kKernel + kOtherOrder * rounding.score,
              kKernel + kOtherOrder * rounding.gap,
              rounding.values,
              kKernelRelative,
              kMostOutside,
              {}};
    for (double& value : made.values)
        value = kKernel + kOtherOrder * value;
    return made;
}

Agreement agreement(Golden const& golden,
                    Expected const& expected,
                    Band const& band,
                    std::vector<Found> const& found,
                    Manifest const& manifest,
                    std::vector<double> const& limits) {
    Comparison const comparison{expected, band, manifest, limits};
    Agreement result;
    for (Found const& one : found) {
        bool const finite = std::isfinite(expected.score[one.frame]);
        if (finite == one.finite && comparison.as_expected(one)) {
            ++(comparison.cannot_be_told(one.frame) ? result.ties : result.agreed);
            continue;
        }
        ++result.differing;
        result.lines.push_back(comparison.difference(one, golden.bgr[one.frame]));
    }
    std::vector<std::size_t> groups{kAlone, kAnyBatch};
    for (Found const& one : found)
        if (std::find(groups.begin(), groups.end(), one.batch) == groups.end()) groups.push_back(one.batch);
    std::size_t before = 0;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (i == 1) before = result.lines.size();
        if (i == 2 && result.lines.size() > before) break;  // what all batches share is told
        add_far_away(comparison, found, groups[i], result);
    }
    bool const too_many = static_cast<double>(result.ties) > kMostTies * static_cast<double>(found.size());
    result.only_ties = too_many && result.lines.empty();
    if (too_many)
        result.lines.push_back(joined(result.ties,
                                      " of ",
                                      found.size(),
                                      " verdicts are within rounding of another one: the "
                                      "golden frames prove too little; export the bundle again"));
    return result;
}

}  // namespace edgeosr
