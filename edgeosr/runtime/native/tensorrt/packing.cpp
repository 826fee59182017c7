#include "packing.h"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "base/failure.h"
#include "half.h"
#include "kernel_names.h"

namespace edgeosr::trt {
namespace {

constexpr char kMagic[] = "EDGEOSR3";
constexpr std::size_t kHeaderBytes = 512, kMagicBytes = 8, kConstants = 48;
constexpr char kInstead[] = "; take the back end onnxruntime, whose model.onnx takes any";

std::size_t rounded(std::size_t size) {
    return (size + 15) / 16 * 16;
}

void require_within(std::string const& what, std::size_t value, std::size_t least, std::size_t most) {
    if (value < least || value > most)
        fail(EDGEOSR_NO_BACKEND,
             what,
             " must be from ",
             least,
             " to ",
             most,
             " for the fused kernel; got ",
             value,
             kInstead);
}

/// The kernel's code of an activation; -1: it has none.
int activation_code(Activation activation) {
    switch (activation) {
        case Activation::kIdentity:
            return kernels::kIdentity;
        case Activation::kRelu:
            return kernels::kRelu;
        case Activation::kLeakyRelu:
            return kernels::kLeakyRelu;
        case Activation::kClip:
            return kernels::kClip;
        case Activation::kHardSwish:
            return kernels::kHardSwish;
        case Activation::kSilu:
            return kernels::kSilu;
        case Activation::kGelu:
            return kernels::kGelu;
        case Activation::kGeluTanh:
            return kernels::kGeluTanh;
        default:
            return -1;
    }
}

/// Of those that the kernel has.
std::size_t parameters_of(Activation activation) {
    return activation == Activation::kClip ? 2 : activation == Activation::kLeakyRelu ? 1 : 0;
}

void require_supported(Scorer const& scorer) {
    if (!scorer.class_thresholds.empty())
        fail(EDGEOSR_NO_BACKEND,
             "the fused kernel compares with one threshold for all classes; got ",
             scorer.class_thresholds.size(),
             ", one a class; export with --threshold-rule common, or take the back end onnxruntime");
    require_within("the embedding's length", scorer.dimension, 1, kernels::kMaxDimension);
    require_within("the number of classes", scorer.classes, 1, kernels::kMaxClasses);
    require_within("the discriminator's layers", scorer.layers.size(), 0, kernels::kMaxLayers);
    for (std::size_t i = 0; i + 1 < scorer.layers.size(); ++i)
        require_within(joined("the width of the discriminator's layer ", i),
                       scorer.layers[i].outputs(),
                       1,
                       kernels::kMaxWidth);
    require_within("the number of probes", scorer.probes, 0, kernels::kMaxProbes);
    if (scorer.closed_form) {
        if (activation_code(scorer.activation) < 0)
            fail(EDGEOSR_NO_BACKEND, "the fused kernel does not have the map's activation", kInstead);
        require_within("the taps of the autocorrelation table", scorer.offsets.size(), 1, kernels::kMaxTaps);
    }
    require_within("the number of score parts", scorer.parts.size(), 1, kernels::kMaxParts);
    for (std::size_t i = 0; i < scorer.parts.size(); ++i) {
        if (static_cast<int>(scorer.parts[i]) >= kKernelParts)
            fail(
                EDGEOSR_NO_BACKEND, "the fused kernel has no score part ", scorer.part_names.at(i), kInstead);
        auto const& own = scorer.constants.at(i);
        require_within(joined("the matrix rows of ", scorer.part_names.at(i)),
                       own.biases.size(),
                       0,
                       kernels::kMaxPartRows);
        require_within(joined("the numbers of ", scorer.part_names.at(i)),
                       own.numbers.size(),
                       0,
                       kernels::kMaxPartNumbers);
    }
}

/// The reader has looked already: this keeps what it may once forget from being read beyond its end.
void require_numbers(Floats const& numbers, std::size_t wanted) {
    if (numbers.size() != wanted)
        throw std::out_of_range(joined(
            "the scorer must have ", wanted, " numbers here; got ", numbers.size(), "; please report this"));
}

/// Bytes put together, each piece at a multiple of 16.
class Pieces {
  public:
    template <class Number>
    std::uint32_t add(std::vector<Number> const& numbers) {
        auto const at = static_cast<std::uint32_t>(bytes.size());
        std::size_t const size = numbers.size() * sizeof(Number);
        bytes.resize(at + rounded(size));
        if (size > 0) std::memcpy(bytes.data() + at, numbers.data(), size);
        return at;
    }

    std::vector<std::uint8_t> bytes;
};

/// Rows of a matrix put under one another, each block padded with zeros to multiples of 16.
struct Matrix {
    std::size_t inputs = 0;  // padded
    Floats weight, bias;     // [rows, inputs], [rows]

    std::size_t rows() const { return bias.size(); }
    void add(Floats const& more, Floats const& biases, std::size_t given) {
        require_numbers(more, biases.size() * given);
        std::size_t const first = rows();
        bias.resize(first + rounded(biases.size()));
        weight.resize(rows() * inputs);
        for (std::size_t row = 0; row < biases.size(); ++row) {
            bias[first + row] = biases[row];
            for (std::size_t i = 0; i < given; ++i)
                weight[(first + row) * inputs + i] = more[row * given + i];
        }
    }
};

/// Append a matrix in the order of kernels/matrices.py; hidden: of a hidden layer.
std::uint32_t add_matrix(
    Pieces& pieces, Matrix const& matrix, bool half, bool hidden, std::string const& what) {
    std::size_t const inputs = matrix.inputs, outputs = matrix.rows();
    if (!half) {
        Floats packed;
        packed.reserve(matrix.weight.size());
        for (std::size_t k = 0; k < inputs; k += 4)
            for (std::size_t row = 0; row < outputs; ++row)
                for (std::size_t i = 0; i < 4; ++i)
                    packed.push_back(matrix.weight[row * inputs + k + i]);
        return pieces.add(packed);
    }
    std::vector<std::uint16_t> packed;
    packed.reserve(matrix.weight.size());
    std::size_t const steps = inputs / 16, tiles = outputs / 16;
    for (std::size_t outer = 0; outer < (hidden ? tiles : steps); ++outer)
        for (std::size_t inner = 0; inner < (hidden ? steps : tiles); ++inner)
            for (std::size_t lane = 0; lane < 32; ++lane)
                for (std::size_t high = 0; high < 4; ++high)
                    for (std::size_t e = 0; e < 2; ++e) {
                        std::size_t const k = 16 * (hidden ? inner : outer),
                                          r = 16 * (hidden ? outer : inner);
                        std::size_t const row = r + lane / 4 + 8 * (high & 1);
                        std::size_t const input = k + 2 * (lane % 4) + 8 * (high >> 1) + e;
                        float const value = matrix.weight[row * inputs + input];
                        std::uint16_t const made = half_from_float(value);
                        if ((made & 0x7c00u) == 0x7c00u)
                            fail(EDGEOSR_NO_BACKEND,
                                 "the weights of ",
                                 what,
                                 " must be within 65504 for the fused kernel's fp16; got one of ",
                                 value,
                                 kInstead);
                        packed.push_back(made);
                    }
    return pieces.add(packed);
}

/// ScorerConstants of kernels/src/params.cuh.
Floats constants_of(Scorer const& scorer) {
    Floats made(kConstants);
    double const margin = static_cast<double>(scorer.margin);
    made[0] = scorer.threshold;
    made[1] = scorer.temperature;
    made[2] = static_cast<float>(std::cos(margin));
    made[3] = static_cast<float>(std::sin(margin));
    made[4] = scorer.slope;
    made[5] = 1;
    if (scorer.probes > 0) {
        double const gain = static_cast<double>(scorer.probe_gain);
        made[5] = static_cast<float>(static_cast<double>(scorer.probe_space) /
                                     static_cast<double>(scorer.probes) / (gain * gain));
    }
    if (scorer.closed_form) {
        require_numbers(scorer.activation_parameters, parameters_of(scorer.activation));
        std::copy(scorer.activation_parameters.begin(), scorer.activation_parameters.end(), made.begin() + 6);
    }
    if (scorer.layers.size() > 1) made[8] = scorer.layers.back().bias.at(0);
    for (std::size_t i = 0; i < scorer.parts.size(); ++i) {
        made[16 + i] = static_cast<float>(static_cast<double>(scorer.weights.at(i)) /
                                          static_cast<double>(scorer.stds.at(i)));
        made[16 + kernels::kMaxParts + i] = scorer.means.at(i);
    }
    return made;
}

}  // namespace

std::vector<std::uint8_t> packed_scorer(Scorer const& scorer, bool half) {
    require_supported(scorer);
    kernels::PackedScorer head{};
    Pieces pieces;
    pieces.add(constants_of(scorer));
    Matrix split;
    split.inputs = rounded(scorer.dimension);
    if (!scorer.layers.empty()) split.add(scorer.layers[0].weight, scorer.layers[0].bias, scorer.dimension);
    head.hidden_rows = static_cast<std::int32_t>(split.rows());
    if (scorer.head != Head::kExternal) split.add(scorer.head_weight, scorer.head_bias, scorer.dimension);
    std::vector<std::size_t> first_row;
    for (auto const& own : scorer.constants) {
        first_row.push_back(split.rows());
        split.add(own.rows, own.biases, scorer.dimension);
    }
    if (split.rows() > 0) {
        head.split_at = add_matrix(pieces, split, half, false, "the layers that read the embedding");
        head.split_bias_at = pieces.add(split.bias);
    }
    head.later_at = static_cast<std::uint32_t>(pieces.bytes.size());
    for (std::size_t i = 1; i < scorer.layers.size(); ++i) {
        Layer const& layer = scorer.layers[i];
        if (i + 1 == scorer.layers.size()) {
            require_numbers(layer.weight, scorer.layers[i - 1].outputs());
            head.layer_at[i] = pieces.add(layer.weight);
            continue;
        }
        std::size_t const given = scorer.layers[i - 1].outputs();
        Matrix later;
        later.inputs = rounded(given);
        later.add(layer.weight, layer.bias, given);
        head.layer_at[i] = add_matrix(pieces, later, half, true, joined("the discriminator's layer ", i));
        head.bias_at[i] = pieces.add(later.bias);
    }
    head.later_bytes = static_cast<std::uint32_t>(pieces.bytes.size()) - head.later_at;
    if (scorer.closed_form) {
        require_numbers(scorer.table, scorer.dimension * scorer.offsets.size());
        head.table_at = pieces.add(scorer.table);
        head.offsets_at = pieces.add(scorer.offsets);
        head.activation = activation_code(scorer.activation);
    }
    for (std::size_t i = 0; i < scorer.parts.size(); ++i) {
        auto const& own = scorer.constants.at(i);
        bool const rows = !own.biases.empty();
        head.part[i].code = static_cast<std::int32_t>(scorer.parts[i]);
        head.part[i].row = rows ? static_cast<std::int32_t>(first_row.at(i)) : 0;
        head.part[i].rows = static_cast<std::int32_t>(own.biases.size());
        head.part[i].numbers_at = own.numbers.empty() ? 0 : pieces.add(own.numbers);
    }
    head.half = half ? 1 : 0;
    head.dimension = static_cast<std::int32_t>(scorer.dimension);
    head.classes = static_cast<std::int32_t>(scorer.classes);
    head.head = static_cast<std::int32_t>(scorer.head);
    head.closed_form = scorer.closed_form ? 1 : 0;
    head.probes = static_cast<std::int32_t>(scorer.probes);
    head.smooth = head.activation >= kernels::kHardSwish ? 1 : 0;
    head.taps = scorer.closed_form ? static_cast<std::int32_t>(scorer.offsets.size()) : 1;
    head.layers = static_cast<std::int32_t>(scorer.layers.size());
    for (std::size_t i = 0; i < scorer.layers.size(); ++i)
        head.width[i] = static_cast<std::int32_t>(scorer.layers[i].outputs());
    head.rows = static_cast<std::int32_t>(split.rows());
    head.data_bytes = static_cast<std::uint32_t>(pieces.bytes.size());
    head.parts = static_cast<std::int32_t>(scorer.parts.size());
    std::vector<std::uint8_t> file(kHeaderBytes + pieces.bytes.size());
    std::memcpy(file.data(), kMagic, kMagicBytes);
    std::memcpy(file.data() + kMagicBytes, &head, sizeof head);
    std::memcpy(file.data() + kHeaderBytes, pieces.bytes.data(), pieces.bytes.size());
    return file;
}

}  // namespace edgeosr::trt
