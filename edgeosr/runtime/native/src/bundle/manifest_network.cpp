// What a manifest says of the network: preprocessing, Jacobian norm, head, discriminator, backbone, engines.
#include <cmath>

#include "base/failure.h"
#include "bundle/manifest.h"

namespace edgeosr {
namespace {

bool is_engine_file(std::string_view text) {
    auto const letter = [](char each) {
        return (each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9');
    };
    constexpr std::string_view kEnd = ".plan";
    if (text.size() <= kEnd.size() || text.substr(text.size() - kEnd.size()) != kEnd) return false;
    text.remove_suffix(kEnd.size());
    if (text.size() > 151 || !letter(text[0])) return false;
    for (char each : text)
        if (!letter(each) && each != '.' && each != '_' && each != '-') return false;
    return true;
}

bool is_target(std::string_view text) {
    if (text.substr(0, 3) != "sm_" || text.size() < 5 || text.size() > 6) return false;
    return text.find_first_not_of("0123456789", 3) == std::string_view::npos;
}

void require_probes(JsonNode const& node) {
    node.require_fields({"K", "n", "gain", "cut", "tensor", "family", "seed", "errors", "largest_error"});
    std::uint64_t const size = node.field("n").whole(1, kMostSpace);
    std::uint64_t const most = size < kMostProbes ? size : kMostProbes;
    for (auto const& pair : node.field("errors").items(0, 64)) {
        auto const both = pair.items(2, 2);
        both[0].whole(1, most);
        both[1].number(0);
    }
    if (!node.field("largest_error").is_null()) node.field("largest_error").number(0);
    node.field("K").whole(1, most);
    node.field("gain").above_zero();
    node.field("cut").text();
    node.field("tensor").text();
    node.field("family").choice({"random", "dct", "principal"});
    node.field("seed").require_seed();
}

void require_gate(JsonNode const& node) {
    node.require_fields({"known",
                         "unknown",
                         "ties",
                         "agreement",
                         "labels",
                         "decisions",
                         "minimum",
                         "score_distance",
                         "auroc",
                         "recalibrated"},
                        {"known_agreement", "unknown_agreement", "unknown_from"});
    for (auto name : {"known_agreement", "unknown_agreement"})
        if (node.has(name) && !node.field(name).is_null()) node.field(name).number(0, 1);
    if (node.has("unknown_from"))
        node.field("unknown_from")
            .choice({"real outliers", "made of known ones", "real outliers, and made of known ones"});
    for (auto const& item : node.field("score_distance").items(2, 2))
        item.number(0);
    if (!node.field("auroc").is_null())
        for (auto const& item : node.field("auroc").items(2, 2))
            item.number(0, 1);
    node.field("known").whole(1, kLargestWhole);
    for (auto name : {"unknown", "ties"})
        node.field(name).whole(0, kLargestWhole);
    for (auto name : {"agreement", "labels", "decisions", "minimum"})
        node.field(name).number(0, 1);
    node.field("recalibrated").truth();
}

}  // namespace

Preprocessing preprocessing_from_json(JsonNode const& node) {
    bool const resized = node.has("resize_to") && !node.field("resize_to").is_null();
    if (resized)
        node.require_fields({"height", "width", "fit", "crop_fraction", "mean", "std", "color", "resize_to"});
    else
        node.require_fields({"height", "width", "fit", "crop_fraction", "mean", "std", "color"});
    Preprocessing made;
    made.height_px = static_cast<int>(node.field("height").whole(1, 4096));
    made.width_px = static_cast<int>(node.field("width").whole(1, 4096));
    made.fit = static_cast<Fit>(node.field("fit").choice({"crop", "stretch", "letterbox"}));
    made.crop_fraction = node.field("crop_fraction").number(0, 1);
    if (!(made.crop_fraction > 0)) node.refuse("usable preprocessing (crop_fraction must be above 0)");
    auto const mean = node.field("mean").numbers(3), std = node.field("std").numbers(3);
    for (int i = 0; i < 3; ++i) {
        made.mean[i] = mean[static_cast<std::size_t>(i)];
        made.std[i] = std[static_cast<std::size_t>(i)];
        if (!(made.std[i] > 0)) node.refuse("usable preprocessing (std must be above 0)");
    }
    made.bgr = node.field("color").choice({"rgb", "bgr"}) == 1;
    if (resized) {
        made.resize_to_px = static_cast<int>(node.field("resize_to").whole(1, kLongestResized));
        int const longer = made.height_px > made.width_px ? made.height_px : made.width_px;
        if (made.resize_to_px < longer)
            node.refuse("usable preprocessing (resize_to below a side of the input)");
        if (made.fit == Fit::kLetterbox || made.crop_fraction != 1)
            node.refuse("usable preprocessing (resize_to must stand alone)");
    }
    return made;
}

void require_jacobian(JsonNode const& node) {
    node.require_fields({"method", "kind", "with_respect_to", "probes"});
    std::size_t const method = node.field("method").choice({"closed-form", "none", "probes"});
    bool const probes = method == 2;
    std::size_t const kind = node.field("kind").choice({"J_z", "J_w", "J_u"});
    if (probes != (kind == 2) || (method == 1 && kind == 1))
        node.field("kind").refuse("a kind of this method");
    node.field("with_respect_to").text(method == 1);
    if (probes)
        require_probes(node.field("probes"));
    else if (!node.field("probes").is_null())
        node.field("probes").refuse("null for this method");
}

Head head_from_json(JsonNode const& node) {
    node.require_fields({"kind", "temperature", "margin"});
    node.field("temperature").above_zero();
    node.field("margin").number(0, std::acos(-1.0) / 2);
    return static_cast<Head>(node.field("kind").choice({"cosine", "linear", "external"}));
}

std::uint64_t require_discriminator(JsonNode const& node) {
    node.require_fields({"layers", "selected_by"});
    auto const layers = node.field("layers").items(2, kMostLayers + 1);
    for (std::size_t i = 1; i < layers.size(); ++i)
        layers[i].whole(1, kMostWidth);
    node.field("selected_by").text();
    return layers[0].whole(1, kMostDimension);
}

BackboneRecord backbone_from_json(JsonNode const& node, std::optional<std::size_t> classes) {
    node.require_fields(
        {"precision", "ending", "logits", "dtype", "converter", "fusion", "threshold", "gate"});
    if (node.field("fusion").is_null() != node.field("threshold").is_null())
        node.field("threshold").refuse("a fusion with a threshold of its own, or neither");
    static char const* const kPrecisions[] = {"fp32", "fp16", "int8"};
    BackboneRecord made;
    made.precision = kPrecisions[node.field("precision").choice({"fp32", "fp16", "int8"})];
    made.ending = static_cast<Ending>(node.field("ending").choice({"map", "tangents", "embedding"}));
    made.logits = node.field("logits").truth();
    made.half = node.field("dtype").choice({"float16", "float32"}) == 0;
    node.field("converter").text();
    if (!node.field("fusion").is_null()) {
        made.fusion = fusion_from_json(node.field("fusion"));
        made.threshold = threshold_from_json(node.field("threshold"), classes);
    }
    require_gate(node.field("gate"));
    return made;
}

BodyRecord body_from_json(JsonNode const& node) {
    node.require_fields(
        {"precision", "ending", "logits", "converter", "processor", "fusion", "threshold", "gate"});
    if (node.field("fusion").is_null() != node.field("threshold").is_null())
        node.field("threshold").refuse("a fusion with a threshold of its own, or neither");
    BodyRecord made;
    made.precision = static_cast<BodyPrecision>(node.field("precision").choice({"f32", "bf16", "int8"}));
    made.ending = static_cast<Ending>(node.field("ending").choice({"map", "tangents", "embedding"}));
    made.logits = node.field("logits").truth();
    node.field("converter").text();
    node.field("processor").text();
    if (!node.field("fusion").is_null()) {
        made.fusion = fusion_from_json(node.field("fusion"));
        made.threshold = threshold_from_json(node.field("threshold"), std::nullopt);
    }
    require_gate(node.field("gate"));
    return made;
}

std::size_t require_engines(JsonNode const& node) {
    std::vector<std::string> names;
    std::size_t made = 0;
    for (auto const& item : node.items(0, kMostEngines)) {
        item.require_fields({"file",
                             "sha256",
                             "bytes",
                             "builder",
                             "version",
                             "device",
                             "targets",
                             "precision",
                             "batch",
                             "frame",
                             "backbone",
                             "created",
                             "seconds"});
        auto const batch = item.field("batch").items(3, 3);
        std::uint64_t const least = batch[0].whole(1, kLargestBatch), best = batch[1].whole(1, kLargestBatch);
        if (least > best || best > batch[2].whole(1, kLargestBatch))
            item.field("batch").refuse("[least, optimal, largest] in this order");
        frame_from_json(item.field("frame"));
        auto const& file = item.field("file").text();
        if (!is_engine_file(file)) item.field("file").refuse("a plain file name that ends in .plan");
        for (auto const& name : names)
            if (name == file) node.refuse("engines of different names");
        names.push_back(file);
        item.field("sha256").sha256();
        item.field("bytes").whole(1, kLargestPlan);
        if (item.field("builder").choice({"tensorrt", "tensorrt_rtx"}) == 0) ++made;
        item.field("version").text();
        item.field("device").text(true);
        for (auto const& target : item.field("targets").items(1, 32))
            if (!is_target(target.text())) target.refuse("an architecture such as sm_87");
        item.field("precision").choice({"fp32", "fp16", "int8"});
        item.field("backbone").sha256();
        item.field("created").time();
        item.field("seconds").number(0);
    }
    return made;
}

}  // namespace edgeosr
