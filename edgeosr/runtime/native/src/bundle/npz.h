// Arrays of an .npz file that nobody vouches for: no pickles, and never more memory than the file
// (edgeosr/scoring/npz.py). Stricter than Python where NumPy never writes otherwise: a zip's end without a
// comment, entries of plain numbers, headers as NumPy spells them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace edgeosr {

struct Array {
    std::string type;  // as NumPy names it: <f4, <i8, |u1, |b1
    std::vector<std::uint64_t> shape;
    std::string_view body;       // in C order; of the file's memory or of `owned`
    std::uint64_t size() const;  // elements
    bool is(std::string_view dtype, std::vector<std::uint64_t> const& dims) const {
        return type == dtype && shape == dims;
    }
    template <class Number>
    Number const* numbers() const {
        return reinterpret_cast<Number const*>(body.data());
    }
};

/// The arrays of a file by name; bodies are aligned for their numbers.
class Npz {
  public:
    /// Parse; `what` names the file in messages. Throws Failure.
    Npz(std::string_view data, std::string const& what);
    Npz(Npz const&) = delete;
    Npz& operator=(Npz const&) = delete;

    Array const* find(std::string const& name) const;
    std::vector<std::string> names() const;

  private:
    std::map<std::string, Array> arrays_;
    std::vector<std::vector<char>> owned_;
};

}  // namespace edgeosr
