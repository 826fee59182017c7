#include "backends/tensorrt.h"

#include <dlfcn.h>

#include <algorithm>
#include <mutex>

#include "backends/find_library.h"
#include "backends/tensorrt_abi.h"
#include "base/failure.h"

namespace edgeosr {
namespace {

using Plugin = edgeosr_tensorrt_plugin;
using Words = edgeosr_tensorrt_words;

constexpr char kFile[] = "libedgeosr_tensorrt.so";

Plugin const* table_of(void* handle, std::string const& path) {
    auto const entry =
        reinterpret_cast<edgeosr_tensorrt_plugin_function*>(dlsym(handle, EDGEOSR_TENSORRT_ENTRY));
    Plugin const* const found = entry != nullptr ? entry(EDGEOSR_TENSORRT_ABI) : nullptr;
    bool const legible =
        found != nullptr && found->abi == EDGEOSR_TENSORRT_ABI && found->table_bytes == sizeof(Plugin);
    if (!legible || std::string_view(found->version) != EDGEOSR_VERSION)
        fail(EDGEOSR_NO_BACKEND,
             path,
             entry != nullptr ? " is of another version than this library: expected " EDGEOSR_VERSION "; got "
                              : " is no plug-in of edgeosr",
             legible            ? found->version
             : entry != nullptr ? "another interface"
                                : "",
             "; build both from one version (docs/embed-c.md)");
    return found;
}

/// The folder that this library lies in, with the slash behind it; "" if the system does not say.
std::string own_folder() {
    Dl_info here;
    if (dladdr(reinterpret_cast<void const*>(&table_of), &here) == 0 || here.dli_fname == nullptr) return "";
    std::string const path = here.dli_fname;
    return path.substr(0, path.rfind('/') + 1);
}

/// Return the plug-in: of EDGEOSR_TENSORRT_PLUGIN, beside this library, or where the system looks. Opened
/// once a process, and never closed.
Plugin const& plugin() {
    static std::mutex& mutex = *new std::mutex;
    static Plugin const* found = nullptr;
    std::lock_guard<std::mutex> const lock(mutex);
    if (found != nullptr) return *found;
    std::string const given = named_by("EDGEOSR_TENSORRT_PLUGIN"), beside = own_folder() + kFile;
    bool const named = !given.empty();
    std::string looked;
    for (char const* path : {named ? given.c_str() : beside.c_str(), static_cast<char const*>(kFile)}) {
        if (void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)) return *(found = table_of(handle, path));
        char const* const why = dlerror();
        looked += joined(
            looked.empty() ? "" : "; ", path, " (", why != nullptr ? shown(why, 200) : "not loaded", ")");
        if (named) break;
    }
    fail(
        EDGEOSR_NO_BACKEND,
        "the plug-in that runs TensorRT was not found; looked for ",
        looked,
        "; build it where TensorRT's headers are (docs/embed-c.md) and lay it beside libedgeosr, or name its "
        "file in EDGEOSR_TENSORRT_PLUGIN",
        // The plug-in itself asks the driver before anything else.
        dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) == nullptr
            ? "; nor is there an NVIDIA driver here (libcuda.so.1 cannot be loaded), without which no engine "
              "runs: take the back end onnxruntime"
            : "");
}

void require(std::int32_t status, Words const& words) {
    if (status == EDGEOSR_OK) return;
    bool const known = status > EDGEOSR_OK && status <= EDGEOSR_INTERNAL;
    throw Failure(known ? static_cast<edgeosr_status>(status) : EDGEOSR_INTERNAL, words.text);
}

class TensorRt final : public Backend {
  public:
    TensorRt(Plugin const& plugin, edgeosr_tensorrt_bundle const& bundle) : plugin_(plugin) {
        Words words{};
        require(plugin_.open(&bundle, &engine_, &words), words);
        plugin_.frame(engine_, &frame_.height_px, &frame_.width_px);
    }
    ~TensorRt() override { plugin_.close(engine_); }
    TensorRt(TensorRt const&) = delete;
    TensorRt& operator=(TensorRt const&) = delete;

    char const* name() const override { return "tensorrt"; }
    Graph graph() const override { return Graph::kBackbone; }
    std::optional<Size> frame() const override { return frame_; }
    std::string library() const override { return plugin_.library(engine_); }

    /// TensorRT cannot be stopped, so limit_s is not kept.
    void run(Frames const& frames, RowSink& sink, double) override {
        Share share(plugin_, engine_, frames);
        for (std::size_t first = 0; first < frames.count();) {
            std::size_t const count = std::min(share.run.at_once, frames.count() - first);
            std::uint8_t* room = nullptr;
            require(plugin_.room(engine_, &share.run, count, &room, &share.words), share.words);
            for (std::size_t end = first + count; first < end; ++first, room += frames.packed_bytes())
                pack(frames.at(first), room);
            require(plugin_.judge(engine_, &share.run, frames.bgr() ? 1 : 0, &share.words), share.words);
        }
        sink.take({share.run.label, share.run.score, share.run.values, frames.count()});
    }

  private:
    struct Share {
        Share(Plugin const& plugin, edgeosr_tensorrt_engine* of, Frames const& frames)
            : table(plugin), engine(of) {
            words.text[0] = '\0';
            require(table.begin(engine, frames.count(), frames.height_px(), frames.width_px(), &run, &words),
                    words);
        }
        ~Share() { table.end(engine, &run); }
        Share(Share const&) = delete;
        Share& operator=(Share const&) = delete;

        Plugin const& table;
        edgeosr_tensorrt_engine* engine;
        edgeosr_tensorrt_run run{};
        Words words;
    };

    Plugin const& plugin_;
    edgeosr_tensorrt_engine* engine_ = nullptr;
    Size frame_;
};

}  // namespace

bool has_engine(Manifest const& manifest) {
    return manifest.engines > 0 && manifest.threshold.by_class.empty();
}

std::unique_ptr<Backend> open_tensorrt(Bundle const& bundle, BackendOptions const& options) {
    Manifest const& manifest = bundle.manifest;
    char const* const why =
        !manifest.threshold.by_class.empty()
            ? " has a threshold a class, which engines do not take; export it with --threshold-rule common "
              "--engine fp16"
        : !manifest.backbone
            ? " has no typed backbone, so there is no engine of it; export it with --engine fp16"
        : manifest.engines == 0 ? " has no engine of TensorRT (those of TensorRT-RTX run in Python alone); "
                                  "build one here: edgeosr build "
                                  "BUNDLE"
                                : nullptr;
    if (why != nullptr) fail(EDGEOSR_NO_BACKEND, bundle.path, why, ", or take the back end onnxruntime");
    std::string_view const scorer = bundle.file("scorer.npz");
    edgeosr_tensorrt_bundle const opened{bundle.path.c_str(),
                                         options.library.c_str(),
                                         bundle.manifest_text.data(),
                                         scorer.data(),
                                         bundle.manifest_text.size(),
                                         scorer.size(),
                                         static_cast<std::int32_t>(manifest.backbone->ending),
                                         manifest.backbone->logits ? 1 : 0,
                                         manifest.backbone->half ? 1 : 0,
                                         static_cast<std::int32_t>(manifest.fusion.parts.size())};
    return std::make_unique<TensorRt>(plugin(), opened);
}

}  // namespace edgeosr
