// The operators that a bundle's graphs may have: the tables of edgeosr/bundle/onnx/operators.py.
#pragma once

#include <cstdint>
#include <string_view>

namespace edgeosr::onnx {

// AttributeProto.AttributeType, by number.
enum AttributeKind : std::int64_t {
    kFloat = 1,
    kInt = 2,
    kString = 3,
    kTensor = 4,
    kFloats = 6,
    kInts = 7,
    kStrings = 8,
};

struct Operator {
    char const* name;
    char const* attributes;      // names, each with a space before and behind it
    std::uint32_t least_inputs;  // 0 of Einsum, whose are counted by its equation
    std::uint32_t left_out;      // a bit for each input that may be left out though others follow
    bool unnamed_outputs;
};

struct AttributeRule {
    char const* name;
    std::int64_t kind;
    std::int64_t least, most;  // of whole numbers
    char const* words;         // what one of text may say, as above; "" if anything
};

Operator const* find_operator(std::string_view name);             // null if there is none
AttributeRule const* find_attribute_rule(std::string_view name);  // likewise

/// Tell whether a list such as " axis keepdims " has a word.
bool has_word(char const* list, std::string_view word);

}  // namespace edgeosr::onnx
