// What the tests ask of the plug-in beside its table: a packed scorer, and what was allocated.
#include <cstring>
#include <stdexcept>
#include <vector>

#include "../../../edgeosr/runtime/native/tools/count_allocations.cpp"
#include "base/failure.h"
#include "driver.h"
#include "half.h"
#include "packing.h"

extern "C" {

// Fill `out` with the packed scorer, or with words that end with a zero; return its bytes, or 0.
EDGEOSR_API std::size_t edgeosr_tensorrt_test_packed(
    char const* scorer, std::size_t bytes, int half, char* out, std::size_t room) {
    try {
        auto const made =
            edgeosr::trt::packed_scorer(edgeosr::read_scorer({scorer, bytes}, nullptr), half != 0);
        if (made.size() > room) return made.size();
        std::memcpy(out, made.data(), made.size());
        return made.size();
    } catch (edgeosr::Failure const& failure) {
        std::strncpy(out, failure.what(), room - 1);
        return 0;
    }
}

EDGEOSR_API unsigned edgeosr_tensorrt_test_half(float value) {
    return edgeosr::trt::half_from_float(value);
}

EDGEOSR_API long edgeosr_tensorrt_test_allocations() {
    return edgeosr_test_allocations();
}

EDGEOSR_API void edgeosr_tensorrt_test_allow(std::size_t bytes) {
    edgeosr_test_allow(bytes);
}

EDGEOSR_API int edgeosr_tensorrt_test_is_fatal(int code) {
    return edgeosr::trt::is_fatal(static_cast<CUresult>(code)) ? 1 : 0;
}

// Bytes that a plan may hope for on the GPU that is found; a context is not needed.
EDGEOSR_API std::uint64_t edgeosr_tensorrt_test_memory() {
    return edgeosr::trt::find_device(edgeosr::trt::driver()).memory;
}

// Take the last number of one of a scorer's lists away, after it was read; say whether packing notices.
EDGEOSR_API int edgeosr_tensorrt_test_notices(char const* scorer, std::size_t bytes, int list) {
    auto spoilt = edgeosr::read_scorer({scorer, bytes}, nullptr);
    std::vector<edgeosr::Floats*> lists{&spoilt.means,
                                        &spoilt.stds,
                                        &spoilt.weights,
                                        &spoilt.head_weight,
                                        &spoilt.head_bias,
                                        &spoilt.table,
                                        &spoilt.activation_parameters};
    for (auto& layer : spoilt.layers)
        lists.insert(lists.end(), {&layer.weight, &layer.bias});
    for (auto& own : spoilt.constants)
        lists.insert(lists.end(), {&own.rows, &own.biases});
    if (static_cast<std::size_t>(list) >= lists.size()) return -1;
    auto& one = *lists[static_cast<std::size_t>(list)];
    if (one.empty()) return 2;  // this scorer has none
    one.pop_back();
    try {
        edgeosr::trt::packed_scorer(spoilt, true);
    } catch (std::out_of_range const&) {
        return 1;
    }
    return 0;
}

EDGEOSR_API int edgeosr_tensorrt_test_kernel_parts() {
    return edgeosr::trt::kKernelParts;
}
}
