// The few properties of letters that the rules of reading need; tables made from Python's (tables.py).
#pragma once

#include <cstdint>
#include <string_view>

namespace edgeosr {

/// Take the first code point off a text of UTF-8 that may hold lone surrogates; the text is not empty and
/// valid.
std::uint32_t take_point(std::string_view& text);

/// What Python's str.isprintable says.
bool is_printable(std::uint32_t point);

/// Tell whether a class of this name would be read as a rejection; case and unseen letters aside.
bool reads_as_unknown(std::string_view name);

/// Tell whether bytes are UTF-8 without surrogates.
bool is_utf8(std::string_view text);

}  // namespace edgeosr
