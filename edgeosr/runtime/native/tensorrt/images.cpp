#include "images.h"

#include <dirent.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "backends/find_library.h"
#include "base/failure.h"

#ifndef EDGEOSR_KERNEL_SOURCE
#error "EDGEOSR_KERNEL_SOURCE must be the digest of kernels/src that edgeosr.kernels.build.sources gives"
#endif

namespace edgeosr::trt {
namespace {

constexpr char kAgain[] = "python -m edgeosr.kernels.build_cubins";
constexpr std::uint64_t kMostBytes = 64u << 20;

/// fused_score-sm_87-cuda12.6.cubin
struct Build {
    int architecture = 0, toolkit_major = 0, toolkit_minor = 0;  // 87
    bool ptx = false;
    std::string file;
};

bool build_from_name(std::string const& name, Build& made) {
    made.file = name;
    for (bool ptx : {false, true}) {
        made.ptx = ptx;
        int const fields =
            std::sscanf(name.c_str(),
                        ptx ? "fused_score-compute_%3d-cuda%2d.%2d" : "fused_score-sm_%3d-cuda%2d.%2d",
                        &made.architecture,
                        &made.toolkit_major,
                        &made.toolkit_minor);
        // The whole name must be what its numbers make: .cubin.part, .cubin~ and .ptx.bak are no builds.
        if (fields == 3 && name == joined("fused_score-",
                                          ptx ? "compute_" : "sm_",
                                          made.architecture,
                                          "-cuda",
                                          made.toolkit_major,
                                          ".",
                                          made.toolkit_minor,
                                          ptx ? ".ptx" : ".cubin"))
            return true;
    }
    return false;
}

bool loads(Device const& device, Build const& build) {
    int const architecture = 10 * device.major + device.minor;
    if (build.ptx)  // PTX knows no compatibility of minor versions: the driver must know the toolkit itself.
        return build.architecture <= architecture &&
               (build.toolkit_major < device.driver_major ||
                (build.toolkit_major == device.driver_major && build.toolkit_minor <= device.driver_minor));
    if (build.toolkit_major > device.driver_major) return false;
    // A Tegra takes its exact architecture only; a desktop GPU also a lower one of its own generation.
    if (device.integrated) return build.architecture == architecture;
    return build.architecture / 10 == device.major && build.architecture <= architecture;
}

std::vector<std::string> folders() {
    std::string const named = named_by("EDGEOSR_CUBINS", false);
    if (!named.empty()) return {named};
    Dl_info here;
    if (dladdr(reinterpret_cast<void const*>(&loads), &here) == 0 || here.dli_fname == nullptr) return {};
    std::string const path = here.dli_fname;
    std::size_t const end = path.rfind('/');
    std::string const beside = end == std::string::npos ? "./" : path.substr(0, end + 1);
    return {beside + "cubins", beside + "../../kernels/cubins", beside + "../../../kernels/cubins"};
}

/// The digest of the source that a folder's builds were made from; "" where nothing says it.
std::string built_from(std::string const& folder) {
    try {
        Bytes const data = read_plain_file(folder, "source.sha256", std::nullopt, 100);
        return std::string(data.text().substr(0, data.text().find('\n')));
    } catch (Failure const&) {
        return "";
    }
}

std::vector<Build> builds_in(std::string const& folder) {
    std::vector<Build> made;
    if (DIR* const directory = opendir(folder.c_str())) {
        while (dirent const* entry = readdir(directory)) {
            Build build;
            if (build_from_name(entry->d_name, build)) made.push_back(build);
        }
        closedir(directory);
    }
    // Cubins first, the nearest architecture and the newest toolkit first.
    std::sort(made.begin(), made.end(), [](Build const& a, Build const& b) {
        if (a.ptx != b.ptx) return b.ptx;
        if (a.architecture != b.architecture) return a.architecture > b.architecture;
        if (a.toolkit_major != b.toolkit_major) return a.toolkit_major > b.toolkit_major;
        return a.toolkit_minor > b.toolkit_minor;
    });
    return made;
}

}  // namespace

Image image_for(Device const& device) {
    std::string looked;
    for (auto const& folder : folders()) {
        std::string const source = built_from(folder);
        std::string why = "it has no file source.sha256";
        if (source == EDGEOSR_KERNEL_SOURCE) {
            for (Build const& build : builds_in(folder)) {
                if (!loads(device, build)) continue;
                Bytes const data = read_plain_file(folder, build.file, std::nullopt, kMostBytes);
                Image made{Bytes(data.size() + 1), build.file, build.architecture};
                std::memcpy(made.data.data(), data.data(), data.size());
                made.data.data()[data.size()] = 0;
                return made;
            }
            why = "none is for this GPU and its driver";
        } else if (!source.empty()) {
            why = "they are of another version of the kernel";
        }
        looked += joined(looked.empty() ? "" : "; ", folder, " (", why, ")");
    }
    fail(EDGEOSR_NO_BACKEND,
         "there is no build of the fused kernel for ",
         device.name,
         " (",
         device.architecture(),
         ", driver of CUDA ",
         device.driver_major,
         ".",
         device.driver_minor,
         "); looked in ",
         looked,
         "; make them, on any machine with nvcc: ",
         kAgain,
         ", and lay them in cubins/ beside the plug-in, or name their folder in EDGEOSR_CUBINS");
}

}  // namespace edgeosr::trt
