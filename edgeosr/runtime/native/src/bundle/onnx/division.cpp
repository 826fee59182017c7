#include "bundle/onnx/division.h"

#include <algorithm>
#include <cmath>

#include "bundle/onnx/field_numbers.inc"
#include "bundle/onnx/nodes.h"
#include "bundle/onnx/operators.h"

namespace edgeosr::onnx {
namespace {

constexpr char kWhole[] = " ArgMax ArgMin Shape Size ";
constexpr char kTruth[] = " Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual ";

void require_divisor(Values const* divisor, bool positive, std::string const& where) {
    if (divisor == nullptr && !positive)
        refuse(where,
               " divides whole numbers by what is neither a short constant nor the larger of one, from 1 on, "
               "and something");
    if (divisor == nullptr) return;
    for (double value : divisor->reals)
        if (value == 0 || value == -1) refuse(where, " divides whole numbers by ", value);
}

bool from_one_on(Values const* values) {
    if (values == nullptr || values->reals.empty()) return false;
    return std::all_of(values->reals.begin(), values->reals.end(), [](double value) { return value >= 1; });
}

std::int64_t constant_type(Message const& node, std::string_view op) {
    Message const* value = attribute_of(node, "value");
    if (value != nullptr) {
        Entry const* tensor = value->find(kAttribute_t);
        return tensor != nullptr ? tensor->message->whole(kTensor_data_type, 0) : kTypeFloat;
    }
    if (op == "ConstantOfShape") return kTypeFloat;
    for (auto name : {"value_int", "value_ints"})
        if (attribute_of(node, name) != nullptr) return kTypeInt64;
    return kTypeFloat;
}

}  // namespace

std::int64_t ElementTypes::type_of(std::string_view name) const {
    auto const found = types_.find(name);
    return found != types_.end() ? found->second : 0;
}

void ElementTypes::follow(Message const& node, Constants const& constants, std::string const& where) {
    std::string_view const op = node.text(kNode_op_type);
    auto const inputs = node.texts(kNode_input), outputs = node.texts(kNode_output);
    auto const given = [&](std::size_t place) { return place < inputs.size() ? type_of(inputs[place]) : 0; };
    // A type that is not followed counts as one of whole numbers.
    std::int64_t const first = given(0);
    bool const floating = first == kTypeFloat || first == kTypeFloat16 || first == kTypeDouble;
    if (op == "Div" && inputs.size() == 2 && !floating)
        require_divisor(constants.values_of(inputs[1]), positive_.count(inputs[1]) > 0, where);
    if (op == "Max" && std::any_of(inputs.begin(), inputs.end(), [&](auto name) {
            return from_one_on(constants.values_of(name));
        }))
        positive_.insert(outputs.begin(), outputs.end());
    std::int64_t made = first;
    if (has_word(kWhole, op))
        made = kTypeInt64;
    else if (has_word(kTruth, op))
        made = kTypeBool;
    else if (op == "Constant" || op == "ConstantOfShape")
        made = constant_type(node, op);
    else if (op == "Cast")
        made = attribute_of(node, "to") != nullptr ? attribute_of(node, "to")->whole(kAttribute_i, 0) : 0;
    else if (op == "CastLike" || op == "DequantizeLinear" || op == "Where")
        made = given(1);
    else if (op == "QuantizeLinear")
        made = given(2);
    std::int64_t second = made;
    if (op == "Dropout") second = kTypeBool;
    if (op == "MaxPool" || op == "TopK") second = kTypeInt64;
    for (std::size_t place = 0; place < outputs.size(); ++place) {
        std::int64_t const type = place == 0 ? made : second;
        if (!outputs[place].empty() && type != 0) types_[outputs[place]] = type;
    }
}

}  // namespace edgeosr::onnx
