#include "backends/tensorrt.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "backends/find_library.h"
#include "backends/tensorrt_abi.h"
#include "base/sha256.h"

namespace edgeosr {
namespace {

using Plugin = edgeosr_tensorrt_plugin;
using Words = edgeosr_tensorrt_words;

constexpr char kFile[] = "libedgeosr_tensorrt.so";

struct Opened {
    Plugin const* plugin = nullptr;
};

Opened opened(void* handle, std::string const& path) {
    auto const entry =
        reinterpret_cast<edgeosr_tensorrt_plugin_function*>(dlsym(handle, EDGEOSR_TENSORRT_ENTRY));
    Plugin const* const found = entry != nullptr ? entry(EDGEOSR_TENSORRT_ABI) : nullptr;
    if (found == nullptr || found->abi != EDGEOSR_TENSORRT_ABI || found->table_bytes != sizeof(Plugin))
        fail(EDGEOSR_NO_BACKEND,
             path,
             entry != nullptr ? " is of another version than this library" : " is no plug-in of edgeosr",
             " (plug-in ABI ",
             EDGEOSR_TENSORRT_ABI,
             " is needed); build both from one version, see docs/embed-c.md");
    return {found};
}

/// Return the plug-in: of EDGEOSR_TENSORRT_PLUGIN, beside this library, or where the system looks.
Plugin const& plugin() {
    static Sought const sought = [] {
        Sought made{
            "EDGEOSR_TENSORRT_PLUGIN",
            {kFile},
            "the plug-in that runs TensorRT was not found",
            "build it where TensorRT's headers are (docs/embed-c.md) and lay it beside libedgeosr, or "
            "name its file in EDGEOSR_TENSORRT_PLUGIN"};
        Dl_info here;
        if (dladdr(reinterpret_cast<void const*>(&opened), &here) != 0 && here.dli_fname != nullptr) {
            std::string const path = here.dli_fname;
            std::size_t const end = path.rfind('/');
            if (end != std::string::npos)
                made.usual.insert(made.usual.begin(), path.substr(0, end + 1) + kFile);
        }
        return made;
    }();
    return *find_library<Opened>(sought, "", opened).plugin;
}

void require(std::int32_t status, Words const& words) {
    if (status == EDGEOSR_OK) return;
    bool const known = status > EDGEOSR_OK && status <= EDGEOSR_INTERNAL;
    fail(known ? static_cast<edgeosr_status>(status) : EDGEOSR_INTERNAL, std::string_view(words.text));
}

class TensorRt final : public Backend {
  public:
    TensorRt(Plugin const& plugin, edgeosr_tensorrt_bundle const& bundle, Size frame)
        : plugin_(plugin), frame_(frame) {
        Words words{};
        require(plugin_.open(&bundle, &engine_, &words), words);
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

/// The bytes of a listed engine; a name in the list is a plain one.
Bytes plan_of(Bundle const& bundle, EngineRecord const& record) {
    Bytes plan = read_plain_file(bundle.path + "/engines", record.file, record.bytes, record.bytes);
    if (sha256_hex(plan.data(), plan.size()) != record.sha256)
        fail(EDGEOSR_BAD_BUNDLE,
             bundle.path,
             "/engines/",
             record.file,
             " is not the engine that was built; build it again: edgeosr build BUNDLE");
    return plan;
}

}  // namespace

bool has_tensorrt_engine(Manifest const& manifest) {
    return manifest.backbone && manifest.threshold.by_class.empty() && !manifest.engines.empty();
}

std::unique_ptr<Backend> open_tensorrt(Bundle const& bundle, BackendOptions const& options) {
    Manifest const& manifest = bundle.manifest;
    if (!manifest.backbone || !manifest.threshold.by_class.empty())
        fail(EDGEOSR_NO_BACKEND,
             bundle.path,
             manifest.backbone ? " has a threshold a class, which engines do not take; export it with "
                                 "--threshold-rule common"
                               : " has no typed backbone, so there is no engine of it; export it with "
                                 "--engine fp16",
             ", or take the back end onnxruntime");
    Plugin const& table = plugin();
    std::vector<std::vector<char const*>> targets(manifest.engines.size());
    std::vector<edgeosr_tensorrt_record> records;
    std::string_view backbone;
    for (auto const& file : manifest.files)
        if (file.name == "backbone.onnx") backbone = file.sha256;
    for (std::size_t i = 0; i < manifest.engines.size(); ++i) {
        EngineRecord const& one = manifest.engines[i];
        for (auto const& target : one.targets)
            targets[i].push_back(target.c_str());
        records.push_back({one.file.c_str(),
                           one.version.c_str(),
                           one.device.c_str(),
                           one.created.c_str(),
                           targets[i].data(),
                           targets[i].size(),
                           one.bytes,
                           one.backbone == backbone ? 1 : 0,
                           0});
    }
    std::size_t chosen = 0;
    Words words{};
    require(table.choose(options.library.c_str(), records.data(), records.size(), &chosen, &words), words);
    EngineRecord const& record = manifest.engines[std::min(chosen, records.size() - 1)];
    Bytes const plan = plan_of(bundle, record);
    std::string_view const scorer = bundle.file("scorer.npz");
    return std::make_unique<TensorRt>(
        table,
        edgeosr_tensorrt_bundle{bundle.path.c_str(),
                                record.file.c_str(),
                                options.library.c_str(),
                                plan.data(),
                                scorer.data(),
                                plan.size(),
                                scorer.size(),
                                static_cast<std::int32_t>(manifest.backbone->ending),
                                manifest.backbone->logits ? 1 : 0,
                                manifest.backbone->half ? 1 : 0,
                                static_cast<std::int32_t>(manifest.fusion.parts.size())},
        record.frame);
}

}  // namespace edgeosr
