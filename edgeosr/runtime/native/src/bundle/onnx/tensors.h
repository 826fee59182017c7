// Constants inside a graph: of a listed type, all of them there, none elsewhere
// (edgeosr/bundle/onnx/tensors.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bundle/onnx/wire.h"

namespace edgeosr::onnx {

// TensorProto.DataType, by number.
enum Type : std::int64_t {
    kTypeFloat = 1,
    kTypeUint8 = 2,
    kTypeInt8 = 3,
    kTypeInt32 = 6,
    kTypeInt64 = 7,
    kTypeBool = 9,
    kTypeFloat16 = 10,
    kTypeDouble = 11,
};

/// The numbers of a short constant. Whole ones are exact in `wholes`; `reals` holds all as float64.
struct Values {
    bool floating = false;
    bool truth = false;  // of type bool
    std::vector<std::int64_t> wholes;
    std::vector<double> reals;
};

/// A constant that has been checked, or the result of a Constant node.
struct Tensor {
    std::int64_t type = 0;
    std::vector<std::int64_t> dims;
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
    bool readable = false;  // it is short and of a type that is read: values holds its numbers
    Values values;
};

bool is_type(std::int64_t type);
char const* type_name(std::int64_t type);

/// Check a TensorProto. Throws Failure: of another type, or with fewer or more numbers than its shape says.
Tensor require_tensor(Message const& tensor, std::string const& where);

}  // namespace edgeosr::onnx
