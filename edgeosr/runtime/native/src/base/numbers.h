// Numbers of a file's bytes and in a row.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstring>
#include <string_view>
#include <vector>

namespace edgeosr {

/// Return the number at a place, which lies within the data. The formats that are read are little-endian, as
/// every processor this is built for.
template <class Number>
Number number_at(std::string_view data, std::size_t at) {
    Number value;
    std::memcpy(&value, data.data() + at, sizeof value);
    return value;
}

/// Likewise the number at an index of an array.
template <class Number>
Number nth_number(std::string_view data, std::size_t index) {
    return number_at<Number>(data, index * sizeof(Number));
}

inline bool all_finite(float const* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        if (!std::isfinite(values[i])) return false;
    return true;
}

inline bool all_finite(std::vector<float> const& values) {
    return all_finite(values.data(), values.size());
}

}  // namespace edgeosr
