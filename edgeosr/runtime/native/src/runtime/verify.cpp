// The golden frames through an open back end, and what a runtime says of itself.
#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "bundle/golden.h"
#include "bundle/unicode.h"
#include "runtime/agreement.h"
#include "runtime/decision.h"
#include "runtime/runtime.h"

namespace edgeosr {
namespace {

/// Keeps the rows of a call as verdicts to compare.
class Collected final : public RowSink {
  public:
    Collected(Loaded const& loaded,
              std::vector<double> const& limits,
              std::vector<std::size_t> const& frames,
              bool batched,
              std::vector<Found>& found)
        : loaded_(loaded), limits_(limits), frames_(frames), batched_(batched), found_(found) {}

    void take(Rows const& rows) override {
        require_classes(rows, loaded_.classes.size(), loaded_.path);
        std::size_t const parts = loaded_.parts.size();
        for (std::size_t i = 0; i < rows.count; ++i) {
            Decision const decided = decision(rows, i, parts, limits_);
            float const* const values = rows.values + i * parts;
            found_.push_back({frames_[i],
                              batched_ ? rows.count : 0,
                              i,
                              rows.label[i],
                              rows.score[i],
                              std::vector<float>(values, values + parts),
                              decided.finite,
                              decided.accepted});
        }
    }

  private:
    Loaded const& loaded_;
    std::vector<double> const& limits_;
    std::vector<std::size_t> const& frames_;
    bool batched_;
    std::vector<Found>& found_;
};

/// Batches are for the golden frames alone: an application's calls need none of what they took.
struct LetGo {
    Backend& backend;
    Size size;
    ~LetGo() {
        try {
            backend.let_go(size);
        } catch (std::exception const&) {
            // Without memory even for that: it stays until the bundle is let go.
        }
    }
};

class GoldenRun {
  public:
    GoldenRun(Loaded& loaded, Golden const& golden, std::vector<double> const& limits, double limit_s)
        : loaded_(loaded), golden_(golden), limits_(limits), limit_s_(limit_s) {}

    std::vector<Found> found() {
        LetGo const after{*loaded_.backend, golden_.size};
        for (std::size_t i = 0; i < golden_.count; ++i)
            judge({i}, false);
        std::size_t const most = frames_at_once(golden_.size, loaded_.backend->graph() == Graph::kBackbone);
        for (bool blue_first : {false, true}) {
            std::vector<std::size_t> batch;
            for (std::size_t i = 0; i < golden_.count; ++i) {
                if (golden_.bgr[i] == blue_first) batch.push_back(i);
                if (batch.size() == most || (i + 1 == golden_.count && !batch.empty())) {
                    judge(batch, true);
                    batch.clear();
                }
            }
        }
        return std::move(found_);
    }

  private:
    void judge(std::vector<std::size_t> const& indices, bool batched) {
        std::size_t const bytes = static_cast<std::size_t>(golden_.size.height_px) *
                                  static_cast<std::size_t>(golden_.size.width_px) * 3;
        pixels_.resize(bytes * indices.size());
        std::vector<edgeosr_frame> frames;
        for (std::size_t i = 0; i < indices.size(); ++i) {
            enlarge(golden_, indices[i], pixels_.data() + i * bytes);
            std::int32_t const format = golden_.bgr[indices[i]] ? EDGEOSR_BGR8 : EDGEOSR_RGB8;
            frames.push_back({sizeof(edgeosr_frame),
                              format,
                              golden_.size.height_px,
                              golden_.size.width_px,
                              {pixels_.data() + i * bytes, nullptr},
                              {0, 0}});
        }
        Collected sink(loaded_, limits_, indices, batched, found_);
        loaded_.backend->run(Frames(frames.data(), frames.size(), loaded_.manifest.frame), sink, limit_s_);
    }

    Loaded& loaded_;
    Golden const& golden_;
    std::vector<double> const& limits_;
    double limit_s_;
    std::vector<std::uint8_t> pixels_;
    std::vector<Found> found_;
};

/// Bytes of the first letter of a text that is not empty; 0 if it is not UTF-8.
std::size_t letter_bytes(std::string_view text) {
    auto const byte = static_cast<unsigned char>(text[0]);
    std::size_t const bytes = byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
    return bytes <= text.size() && is_utf8(text.substr(0, bytes)) ? bytes : 0;
}

void put_text(std::string& json, std::string_view text) {
    json.push_back('"');
    while (!text.empty()) {
        std::size_t const bytes = letter_bytes(text);
        auto const byte = static_cast<unsigned char>(text[0]);
        if (bytes == 0)  // such as in a path, which may be any bytes
            json += "\\ufffd";
        else if (byte == '"' || byte == '\\')
            json += joined("\\", text.substr(0, 1));
        else if (byte < 0x20)
            json += joined(
                "\\u00", byte < 16 ? "0" : "1", std::string_view("0123456789abcdef").substr(byte & 15, 1));
        else
            json += text.substr(0, bytes);
        text.remove_prefix(std::max<std::size_t>(bytes, 1));
    }
    json.push_back('"');
}

void put_texts(std::string& json, std::vector<std::string> const& texts) {
    json += "[";
    for (std::size_t i = 0; i < texts.size(); ++i) {
        if (i > 0) json += ", ";
        put_text(json, texts[i]);
    }
    json += "]";
}

/// Why the golden frames cannot be judged, if the back end takes none of their size; else "".
std::string other_size(Backend const& backend, Size golden) {
    auto const takes = backend.frame();
    if (!takes || (takes->height_px == golden.height_px && takes->width_px == golden.width_px)) return "";
    return joined("its engine takes frames of ",
                  takes->height_px,
                  "x",
                  takes->width_px,
                  ", and the golden frames are of ",
                  golden.height_px,
                  "x",
                  golden.width_px,
                  ": build one for these, or judge them with edgeosr verify, in Python");
}

}  // namespace

void require_golden_verdicts(Loaded& loaded, double limit_s, edgeosr_verification* out, bool may_miss) {
    Golden const golden = read_golden(loaded.golden.text(), loaded.manifest, loaded.portable, loaded.path);
    std::vector<double> const limits = calibrated(loaded.manifest);
    if (std::string const words = other_size(*loaded.backend, golden.size); !words.empty()) {
        if (!may_miss) fail(EDGEOSR_NOT_VERIFIED, loaded.path, " cannot be verified: ", words);
        loaded.why += joined("; it was not verified: ", words);
        loaded.unverified = true;
        return;
    }
    Graph const graph = loaded.backend->graph();
    Expected const& expected = graph == Graph::kModel  ? golden.portable
                               : graph == Graph::kBody ? golden.body
                                                       : golden.typed;
    Band const band = graph == Graph::kModel
                          ? same_graph_band(loaded.manifest.fusion.parts, loaded.kinked)
                          : engine_band(graph == Graph::kBody ? golden.body_rounding : golden.typed_rounding);
    Agreement const result = agreement(
        golden, expected, band, GoldenRun(loaded, golden, limits, limit_s).found(), loaded.manifest, limits);
    if (out != nullptr) {
        out->verdicts = static_cast<std::int32_t>(2 * golden.count);
        out->agreed = result.agreed;
        out->ties = result.ties;
        out->differing = result.differing;
        out->score_distance = result.distance;
        out->score_band = band.score;
    }
    if (!result.lines.empty() || result.agreed == 0)
        fail(EDGEOSR_NOT_VERIFIED,
             loaded.path,
             result.differing > 0                       ? " does not decide here as"
             : result.only_ties || result.lines.empty() ? " cannot be shown to decide here as"
                                                        : " decides here, but with other numbers than",
             " where it was made (",
             result.differing,
             " of ",
             2 * golden.count,
             " golden verdicts differ): ",
             result.lines.empty() ? "none can be told" : result.lines[0],
             "; do not use it with ",
             loaded.backend->library(),
             ": take another backend, or another version of it");
}

std::string described(Loaded const& loaded, std::vector<double> const& limits, std::uint32_t generation) {
    Manifest const& manifest = loaded.manifest;
    std::string json = "{\"path\": ";
    put_text(json, loaded.path);
    json += ", \"name\": ";
    put_text(json, manifest.name);
    json += ", \"made_by\": ";
    put_text(json, manifest.edgeosr);
    json += ", \"created\": ";
    put_text(json, manifest.created);
    json += ", \"manifest_sha256\": ";
    put_text(json, loaded.manifest_sha256);
    json += joined(", \"generation\": ", generation, ", \"backend\": ");
    put_text(json, loaded.backend->name());
    json += ", \"backend_library\": ";
    put_text(json, loaded.backend->library());
    json += ", \"graph\": ";
    Graph const graph = loaded.backend->graph();
    put_text(json,
             graph == Graph::kModel  ? "model.onnx"
             : graph == Graph::kBody ? "body.onnx"
                                     : "backbone.onnx");
    json += ", \"why\": ";
    std::string const waits = loaded.backend->why_calls_wait();
    put_text(json, waits.empty() ? loaded.why : joined(loaded.why, "; ", waits));
    json += ", \"classes\": ";
    put_texts(json, manifest.classes);
    json += ", \"parts\": ";
    put_texts(json, manifest.fusion.parts);
    json += ", \"frame\": ";
    std::optional<Size> const taken = loaded.backend->frame();
    std::optional<Size> const frame = taken ? taken : manifest.frame;
    json += frame ? joined("[", frame->height_px, ", ", frame->width_px, "]") : "null";
    json += joined(
        ", \"input\": [", manifest.preprocessing.height_px, ", ", manifest.preprocessing.width_px, "]");
    json += ", \"thresholds\": [";
    for (std::size_t i = 0; i < limits.size(); ++i) {
        json += i > 0 ? ", " : "";
        if (std::isfinite(limits[i]))
            append_exact(json, limits[i]);
        else
            json += limits[i] > 0 ? "\"inf\"" : "\"-inf\"";  // JSON has no infinity
    }
    return json + "]}";
}

}  // namespace edgeosr
