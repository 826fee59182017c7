// Reading the files of a bundle, which distrusts the directory: plain files alone, of a size that is known.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace edgeosr {

struct FreeBytes {
    std::size_t mapped = 0;  // bytes; 0: of the heap
    void operator()(std::uint8_t* data) const;
};

/// A file's bytes; room that is about to be filled is not cleared first, as a vector would. Large ones are
/// pages of their own: an application's heap is neither grown nor cut into pieces by them, and freed means
/// given back.
class Bytes {
  public:
    Bytes() = default;
    explicit Bytes(std::size_t size);  // throws std::bad_alloc
    std::uint8_t* data() { return data_.get(); }
    std::uint8_t const* data() const { return data_.get(); }
    std::size_t size() const { return size_; }
    void cut(std::size_t size) { size_ = std::min(size, size_); }
    std::string_view text() const { return {reinterpret_cast<char const*>(data_.get()), size_}; }

  private:
    std::unique_ptr<std::uint8_t[], FreeBytes> data_;
    std::size_t size_ = 0;
};

/// Return a plain file's bytes.
///
/// directory, name: of the bundle; the name is never one from outside.
/// size: exact size in bytes; none: at most `limit`.
/// Throws Failure: EDGEOSR_BAD_BUNDLE if it is missing, a link, no plain file or of another size.
Bytes read_plain_file(std::string const& directory,
                      std::string const& name,
                      std::optional<std::uint64_t> size,
                      std::uint64_t limit);

bool is_directory(std::string const& path);

/// Tell whether nothing is there, rather than something that may not or cannot be looked at.
bool is_missing(std::string const& path);

/// Tell whether something has this name, if only a link that leads nowhere.
bool exists(std::string const& path);

/// The path from the root, links and all; as it is where it is empty, or the current folder is gone.
std::string absolute_path(std::string const& path);

}  // namespace edgeosr
