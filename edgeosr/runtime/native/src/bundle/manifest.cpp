#include "bundle/manifest.h"

#include <algorithm>
#include <iterator>

#include "base/failure.h"
#include "base/sha256.h"

namespace edgeosr {
namespace {

constexpr std::uint64_t kSchema = 5, kClassSchema = 6, kBodySchema = 7;

std::uint64_t schema_of(JsonNode const& root, std::string const& document) {
    if (!root.has("schema"))
        fail(EDGEOSR_BAD_BUNDLE,
             document,
             " is no edgeosr manifest: it has no field 'schema'; name a bundle that edgeosr export made");
    std::uint64_t const schema = root.field("schema").whole(1, kLargestWhole);
    if (schema < kSchema || schema > kBodySchema)
        fail(EDGEOSR_BAD_BUNDLE,
             document,
             " has schema ",
             schema,
             ", made by ",
             schema > kBodySchema ? "a newer" : "an older",
             " edgeosr; this one reads schema 5, 6 and 7; ",
             schema > kBodySchema ? "install a newer libedgeosr" : "export the classifier again");
    return schema;
}

std::vector<FileRecord> files_from_json(JsonNode const& node, bool backbone, bool body) {
    constexpr char const* kModel = "model.onnx";
    node.require_fields({kModel,
                         "scorer.npz",
                         "golden.npz",
                         backbone ? "backbone.onnx" : kModel,
                         body ? "body.onnx" : kModel});
    std::vector<FileRecord> records;
    // Names come from a fixed list, so that no path of the manifest's choosing is ever opened.
    for (auto const& limit : kFiles) {
        if (!node.has(limit.name)) continue;
        auto const field = node.field(limit.name);
        field.require_fields({"sha256", "bytes"});
        records.push_back({std::string(limit.name),
                           field.field("sha256").sha256(),
                           field.field("bytes").whole(1, limit.bytes)});
    }
    return records;
}

void require_known_parts(Fusion const& fusion, std::string const& document) {
    for (auto const& name : fusion.parts)
        if (std::find(std::begin(kParts), std::end(kParts), std::string_view(name)) == std::end(kParts))
            fail(EDGEOSR_BAD_BUNDLE,
                 document,
                 " lists a score part that this edgeosr does not know: ",
                 name,
                 "; install a newer libedgeosr");
}

/// The rule of edgeosr/bundle/digest.py: the digest is of the bytes, with zeros in its own place.
void require_digest(std::string_view data, std::string const& digest, std::string const& document) {
    std::string blank(data);
    for (std::size_t at = 0; (at = blank.find(digest, at)) != std::string::npos; at += digest.size())
        blank.replace(at, digest.size(), digest.size(), '0');
    std::string const found = sha256_hex(reinterpret_cast<std::uint8_t const*>(blank.data()), blank.size());
    if (found != digest)
        fail(EDGEOSR_BAD_BUNDLE,
             document,
             " was edited after the export: its digest must be ",
             found.substr(0, 12),
             "...; got ",
             digest.substr(0, 12),
             "...",
             kDamaged);
}

}  // namespace

Size frame_from_json(JsonNode const& node) {
    auto const sides = node.items(2, 2);
    std::uint64_t const height = sides[0].whole(1, kLargestSide), width = sides[1].whole(1, kLargestSide);
    if (height * width > kLargestFrame) node.refuse(joined("a frame of at most ", kLargestFrame, " pixels"));
    return {static_cast<int>(height), static_cast<int>(width)};
}

bool is_part_name(std::string_view text) {
    auto const fits = [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') || letter == '_';
    };
    return !text.empty() && text.size() <= 40 && text[0] >= 'a' && text[0] <= 'z' &&
           std::all_of(text.begin(), text.end(), fits);
}

Manifest parse_manifest(std::string_view data, std::string const& document) {
    JsonValue const value = parse_json(data, document);
    JsonNode const root(value, "", document);
    std::uint64_t const schema = schema_of(root, document);
    bool const has_body = schema == kBodySchema;
    root.require_fields({"schema",        "name",
                         "edgeosr",       "created",
                         "classes",       "preprocessing",
                         "frame",         "embedding",
                         "jacobian",      "head",
                         "discriminator", "fusion",
                         "threshold",     "data",
                         "outliers",      "training",
                         "files",         "versions",
                         "left_out",      "backbone",
                         "engines",       has_body ? "body" : "schema"},
                        {"digest"});
    Manifest made;
    made.classes = root.field("classes").class_names(kMostClasses);
    if (!root.field("training").is_null()) root.field("training").entries();
    std::optional<std::size_t> by_class;
    if (schema >= kClassSchema) by_class = made.classes.size();
    if (!root.field("backbone").is_null())
        made.backbone = backbone_from_json(root.field("backbone"), by_class);
    made.engines = require_engines(root.field("engines"));
    if (!made.backbone && !root.field("engines").items().empty())
        root.field("engines").refuse("an empty list, for there is no backbone");
    made.fusion = fusion_from_json(root.field("fusion"));
    made.edgeosr = root.field("edgeosr").text();
    require_known_parts(made.fusion, document);
    if (made.backbone && made.backbone->fusion && made.backbone->fusion->parts != made.fusion.parts)
        root.field("backbone").field("fusion").field("parts").refuse("the bundle's parts");
    if (has_body) made.body = body_from_json(root.field("body"));
    if (made.body && made.body->fusion && made.body->fusion->parts != made.fusion.parts)
        root.field("body").field("fusion").field("parts").refuse("the bundle's parts");
    auto const embedding = root.field("embedding");
    embedding.require_fields({"dimension"});
    made.dimension = embedding.field("dimension").whole(1, kMostDimension);
    require_data(root.field("data"), made.classes);
    auto const discriminator = root.field("discriminator");
    if (!discriminator.is_null() && require_discriminator(discriminator) != made.dimension)
        discriminator.field("layers").refuse(joined("layers that begin at ", made.dimension));
    made.name = root.field("name").text();
    made.created = root.field("created").time();
    made.preprocessing = preprocessing_from_json(root.field("preprocessing"));
    if (!root.field("frame").is_null()) made.frame = frame_from_json(root.field("frame"));
    require_jacobian(root.field("jacobian"));
    made.head = head_from_json(root.field("head"));
    if (!root.field("left_out").is_null()) require_left_out(root.field("left_out"), made.classes);
    made.threshold = threshold_from_json(root.field("threshold"), by_class);
    if (!root.field("outliers").is_null()) require_outliers(root.field("outliers"));
    made.files = files_from_json(root.field("files"), made.backbone.has_value(), has_body);
    for (auto const& entry : root.field("versions").entries())
        entry.second.text();
    // Bundles of before 2026-11-27 have none. Last: what is wrong with a field says more.
    if (root.has("digest")) require_digest(data, root.field("digest").sha256(), document);
    return made;
}

}  // namespace edgeosr
