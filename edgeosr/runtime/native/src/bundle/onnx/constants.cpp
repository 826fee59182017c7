#include "bundle/onnx/constants.h"

#include <algorithm>
#include <cmath>

#include "bundle/onnx/field_numbers.inc"
#include "bundle/onnx/nodes.h"

namespace edgeosr::onnx {
namespace {

constexpr double kLargestResult = 1 << 26;  // elements that constants may ask for, of what a frame gives
constexpr std::uint64_t kBlock = 16;        // of channels, to which weights are filled up

struct Places {
    char const* op;
    std::vector<std::size_t> inputs;
};

bool has_place(std::vector<Places> const& table, std::string_view op, std::size_t place) {
    for (auto const& row : table)
        if (row.op == op) return std::find(row.inputs.begin(), row.inputs.end(), place) != row.inputs.end();
    return false;
}

// Which inputs say how large the result is; Resize has scales and sizes.
std::vector<Places> const kSizedBy = {{"ConstantOfShape", {0}},
                                      {"Expand", {1}},
                                      {"Tile", {1}},
                                      {"Range", {0, 1, 2}},
                                      {"Resize", {2, 3}},
                                      {"Pad", {1}}};
// Whose numbers are none below 0: the inference of shapes ends the process on a negative axis.
std::vector<Places> const kNotNegative = {
    {"Expand", {1}}, {"Pad", {1}}, {"Resize", {2, 3}}, {"Split", {1}}, {"Tile", {1}}, {"TopK", {1}}};
// That may be a constant without elements.
std::vector<Places> const kMayBeEmpty = {
    {"ConstantOfShape", {0}}, {"Expand", {1}}, {"Reshape", {1}}, {"Resize", {1, 2}}};

/// Return what a checked Constant says.
Tensor tensor_of(Message const& node, std::string const& where) {
    Message const& attribute = *node.find(kNode_attribute)->message;
    if (Entry const* value = attribute.find(kAttribute_t)) return require_tensor(*value->message, where);
    std::string_view const name = attribute.text(kAttribute_name);
    bool const whole = name.find("_int") != std::string_view::npos;
    bool const single = attribute.has(kAttribute_i) || attribute.has(kAttribute_f);
    std::uint32_t const field =
        whole ? (single ? kAttribute_i : kAttribute_ints) : (single ? kAttribute_f : kAttribute_floats);
    Tensor made;
    made.type = whole ? kTypeInt64 : kTypeFloat;
    made.elements = attribute.count(field);
    made.bytes = made.elements * (whole ? 8 : 4);
    if (!single) made.dims.push_back(static_cast<std::int64_t>(made.elements));
    if (made.elements > 64) return made;
    made.readable = true;
    made.values.floating = !whole;
    for (auto const& entry : attribute.entries) {
        if (entry.field != field) continue;
        if (whole) made.values.wholes.push_back(entry.whole);
        made.values.reals.push_back(whole ? static_cast<double>(entry.whole) : entry.real);
    }
    return made;
}

}  // namespace

void Constants::add(std::string_view name, Tensor tensor) {
    bytes_ += tensor.bytes;
    stored_[name] = std::move(tensor);
}

Values const* Constants::values_of(std::string_view name) const {
    auto const found = stored_.find(name);
    return found != stored_.end() && found->second.readable ? &found->second.values : nullptr;
}

void Constants::follow(Message const& node, std::string const& where) {
    std::string_view const op = node.text(kNode_op_type);
    auto const inputs = node.texts(kNode_input), outputs = node.texts(kNode_output);
    std::size_t named = 0, constant = 0, stored = 0, known = 0;
    for (auto name : inputs) {
        if (name.empty()) continue;
        ++named;
        constant += is_constant(name) ? 1 : 0;
        stored += stored_.count(name);
        known += is_constant(name) || fixed_.count(name) > 0 ? 1 : 0;
    }
    if (op == "Constant") {
        if (named > 0) refuse(where, " reads something; a constant reads nothing");
        for (auto name : outputs)
            stored_[name] = tensor_of(node, where);
        return;
    }
    if (constant == named) {
        if (op != "DequantizeLinear" || stored != named)
            refuse(where,
                   " computes on constants alone, which a graph does while it is loaded; edgeosr export "
                   "keeps what they make instead");
        Tensor const& weights = stored_.at(inputs[0]);
        for (auto name : outputs)
            dequantised_[name] = weights.dims;
        bytes_ += 4 * weights.elements;
    } else if (known == named) {
        if (op == "Shape" || op == "Size")
            refuse(where, " asks for a shape that no frame changes; edgeosr export writes numbers");
        fixed_.insert(outputs.begin(), outputs.end());
    }
    for (std::size_t place = 0; place < inputs.size(); ++place)
        bytes_read_ += read(node, op, place, inputs[place]);
    require_elements(inputs, op, where);
    require_size(inputs, op, where);
    for (std::size_t place = 0; place < inputs.size(); ++place)
        if (has_place(kNotNegative, op, place)) require_not_negative(inputs[place], where);
}

std::uint64_t Constants::read(Message const& node,
                              std::string_view op,
                              std::size_t place,
                              std::string_view name) const {
    std::vector<std::int64_t> const* dims = nullptr;
    std::uint64_t size = 0;
    if (auto const found = stored_.find(name); found != stored_.end()) {
        size = found->second.bytes;
        dims = &found->second.dims;
    } else if (auto const made = dequantised_.find(name); made != dequantised_.end()) {
        dims = &made->second;
        size = 4;
        for (std::int64_t length : *dims)
            size *= static_cast<std::uint64_t>(length);
    } else {
        return 0;
    }
    bool const of_channels = op == "Conv" || op == "ConvTranspose",
               of_matrix = op == "Gemm" || op == "MatMul";
    if (place != 1 || (!of_channels && !of_matrix) || dims->size() < 2) return size;
    Message const* group = attribute_of(node, "group");
    bool const both = group == nullptr || group->whole(kAttribute_i, 1) == 1;
    std::size_t const first = of_channels ? 0 : dims->size() - 2;
    for (std::size_t axis = first; axis < first + (both ? 2 : 1); ++axis) {
        auto const length = static_cast<std::uint64_t>((*dims)[axis]);
        size = size / std::max<std::uint64_t>(length, 1) * ((length + kBlock - 1) / kBlock * kBlock);
    }
    return size;
}

void Constants::require_elements(std::vector<std::string_view> const& inputs,
                                 std::string_view op,
                                 std::string const& where) const {
    for (std::size_t place = 0; place < inputs.size(); ++place) {
        auto const found = stored_.find(inputs[place]);
        if (op == "Concat" || has_place(kMayBeEmpty, op, place) || found == stored_.end()) continue;
        if (found->second.elements == 0)
            refuse(where, " reads '", shown(inputs[place]), "', a constant without elements");
    }
}

void Constants::require_not_negative(std::string_view name, std::string const& where) const {
    if (stored_.count(name) == 0) return;
    Values const* values = values_of(name);
    if (values == nullptr) refuse(where, " has a size that is no short list of numbers");
    for (double value : values->reals)
        if (value < 0) refuse(where, " has the size ", value, "; none may be below 0");
}

void Constants::require_size(std::vector<std::string_view> const& inputs,
                             std::string_view op,
                             std::string const& where) const {
    double asked = 1;
    for (std::size_t place = 0; place < inputs.size(); ++place) {
        if (!has_place(kSizedBy, op, place) || !is_constant(inputs[place])) continue;
        Values const* values = values_of(inputs[place]);
        if (values == nullptr || values->truth) refuse(where, " has a size that is no short list of numbers");
        std::vector<double> sizes;
        for (double value : values->reals)
            sizes.push_back(std::fabs(value));
        if (op == "Pad") {  // both sides of an axis; what goes in has one place on it at least
            std::size_t const half = sizes.size() / 2;
            std::vector<double> both;
            for (std::size_t i = 0; half + i < sizes.size() && i < sizes.size(); ++i)
                both.push_back(1 + sizes[i] + sizes[half + i]);
            sizes = both;
        }
        for (double size : sizes)
            asked *= 1.0 > size ? 1.0 : size;  // NaN stays
    }
    if (!(asked <= kLargestResult))
        refuse(where,
               " is asked by constants for ",
               asked,
               " numbers, or for that many times more; at most ",
               kLargestResult,
               " are allowed");
}

}  // namespace edgeosr::onnx
