#include "base/failure.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace edgeosr {

namespace {

void append_digits(std::string& text, double number, int digits) {
    char room[40];
    int const length = std::snprintf(room, sizeof room, "%.*g", digits, number);
    for (int i = 0; i < length; ++i)
        text.push_back(room[i] == ',' ? '.' : room[i]);  // whatever the locale
}

}  // namespace

void append_exact(std::string& text, double number) {
    append_digits(text, number, 17);
}

void Piece::append_to(std::string& text) const {
    switch (kind_) {
        case Kind::kWords:
            text += words_;
            return;
        case Kind::kSigned:
            text += std::to_string(signed_);
            return;
        case Kind::kUnsigned:
            text += std::to_string(unsigned_);
            return;
        case Kind::kReal:
            append_digits(text, real_, 9);
    }
}

std::string joined_pieces(Piece const* pieces, std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i)
        pieces[i].append_to(text);
    return text;
}

void fail_pieces(edgeosr_status status, Piece const* pieces, std::size_t count) {
    throw Failure(status, joined_pieces(pieces, count));
}

void fail_within(std::string const& folder, Failure const& failure) {
    throw Failure(failure.status(), joined(folder, folder.empty() ? "" : "/", failure.what()));
}

void put_words(char* room, std::size_t bytes, std::string_view text) noexcept {
    std::size_t count = std::min(text.size(), bytes - 1);
    // Not in the middle of a letter: bytes 10xxxxxx go on one.
    while (count > 0 && count < text.size() && (text[count] & 0xC0) == 0x80)
        --count;
    std::memcpy(room, text.data(), count);
    room[count] = '\0';
}

std::string shown(std::string_view text, std::size_t most) {
    std::string safe;
    for (char letter : text.substr(0, most)) {
        auto const byte = static_cast<unsigned char>(letter);
        safe.push_back(byte >= 0x20 && byte < 0x7f ? letter : '?');
    }
    if (text.size() > most) safe += "...";
    return safe;
}

}  // namespace edgeosr
