// What a graph makes of its constants: nothing, but weights kept as whole numbers of 8 bits
// (edgeosr/bundle/onnx/constants.py says why).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "bundle/onnx/tensors.h"

namespace edgeosr::onnx {

constexpr std::uint64_t kLargestConstants = 1u << 29;  // bytes; dequantised weights as float32

/// The constants of a graph, by name; nodes are told in their order. Names are of the file's memory.
class Constants {
  public:
    /// fixed: inputs of the graph whose shape is fixed.
    explicit Constants(std::set<std::string_view> fixed) : fixed_(std::move(fixed)) {}

    void add(std::string_view name, Tensor tensor);
    void add_bytes(std::uint64_t bytes) { bytes_ += bytes; }
    /// Return the values of a short constant; null of any other tensor.
    Values const* values_of(std::string_view name) const;
    /// Take in what a node makes. Throws Failure: it is made of constants alone, or of too large a size.
    void follow(Message const& node, std::string const& where);

    std::uint64_t bytes() const { return bytes_; }
    /// Over all nodes: what each reads of constants, as it is laid out for that node alone.
    std::uint64_t bytes_read() const { return bytes_read_; }

  private:
    bool is_constant(std::string_view name) const {
        return stored_.count(name) + dequantised_.count(name) > 0;
    }
    std::uint64_t read(Message const& node,
                       std::string_view op,
                       std::size_t place,
                       std::string_view name) const;
    void require_elements(std::vector<std::string_view> const& inputs,
                          std::string_view op,
                          std::string const& where) const;
    void require_size(std::vector<std::string_view> const& inputs,
                      std::string_view op,
                      std::string const& where) const;
    void require_not_negative(std::string_view name, std::string const& where) const;

    std::map<std::string_view, Tensor> stored_;
    std::map<std::string_view, std::vector<std::int64_t>> dequantised_;  // dims
    std::set<std::string_view> fixed_;  // what no input of an open shape reaches
    std::uint64_t bytes_ = 0, bytes_read_ = 0;
};

}  // namespace edgeosr::onnx
