#include "bundle/onnx/tensors.h"

#include <cmath>

#include "base/numbers.h"
#include "bundle/onnx/field_numbers.inc"

namespace edgeosr::onnx {
namespace {

constexpr std::size_t kMostAxes = 16;
constexpr std::uint64_t kShort = 64;  // longer constants are not read: a size, or a divisor, is short

struct TypeRule {
    std::int64_t type;
    std::uint64_t bytes;
    std::uint32_t field;  // that holds it where raw_data does not
    char const* name;
};

constexpr TypeRule kTypes[] = {
    {kTypeFloat, 4, kTensor_float_data, "float32"},
    {kTypeUint8, 1, kTensor_int32_data, "uint8"},
    {kTypeInt8, 1, kTensor_int32_data, "int8"},
    {kTypeInt32, 4, kTensor_int32_data, "int32"},
    {kTypeInt64, 8, kTensor_int64_data, "int64"},
    {kTypeBool, 1, kTensor_int32_data, "bool"},
    {kTypeFloat16, 2, kTensor_int32_data, "float16"},
    {kTypeDouble, 8, kTensor_double_data, "float64"},
};

TypeRule const* rule_of(std::int64_t type) {
    for (auto const& rule : kTypes)
        if (rule.type == type) return &rule;
    return nullptr;
}

float half_value(std::uint16_t bits) {
    int const exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float const sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * HUGE_VALF;
    return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                 : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25));
}

void add(Values& values, std::int64_t number) {
    values.wholes.push_back(number);
    values.reals.push_back(static_cast<double>(number));
}

Values raw_values(TypeRule const& rule, std::string_view raw, std::uint64_t elements) {
    Values values;
    for (std::uint64_t i = 0; i < elements; ++i) {
        switch (rule.type) {
            case kTypeFloat:
                values.reals.push_back(static_cast<double>(nth_number<float>(raw, i)));
                break;
            case kTypeDouble:
                values.reals.push_back(nth_number<double>(raw, i));
                break;
            case kTypeFloat16:
                values.reals.push_back(static_cast<double>(half_value(nth_number<std::uint16_t>(raw, i))));
                break;
            case kTypeUint8:
                add(values, nth_number<std::uint8_t>(raw, i));
                break;
            case kTypeInt8:
                add(values, nth_number<std::int8_t>(raw, i));
                break;
            case kTypeBool:
                add(values, nth_number<std::uint8_t>(raw, i) != 0 ? 1 : 0);
                break;
            case kTypeInt32:
                add(values, nth_number<std::int32_t>(raw, i));
                break;
            default:
                add(values, nth_number<std::int64_t>(raw, i));
        }
    }
    return values;
}

Values field_values(TypeRule const& rule, Message const& tensor) {
    Values values;
    for (auto const& entry : tensor.entries) {
        if (entry.field != rule.field) continue;
        switch (rule.type) {  // narrowed as NumPy's astype does
            case kTypeFloat:
                values.reals.push_back(static_cast<double>(static_cast<float>(entry.real)));
                break;
            case kTypeDouble:
                values.reals.push_back(entry.real);
                break;
            case kTypeUint8:
                add(values, static_cast<std::uint8_t>(entry.whole));
                break;
            case kTypeInt8:
                add(values, static_cast<std::int8_t>(entry.whole));
                break;
            case kTypeBool:
                add(values, entry.whole != 0 ? 1 : 0);
                break;
            case kTypeInt32:
                add(values, static_cast<std::int32_t>(entry.whole));
                break;
            default:
                add(values, entry.whole);
        }
    }
    return values;
}

}  // namespace

bool is_type(std::int64_t type) {
    return rule_of(type) != nullptr;
}

char const* type_name(std::int64_t type) {
    TypeRule const* rule = rule_of(type);
    return rule != nullptr ? rule->name : "another type";
}

Tensor require_tensor(Message const& tensor, std::string const& where) {
    if (tensor.whole(kTensor_data_location, 0) != 0) refuse(where, " is kept outside the file");
    Tensor made;
    made.type = tensor.whole(kTensor_data_type, 0);
    TypeRule const* rule = rule_of(made.type);
    if (rule == nullptr) refuse(where, " has the type ", made.type, ", which no bundle has");
    made.dims = tensor.wholes(kTensor_dims);
    if (made.dims.size() > kMostAxes) refuse(where, " has a shape of ", made.dims.size(), " axes");
    // With one axis of length 0 there are no elements, however long the others are.
    bool none = false, many = false;
    made.elements = 1;
    for (std::int64_t size : made.dims) {
        if (size < 0) refuse(where, " has a shape with a size below 0");
        none |= size == 0;
        many |= size != 0 && made.elements > (std::uint64_t{1} << 60) / static_cast<std::uint64_t>(size);
        if (!many && size != 0) made.elements *= static_cast<std::uint64_t>(size);
    }
    if (none) made.elements = 0;
    if (!none && many) refuse(where, " has fewer numbers than its shape says");
    made.bytes = made.elements * rule->bytes;
    bool others = false;
    for (std::uint32_t field :
         {kTensor_float_data, kTensor_int32_data, kTensor_int64_data, kTensor_double_data})
        others |= tensor.has(field) && field != rule->field;
    Entry const* raw = tensor.find(kTensor_raw_data);
    std::size_t const filled = tensor.count(rule->field);
    if (raw != nullptr) {
        if (others || filled > 0 || raw->bytes.size() != made.bytes)
            refuse(
                where, " has ", raw->bytes.size(), " bytes for ", made.elements, " numbers of ", rule->bytes);
    } else if (others || filled != made.elements) {
        refuse(where, " has other numbers than its shape and its type say");
    }
    made.readable = made.elements <= kShort && (raw != nullptr || made.type != kTypeFloat16);
    if (made.readable) {
        made.values =
            raw != nullptr ? raw_values(*rule, raw->bytes, made.elements) : field_values(*rule, tensor);
        made.values.floating =
            made.type == kTypeFloat || made.type == kTypeDouble || made.type == kTypeFloat16;
        made.values.truth = made.type == kTypeBool;
    }
    return made;
}

}  // namespace edgeosr::onnx
