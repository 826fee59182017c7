// What a manifest says of calibration, images and left-out classes.
#include <algorithm>

#include "base/failure.h"
#include "bundle/manifest.h"

namespace edgeosr {
namespace {

constexpr std::size_t kEstimatedRates = 5;

void require_interval(JsonNode const& node) {
    auto const both = node.items(2, 2);
    if (both[0].number(0, 1) > both[1].number(0, 1)) node.refuse("[low, high] with low <= high");
}

double class_threshold(JsonNode const& node, double common, std::uint64_t& images_of_all) {
    node.require_fields({"value", "interval", "groups", "images"});
    double const found = node.field("value").number();
    auto const interval = node.field("interval");
    if (interval.is_null() && found != common)
        node.field("value").refuse("the common threshold, for the class has no interval of its own");
    std::uint64_t const groups = node.field("groups").whole(0, kLargestWhole);
    std::uint64_t const images = node.field("images").whole(0, kLargestWhole);
    if (groups > images || groups < std::min<std::uint64_t>(images, 1))
        node.field("groups").refuse("at most as many groups as images, and none without an image alone");
    if (groups == 0 && !interval.is_null()) interval.refuse("null, for the class has no image");
    if (!interval.is_null()) require_interval(interval);
    // A sum that wraps would be any number.
    images_of_all = std::min(images_of_all + images, kLargestWhole + 1);
    return found;
}

void require_groups(JsonNode const& node) {
    node.require_fields({"source",
                         "rule",
                         "images",
                         "groups",
                         "copies",
                         "bursts",
                         "unnamed",
                         "mixed",
                         "test_copies",
                         "train_ids",
                         "test_ids"});
    node.field("source").choice({"content", "tracks", "given", "single"});
    node.field("rule").text(true);
    for (auto name : {"images", "groups", "copies", "bursts", "unnamed", "mixed", "test_copies"})
        node.field(name).whole(0, kMostImages);
    // Packed lists that nothing here unpacks.
    for (auto name : {"train_ids", "test_ids"})
        for (auto const& piece : node.field(name).items())
            piece.text();
}

/// Check one fold; return whether the figures come from it.
bool used_fold(JsonNode const& node, std::vector<std::string> const& sorted_classes) {
    node.require_fields({"classes", "accuracy", "known", "unknown", "auroc", "dropped"});
    for (auto const& item : node.field("classes").items())
        if (!std::binary_search(sorted_classes.begin(), sorted_classes.end(), item.text()))
            item.refuse("one of the bundle's classes");
    node.field("classes").texts();
    bool const used = node.field("dropped").text(true).empty();
    if (node.field("auroc").is_null() == used)
        node.field("auroc").refuse(used ? "a number from 0 to 1" : "null for a fold that is set aside");
    if (used) node.field("auroc").number(0, 1);
    node.field("accuracy").number(0, 1);
    for (auto name : {"known", "unknown"})
        node.field(name).whole(0, kLargestWhole);
    return used;
}

void require_false_accepts(JsonNode const& node, std::size_t folds) {
    double before = 0;
    for (auto const& item : node.items(0, folds > 0 ? kEstimatedRates + 1 : 0)) {
        item.require_fields({"false_reject", "mean", "low", "high", "folds"});
        double const rate = item.field("false_reject").number(0, 1), mean = item.field("mean").number(0, 1);
        double const low = item.field("low").number(0, 1), high = item.field("high").number(0, 1);
        if (!(before < rate && rate < 0.5))
            item.field("false_reject").refuse("a rate below 0.5, above 0 and above the one before it");
        if (!(low <= mean && mean <= high)) item.field("mean").refuse("a share from low to high");
        item.field("folds").whole(1, folds);
        before = rate;
    }
}

void require_strength(JsonNode const& node, bool used) {
    if (!used) {
        if (!node.is_null()) node.refuse("null, for no fold is used");
        return;
    }
    double const found = node.number(0, 4);
    if (found != 4 && (found > 3 || found * 4 != static_cast<int>(found * 4)))
        node.refuse("a quarter from 0 to 3, or 4");
}

}  // namespace

Fusion fusion_from_json(JsonNode const& node) {
    node.require_fields({"parts", "means", "stds", "weights", "note"});
    for (auto const& item : node.field("parts").items(1, EDGEOSR_MOST_PARTS))
        if (!is_part_name(item.text())) item.refuse("a part's name, such as log_jacobian");
    Fusion made;
    made.parts = node.field("parts").texts();
    made.stds = node.field("stds").numbers(made.parts.size());
    for (double std : made.stds)
        if (!(std > 0)) node.field("stds").refuse("numbers above 0");
    made.means = node.field("means").numbers(made.parts.size());
    made.weights = node.field("weights").numbers(made.parts.size());
    node.field("note").text(true);
    return made;
}

Threshold threshold_from_json(JsonNode const& node, std::optional<std::size_t> classes) {
    bool const by_class = classes && node.has("by_class");
    if (by_class)
        node.require_fields({"value",
                             "target_false_reject_rate",
                             "interval",
                             "confidence",
                             "groups",
                             "images",
                             "method",
                             "by_class"});
    else
        node.require_fields(
            {"value", "target_false_reject_rate", "interval", "confidence", "groups", "images", "method"});
    for (auto name : {"target_false_reject_rate", "confidence"}) {
        double const rate = node.field(name).number(0, 1);
        if (rate == 0 || rate == 1) node.field(name).refuse("a number between 0 and 1");
    }
    std::uint64_t const images = node.field("images").whole(1, kLargestWhole);
    if (node.field("groups").whole(1, kLargestWhole) > images)
        node.field("groups").refuse(joined("at most as many groups as images, ", images));
    Threshold made;
    made.value = node.field("value").number();
    if (by_class) {
        std::uint64_t images_of_all = 0;
        for (auto const& item : node.field("by_class").items(*classes, *classes))
            made.by_class.push_back(class_threshold(item, made.value, images_of_all));
        if (images_of_all != images)
            node.field("by_class").refuse(joined("classes of ", images, " images together"));
    }
    require_interval(node.field("interval"));
    node.field("method").text();
    return made;
}

void require_data(JsonNode const& node, std::vector<std::string> const& classes) {
    node.require_fields({"source",
                         "title",
                         "known",
                         "unknown",
                         "split",
                         "seed",
                         "fractions",
                         "per_group",
                         "test_fraction",
                         "digests",
                         "sizes"},
                        {"groups"});
    for (auto const& item : node.field("fractions").items(3, 3))
        item.number(0, 1);
    for (auto const& entry : node.field("sizes").entries())
        for (auto const& item : entry.second.items(2, 2))
            item.whole(0, kLargestWhole);
    node.field("source").text();
    node.field("title").text(true);
    auto known = node.field("known").texts(), sorted = classes;
    node.field("unknown").texts();
    if (!node.field("split").is_null()) node.field("split").whole(0, kLargestWhole);
    node.field("seed").require_seed();
    if (!node.field("per_group").is_null()) node.field("per_group").whole(1, kLargestWhole);
    node.field("test_fraction").number(0, 1);
    for (auto const& entry : node.field("digests").entries())
        entry.second.sha256();
    if (node.has("groups")) require_groups(node.field("groups"));
    std::sort(known.begin(), known.end());
    std::sort(sorted.begin(), sorted.end());
    if (known != sorted) node.field("known").refuse("the names of classes, in any order");
}

void require_outliers(JsonNode const& node) {
    node.require_fields({"source", "train", "select"});
    node.field("source").text();
    for (auto name : {"train", "select"})
        node.field(name).whole(0, kLargestWhole);
}

void require_left_out(JsonNode const& node, std::vector<std::string> const& classes) {
    node.require_fields({"parts", "auroc", "spread", "strength", "false_accepts", "folds"});
    for (auto const& item : node.field("parts").items(0, EDGEOSR_MOST_PARTS))
        if (!is_part_name(item.text())) item.refuse("a part's name, such as log_jacobian");
    std::size_t const parts = node.field("parts").texts().size();
    for (auto name : {"auroc", "spread"})
        for (auto const& item : node.field(name).items(parts, parts))
            item.number(0, 1);
    auto sorted = classes;
    std::sort(sorted.begin(), sorted.end());
    std::size_t used = 0;
    for (auto const& fold : node.field("folds").items(0, kMostFolds + 1))
        used += used_fold(fold, sorted) ? 1 : 0;
    if ((parts > 0) != (used > 0))
        node.field("folds").refuse("a fold that is used for the figures of the parts, and none without them");
    require_strength(node.field("strength"), parts > 0);
    require_false_accepts(node.field("false_accepts"), used);
}

}  // namespace edgeosr
