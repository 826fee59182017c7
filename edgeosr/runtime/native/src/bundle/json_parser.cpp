#include <locale.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/failure.h"
#include "bundle/json.h"
#include "bundle/unicode.h"

namespace edgeosr {
namespace {

constexpr std::size_t kMostDigits = 4300;  // as Python reads

/// strtod in the C locale, whatever the application has set.
double number_of(std::string const& text) {
    static locale_t const plain = newlocale(LC_ALL_MASK, "C", static_cast<locale_t>(nullptr));
    return strtod_l(text.c_str(), nullptr, plain);
}

class Parser {
  public:
    Parser(std::string_view text, std::string const& document) : text_(text), document_(document) {}

    JsonValue whole() {
        if (!is_utf8(text_)) refuse("it is not UTF-8");
        JsonValue value = any(0);
        skip_space();
        if (at_ != text_.size()) refuse("something follows the value");
        return value;
    }

  private:
    [[noreturn]] void refuse(std::string_view why) const {
        fail(EDGEOSR_BAD_BUNDLE, document_, " is not valid JSON: ", why, " (byte ", at_, ")", kDamaged);
    }

    unsigned char byte(std::size_t i) const { return static_cast<unsigned char>(text_[i]); }
    char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_space() {
        while (at_ < text_.size() &&
               (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
            ++at_;
    }

    bool take(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    JsonValue any(int depth) {
        skip_space();
        if (depth > kDeepest) refuse("it is nested too deeply");
        JsonValue made;
        switch (next()) {
            case '{':
                made.value = object(depth);
                break;
            case '[':
                made.value = list(depth);
                break;
            case '"':
                made.value = string();
                break;
            case 't':
                if (!take("true")) refuse("no value");
                made.value = true;
                break;
            case 'f':
                if (!take("false")) refuse("no value");
                made.value = false;
                break;
            case 'n':
                if (!take("null")) refuse("no value");
                break;
            default:
                made.value = number();
        }
        return made;
    }

    JsonValue::List list(int depth) {
        ++at_;
        JsonValue::List made;
        skip_space();
        if (take("]")) return made;
        for (;;) {
            made.push_back(any(depth + 1));
            skip_space();
            if (take("]")) return made;
            if (!take(",")) refuse("a list goes on without a comma");
        }
    }

    JsonValue::Object object(int depth) {
        ++at_;
        JsonValue::Object made;
        skip_space();
        if (take("}")) return made;
        for (;;) {
            skip_space();
            if (next() != '"') refuse("an object has a key that is no text");
            std::string key = string();
            skip_space();
            if (!take(":")) refuse("a key has no colon behind it");
            made.push_back({std::move(key), any(depth + 1)});
            skip_space();
            if (take("}")) break;
            if (!take(",")) refuse("an object goes on without a comma");
        }
        std::sort(made.begin(), made.end(), [](auto const& a, auto const& b) { return a.key < b.key; });
        auto const same = std::adjacent_find(
            made.begin(), made.end(), [](auto const& a, auto const& b) { return a.key == b.key; });
        if (same != made.end())
            refuse(joined("the key '", shown(same->key), "' appears twice in one object"));
        return made;
    }

    std::string string() {
        ++at_;
        std::string made;
        for (;;) {
            std::size_t const begin = at_;
            while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' && byte(at_) >= 0x20)
                ++at_;
            made.append(text_.substr(begin, at_ - begin));
            if (at_ == text_.size()) refuse("a text does not end");
            if (text_[at_] == '"') {
                ++at_;
                return made;
            }
            if (text_[at_] != '\\') refuse("a text has a control character");
            ++at_;
            escape(made);
        }
    }

    void escape(std::string& made) {
        char const letter = next();
        std::size_t const simple = std::string_view("\"\\/bfnrt").find(letter);
        ++at_;
        if (letter != '\0' && simple != std::string_view::npos) {
            made.push_back("\"\\/\b\f\n\r\t"[simple]);
            return;
        }
        if (letter != 'u') refuse("a text has an escape that JSON does not know");
        std::uint32_t point = four_digits();
        if (point >= 0xd800 && point < 0xdc00 && text_.substr(at_, 2) == "\\u") {
            std::size_t const before = at_;
            at_ += 2;
            std::uint32_t const low = four_digits();
            if (low >= 0xdc00 && low < 0xe000)
                point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
            else
                at_ = before;
        }
        if (point < 0x80) {
            made.push_back(static_cast<char>(point));
            return;
        }
        int const more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
        made.push_back(static_cast<char>((more == 1   ? 0xc0u
                                          : more == 2 ? 0xe0u
                                                      : 0xf0u) |
                                         point >> 6 * more));
        for (int k = more - 1; k >= 0; --k)
            made.push_back(static_cast<char>(0x80 | (point >> 6 * k & 0x3f)));
    }

    std::uint32_t four_digits() {
        std::uint32_t value = 0;
        for (int i = 0; i < 4; ++i, ++at_) {
            char const letter = next();
            std::size_t const digit = std::string_view("0123456789abcdefABCDEF").find(letter);
            if (letter == '\0' || digit == std::string_view::npos) refuse("an escape has no four digits");
            value = value << 4 | static_cast<std::uint32_t>(digit < 16 ? digit : digit - 6);
        }
        return value;
    }

    std::size_t digits() {
        std::size_t const begin = at_;
        while (next() >= '0' && next() <= '9')
            ++at_;
        return at_ - begin;
    }

    JsonNumber number() {
        std::size_t const begin = at_;
        JsonNumber made;
        made.negative = take("-");
        std::size_t const first = at_;
        if (!take("0") && digits() == 0) refuse("no value");
        std::size_t const last = at_;
        made.whole = true;
        if (next() == '.') {
            ++at_;
            if (digits() == 0) refuse("a number ends with its point");
            made.whole = false;
        }
        if (next() == 'e' || next() == 'E') {
            ++at_;
            if (!take("+")) take("-");
            if (digits() == 0) refuse("a number ends with its exponent");
            made.whole = false;
        }
        std::string const spelled(text_.substr(begin, at_ - begin));
        if (made.whole && last - first > kMostDigits) refuse("a whole number has more than 4300 digits");
        made.value = number_of(spelled);
        if (made.whole) {
            std::string_view const numerals = text_.substr(first, last - first);
            made.two_64 = numerals == "18446744073709551616";
            for (char numeral : numerals) {
                auto const digit = static_cast<std::uint64_t>(numeral - '0');
                made.beyond |= made.magnitude > (UINT64_MAX - digit) / 10;
                made.magnitude = made.magnitude * 10 + digit;
            }
        } else if (!std::isfinite(made.value)) {
            refuse("a number is too large");
        }
        return made;
    }

    std::string_view text_;
    std::string const& document_;
    std::size_t at_ = 0;
};

}  // namespace

JsonValue parse_json(std::string_view text, std::string const& document) {
    return Parser(text, document).whole();
}

}  // namespace edgeosr
