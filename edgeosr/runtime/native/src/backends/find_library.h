// The libraries that run networks: looked for by name, opened once a process and path, never closed.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/failure.h"
#include "base/file.h"

namespace edgeosr {

/// What differs between them: the variable that names a file, the usual names, and what is said if none is
/// there.
struct Sought {
    char const* variable;
    std::vector<std::string> usual;
    char const* missing;
    char const* way_out;
};

/// Return the library; `named`: a path, or "" to search; `opened(handle, path)`: its table of functions.
/// Throws Failure: EDGEOSR_NO_BACKEND.
template <typename Library>
Library const& find_library(Sought const& sought,
                            std::string const& named,
                            Library (*opened)(void*, std::string const&)) {
    // Never freed: threads of the application may still judge while the process ends.
    static auto& mutex = *new std::mutex;
    static auto& libraries = *new std::map<std::string, Library>;
    std::vector<std::string> places = sought.usual;
    char const* variable = std::getenv(sought.variable);
    if (!named.empty())
        places = {named};
    else if (variable != nullptr && variable[0] != '\0')
        places = {variable};
    std::lock_guard<std::mutex> const lock(mutex);
    std::string looked;
    std::optional<Failure> unusable;  // such as an old one, behind which a newer one may be found
    for (auto const& path : places) {
        auto const found = libraries.find(path);
        if (found != libraries.end()) return found->second;
        if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
            try {
                return libraries.emplace(path, opened(handle, path)).first->second;
            } catch (Failure const& failure) {
                if (!unusable) unusable = failure;
                continue;
            }
        }
        char const* why = dlerror();
        looked += joined(
            looked.empty() ? "" : "; ", path, " (", why != nullptr ? shown(why, 200) : "not loaded", ")");
        if (path.find('/') == std::string::npos && exists(path))
            looked += joined(": one in the current folder is named with a slash, ./", path);
    }
    if (unusable) throw Failure(*unusable);
    fail(EDGEOSR_NO_BACKEND, sought.missing, "; looked for ", looked, "; ", sought.way_out);
}

}  // namespace edgeosr
