// Reading the files of a bundle, which distrusts the directory: plain files alone, of a size that is known.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace edgeosr {

using Bytes = std::vector<std::uint8_t>;

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

}  // namespace edgeosr
