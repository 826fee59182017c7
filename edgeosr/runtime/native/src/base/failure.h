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

void append(std::string& text, std::string_view part);
void append(std::string& text, double number);        // as %.9g
void append_exact(std::string& text, double number);  // as %.17g, from which the same number is read
void append_whole(std::string& text, long long number);
void append_whole(std::string& text, unsigned long long number);

/// One text of words and numbers.
template <class... Parts>
std::string joined(Parts const&... parts) {
    std::string text;
    auto add = [&text](auto const& part) {
        using Part = std::decay_t<decltype(part)>;
        if constexpr (std::is_integral_v<Part> && std::is_signed_v<Part>)
            append_whole(text, static_cast<long long>(part));
        else if constexpr (std::is_integral_v<Part>)
            append_whole(text, static_cast<unsigned long long>(part));
        else if constexpr (std::is_floating_point_v<Part>)
            append(text, static_cast<double>(part));
        else
            append(text, std::string_view(part));
    };
    (add(parts), ...);
    return text;
}

/// Throw a Failure of this status whose text is the parts in a row.
template <class... Parts>
[[noreturn]] void fail(edgeosr_status status, Parts const&... parts) {
    throw Failure(status, joined(parts...));
}

/// Throw a failure again, which begins with the name of a file; with the folder before it, unless that is "".
[[noreturn]] void fail_within(std::string const& folder, Failure const& failure);

/// A text from outside, for a message: short, and without what a terminal would act upon.
std::string shown(std::string_view text, std::size_t most = 60);

}  // namespace edgeosr
