// The readers one by one, for tests that give them what they give Python's. Not part of the library.
#include <cstring>
#include <sstream>

#include "base/failure.h"
#include "base/sha256.h"
#include "bundle/golden.h"
#include "bundle/manifest.h"
#include "bundle/npz.h"
#include "bundle/onnx/rules.h"
#include "bundle/onnx/wire.h"
#include "bundle/unicode.h"
#include "runtime/agreement.h"
#include "runtime/frames.h"
#include "scoring/score.h"

namespace {

/// Run; return 0, or a status with its text in `said`.
template <class Work>
int guarded(char* said, std::size_t room, Work&& work) {
    said[0] = '\0';
    try {
        work();
        return 0;
    } catch (edgeosr::Failure const& failure) {
        std::strncpy(said, failure.what(), room - 1);
        said[room - 1] = '\0';
        return failure.status();
    }
}

/// One line each: in|out NAME TYPE OPEN BATCH SIZE..., or default NAME.
edgeosr::onnx::GraphContract contract_from(std::string const& text, std::vector<std::string>& names) {
    edgeosr::onnx::GraphContract made;
    std::istringstream lines(text);
    std::string line;
    names.reserve(64);
    while (std::getline(lines, line)) {
        std::istringstream words(line);
        std::string kind, name;
        words >> kind >> name;
        names.push_back(name);
        if (kind == "default") {
            made.defaults.insert(names.back());
            continue;
        }
        edgeosr::onnx::TensorContract tensor;
        words >> tensor.type >> tensor.open_axes >> tensor.batch;
        for (std::int64_t size; words >> size;)
            tensor.shape.push_back(size);
        (kind == "in" ? made.inputs : made.outputs)[names.back()] = tensor;
    }
    return made;
}

}  // namespace

extern "C" {

EDGEOSR_API int edgeosr_test_manifest(char const* data, std::size_t bytes, char* said, std::size_t room) {
    return guarded(said, room, [&] { edgeosr::parse_manifest({data, bytes}, "manifest.json"); });
}

EDGEOSR_API int edgeosr_test_graph(
    char const* data, std::size_t bytes, char const* contract, char* said, std::size_t room) {
    return guarded(said, room, [&] {
        std::vector<std::string> names;
        edgeosr::onnx::require_graph({data, bytes}, contract_from(contract, names));
    });
}

EDGEOSR_API int edgeosr_test_wire(char const* data, std::size_t bytes, char* said, std::size_t room) {
    return guarded(said, room, [&] { edgeosr::onnx::parse({data, bytes}, edgeosr::onnx::model_table()); });
}

EDGEOSR_API int edgeosr_test_golden(char const* data,
                                    std::size_t bytes,
                                    char const* manifest,
                                    std::size_t manifest_bytes,
                                    char* said,
                                    std::size_t room) {
    return guarded(said, room, [&] {
        auto const of = edgeosr::parse_manifest({manifest, manifest_bytes}, "manifest.json");
        edgeosr::read_golden({data, bytes}, of, of.threshold);
    });
}

EDGEOSR_API int edgeosr_test_npz(char const* data, std::size_t bytes, char* said, std::size_t room) {
    return guarded(said, room, [&] { edgeosr::Npz({data, bytes}, "it"); });
}

EDGEOSR_API int edgeosr_test_scorer(char const* data, std::size_t bytes, char* said, std::size_t room) {
    return guarded(said, room, [&] { edgeosr::read_scorer({data, bytes}, nullptr); });
}

EDGEOSR_API int edgeosr_test_is_kinked(char const* data, std::size_t bytes) {
    return edgeosr::is_kinked(edgeosr::read_scorer({data, bytes}, nullptr)) ? 1 : 0;
}

/// Hold rows, [count, 4] frame, batch, place, label, with their scores and values [count, parts], against
/// golden.npz without any rounding, of an engine or, with `same_graph`, of model.onnx, whose activation has a
/// kink if that is 2; `said`: what differs, a line each.
EDGEOSR_API int edgeosr_test_agreement(char const* data,
                                       std::size_t bytes,
                                       char const* manifest,
                                       std::size_t manifest_bytes,
                                       std::size_t count,
                                       std::int64_t const* rows,
                                       float const* score,
                                       float const* values,
                                       int same_graph,
                                       char* said,
                                       std::size_t room) {
    return guarded(said, room, [&] {
        auto const of = edgeosr::parse_manifest({manifest, manifest_bytes}, "manifest.json");
        auto const golden = edgeosr::read_golden({data, bytes}, of, of.threshold);
        std::size_t const parts = of.fusion.parts.size();
        std::vector<edgeosr::Found> found;
        for (std::size_t i = 0; i < count; ++i) {
            edgeosr::Found one;
            one.frame = static_cast<std::size_t>(rows[4 * i]);
            one.batch = static_cast<std::size_t>(rows[4 * i + 1]);
            one.place = static_cast<std::size_t>(rows[4 * i + 2]);
            one.index = rows[4 * i + 3];
            one.score = score[i];
            one.values.assign(values + i * parts, values + (i + 1) * parts);
            one.finite = true;
            one.accepted = static_cast<double>(one.score) <= of.threshold.value;
            found.push_back(one);
        }
        auto const band = same_graph != 0 ? edgeosr::same_graph_band(of.fusion.parts, same_graph == 2)
                                          : edgeosr::engine_band({0, 0, std::vector<double>(parts, 0)});
        std::string lines;
        for (auto const& line :
             edgeosr::agreement(golden, golden.portable, band, found, of, {of.threshold.value}).lines)
            lines += line + "\n";
        if (!lines.empty()) edgeosr::fail(EDGEOSR_NOT_VERIFIED, lines);
    });
}

/// Score `count` frames of NCHW maps, or embeddings [count, D] with tangents [K, count, D].
EDGEOSR_API int edgeosr_test_score(char const* data,
                                   std::size_t bytes,
                                   std::size_t count,
                                   float const* map,
                                   int height,
                                   int width,
                                   float const* embedding,
                                   float const* tangents,
                                   float const* logits,
                                   edgeosr::Scored* out,
                                   char* said,
                                   std::size_t room) {
    return guarded(said, room, [&] {
        edgeosr::Scorer const scorer = edgeosr::read_scorer({data, bytes}, nullptr);
        edgeosr::ScoreScratch scratch;
        std::size_t const size = scorer.dimension;
        for (std::size_t i = 0; i < count; ++i) {
            edgeosr::ScoreInput input;
            if (map != nullptr)
                input.map =
                    map + i * size * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
            input.height = height;
            input.width = width;
            if (embedding != nullptr) input.embedding = embedding + i * size;
            if (tangents != nullptr) input.tangents = tangents + i * size;
            input.tangent_stride = count * size;
            if (logits != nullptr) input.logits = logits + i * scorer.classes;
            out[i] = edgeosr::score(scorer, input, scratch);
        }
    });
}

EDGEOSR_API int edgeosr_test_reads_as_unknown(char const* name) {
    return edgeosr::reads_as_unknown(name) ? 1 : 0;
}

EDGEOSR_API int edgeosr_test_is_printable(std::uint32_t point) {
    return edgeosr::is_printable(point) ? 1 : 0;
}

EDGEOSR_API void edgeosr_test_sha256(std::uint8_t const* data, std::size_t bytes, int portable, char* out) {
    std::string const digest =
        portable != 0 ? edgeosr::sha256_hex_portable(data, bytes) : edgeosr::sha256_hex(data, bytes);
    std::memcpy(out, digest.c_str(), digest.size() + 1);
}

}  // extern "C"
