// A scorer held against itself and against its manifest (edgeosr/scoring/parts and edgeosr/bundle/scorer.py).
#include <algorithm>

#include "base/failure.h"
#include "scoring/scorer.h"

namespace edgeosr {
namespace {

bool same(std::vector<double> const& wanted, Floats const& found) {
    return wanted.size() == found.size() &&
           std::equal(wanted.begin(), wanted.end(), found.begin(), [](double a, float b) {
               return static_cast<float>(a) == b;
           });
}

}  // namespace

bool carries(Scorer const& scorer, std::size_t place) {
    PartConstants const& own = scorer.constants[place];
    switch (scorer.parts[place]) {
        case Part::kLogJacobian:
            return scorer.closed_form || scorer.probes > 0;
        case Part::kDiscriminator:
            return !scorer.layers.empty();
        case Part::kOvrLoss:
            return scorer.margin > 0;
        case Part::kRawJacobian:
            return scorer.closed_form;
        case Part::kBank:
            return !own.biases.empty();
        case Part::kRelativeMahalanobis:
            return !own.biases.empty() && own.numbers.size() == 1;
        case Part::kClassJacobian: {
            if (!scorer.closed_form || own.numbers.size() != 2 * scorer.classes) return false;
            return std::all_of(own.numbers.begin() + static_cast<std::ptrdiff_t>(scorer.classes),
                               own.numbers.end(),
                               [](float value) { return value > 0; });
        }
        default:
            return true;
    }
}

void require_scorer_of(Scorer const& scorer, Manifest const& manifest) {
    // The scorer is the engine's, whose backbone may have been calibrated anew.
    bool const own = manifest.backbone && manifest.backbone->fusion;
    Fusion const& fusion = own ? *manifest.backbone->fusion : manifest.fusion;
    Threshold const& threshold = own ? *manifest.backbone->threshold : manifest.threshold;
    char const* wrong = nullptr;
    if (!same({threshold.value}, {scorer.threshold}) || !same(threshold.by_class, scorer.class_thresholds))
        wrong = "the threshold";
    if (!same(fusion.means, scorer.means) || !same(fusion.stds, scorer.stds) ||
        !same(fusion.weights, scorer.weights))
        wrong = "the fusion";
    if (manifest.head != scorer.head) wrong = "the head";
    if (manifest.dimension != scorer.dimension) wrong = "the embedding's length";
    if (manifest.classes.size() != scorer.classes) wrong = "the number of classes";
    if (manifest.fusion.parts != scorer.part_names) wrong = "the list of parts";
    if (wrong != nullptr)
        fail(EDGEOSR_BAD_BUNDLE,
             "scorer.npz is not the scorer of its manifest: ",
             wrong,
             " is another; export the bundle again, or copy it again");
}

}  // namespace edgeosr
