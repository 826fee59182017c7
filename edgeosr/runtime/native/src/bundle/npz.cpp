#include "bundle/npz.h"

#include <algorithm>
#include <cstring>

#include "base/failure.h"
#include "base/numbers.h"
#include "bundle/limits.inc"

namespace edgeosr {
namespace {

constexpr std::size_t kLocalHeader = 30, kCentralHeader = 46, kEnd = 22;
constexpr std::size_t kLocator = 20;
constexpr unsigned char kNewestZip = 63;       // 6.3 of the format, which Python's reader knows
constexpr std::size_t kLongestHeader = 10000;  // of an array, as NumPy reads

struct Entry {
    std::string name;
    std::uint64_t at = 0, size = 0;
    std::uint32_t crc = 0;
};

std::uint32_t crc32(std::string_view data) {
    static auto const table = [] {
        std::vector<std::uint32_t> made(256);
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit)
                value = value >> 1 ^ ((value & 1) != 0 ? 0xedb88320u : 0);
            made[i] = value;
        }
        return made;
    }();
    std::uint32_t value = ~0u;
    for (char letter : data)
        value = value >> 8 ^ table[(value ^ static_cast<unsigned char>(letter)) & 255];
    return ~value;
}

class File {
  public:
    File(std::string_view data, std::string const& what) : data_(data), what_(what) {}

    template <class... Parts>
    [[noreturn]] void refuse(Parts const&... parts) const {
        fail(EDGEOSR_BAD_BUNDLE,
             what_,
             " cannot be read: ",
             parts...,
             "; export the bundle again, or copy it again");
    }

    std::vector<Entry> entries() const {
        if (data_.size() < kEnd || data_.substr(data_.size() - kEnd, 4) != "PK\5\6")
            refuse("it is no plain zip");
        std::size_t const end = data_.size() - kEnd;
        if (end >= kLocator && data_.substr(end - kLocator, 4) == "PK\6\7") refuse("it is a zip64");
        std::uint64_t const size = number_at<std::uint32_t>(data_, end + 12);
        std::uint64_t at = number_at<std::uint32_t>(data_, end + 16);
        std::uint64_t const directory = at;
        if (number_at<std::uint16_t>(data_, end + 20) != 0 || at + size != end)
            refuse("its directory is not at its end");
        std::vector<Entry> found;
        while (at < end) {
            found.push_back(entry(at, end));
            if (found.size() > kMostEntries) refuse("it has more than ", kMostEntries, " entries");
        }
        require_apart(found, directory);
        return found;
    }

    /// Return the content of an entry; all are apart.
    std::string_view content(Entry const& entry) const {
        if (entry.at + kLocalHeader > data_.size() || data_.substr(entry.at, 4) != "PK\3\4")
            refuse("its entry '", entry.name, "' is not where the directory says");
        std::size_t const name = number_at<std::uint16_t>(data_, entry.at + 26);
        std::uint64_t const begin = body_of(entry);
        if (begin + entry.size > data_.size() ||
            data_.substr(entry.at + kLocalHeader, name) != entry.name + ".npy")
            refuse("its entry '", entry.name, "' is not where the directory says");
        std::string_view const found = data_.substr(begin, entry.size);
        if (crc32(found) != entry.crc) refuse("its entry '", entry.name, "' is damaged");
        return found;
    }

  private:
    Entry entry(std::uint64_t& at, std::size_t end) const {
        if (at + kCentralHeader > end || data_.substr(at, 4) != "PK\1\2") refuse("its directory is damaged");
        std::size_t const name = number_at<std::uint16_t>(data_, at + 28);
        std::size_t const extra = number_at<std::uint16_t>(data_, at + 30);
        std::size_t const comment = number_at<std::uint16_t>(data_, at + 32);
        // Either can hold what another reader takes for another name, place or directory.
        if (extra + comment > 0) refuse("its directory has extra fields or comments");
        if (at + kCentralHeader + name > end) refuse("its directory is damaged");
        if (static_cast<unsigned char>(data_[at + 6]) > kNewestZip) refuse("it needs a newer reader of zips");
        Entry made;
        std::string_view const spelled = data_.substr(at + kCentralHeader, name);
        constexpr std::string_view kSuffix = ".npy";
        if (spelled.size() <= kSuffix.size() || spelled.size() > kLongestName ||
            spelled.substr(spelled.size() - kSuffix.size()) != kSuffix)
            refuse("its entry '", shown(spelled), "' is not an array");
        for (char letter : spelled)
            if (letter < ' ' || letter > '~') refuse("its entry '", shown(spelled), "' is not an array");
        made.name = spelled.substr(0, spelled.size() - kSuffix.size());
        made.crc = number_at<std::uint32_t>(data_, at + 16);
        made.size = number_at<std::uint32_t>(data_, at + 20);
        made.at = number_at<std::uint32_t>(data_, at + 42);
        if (number_at<std::uint16_t>(data_, at + 10) != 0)
            refuse("its entry '", made.name, "' is compressed; edgeosr writes stored entries only");
        if ((number_at<std::uint16_t>(data_, at + 8) & 0x61) != 0)
            refuse("its entry '", made.name, "' is encrypted");
        if (number_at<std::uint32_t>(data_, at + 24) != made.size)
            refuse("its entry '", made.name, "' has two sizes");
        at += kCentralHeader + name;
        return made;
    }

    /// Return where an entry's content begins, by its local header.
    std::uint64_t body_of(Entry const& entry) const {
        if (entry.at + kLocalHeader > data_.size()) refuse("its entries reach beyond its end");
        return entry.at + kLocalHeader + number_at<std::uint16_t>(data_, entry.at + 26) +
               number_at<std::uint16_t>(data_, entry.at + 28);
    }

    /// Of entries that share one body, each is harmless and all together are not. directory: where it begins.
    void require_apart(std::vector<Entry> found, std::uint64_t directory) const {
        std::sort(found.begin(), found.end(), [](auto const& a, auto const& b) { return a.at < b.at; });
        std::uint64_t reached = 0;
        for (auto const& entry : found) {
            if (entry.at < reached) refuse("its entries overlap");
            reached = body_of(entry) + entry.size;
        }
        if (reached > directory) refuse("its entries reach beyond its end");
    }

    std::string_view data_;
    std::string const& what_;
};

/// Reads {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } as NumPy spells it.
class Header {
  public:
    explicit Header(std::string_view text) : text_(text) {}

    bool read(Array& array, bool& by_columns) {
        if (!take("{'descr': '")) return false;
        std::size_t const quote = text_.find('\'', at_);
        if (quote == std::string_view::npos || quote - at_ != 3) return false;
        array.type = text_.substr(at_, 3);
        at_ = quote;
        if (!take("', 'fortran_order': ")) return false;
        by_columns = take("True");
        if (!by_columns && !take("False")) return false;
        if (!take(", 'shape': (") || !shape(array) || !take("), }")) return false;
        return text_.find_first_not_of(" \n", at_) == std::string_view::npos;
    }

  private:
    bool take(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    bool shape(Array& array) {
        while (at_ < text_.size() && text_[at_] != ')') {
            std::uint64_t length = 0;
            std::size_t const begin = at_;
            for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - begin < 12; ++at_)
                length = length * 10 + static_cast<std::uint64_t>(text_[at_] - '0');
            if (at_ == begin || (text_[begin] == '0' && at_ - begin > 1)) return false;
            array.shape.push_back(length);
            if (array.shape.size() > 8) return false;
            if (!take(",")) return array.shape.size() > 1;  // (5) is a number in brackets, (5,) is a shape
            take(" ");
        }
        return true;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

std::size_t bytes_of(std::string const& type) {
    for (auto known : {"<f4", "<i4", "<u4"})
        if (type == known) return 4;
    for (auto known : {"<f8", "<i8", "<u8"})
        if (type == known) return 8;
    for (auto known : {"|u1", "|i1", "|b1"})
        if (type == known) return 1;
    return type == "<f2" || type == "<i2" || type == "<u2" ? 2 : 0;
}

Array array_from(std::string_view content, File const& file, bool& by_columns) {
    Array made;
    std::size_t const major = content.size() > 8 ? static_cast<unsigned char>(content[6]) : 0;
    if (content.substr(0, 6) != "\x93NUMPY" || (major != 1 && major != 2) || content[7] != 0 ||
        content.size() < 12)
        file.refuse("an array is of no format that is read");
    std::size_t const begin = major == 1 ? 10 : 12;
    std::size_t const length =
        major == 1 ? number_at<std::uint16_t>(content, 8) : number_at<std::uint32_t>(content, 8);
    if (length > kLongestHeader || length > content.size() - begin ||
        !Header(content.substr(begin, length)).read(made, by_columns))
        file.refuse("an array has a header that NumPy does not write");
    std::size_t const width = bytes_of(made.type);
    if (width == 0) file.refuse("an array has the type ", shown(made.type), "; numbers alone are read");
    made.body = content.substr(begin + length);
    std::uint64_t const left = made.body.size();
    bool const none = std::find(made.shape.begin(), made.shape.end(), 0u) != made.shape.end();
    std::uint64_t elements = none ? 0 : 1;
    bool fits = true;
    for (std::uint64_t side : made.shape) {
        fits = fits && (none || elements <= left / side);
        if (fits) elements *= side;
    }
    if (!fits || elements * width != left)
        file.refuse("an array has ", left, " bytes, other than its shape says");
    return made;
}

/// Return the bytes of an array that is written by columns, by rows.
std::vector<char> by_rows(Array const& array) {
    std::size_t const width = bytes_of(array.type);
    std::vector<char> made(array.body.size());
    std::vector<std::uint64_t> place(array.shape.size(), 0);
    for (std::uint64_t i = 0; i < array.size(); ++i) {
        std::uint64_t from = 0;
        for (std::size_t axis = array.shape.size(); axis-- > 0;)
            from = from * array.shape[axis] + place[axis];
        std::memcpy(made.data() + i * width, array.body.data() + from * width, width);
        for (std::size_t axis = array.shape.size(); axis-- > 0;) {
            if (++place[axis] < array.shape[axis]) break;
            place[axis] = 0;
        }
    }
    return made;
}

}  // namespace

std::uint64_t Array::size() const {
    std::uint64_t elements = 1;
    for (std::uint64_t side : shape)
        elements *= side;
    return elements;
}

Npz::Npz(std::string_view data, std::string const& what) {
    File const file(data, what);
    for (auto const& entry : file.entries()) {
        bool by_columns = false;
        Array array = array_from(file.content(entry), file, by_columns);
        bool const many = by_columns && array.shape.size() > 1;
        if (many || reinterpret_cast<std::uintptr_t>(array.body.data()) % 8 != 0) {
            owned_.push_back(many ? by_rows(array) : std::vector<char>(array.body.begin(), array.body.end()));
            array.body = std::string_view(owned_.back().data(), owned_.back().size());
        }
        if (!arrays_.emplace(entry.name, std::move(array)).second)
            file.refuse("its entry '", entry.name, "' is there twice");
    }
}

Array const* Npz::find(std::string const& name) const {
    auto const found = arrays_.find(name);
    return found != arrays_.end() ? &found->second : nullptr;
}

std::vector<std::string> Npz::names() const {
    std::vector<std::string> found;
    for (auto const& entry : arrays_)
        found.push_back(entry.first);
    return found;
}

}  // namespace edgeosr
