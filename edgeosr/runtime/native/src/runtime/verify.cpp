// The golden frames through an open back end, and what a runtime says of itself.
#include <cmath>

#include "base/failure.h"
#include "bundle/golden.h"
#include "runtime/agreement.h"
#include "runtime/runtime.h"

namespace edgeosr {
namespace {

/// Keeps the rows of a call as verdicts to compare.
class Collected final : public RowSink {
  public:
    Collected(std::vector<Found>& found,
              std::vector<std::size_t> const& frames,
              std::size_t parts,
              bool batched,
              std::vector<double> const& limits,
              std::size_t classes)
        : found_(found),
          frames_(frames),
          parts_(parts),
          batched_(batched),
          limits_(limits),
          classes_(classes) {}

    void take(Rows const& rows) override {
        for (std::size_t i = 0; i < rows.count; ++i) {
            if (rows.label[i] < 0 || static_cast<std::size_t>(rows.label[i]) >= classes_)
                fail(EDGEOSR_BAD_BUNDLE,
                     "the network gave class ",
                     rows.label[i],
                     ", but its manifest names ",
                     classes_,
                     " classes; export the bundle again");
            Found one;
            one.frame = frames_[i];
            one.batched = batched_;
            one.index = rows.label[i];
            one.score = rows.score[i];
            one.values.assign(rows.values + i * parts_, rows.values + (i + 1) * parts_);
            one.finite = std::isfinite(one.score);
            for (float value : one.values)
                one.finite = one.finite && std::isfinite(value);
            double const limit =
                limits_.size() == 1 ? limits_[0] : limits_[static_cast<std::size_t>(one.index)];
            one.accepted = one.finite && static_cast<double>(one.score) <= limit;
            found_.push_back(std::move(one));
        }
    }

  private:
    std::vector<Found>& found_;
    std::vector<std::size_t> const& frames_;
    std::size_t parts_;
    bool batched_;
    std::vector<double> const& limits_;
    std::size_t classes_;
};

class GoldenRun {
  public:
    GoldenRun(Loaded& loaded, Golden const& golden, std::vector<double> const& limits, double limit_s)
        : loaded_(loaded), golden_(golden), limits_(limits), limit_s_(limit_s) {}

    std::vector<Found> found() {
        for (std::size_t i = 0; i < golden_.count; ++i)
            judge({i}, false);
        std::size_t const most = frames_at_once(golden_.size);
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
        Collected sink(found_, indices, loaded_.parts.size(), batched, limits_, loaded_.classes.size());
        loaded_.backend->run(Frames(frames.data(), frames.size(), loaded_.manifest.frame), sink, limit_s_);
    }

    Loaded& loaded_;
    Golden const& golden_;
    std::vector<double> const& limits_;
    double limit_s_;
    std::vector<std::uint8_t> pixels_;
    std::vector<Found> found_;
};

void put_text(std::string& json, std::string_view text) {
    json.push_back('"');
    for (char letter : text) {
        auto const byte = static_cast<unsigned char>(letter);
        if (letter == '"' || letter == '\\')
            json += joined("\\", std::string_view(&letter, 1));
        else if (byte < 0x20)
            json += joined("\\u00",
                           std::string_view(byte < 16 ? "0" : "1"),
                           std::string_view(&"0123456789abcdef"[byte & 15], 1));
        else
            json.push_back(letter);
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

}  // namespace

void require_golden_verdicts(Loaded& loaded, double limit_s, edgeosr_verification* out) {
    Golden const golden = read_golden(loaded.golden.text(), loaded.manifest);
    std::vector<double> const limits = calibrated(loaded.manifest);
    bool const body = loaded.backend->runs_body();
    Expected const& expected = body ? golden.body : golden.portable;
    Band const band = body ? engine_band(golden.body_rounding) : same_graph_band(loaded.parts.size());
    Agreement const result =
        agreement(golden, expected, band, GoldenRun(loaded, golden, limits, limit_s).found(), loaded.manifest, limits);
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
             " does not decide here as where it was made (",
             result.differing,
             " of ",
             2 * golden.count,
             " golden verdicts differ): ",
             result.lines.empty() ? "none can be told" : result.lines[0],
             "; do not use it with ",
             loaded.backend->library(),
             "; try another version of it");
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
    put_text(json, loaded.backend->runs_body() ? "body.onnx" : "model.onnx");
    json += ", \"why\": ";
    put_text(json, loaded.why);
    json += ", \"classes\": ";
    put_texts(json, manifest.classes);
    json += ", \"parts\": ";
    put_texts(json, manifest.fusion.parts);
    json += ", \"frame\": ";
    json +=
        manifest.frame ? joined("[", manifest.frame->height_px, ", ", manifest.frame->width_px, "]") : "null";
    json += joined(
        ", \"input\": [", manifest.preprocessing.height_px, ", ", manifest.preprocessing.width_px, "]");
    json += ", \"thresholds\": [";
    for (std::size_t i = 0; i < limits.size(); ++i) {
        json += i > 0 ? ", " : "";
        if (std::isfinite(limits[i]))
            append(json, limits[i]);
        else
            json += limits[i] > 0 ? "\"inf\"" : "\"-inf\"";  // JSON has no infinity
    }
    return json + "]}";
}

}  // namespace edgeosr
