// The libraries that run networks: looked for by name, opened once a process and path, never closed.
#pragma once

#include <dlfcn.h>
#include <sys/statvfs.h>

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

/// What a variable of the environment names, a path or, of a library, a name for the system to find; "" if it
/// is not set. Throws Failure: EDGEOSR_NO_BACKEND for a relative path: it would be another file once the
/// program has changed its folder, as daemons do.
inline std::string named_by(char const* variable, bool library = true) {
    char const* const value = std::getenv(variable);
    std::string named = value != nullptr ? value : "";
    if (!named.empty() && named[0] != '/' && (!library || named.find('/') != std::string::npos))
        fail(EDGEOSR_NO_BACKEND,
             variable,
             " must be a whole path",
             library ? ", or a name without a slash for the system to find" : "",
             "; got ",
             shown(named, 200),
             ": write the path from / on, which is the same file wherever the program runs");
    return named;
}

/// Tell whether memory was what a library could not be loaded for. Of a disk that is mounted noexec the
/// system says the same words.
inline bool lacked_memory(std::string const& path, std::string const& why) {
    struct statvfs disk{};
    bool const noexec = statvfs(path.c_str(), &disk) == 0 && (disk.f_flag & ST_NOEXEC) != 0;
    return why.find("Cannot allocate memory") != std::string::npos ||
           (!noexec && why.find("failed to map segment") != std::string::npos &&
            why.find("not permitted") == std::string::npos);
}

/// Return the library; `named`: a path, or "" to search; `opened(handle, path)`: its table of functions.
/// Throws Failure: EDGEOSR_NO_BACKEND, or EDGEOSR_NO_MEMORY.
template <typename Library>
Library const& find_library(Sought const& sought,
                            std::string const& named,
                            Library (*opened)(void*, std::string const&)) {
    // Never freed: threads of the application may still judge while the process ends.
    static auto& mutex = *new std::mutex;
    static auto& libraries = *new std::map<std::string, Library>;
    std::vector<std::string> places = sought.usual;
    std::string const given = named.empty() ? named_by(sought.variable) : named;
    if (!given.empty()) places = {given};
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
        char const* const said = dlerror();
        std::string const why = said != nullptr ? said : "not loaded";
        looked += joined(looked.empty() ? "" : "; ", path, " (", shown(why, 200), ")");
        if (lacked_memory(path, why))
            fail(EDGEOSR_NO_MEMORY, "there is not enough memory to load the library ", looked, kMoreMemory);
        if (path.find('/') == std::string::npos && exists(path))
            looked += named.empty() ? ": one in the current folder is named by its whole path"
                                    : joined(": one in the current folder is named with a slash, ./", path);
    }
    if (unusable) throw Failure(*unusable);
    fail(EDGEOSR_NO_BACKEND, sought.missing, "; looked for ", looked, "; ", sought.way_out);
}

}  // namespace edgeosr
