#include "scoring/scorer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/failure.h"
#include "base/numbers.h"
#include "bundle/limits.inc"
#include "bundle/npz.h"

namespace edgeosr {
namespace {

constexpr std::int64_t kFormat = 4, kClassFormat = 5;

template <class... Words>
[[noreturn]] void refuse(Words const&... words) {
    fail(EDGEOSR_BAD_BUNDLE,
         "scorer.npz is not valid: ",
         words...,
         "; export the bundle again, or copy it again");
}

template <std::size_t count>
std::size_t place_of(std::string_view const (&names)[count], std::string_view name) {
    return static_cast<std::size_t>(std::find(std::begin(names), std::end(names), name) - std::begin(names));
}

/// The entries, each of which must be taken once.
class Entries {
  public:
    explicit Entries(std::string_view data) : file_(data, name_) {
        for (auto const& name : file_.names())
            left_.insert(name);
    }

    bool has(std::string const& name) const { return left_.count(name) > 0; }

    Array const& take(std::string const& name) {
        if (left_.erase(name) == 0) refuse("its entry '", name, "' is missing");
        return *file_.find(name);
    }

    std::int64_t whole(std::string const& name, std::int64_t most) {
        Array const& array = take(name);
        bool const one = array.is("<i8", {});
        if (!one || array.numbers<std::int64_t>()[0] < 1 || array.numbers<std::int64_t>()[0] > most)
            refuse(name, " must be one int64 from 1 to ", most);
        return array.numbers<std::int64_t>()[0];
    }

    float real(std::string const& name) {
        Array const& array = take(name);
        if (!array.is("<f4", {})) refuse(name, " must be one float32");
        return array.numbers<float>()[0];
    }

    std::string text(std::string const& name) {
        Array const& array = take(name);
        if (array.type != "|u1" || array.shape.size() != 1 || array.size() > kLongestEntryText)
            refuse(name, " must be uint8 text of at most ", kLongestEntryText, " bytes");
        return std::string(array.body);
    }

    Floats numbers(std::string const& name) {
        Array const& array = take(name);
        if (array.type != "<f4" || array.shape.size() != 1) refuse(name, " must be float32 numbers in a row");
        return Floats(array.numbers<float>(), array.numbers<float>() + array.size());
    }

    /// An array that is finite and of this shape.
    Floats array(std::string const& name, std::vector<std::uint64_t> const& shape) {
        Array const& found = take(name);
        if (!found.is("<f4", shape)) refuse(name, " has another type or shape than it must have");
        Floats values(found.numbers<float>(), found.numbers<float>() + found.size());
        if (!all_finite(values)) refuse(name, " has values that are not finite");
        return values;
    }

    std::vector<std::uint64_t> shape_of(std::string const& name) const {
        Array const* array = left_.count(name) > 0 ? file_.find(name) : nullptr;
        return array != nullptr ? array->shape : std::vector<std::uint64_t>();
    }

    void require_nothing_left() const {
        if (!left_.empty()) refuse("it has an entry that edgeosr does not know: ", shown(*left_.begin()));
    }

  private:
    std::string const name_ = "scorer.npz";
    Npz file_;
    std::set<std::string> left_;
};

std::uint64_t rows_of(std::vector<std::uint64_t> const& shape) {
    return shape.empty() ? 0 : shape[0];
}

void read_head(Entries& entries, Scorer& made) {
    std::size_t const kind = place_of(kHeads, entries.text("head_kind"));
    if (kind == std::size(kHeads)) refuse("head_kind must be cosine, linear or external");
    made.head = static_cast<Head>(kind);
    std::uint64_t const rows = made.head == Head::kExternal ? 0 : made.classes;
    made.head_weight =
        entries.array("head_weight", {rows, made.head == Head::kExternal ? 0 : made.dimension});
    made.head_bias = entries.array("head_bias", {rows});
    made.temperature = entries.real("head_temperature");
    made.margin = entries.real("head_margin");
    if (!std::isfinite(made.temperature) || !(made.temperature > 0))
        refuse("head_temperature must be above 0");
    double const most = made.head == Head::kCosine ? kLargestMargin : 0;
    if (!(made.margin >= 0 && static_cast<double>(made.margin) <= most))
        refuse("head_margin must be from 0 to ", most);
}

void read_fusion(Entries& entries, Scorer& made) {
    std::string const text = entries.text("parts");
    for (std::size_t begin = 0; begin <= text.size();) {
        std::size_t const end = std::min(text.find('\n', begin), text.size());
        made.part_names.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    std::size_t const count = made.part_names.size();
    if (count > EDGEOSR_MOST_PARTS) refuse("it must list 1 to ", EDGEOSR_MOST_PARTS, " parts; got ", count);
    for (auto const& name : made.part_names) {
        std::size_t const part = place_of(kParts, name);
        if (part == std::size(kParts))
            refuse("it lists the part '", shown(name), "', which this edgeosr does not know");
        for (Part other : made.parts)
            if (other == static_cast<Part>(part)) refuse("it lists the part ", name, " twice");
        made.parts.push_back(static_cast<Part>(part));
    }
    made.means = entries.numbers("fusion_means");
    made.stds = entries.numbers("fusion_stds");
    made.weights = entries.numbers("fusion_weights");
    for (Floats const* values : {&made.means, &made.stds, &made.weights})
        if (values->size() != count || !all_finite(*values))
            refuse("the fusion must have ", count, " finite numbers each");
    if (!(*std::min_element(made.stds.begin(), made.stds.end()) > 0)) refuse("fusion_stds must be above 0");
}

void read_closed_form(Entries& entries, Scorer& made) {
    std::size_t const kind = place_of(kActivations, entries.text("activation"));
    if (kind == std::size(kActivations)) refuse("activation must be one that the closed form knows");
    made.closed_form = true;
    made.activation = static_cast<Activation>(kind);
    std::uint64_t const given = rows_of(entries.shape_of("activation_parameters"));
    std::uint64_t wanted = made.activation == Activation::kClip ? 2 : 0;
    if (made.activation == Activation::kLeakyRelu || made.activation == Activation::kElu) wanted = 1;
    if (made.activation == Activation::kPrelu) wanted = given == 1 ? 1 : made.dimension;
    made.activation_parameters = entries.array("activation_parameters", {wanted});
    auto const shape = entries.shape_of("table");
    std::uint64_t const taps = shape.size() == 2 ? shape[1] : 0;
    if (taps < 1 || taps > kMostTaps) refuse("table must have 1 to ", kMostTaps, " taps; got ", taps);
    made.table = entries.array("table", {made.dimension, taps});
    Array const& offsets = entries.take("offsets");
    if (!offsets.is("<i4", {taps, 2})) refuse("offsets must be int32 [", taps, ", 2]");
    auto const* numbers = offsets.numbers<std::int32_t>();
    for (std::uint64_t tap = 0; tap < taps; ++tap)
        made.offsets.push_back({numbers[2 * tap], numbers[2 * tap + 1]});
    if (made.offsets[0][0] != 0 || made.offsets[0][1] != 0) refuse("the first of the offsets must be (0, 0)");
}

void read_probes(Entries& entries, Scorer& made) {
    made.probes = static_cast<std::size_t>(entries.whole("probes_K", kMostProbes));
    made.probe_space = entries.whole("probes_n", kMostSpace);
    made.probe_gain = entries.real("probes_gain");
    if (made.closed_form) refuse("it has a closed form and probes; the Jacobian norm has one source");
    if (static_cast<std::int64_t>(made.probes) > made.probe_space)
        refuse("probes_n must be at least probes_K");
    if (!std::isfinite(made.probe_gain) || !(made.probe_gain > 0)) refuse("probes_gain must be above 0");
}

void read_layers(Entries& entries, Scorer& made) {
    auto const name_of = [](std::size_t number, char const* what) {
        return joined("layer_", number, "_", what);
    };
    std::size_t count = 0;
    while (count < kMostLayers && entries.has(name_of(count, "weight")))
        ++count;
    std::uint64_t width = made.dimension;
    for (std::size_t number = 0; number < count; ++number) {
        std::uint64_t const given = rows_of(entries.shape_of(name_of(number, "bias")));
        std::uint64_t const rows = number + 1 == count ? 1 : std::max<std::uint64_t>(given, 1);
        if (rows > kMostWidth) refuse("a layer must have at most ", kMostWidth, " outputs; got ", rows);
        Layer layer;
        layer.weight = entries.array(name_of(number, "weight"), {rows, width});
        layer.bias = entries.array(name_of(number, "bias"), {rows});
        made.layers.push_back(std::move(layer));
        width = rows;
    }
    if (count > 0) made.slope = entries.real("slope");
    if (!std::isfinite(made.slope)) refuse("slope must be finite");
}

void read_constants(Entries& entries, Scorer& made) {
    for (auto const& name : made.part_names) {
        PartConstants own;
        std::string const begin = joined("part_", name, "_");
        if (entries.has(begin + "rows")) {
            std::uint64_t const rows = rows_of(entries.shape_of(begin + "rows"));
            std::uint64_t const numbers = rows_of(entries.shape_of(begin + "numbers"));
            if (rows > kMostRows || numbers > kMostNumbers)
                refuse("the part ", name, " has too many rows or numbers");
            own.rows = entries.array(begin + "rows", {rows, made.dimension});
            own.biases = entries.array(begin + "biases", {rows});
            own.numbers = entries.array(begin + "numbers", {numbers});
        }
        made.constants.push_back(std::move(own));
    }
}

Scorer parsed(std::string_view data) {
    Entries entries(data);
    std::int64_t const format = entries.whole("format", INT64_MAX);
    if (format != kFormat && format != kClassFormat)
        refuse("it has format ", format, "; this edgeosr reads 4 and 5");
    Scorer made;
    made.dimension = static_cast<std::size_t>(entries.whole("dimension", kMostDimension));
    made.classes = static_cast<std::size_t>(entries.whole("classes", kMostClasses));
    made.threshold = entries.real("threshold");
    if (!std::isfinite(made.threshold)) refuse("threshold must be finite");
    if (format == kClassFormat) {
        made.class_thresholds = entries.numbers("class_thresholds");
        bool const sized = made.class_thresholds.size() == made.classes || made.class_thresholds.empty();
        if (!sized || !all_finite(made.class_thresholds))
            refuse("class_thresholds must be ", made.classes, " finite numbers, one a class");
    }
    read_head(entries, made);
    read_fusion(entries, made);
    if (entries.has("activation")) read_closed_form(entries, made);
    if (entries.has("probes_K")) read_probes(entries, made);
    read_layers(entries, made);
    read_constants(entries, made);
    entries.require_nothing_left();
    for (std::size_t i = 0; i < made.parts.size(); ++i)
        if (!carries(made, i))
            refuse("what the part ", made.part_names[i], " is computed from is missing or of the wrong size");
    return made;
}

}  // namespace

Scorer read_scorer(std::string_view data, Manifest const* manifest, std::string const& path) {
    try {
        Scorer made = parsed(data);
        if (manifest != nullptr) require_scorer_of(made, *manifest);
        return made;
    } catch (Failure const& failure) {
        fail_within(path, failure);
    }
}

}  // namespace edgeosr
