// A program point: where in the kernel's source a primitive was called.
#pragma once

namespace simt {

/// Two calls on one line are one point.
struct Site {
    char const* file = "?";
    int line = 0;
    static constexpr Site here(char const* file = __builtin_FILE(), int line = __builtin_LINE()) {
        return Site{file, line};
    }
    bool operator==(Site const& other) const { return line == other.line && file == other.file; }
};

}  // namespace simt
