// What a bundle's graphs may be: checked byte by byte before any back end reads them
// (edgeosr/bundle/onnx/rules.py and edgeosr/bundle/graphs.py).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.h"

namespace edgeosr::onnx {

constexpr std::int64_t kAny = -1;
constexpr std::int64_t kOpen = -2;  // it has no size, so that it takes any

struct TensorContract {
    std::int64_t type;                // of TensorProto.DataType
    std::vector<std::int64_t> shape;  // a size, kAny or kOpen, an axis
    bool open_axes = false;           // an axis without a size is taken for any
    std::size_t batch = 0;            // the axis that must be open
};

/// Inputs and outputs by name, all of them and no others.
struct GraphContract {
    std::map<std::string_view, TensorContract> inputs, outputs;
    std::set<std::string_view> defaults;  // inputs that may have a default among the constants
};

/// Check an ONNX file. Throws Failure: it is not one that a bundle may have; says what and where.
void require_graph(std::string_view data, GraphContract const& contract);

/// Check model.onnx of a bundle. Throws Failure that says what and where.
void require_model(std::string_view data, Manifest const& manifest, std::string const& where);

/// Check backbone.onnx of a bundle that has one.
void require_backbone(std::string_view data, Manifest const& manifest, std::string const& where);

/// Check body.onnx of a bundle that has one.
void require_body(std::string_view data, Manifest const& manifest, std::string const& where);

}  // namespace edgeosr::onnx
