#include "bundle/unicode.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace edgeosr {
namespace {

struct Range {
    std::uint32_t first, last;
};

/// What a letter becomes in the comparison with "unknown": small letters of it, a space, or nothing.
struct Folded {
    std::uint32_t point;
    char const* text;
};

#include "bundle/unicode_tables.inc"

}  // namespace

std::uint32_t take_point(std::string_view& text) {
    auto const lead = static_cast<unsigned char>(text[0]);
    std::size_t const more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    std::uint32_t point = more == 0 ? lead : lead & (0x3fu >> more);
    for (std::size_t k = 1; k <= more; ++k)
        point = point << 6 | (static_cast<unsigned char>(text[k]) & 0x3f);
    text.remove_prefix(more + 1);
    return point;
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        auto const lead = static_cast<unsigned char>(text[0]);
        std::size_t const more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if ((lead >= 0x80 && lead < 0xc2) || lead > 0xf4 || more >= text.size()) return false;
        for (std::size_t k = 1; k <= more; ++k)
            if ((static_cast<unsigned char>(text[k]) & 0xc0) != 0x80) return false;
        std::uint32_t const point = take_point(text);
        bool const too_long = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
        if (too_long || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
    }
    return true;
}

bool is_printable(std::uint32_t point) {
    auto const after = std::upper_bound(
        std::begin(kUnprintable), std::end(kUnprintable), point, [](std::uint32_t value, Range const& range) {
            return value < range.first;
        });
    return after == std::begin(kUnprintable) || point > std::prev(after)->last;
}

bool reads_as_unknown(std::string_view name) {
    std::string seen;
    while (!name.empty()) {
        std::uint32_t const point = take_point(name);
        auto const found = std::lower_bound(
            std::begin(kFolded), std::end(kFolded), point, [](Folded const& entry, std::uint32_t value) {
                return entry.point < value;
            });
        if (found == std::end(kFolded) || found->point != point) return false;
        seen += found->text;
    }
    std::size_t const first = seen.find_first_not_of(' ');
    if (first == std::string::npos) return false;
    return seen.substr(first, seen.find_last_not_of(' ') - first + 1) == "unknown";
}

}  // namespace edgeosr
