#include "base/failure.h"

#include <cstdio>

namespace edgeosr {

void append(std::string& text, std::string_view part) {
    text.append(part);
}

namespace {

void append_digits(std::string& text, double number, int digits) {
    char room[40];
    int const length = std::snprintf(room, sizeof room, "%.*g", digits, number);
    for (int i = 0; i < length; ++i)
        text.push_back(room[i] == ',' ? '.' : room[i]);  // whatever the locale
}

}  // namespace

void append(std::string& text, double number) {
    append_digits(text, number, 9);
}

void append_exact(std::string& text, double number) {
    append_digits(text, number, 17);
}

void append_whole(std::string& text, long long number) {
    text += std::to_string(number);
}

void append_whole(std::string& text, unsigned long long number) {
    text += std::to_string(number);
}

void fail_within(std::string const& folder, Failure const& failure) {
    throw Failure(failure.status(), joined(folder, folder.empty() ? "" : "/", failure.what()));
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
