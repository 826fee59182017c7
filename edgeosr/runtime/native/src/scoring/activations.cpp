// The activations that a closed form knows, and their derivatives; values at a kink are part of the
// definition (edgeosr/scoring/activations.py). In float64, for which few positions are too many to mind.
#include <algorithm>
#include <cmath>

#include "scoring/score.h"

namespace edgeosr {
namespace {

double sigmoid(double x) {
    return std::exp(-softplus(-x));
}

struct Pair {
    double value, slope;
};

Pair smooth(Activation activation, double y) {
    constexpr double kRoot2 = 1.4142135623730951, kRoot2Pi = 2.5066282746310002, kFactor = 0.7978845608028654;
    constexpr double kCubic = 0.044715;
    switch (activation) {
        case Activation::kSilu: {
            double const gate = sigmoid(y);
            return {y * gate, gate * (1 + y * (1 - gate))};
        }
        case Activation::kGelu: {
            double const below = 0.5 * (1 + std::erf(y / kRoot2));
            return {y * below, below + y * std::exp(-y * y / 2) / kRoot2Pi};
        }
        case Activation::kGeluTanh: {
            double const bend = std::tanh(kFactor * (y + kCubic * y * y * y));
            double const near = std::min(std::max(y, -50.0), 50.0);
            double const slope = 0.5 * near * (1 - bend * bend) * kFactor * (1 + 3 * kCubic * near * near);
            return {0.5 * y * (1 + bend), 0.5 * (1 + bend) + slope};
        }
        default: {  // mish
            double const bend = std::tanh(softplus(y));
            return {y * bend, bend + y * sigmoid(y) * (1 - bend * bend)};
        }
    }
}

}  // namespace

void activate(Activation activation,
              Floats const& parameters,
              std::size_t channel,
              float const* y,
              std::size_t count,
              float* value,
              float* slope) {
    bool const by_channel = activation == Activation::kPrelu && parameters.size() > 1;
    float const below = parameters.empty() ? 0.0f : parameters[by_channel ? channel : 0];
    for (std::size_t i = 0; i < count; ++i) {
        float const x = y[i];
        switch (activation) {
            case Activation::kIdentity:
                value[i] = x;
                slope[i] = 1;
                break;
            case Activation::kRelu:
                value[i] = x > 0 ? x : 0;
                slope[i] = x > 0 ? 1 : 0;
                break;
            case Activation::kLeakyRelu:
            case Activation::kPrelu:
                value[i] = x > 0 ? x : below * x;
                slope[i] = x > 0 ? 1 : below;
                break;
            case Activation::kClip:
                value[i] = std::min(std::max(x, parameters[0]), parameters[1]);
                slope[i] = x > parameters[0] && x < parameters[1] ? 1 : 0;
                break;
            case Activation::kElu:
                value[i] =
                    x > 0
                        ? x
                        : static_cast<float>(static_cast<double>(below) * std::expm1(static_cast<double>(x)));
                slope[i] =
                    x > 0 ? 1
                          : static_cast<float>(static_cast<double>(below) * std::exp(static_cast<double>(x)));
                break;
            case Activation::kHardSwish:
                value[i] = x * std::min(std::max(x / 6 + 0.5f, 0.0f), 1.0f);
                slope[i] = x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5f;
                break;
            default: {
                Pair const both = smooth(activation, static_cast<double>(x));
                value[i] = static_cast<float>(both.value);
                slope[i] = static_cast<float>(both.slope);
            }
        }
        if (std::isnan(x)) value[i] = slope[i] = x;
    }
}

}  // namespace edgeosr
