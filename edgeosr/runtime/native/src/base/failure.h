// What goes wrong inside the library: a status and a text. Caught at the C boundary, never outside of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>

#include "edgeosr.h"

namespace edgeosr {

/// Thrown by everything here; the text says what was expected, what came, and what to do.
class Failure : public std::exception {
  public:
    Failure(edgeosr_status status, std::string text) : status_(status), text_(std::move(text)) {}
    char const* what() const noexcept override { return text_.c_str(); }
    edgeosr_status status() const noexcept { return status_; }

  private:
    edgeosr_status status_;
    std::string text_;
};

/// Ends a message of too little memory; what else helps depends on the call, which adds it (c_api.cpp).
constexpr char kMoreMemory[] = "; give the process more memory";

void append_exact(std::string& text, double number);  // as %.17g, from which the same number is read

/// Words or a number; so that a message is a list at its place, and not a function of its own.
class Piece {
  public:
    template <class Any>
    Piece(Any const& part) {
        if constexpr (std::is_integral_v<Any> && std::is_signed_v<Any>) {
            kind_ = Kind::kSigned;
            signed_ = part;
        } else if constexpr (std::is_integral_v<Any>) {
            kind_ = Kind::kUnsigned;
            unsigned_ = part;
        } else if constexpr (std::is_floating_point_v<Any>) {
            kind_ = Kind::kReal;
            real_ = static_cast<double>(part);
        } else {
            kind_ = Kind::kWords;
            words_ = std::string_view(part);
        }
    }
    void append_to(std::string& text) const;

  private:
    enum class Kind { kWords, kSigned, kUnsigned, kReal } kind_;
    union {
        std::string_view words_;
        long long signed_;
        unsigned long long unsigned_;
        double real_;
    };
};

std::string joined_pieces(Piece const* pieces, std::size_t count);
[[noreturn]] void fail_pieces(edgeosr_status status, Piece const* pieces, std::size_t count);

/// One text of words and numbers.
template <class... Parts>
std::string joined(Parts const&... parts) {
    Piece const list[] = {parts...};
    return joined_pieces(list, sizeof...(parts));
}

/// Throw a Failure of this status whose text is the parts in a row.
template <class... Parts>
[[noreturn]] void fail(edgeosr_status status, Parts const&... parts) {
    Piece const list[] = {parts...};
    fail_pieces(status, list, sizeof...(parts));
}

/// Throw a failure again, which begins with the name of a file; with the folder before it, unless that is "".
[[noreturn]] void fail_within(std::string const& folder, Failure const& failure);

/// Fill room with as much of a text as it holds, whole letters of UTF-8 and a zero behind them.
void put_words(char* room, std::size_t bytes, std::string_view text) noexcept;

/// A text from outside, for a message: short, and without what a terminal would act upon.
std::string shown(std::string_view text, std::size_t most = 60);

}  // namespace edgeosr
