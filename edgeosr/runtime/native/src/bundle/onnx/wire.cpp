#include "bundle/onnx/wire.h"

#include "base/numbers.h"
#include "bundle/unicode.h"

namespace edgeosr::onnx {
namespace {

#include "bundle/onnx/wire_tables.inc"

constexpr unsigned kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

class Reader {
  public:
    Reader(std::string_view data, std::size_t& budget) : data_(data), budget_(budget) {}

    Message message(Table const& table) {
        Message found;
        std::uint32_t counts[32] = {};
        while (at_ < data_.size()) {
            spend(1);
            std::uint64_t const tag = varint(table);
            Field const& field = known(table, tag >> 3);
            std::uint32_t& count = counts[&field - table.fields];
            bool const packed = value(table, field, static_cast<unsigned>(tag & 7), found, count);
            if (!packed) ++count;
            if (!field.many && count > 1)
                refuse(table.name, ".", field.name, " is there twice; readers would merge the two");
            if (field.many && count > field.most)
                refuse(table.name, " has more than ", field.most, " ", field.name);
        }
        return found;
    }

  private:
    void spend(std::size_t count) {
        if (count > budget_) refuse("it has more than ", kMostValues, " fields and numbers outside raw data");
        budget_ -= count;
    }

    std::uint64_t varint(Table const& table) {
        std::uint64_t value = 0;
        for (unsigned shift = 0; at_ < data_.size() && shift <= 63; shift += 7) {
            auto const byte = static_cast<std::uint64_t>(static_cast<unsigned char>(data_[at_++]));
            if (shift == 63 && (byte & 0x7f) > 1) break;
            value |= (byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
        refuse(table.name, " has a number that does not end or is larger than 64 bits");
    }

    Field const& known(Table const& table, std::uint64_t number) const {
        for (std::size_t i = 0; i < table.count; ++i) {
            Field const& field = table.fields[i];
            if (field.number != number) continue;
            if (field.kind == Kind::kRefused)
                refuse(table.name, " has ", field.name, ", which no graph of a bundle may have");
            return field;
        }
        refuse(table.name, " has the field ", number, ", which no graph of a bundle may have");
    }

    std::string_view take(Table const& table, Field const& field, std::uint64_t size) {
        if (size > data_.size() - at_) refuse(table.name, ".", field.name, " reaches beyond its end");
        std::string_view const content = data_.substr(at_, size);
        at_ += size;
        return content;
    }

    /// Add the field's value; return whether it was a packed list, whose numbers are counted here.
    bool value(Table const& table, Field const& field, unsigned wire, Message& found, std::uint32_t& count) {
        Entry entry;
        entry.field = field.number;
        if (wire == kBytes) {
            std::uint64_t const size = varint(table);
            std::string_view const content = take(table, field, size);
            if (field.kind == Kind::kInts || field.kind == Kind::kFloats || field.kind == Kind::kDoubles) {
                numbers(table, field, content, found, count);
                return true;
            }
            bytes(table, field, content, entry);
        } else if (wire == kVarint && (field.kind == Kind::kInt || field.kind == Kind::kInts)) {
            entry.whole = static_cast<std::int64_t>(varint(table));
        } else if (wire == kFixed64 && field.kind == Kind::kDoubles) {
            entry.real = number_at<double>(take(table, field, 8), 0);
        } else if (wire == kFixed32 && (field.kind == Kind::kFloat || field.kind == Kind::kFloats)) {
            entry.real = static_cast<double>(number_at<float>(take(table, field, 4), 0));
        } else {
            refuse(table.name, ".", field.name, " has the wire type ", wire);
        }
        found.entries.push_back(std::move(entry));
        return false;
    }

    void bytes(Table const& table, Field const& field, std::string_view content, Entry& entry) {
        switch (field.kind) {
            case Kind::kMessage:
                entry.message = std::make_unique<Message>(Reader(content, budget_).message(*field.message));
                return;
            case Kind::kText:
                if (content.size() > kLongestText)
                    refuse(table.name, ".", field.name, " has ", content.size(), " bytes; too long");
                if (!is_utf8(content)) refuse(table.name, ".", field.name, " is not UTF-8");
                break;
            case Kind::kBytes:
            case Kind::kSkip:
                break;
            default:
                refuse(table.name, ".", field.name, " has the wire type ", kBytes);
        }
        entry.bytes = content;
    }

    void numbers(Table const& table,
                 Field const& field,
                 std::string_view content,
                 Message& found,
                 std::uint32_t& count) {
        // No number takes less than a byte.
        std::size_t const least = field.kind == Kind::kFloats ? 4 : field.kind == Kind::kDoubles ? 8 : 1;
        spend(content.size() / least);
        if (content.size() / (least == 1 ? 10 : least) > field.most)
            refuse(table.name, " has more than ", field.most, " ", field.name);
        if (content.size() % least != 0) refuse(table.name, ".", field.name, " is no list of numbers");
        Reader inside(content, budget_);
        while (inside.at_ < content.size()) {
            Entry entry;
            entry.field = field.number;
            if (field.kind == Kind::kInts)
                entry.whole = static_cast<std::int64_t>(inside.varint(table));
            else if (field.kind == Kind::kFloats)
                entry.real = static_cast<double>(number_at<float>(inside.take(table, field, 4), 0));
            else
                entry.real = number_at<double>(inside.take(table, field, 8), 0);
            found.entries.push_back(std::move(entry));
            if (++count > field.most) refuse(table.name, " has more than ", field.most, " ", field.name);
        }
    }

    std::string_view data_;
    std::size_t at_ = 0;
    std::size_t& budget_;
};

}  // namespace

Table const& model_table() {
    return kModelTable;
}

Message parse(std::string_view data, Table const& table) {
    std::size_t budget = kMostValues;
    return Reader(data, budget).message(table);
}

Entry const* Message::find(std::uint32_t field) const {
    for (auto const& entry : entries)
        if (entry.field == field) return &entry;
    return nullptr;
}

std::int64_t Message::whole(std::uint32_t field, std::int64_t otherwise) const {
    Entry const* entry = find(field);
    return entry != nullptr ? entry->whole : otherwise;
}

std::string_view Message::text(std::uint32_t field) const {
    Entry const* entry = find(field);
    return entry != nullptr ? entry->bytes : std::string_view();
}

std::vector<std::string_view> Message::texts(std::uint32_t field) const {
    std::vector<std::string_view> found;
    for (auto const& entry : entries)
        if (entry.field == field) found.push_back(entry.bytes);
    return found;
}

std::vector<std::int64_t> Message::wholes(std::uint32_t field) const {
    std::vector<std::int64_t> found;
    for (auto const& entry : entries)
        if (entry.field == field) found.push_back(entry.whole);
    return found;
}

std::vector<Message const*> Message::messages(std::uint32_t field) const {
    std::vector<Message const*> found;
    for (auto const& entry : entries)
        if (entry.field == field) found.push_back(entry.message.get());
    return found;
}

std::size_t Message::count(std::uint32_t field) const {
    std::size_t found = 0;
    for (auto const& entry : entries)
        found += entry.field == field ? 1 : 0;
    return found;
}

}  // namespace edgeosr::onnx
