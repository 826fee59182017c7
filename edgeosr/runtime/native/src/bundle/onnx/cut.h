// Cutting a graph by its bytes: what lies between one tensor and others, as a file of its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgeosr::onnx {

/// A tensor with its type of TensorProto.DataType; shape: empty if it is not said.
struct Cut {
    std::string_view name;
    std::int64_t type = 1;
    std::vector<std::int64_t> shape;
};

/// Return the graph from one tensor to others: nodes and constants are copied as they are.
///
/// data: an ONNX file that require_graph has taken: nodes in the order of their use, and none with a graph
///       inside.
/// from: what the graph is to take, made by one of the nodes.
/// to: what it is to give.
/// Throws Failure: EDGEOSR_BAD_BUNDLE if there is no such tensor, or more is needed than `from`.
std::string cut_graph(std::string_view data, Cut const& from, std::vector<Cut> const& to);

}  // namespace edgeosr::onnx
