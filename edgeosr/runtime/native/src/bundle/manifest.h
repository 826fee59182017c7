// The bundle's manifest: the rules of edgeosr/bundle/manifest.py, field by field. Kept is what judging needs.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bundle/json.h"
#include "edgeosr.h"
#include "front_end/front_end.h"

namespace edgeosr {

constexpr std::uint64_t kManifestLimit = 4u << 20;  // bytes

static_assert(kMostParts == EDGEOSR_MOST_PARTS, "the header's number is Python's");

struct FileRecord {
    std::string name, sha256;
    std::uint64_t bytes = 0;
};

struct Fusion {
    std::vector<std::string> parts;
    std::vector<double> means, stds, weights;
};

struct Threshold {
    double value = 0;
    std::vector<double> by_class;  // empty: all have value
};

enum class Head { kCosine, kLinear, kExternal };
enum class Ending { kMap, kTangents, kEmbedding };
enum class BodyPrecision { kF32, kBf16, kInt8 };

struct BackboneRecord {
    std::string precision;  // fp32, fp16 or int8
    Ending ending = Ending::kMap;
    bool logits = false;
    bool half = false;  // map, embedding and tangents are float16
    std::optional<Fusion> fusion;
    std::optional<Threshold> threshold;
};

/// body.onnx, the network between the ends for OpenVINO: pixels in, float32; what is scored out, float32.
struct BodyRecord {
    BodyPrecision precision = BodyPrecision::kF32;  // computed in it; int8: of Q/DQ pairs, the rest f32
    Ending ending = Ending::kMap;
    bool logits = false;
    std::optional<Fusion> fusion;        // fitted on this body; none: the bundle's own
    std::optional<Threshold> threshold;  // with fusion, or neither
};

struct Size {
    int height_px = 0, width_px = 0;
};

struct Manifest {
    std::string name, edgeosr, created;
    std::vector<std::string> classes;
    Preprocessing preprocessing;
    std::optional<Size> frame;  // the only frames taken
    std::uint64_t dimension = 0;
    Head head = Head::kCosine;
    Fusion fusion;
    Threshold threshold;
    std::optional<BackboneRecord> backbone;
    std::optional<BodyRecord> body;
    std::size_t engines = 0;  // of TensorRT; those of TensorRT-RTX are checked alone
    std::vector<FileRecord>
        files;  // model.onnx, scorer.npz, golden.npz; backbone.onnx and body.onnx of theirs
};

/// Check a manifest. document: what to call it in messages. Throws Failure.
///
/// Two things Python checks and this does not: the packed groups of the training images (data.groups), which
/// nothing here unpacks, and forms of ISO 8601 that edgeosr never writes, which are refused.
Manifest parse_manifest(std::string_view data, std::string const& document);

// The records, each by its own reader; those that judging does not need are checked and let go.
Preprocessing preprocessing_from_json(JsonNode const& node);
Fusion fusion_from_json(JsonNode const& node);
Threshold threshold_from_json(JsonNode const& node, std::optional<std::size_t> classes);
BackboneRecord backbone_from_json(JsonNode const& node, std::optional<std::size_t> classes);
BodyRecord body_from_json(JsonNode const& node);
/// Return how many are of TensorRT.
std::size_t require_engines(JsonNode const& node);
void require_jacobian(JsonNode const& node);
Head head_from_json(JsonNode const& node);
std::uint64_t require_discriminator(JsonNode const& node);  // returns the first of its layers
void require_data(JsonNode const& node, std::vector<std::string> const& classes);
void require_outliers(JsonNode const& node);
void require_left_out(JsonNode const& node, std::vector<std::string> const& classes);
Size frame_from_json(JsonNode const& node);
bool is_part_name(std::string_view text);

}  // namespace edgeosr
