// What a bundle's graphs may be: checked byte by byte before any back end reads them
// (edgeosr/bundle/onnx/rules.py and edgeosr/bundle/graphs.py).
#pragma once

#include <string>
#include <string_view>

#include "bundle/manifest.h"

namespace edgeosr::onnx {

/// Check model.onnx of a bundle. Throws Failure that says what and where.
void require_model(std::string_view data, Manifest const& manifest, std::string const& where);

/// Check backbone.onnx of a bundle that has one.
void require_backbone(std::string_view data, Manifest const& manifest, std::string const& where);

}  // namespace edgeosr::onnx
