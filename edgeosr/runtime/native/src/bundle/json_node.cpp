#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "bundle/json.h"
#include "bundle/unicode.h"

namespace edgeosr {
namespace {

constexpr double kLargestFloat32 = 3.4028234663852886e38;
// They let a text look like another one: marks that turn the direction of writing, and two line ends.
constexpr std::uint32_t kHidden[] = {0x61c,
                                     0x200e,
                                     0x200f,
                                     0x2028,
                                     0x2029,
                                     0x202a,
                                     0x202b,
                                     0x202c,
                                     0x202d,
                                     0x202e,
                                     0x2066,
                                     0x2067,
                                     0x2068,
                                     0x2069};

bool is_digit(char letter) {
    return letter >= '0' && letter <= '9';
}

int two_digits(std::string_view text, std::size_t at) {
    if (at + 2 > text.size() || !is_digit(text[at]) || !is_digit(text[at + 1])) return -1;
    return (text[at] - '0') * 10 + (text[at + 1] - '0');
}

/// The form that edgeosr writes: 2026-01-31T12:00:00, a fraction, Z or +hh:mm. Other forms of ISO 8601, which
/// Python's versions read differently, are not taken.
bool is_time(std::string_view text) {
    if (text.size() < 19 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != ' ') ||
        text[13] != ':' || text[16] != ':')
        return false;
    int const century = two_digits(text, 0), years = two_digits(text, 2), month = two_digits(text, 5);
    int const day = two_digits(text, 8), hour = two_digits(text, 11), minute = two_digits(text, 14);
    int const second = two_digits(text, 17), year = century * 100 + years;
    if (century < 0 || years < 0 || year < 1 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 ||
        minute < 0 || minute > 59 || second < 0 || second > 59)
        return false;
    bool const leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    int const days[] = {31, leap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (day > days[month - 1]) return false;
    std::size_t at = 19;
    if (at < text.size() && text[at] == '.') {
        std::size_t const begin = ++at;
        while (at < text.size() && is_digit(text[at]))
            ++at;
        if (at - begin != 3 && at - begin != 6) return false;
    }
    if (at == text.size()) return true;
    if (text[at] == 'Z') return at + 1 == text.size();
    if (text[at] != '+' && text[at] != '-') return false;
    int const hours = two_digits(text, at + 1), minutes = two_digits(text, at + 4);
    return at + 6 == text.size() && hours >= 0 && hours < 24 && text[at + 3] == ':' && minutes >= 0 &&
           minutes < 60;
}

}  // namespace

std::string JsonNode::shown_value() const {
    if (is_null()) return "null";
    if (auto const* truth = value_->as<bool>()) return *truth ? "true (true/false)" : "false (true/false)";
    if (auto const* number = value_->as<JsonNumber>()) return joined(number->value, " (a number)");
    if (auto const* text = value_->as<std::string>()) return joined("\"", shown(*text), "\" (text)");
    if (auto const* list = value_->as<JsonValue::List>()) return joined(list->size(), " entries (a list)");
    return joined(value_->as<JsonValue::Object>()->size(), " entries (an object)");
}

void JsonNode::raise(std::string_view text) const {
    fail(EDGEOSR_BAD_BUNDLE, *document_, ": ", text, kDamaged);
}

void JsonNode::refuse(std::string_view expected) const {
    raise(joined(path_.empty() ? "the top level" : path_, ": expected ", expected, "; got ", shown_value()));
}

JsonNode JsonNode::child(std::string_view key, JsonValue const& value) const {
    std::string const name = shown(key);
    return {value, path_.empty() ? name : joined(path_, ".", name), *document_};
}

JsonNode JsonNode::child(std::size_t index, JsonValue const& value) const {
    return {value, joined(path_, "[", index, "]"), *document_};
}

JsonValue::Object const& JsonNode::object() const {
    auto const* found = value_->as<JsonValue::Object>();
    if (found == nullptr) refuse("an object");
    if (found->size() > kMostItems) refuse(joined("an object of at most ", kMostItems, " fields"));
    return *found;
}

static JsonMember const* find_member(JsonValue::Object const& members, std::string_view name) {
    auto const found = std::lower_bound(
        members.begin(), members.end(), name, [](JsonMember const& member, std::string_view key) {
            return member.key < key;
        });
    return found != members.end() && found->key == name ? &*found : nullptr;
}

bool JsonNode::has(std::string_view name) const {
    auto const* members = value_->as<JsonValue::Object>();
    return members != nullptr && find_member(*members, name) != nullptr;
}

JsonNode JsonNode::field(std::string_view name) const {
    auto const* member = find_member(object(), name);
    if (member == nullptr) raise(joined(path_.empty() ? "" : path_ + ".", name, " is missing"));
    return child(name, member->value);
}

void JsonNode::require_fields(std::initializer_list<std::string_view> names,
                              std::initializer_list<std::string_view> maybe) const {
    auto const& members = object();
    for (auto name : names)
        field(name);
    for (auto const& member : members) {
        auto const is_it = [&member](std::string_view name) { return member.key == name; };
        if (std::none_of(names.begin(), names.end(), is_it) &&
            std::none_of(maybe.begin(), maybe.end(), is_it))
            raise(joined(path_.empty() ? "" : path_ + ".", shown(member.key), " is not a known field"));
    }
}

std::vector<std::pair<std::string, JsonNode>> JsonNode::entries() const {
    std::vector<std::pair<std::string, JsonNode>> found;
    for (auto const& member : object())
        found.emplace_back(member.key, child(member.key, member.value));
    return found;
}

std::vector<JsonNode> JsonNode::items(std::size_t low, std::size_t high) const {
    auto const* list = value_->as<JsonValue::List>();
    if (list == nullptr || list->size() < low || list->size() > high)
        refuse(joined("a list of ", low, " to ", high, " items"));
    std::vector<JsonNode> found;
    for (std::size_t i = 0; i < list->size(); ++i)
        found.push_back(child(i, (*list)[i]));
    return found;
}

std::string const& JsonNode::text(bool may_be_empty) const {
    auto const* found = value_->as<std::string>();
    if (found == nullptr || (found->empty() && !may_be_empty)) refuse("text");
    std::size_t letters = 0;
    for (std::string_view left = *found; !left.empty(); ++letters) {
        std::uint32_t const point = take_point(left);
        if (point < 32 || (point >= 0x7f && point < 0xa0) || (point >= 0xd800 && point < 0xe000))
            refuse("text without control characters");
        if (std::find(std::begin(kHidden), std::end(kHidden), point) != std::end(kHidden))
            refuse("text without marks that turn its direction");
    }
    if (letters > kLongestText) refuse(joined("text of at most ", kLongestText, " characters"));
    return *found;
}

std::vector<std::string> JsonNode::texts() const {
    std::vector<std::string> found;
    for (auto const& item : items())
        found.push_back(item.text());
    std::vector<std::string> sorted = found;
    std::sort(sorted.begin(), sorted.end());
    auto const twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice != sorted.end()) raise(joined(path_, ": '", shown(*twice), "' is in the list twice"));
    return found;
}

std::vector<std::string> JsonNode::class_names(std::size_t most) const {
    auto names = texts();
    if (names.empty() || names.size() > most) refuse(joined("1 to ", most, " class names"));
    for (auto const& item : items()) {
        auto const& name = item.text();
        if (name.find('/') != std::string::npos || name == "." || name == ".." || reads_as_unknown(name))
            item.refuse("the name of a class, without a slash and not 'unknown'");
    }
    return names;
}

std::string const& JsonNode::sha256() const {
    auto const& found = text();
    if (found.size() != 64 || found.find_first_not_of("0123456789abcdef") != std::string::npos)
        refuse("a SHA-256 of 64 lower-case hexadecimal digits");
    return found;
}

std::string const& JsonNode::time() const {
    auto const& found = text();
    if (!is_time(found)) refuse("a time such as 2026-01-31T12:00:00Z");
    return found;
}

std::size_t JsonNode::choice(std::initializer_list<std::string_view> choices) const {
    auto const* found = value_->as<std::string>();
    if (found != nullptr)
        for (std::size_t i = 0; i < choices.size(); ++i)
            if (*(choices.begin() + i) == *found) return i;
    std::string all;
    for (auto choice : choices)
        all += joined(all.empty() ? "" : ", ", choice);
    refuse(joined("one of ", all));
}

bool JsonNode::truth() const {
    auto const* found = value_->as<bool>();
    if (found == nullptr) refuse("true or false");
    return *found;
}

std::uint64_t JsonNode::whole(std::uint64_t low, std::uint64_t high) const {
    auto const* found = value_->as<JsonNumber>();
    bool const fits = found != nullptr && found->whole && !found->beyond &&
                      (!found->negative || found->magnitude == 0) && found->magnitude >= low &&
                      found->magnitude <= high;
    if (!fits) refuse(joined("a whole number from ", low, " to ", high));
    return found->magnitude;
}

void JsonNode::require_seed() const {
    auto const* found = value_->as<JsonNumber>();
    if (found == nullptr || found->negative || !found->two_64) whole(0, UINT64_MAX);
}

double JsonNode::number(double low, double high) const {
    auto const* found = value_->as<JsonNumber>();
    if (found == nullptr) refuse("a number");
    if (!(std::fabs(found->value) <= kLargestFloat32)) refuse("a finite number that float32 holds");
    if (!(low <= found->value && found->value <= high)) refuse(joined("a number from ", low, " to ", high));
    return found->value;
}

double JsonNode::above_zero() const {
    double const found = number();
    if (!(found > 0)) refuse("a number above 0");
    return found;
}

std::vector<double> JsonNode::numbers(std::size_t count) const {
    std::vector<double> found;
    for (auto const& item : items(count, count))
        found.push_back(item.number());
    return found;
}

}  // namespace edgeosr
