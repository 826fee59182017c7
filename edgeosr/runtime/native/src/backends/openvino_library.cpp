#include "backends/openvino_library.h"

#include <dlfcn.h>

#include <fstream>

#include "backends/find_library.h"

namespace edgeosr::ov {
namespace {

Library opened(void* handle, std::string const& path) {
    Library made;
    made.path = path;
    for_each_function(made.api, [&](char const* name, auto* place) {
        void* const found = dlsym(handle, name);
        if (found == nullptr)
            fail(EDGEOSR_NO_BACKEND,
                 path,
                 " is no OpenVINO that can be used: it has no function ",
                 name,
                 "; name libopenvino_c.so of OpenVINO 2023 or later itself");
        *place = reinterpret_cast<std::decay_t<decltype(*place)>>(found);
    });
    SameSignalStack const same;
    Version version{};
    require(made, made.api.version(&version), "say its version");
    made.version = version.number;
    made.version = made.version.substr(0, made.version.find('-'));
    made.api.free_version(&version);
    require(made, made.api.create_core(&made.core), "start");
    return made;
}

std::string property(Library const& library, char const* key) {
    SameSignalStack const same;
    char* value = nullptr;
    require(library, library.api.core_property(library.core, "CPU", key, &value), "describe the processor");
    std::string const made = value;
    library.api.free_text(value);
    return made;
}

/// Tell whether a word is in a text whose words are apart by spaces or commas.
bool has_word(std::string const& text, std::string const& word) {
    auto const letter = [](char each) { return each != ' ' && each != ',' && each != '\t'; };
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
        std::size_t const end = at + word.size();
        if ((at == 0 || !letter(text[at - 1])) && (end == text.size() || !letter(text[end]))) return true;
    }
    return false;
}

/// The instruction sets that Linux lists of the first processor; "" where it lists none.
std::string processor_flags() {
    std::ifstream lines("/proc/cpuinfo");
    for (std::string line; std::getline(lines, line);)
        if (line.compare(0, 5, "flags") == 0) return line.substr(std::min(line.find(':') + 1, line.size()));
    return "";
}

}  // namespace

void require(Library const& library, int status, char const* what, std::string_view file) {
    if (status == kOk) return;
    char const* text = library.api.last_error();
    std::string const said = text != nullptr ? text : "";
    if (text != nullptr) library.api.free_text(text);
    // The third is said where no thread can be started, for want of memory or of threads (EAGAIN); the last
    // of a library of its own that found no room, which lies beside the one that is open.
    bool memory = false;
    for (auto words :
         {"bad_alloc", "allocate memory", "Resource temporarily unavailable", "failed to map segment"})
        memory = memory || said.find(words) != std::string::npos;
    fail(memory ? EDGEOSR_NO_MEMORY : EDGEOSR_BACKEND_FAILED,
         "OpenVINO ",
         library.version,
         " could not ",
         what,
         file,
         ": ",
         said.empty() ? joined("status ", status) : shown(said, 600),
         memory ? "; give the process more memory or threads, or take the back end onnxruntime"
                : "; take the back end onnxruntime, or another version of OpenVINO");
}

Library const& library(std::string const& named) {
    static Sought const sought{"EDGEOSR_OPENVINO",
                               {"libopenvino_c.so"},
                               "OpenVINO was not found",
                               "install openvino (its wheel holds openvino/libs/libopenvino_c.so.*), and "
                               "name the file in EDGEOSR_OPENVINO "
                               "or in backend_library of the options"};
    return find_library<Library>(sought, named, opened);
}

char const* name_of(BodyPrecision precision) {
    static char const* const kNames[] = {"f32", "bf16", "int8"};
    return kNames[static_cast<int>(precision)];
}

std::string why_not(Library const& library, BodyPrecision precision) {
    std::string const name = property(library, "FULL_DEVICE_NAME");
    if (precision == BodyPrecision::kBf16 &&
        !has_word(property(library, "OPTIMIZATION_CAPABILITIES"), "BF16"))
        return joined("the processor (", name, ") has no bf16 instructions (avx512_bf16 or amx_bf16)");
    std::string const flags = processor_flags();
    bool vnni = flags.empty();
    for (auto flag : {"avx512_vnni", "avx_vnni", "amx_int8"})
        vnni = vnni || has_word(flags, flag);
    if (precision == BodyPrecision::kInt8 && !vnni)
        return joined("the processor (", name, ") has no VNNI (avx512_vnni, avx_vnni or amx_int8)");
    return "";
}

}  // namespace edgeosr::ov
