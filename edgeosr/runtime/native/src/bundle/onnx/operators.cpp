#include "bundle/onnx/operators.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace edgeosr::onnx {
namespace {

#include "bundle/onnx/operator_tables.inc"

template <class Row, std::size_t count>
Row const* find_row(Row const (&rows)[count], std::string_view name) {
    auto const before = [](Row const& row, std::string_view value) {
        return std::string_view(row.name) < value;
    };
    auto const found = std::lower_bound(std::begin(rows), std::end(rows), name, before);
    return found != std::end(rows) && std::string_view(found->name) == name ? found : nullptr;
}

}  // namespace

Operator const* find_operator(std::string_view name) {
    return find_row(kOperators, name);
}

AttributeRule const* find_attribute_rule(std::string_view name) {
    return find_row(kAttributes, name);
}

bool has_word(char const* list, std::string_view word) {
    if (word.empty() || word.find(' ') != std::string_view::npos) return false;
    return std::string_view(list).find(" " + std::string(word) + " ") != std::string_view::npos;
}

}  // namespace edgeosr::onnx
