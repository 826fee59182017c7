#include "scoring/score.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "base/failure.h"

namespace edgeosr {
namespace {

constexpr double kFloor = 1e-12;  // |z| and J are not taken below this before a division or a logarithm
constexpr std::size_t kLanes = 16;

/// The sum of products, in lanes that the compiler puts side by side, then in float64.
double dot(float const* a, float const* b, std::size_t count) {
    float lanes[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes)
        for (std::size_t k = 0; k < kLanes; ++k)
            lanes[k] += a[i + k] * b[i + k];
    double sum = 0;
    for (float lane : lanes)
        sum += static_cast<double>(lane);
    for (; i < count; ++i)
        sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
}

/// One channel's share of |dz/dh|_F^2, before the division by the positions squared.
double closed_form_of(float const* slopes,
                      int height,
                      int width,
                      float const* table,
                      std::vector<std::array<std::int32_t, 2>> const& offsets) {
    double total = 0;
    for (std::size_t tap = 0; tap < offsets.size(); ++tap) {
        std::int64_t const down = offsets[tap][0], right = offsets[tap][1];
        if (table[tap] == 0 || std::llabs(down) >= height || std::llabs(right) >= width) continue;
        double sum = 0;
        std::int64_t const first = std::max<std::int64_t>(-right, 0),
                           last = width - std::max<std::int64_t>(right, 0);
        for (std::int64_t row = std::max<std::int64_t>(-down, 0);
             row < height - std::max<std::int64_t>(down, 0);
             ++row)
            sum += dot(slopes + row * width + first,
                       slopes + (row + down) * width + first + right,
                       static_cast<std::size_t>(last - first));
        total += static_cast<double>(table[tap]) * sum;
    }
    return total;
}

struct Pooled {
    double square = 1;  // |dz/dh|_F^2
    bool finite = true;
};

Pooled pool(Scorer const& scorer, ScoreInput const& input, ScoreScratch& scratch) {
    std::size_t const positions =
        static_cast<std::size_t>(input.height) * static_cast<std::size_t>(input.width);
    std::size_t const taps = scorer.offsets.size();
    scratch.slopes.resize(2 * positions);
    float *slopes = scratch.slopes.data(), *values = slopes + positions;
    Pooled made{0, true};
    for (std::size_t channel = 0; channel < scorer.dimension; ++channel) {
        float const* y = input.map + channel * positions;
        activate(scorer.activation, scorer.activation_parameters, channel, y, positions, values, slopes);
        double sum = 0;
        for (std::size_t i = 0; i < positions; ++i) {
            sum += static_cast<double>(values[i]);
            made.finite = made.finite && std::isfinite(y[i]);
        }
        if (input.embedding == nullptr)
            scratch.z[channel] = static_cast<float>(sum / static_cast<double>(positions));
        made.square += closed_form_of(
            slopes, input.height, input.width, scorer.table.data() + channel * taps, scorer.offsets);
    }
    made.square /= static_cast<double>(positions) * static_cast<double>(positions);
    return made;
}

double probes_squared(Scorer const& scorer, ScoreInput const& input, Floats const& z, double norm) {
    double total = 0;
    for (std::size_t k = 0; k < scorer.probes; ++k) {
        float const* t = input.tangents + k * input.tangent_stride;
        double const radial = dot(t, z.data(), z.size()) / norm, length = dot(t, t, z.size());
        double const rest = length - radial * radial;
        total += std::isnan(rest) ? rest : std::max(rest, 0.0);
    }
    double const gain = static_cast<double>(scorer.probe_gain);
    return static_cast<double>(scorer.probe_space) / static_cast<double>(scorer.probes) / (gain * gain) *
           total;
}

double known_logit(Scorer const& scorer, Floats const& z, ScoreScratch& scratch) {
    Floats const* value = &z;
    for (std::size_t number = 0; number < scorer.layers.size(); ++number) {
        Layer const& layer = scorer.layers[number];
        Floats& next = scratch.layers[number % 2];
        next.resize(layer.outputs());
        for (std::size_t row = 0; row < layer.outputs(); ++row) {
            double const sum = dot(layer.weight.data() + row * value->size(), value->data(), value->size());
            double const made = sum + static_cast<double>(layer.bias[row]);
            bool const last = number + 1 == scorer.layers.size();
            next[row] =
                static_cast<float>(last || made > 0 ? made : static_cast<double>(scorer.slope) * made);
        }
        value = &next;
    }
    return scorer.layers.empty() ? 0 : static_cast<double>((*value)[0]);
}

/// The loss of the predicted class against the rest; `margin` in radians.
double loss_of(Scorer const& scorer, Floats const& logits, std::size_t label, double margin) {
    double const temperature = static_cast<double>(scorer.temperature);
    double total = 0;
    for (std::size_t k = 0; k < logits.size(); ++k) {
        double value = static_cast<double>(logits[k]);
        if (margin != 0) {
            double const sine = std::sqrt(std::max(1 - value * value, 0.0));
            value = value * std::cos(margin) - sine * std::sin(margin);
        }
        total += softplus((k == label ? -temperature : temperature) * value);
    }
    return total;
}

double largest_product(PartConstants const& own, Floats const& z) {
    double largest = -HUGE_VAL;
    for (std::size_t row = 0; row < own.biases.size(); ++row) {
        double const made =
            dot(own.rows.data() + row * z.size(), z.data(), z.size()) + static_cast<double>(own.biases[row]);
        if (!(made <= largest)) largest = made;  // NaN stays
        if (std::isnan(largest)) break;
    }
    return largest;
}

/// What the parts read of a frame.
struct Facts {
    double norm, jacobian, top, known;
    std::size_t label;
};

double value_of(Scorer const& scorer, std::size_t place, Facts const& facts, ScoreScratch const& scratch) {
    PartConstants const& own = scorer.constants[place];
    double const undivided = std::log(std::max(facts.jacobian * facts.norm, kFloor));
    switch (scorer.parts[place]) {
        case Part::kLogJacobian:
            return std::log(std::max(facts.jacobian, kFloor));
        case Part::kDiscriminator:
            return -facts.known;
        case Part::kMovrLoss:
            return loss_of(scorer, scratch.logits, facts.label, static_cast<double>(scorer.margin));
        case Part::kMaxLogit:
            return -facts.top;
        case Part::kLogNorm:
            return -std::log(facts.norm);
        case Part::kOvrLoss:
            return loss_of(scorer, scratch.logits, facts.label, 0);
        case Part::kRawJacobian:
            return undivided;
        case Part::kBank:
            return -largest_product(own, scratch.z) / facts.norm;
        case Part::kRelativeMahalanobis:
            return -static_cast<double>(own.numbers[0]) * largest_product(own, scratch.z);
        default: {
            double const mean = static_cast<double>(own.numbers[facts.label]);
            return (undivided - mean) / static_cast<double>(own.numbers[scorer.classes + facts.label]);
        }
    }
}

/// Fill the logits; return whether all are finite.
bool fill_logits(Scorer const& scorer, ScoreInput const& input, double norm, ScoreScratch& scratch) {
    Floats const& z = scratch.z;
    scratch.logits.resize(scorer.classes);
    bool finite = true;
    for (std::size_t row = 0; row < scorer.classes; ++row) {
        double made = 0;
        if (scorer.head == Head::kExternal)
            made = static_cast<double>(input.logits[row]);
        else
            made = dot(scorer.head_weight.data() + row * z.size(), z.data(), z.size());
        if (scorer.head == Head::kCosine) made /= norm;
        if (scorer.head == Head::kLinear) made += static_cast<double>(scorer.head_bias[row]);
        scratch.logits[row] = static_cast<float>(made);
        finite = finite && std::isfinite(scratch.logits[row]);
    }
    return finite;
}

}  // namespace

Scored score(Scorer const& scorer, ScoreInput const& input, ScoreScratch& scratch) {
    bool const mapped = scorer.closed_form;
    if ((mapped && input.map == nullptr) || (!mapped && input.embedding == nullptr) ||
        (scorer.probes > 0 && input.tangents == nullptr) ||
        (scorer.head == Head::kExternal && input.logits == nullptr))
        fail(EDGEOSR_INTERNAL,
             "the network gave other tensors than its scorer takes: a fault of libedgeosr; please report it");
    scratch.z.resize(scorer.dimension);
    if (input.embedding != nullptr) std::copy_n(input.embedding, scorer.dimension, scratch.z.begin());
    Pooled const pooled = mapped ? pool(scorer, input, scratch) : Pooled{};
    double squared = 0;
    for (float value : scratch.z)
        squared += static_cast<double>(value) * static_cast<double>(value);
    double const root = std::sqrt(squared), norm = std::isnan(root) ? root : std::max(root, kFloor);
    bool finite =
        fill_logits(scorer, input, norm, scratch) && pooled.finite && squared <= static_cast<double>(FLT_MAX);
    auto const first = std::max_element(scratch.logits.begin(), scratch.logits.end());
    Facts facts{};
    facts.label = static_cast<std::size_t>(first - scratch.logits.begin());
    facts.norm = norm;
    facts.top = static_cast<double>(*first);
    facts.known = known_logit(scorer, scratch.z, scratch);
    double square = 1;
    if (mapped || scorer.probes > 0) {
        square = mapped ? pooled.square : probes_squared(scorer, input, scratch.z, norm);
        finite = finite && std::fabs(square) <= static_cast<double>(FLT_MAX);
        facts.jacobian = std::sqrt(std::max(square, 0.0)) / norm;
    } else {
        facts.jacobian = 1;
    }
    Scored made;
    made.label = static_cast<std::int64_t>(facts.label);
    double fused = 0;
    for (std::size_t i = 0; i < scorer.parts.size(); ++i) {
        double const value = value_of(scorer, i, facts, scratch);
        finite = finite && std::isfinite(value);
        made.values[i] = static_cast<float>(value);
        fused += (value - static_cast<double>(scorer.means[i])) / static_cast<double>(scorer.stds[i]) *
                 static_cast<double>(scorer.weights[i]);
    }
    made.score = finite ? static_cast<float>(fused) : NAN;
    return made;
}

}  // namespace edgeosr
