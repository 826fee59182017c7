// Strict JSON, and typed access to it whose every error names the field, what was expected and what came: the
// rules of edgeosr/bundle/checked_json.py.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "bundle/limits.inc"

namespace edgeosr {

/// What to do with a document that is damaged: the end of every message.
constexpr char kDamaged[] = "; export the bundle again, or copy it again";
constexpr int kDeepest = 200;  // lists and objects in one another; Python's own limit is about a thousand

struct JsonMember;

struct JsonNumber {
    double value = 0;             // the nearest
    std::uint64_t magnitude = 0;  // of a whole number below 2^64
    bool whole = false;           // written without a point or an exponent
    bool negative = false;
    bool beyond = false;  // whole, and 2^64 or more
    bool two_64 = false;  // 2^64 itself
};

struct JsonValue {
    using List = std::vector<JsonValue>;
    using Object = std::vector<JsonMember>;  // sorted by key
    std::variant<std::monostate, bool, JsonNumber, std::string, List, Object> value;

    template <class Kind>
    Kind const* as() const {
        return std::get_if<Kind>(&value);
    }
};

struct JsonMember {
    std::string key;
    JsonValue value;
};

/// Parse UTF-8 JSON. Refused beside what is no JSON: a key twice in one object, NaN, Infinity, a number
/// beyond float64, text that is not UTF-8, whole numbers of more than 4300 digits. Time and memory grow with
/// the length alone. A lone surrogate, which JSON can spell, is kept as three bytes. Throws Failure.
JsonValue parse_json(std::string_view text, std::string const& document);

/// One value of a document and its path; valid as long as the value and the document's name are.
class JsonNode {
  public:
    JsonNode(JsonValue const& value, std::string path, std::string const& document)
        : value_(&value), path_(std::move(path)), document_(&document) {}

    /// Throw: this value is not what was expected.
    [[noreturn]] void refuse(std::string_view expected) const;

    bool is_null() const { return std::holds_alternative<std::monostate>(value_->value); }
    bool is_object() const { return value_->as<JsonValue::Object>() != nullptr; }
    /// Tell whether an object has a field; false for what is no object.
    bool has(std::string_view name) const;
    /// Return a field of an object that may have others too.
    JsonNode field(std::string_view name) const;
    /// Check that an object has these fields and no others; those of `maybe` may be missing.
    void require_fields(std::initializer_list<std::string_view> names,
                        std::initializer_list<std::string_view> maybe = {}) const;
    /// Return the members of an object, sorted by name.
    std::vector<std::pair<std::string, JsonNode>> entries() const;
    /// Return the items of a list of `low` to `high` items.
    std::vector<JsonNode> items(std::size_t low = 0, std::size_t high = kMostItems) const;

    std::string const& text(bool may_be_empty = false) const;
    std::vector<std::string> texts() const;
    /// Return 1 to `most` names of classes.
    std::vector<std::string> class_names(std::size_t most) const;
    std::string const& sha256() const;
    std::string const& time() const;
    /// Return which of the choices a text is, from 0.
    std::size_t choice(std::initializer_list<std::string_view> choices) const;
    bool truth() const;
    std::uint64_t whole(std::uint64_t low, std::uint64_t high) const;
    /// A whole number from 0 to 2^64, that one included: a seed, which nothing here reads.
    void require_seed() const;
    double number(double low = -std::numeric_limits<double>::infinity(),
                  double high = std::numeric_limits<double>::infinity()) const;
    double above_zero() const;
    std::vector<double> numbers(std::size_t count) const;

  private:
    [[noreturn]] void raise(std::string_view text) const;
    JsonNode child(std::string_view key, JsonValue const& value) const;
    JsonNode child(std::size_t index, JsonValue const& value) const;
    JsonValue::Object const& object() const;
    std::string shown_value() const;

    JsonValue const* value_;
    std::string path_;
    std::string const* document_;
};

}  // namespace edgeosr
