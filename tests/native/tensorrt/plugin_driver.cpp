// What the tests ask of the plug-in beside its table: a packed scorer, and what was allocated.
#include <cstring>

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

EDGEOSR_API int edgeosr_tensorrt_test_kernel_parts() {
    return edgeosr::trt::kKernelParts;
}
}
