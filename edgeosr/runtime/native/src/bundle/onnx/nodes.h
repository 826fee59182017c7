// What one node may say, whatever reaches it (edgeosr/bundle/onnx/nodes.py).
#pragma once

#include <cstdint>
#include <string>

#include "bundle/onnx/wire.h"

namespace edgeosr::onnx {

/// Check a node by itself; return the bytes of the constants in it. Throws Failure.
std::uint64_t require_node(Message const& node, std::string const& where);

/// Return the attribute of a name; null if there is none.
Message const* attribute_of(Message const& node, std::string_view name);

}  // namespace edgeosr::onnx
