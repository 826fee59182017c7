// Division of whole numbers, which ends the process where it has no result (edgeosr/bundle/onnx/division.py).
#pragma once

#include <map>
#include <set>
#include <string>

#include "bundle/onnx/constants.h"

namespace edgeosr::onnx {

/// The element type of every tensor of a graph, by name; nodes are told in their order.
class ElementTypes {
  public:
    void add(std::string_view name, std::int64_t type) { types_[name] = type; }
    /// Take in what a node makes. Throws Failure: it may divide whole numbers by 0 or by -1.
    void follow(Message const& node, Constants const& constants, std::string const& where);

  private:
    std::int64_t type_of(std::string_view name) const;  // 0: not followed

    std::map<std::string_view, std::int64_t> types_;
    std::set<std::string_view> positive_;  // made by a Max with a constant from 1 on
};

}  // namespace edgeosr::onnx
