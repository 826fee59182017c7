// A scorer held against itself and against its manifest (edgeosr/scoring/parts and edgeosr/bundle/scorer.py).
#include <algorithm>
#include <iterator>

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

bool is_kinked(Scorer const& scorer) {
    constexpr Activation kKinked[] = {Activation::kRelu,
                                      Activation::kLeakyRelu,
                                      Activation::kPrelu,
                                      Activation::kClip,
                                      Activation::kElu,
                                      Activation::kHardSwish};
    // Tangents pass through every activation behind the cut, of which the scorer does not tell.
    if (scorer.probes > 0) return true;
    // With neither it is the identity.
    return std::find(std::begin(kKinked), std::end(kKinked), scorer.activation) != std::end(kKinked);
}

void require_scorer_of(Scorer const& scorer, Manifest const& manifest) {
    // The scorer is the engine's, whose backbone may have been calibrated anew.
    bool const own = manifest.backbone && manifest.backbone->fusion;
    Fusion const& fusion = own ? *manifest.backbone->fusion : manifest.fusion;
    Threshold const& threshold = own ? *manifest.backbone->threshold : manifest.threshold;
    std::string wrong;
    if (!same(threshold.by_class, scorer.class_thresholds))
        wrong = "the list of thresholds of classes is another";
    if (!same({threshold.value}, {scorer.threshold}))
        wrong = joined("the threshold must be ", threshold.value, "; got ", scorer.threshold);
    if (!same(fusion.means, scorer.means) || !same(fusion.stds, scorer.stds) ||
        !same(fusion.weights, scorer.weights))
        wrong = "the fusion is another";
    if (manifest.head != scorer.head) wrong = "the head is another";
    if (manifest.dimension != scorer.dimension)
        wrong = joined("the embedding's length must be ", manifest.dimension, "; got ", scorer.dimension);
    if (manifest.classes.size() != scorer.classes)
        wrong = joined("the number of classes must be ", manifest.classes.size(), "; got ", scorer.classes);
    if (manifest.fusion.parts != scorer.part_names) wrong = "the list of parts is another";
    if (!wrong.empty())
        fail(EDGEOSR_BAD_BUNDLE,
             "scorer.npz is not the scorer of its manifest: ",
             wrong,
             "; export the bundle again, or copy it again");
}

}  // namespace edgeosr
