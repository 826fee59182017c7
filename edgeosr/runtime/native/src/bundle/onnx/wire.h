// Protocol buffers' wire format, for the messages of ONNX that a bundle's graphs may have: the rules of
// edgeosr/bundle/onnx/wire.py, whose tables are in wire_tables.inc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/failure.h"

namespace edgeosr::onnx {

enum class Kind { kInt, kFloat, kBytes, kText, kInts, kFloats, kDoubles, kSkip, kRefused, kMessage };

struct Table;

struct Field {
    std::uint32_t number;
    Kind kind;
    bool many;
    std::uint32_t most;
    Table const* message;
    char const* name;
};

struct Table {
    char const* name;
    Field const* fields;
    std::size_t count;
};

struct Message;

struct Entry {
    std::uint32_t field = 0;
    std::int64_t whole = 0;
    double real = 0;
    std::string_view bytes;            // of the file's own memory
    std::unique_ptr<Message> message;  // of Kind::kMessage
};

/// What was there, in its order; every number of a packed list is an entry of its own.
struct Message {
    std::vector<Entry> entries;

    Entry const* find(std::uint32_t field) const;
    bool has(std::uint32_t field) const { return find(field) != nullptr; }
    std::int64_t whole(std::uint32_t field, std::int64_t otherwise) const;
    std::string_view text(std::uint32_t field) const;  // "" if it is not there
    std::vector<std::string_view> texts(std::uint32_t field) const;
    std::vector<std::int64_t> wholes(std::uint32_t field) const;
    std::vector<Message const*> messages(std::uint32_t field) const;
    std::size_t count(std::uint32_t field) const;
};

/// Read one message with all that is in it; it refers to the data's memory. Throws Failure.
Message parse(std::string_view data, Table const& table);

/// The table of a whole file.
Table const& model_table();

/// What is wrong with a graph; the caller says which file, and what to do.
template <class... Parts>
[[noreturn]] void refuse(Parts const&... parts) {
    fail(EDGEOSR_BAD_BUNDLE, parts...);
}

}  // namespace edgeosr::onnx
