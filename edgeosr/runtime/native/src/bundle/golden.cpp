#include "bundle/golden.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "base/numbers.h"
#include "base/sha256.h"
#include "bundle/npz.h"

namespace edgeosr {
namespace {

[[noreturn]] void refuse(std::string const& expected) {
    fail(EDGEOSR_BAD_BUNDLE, "golden.npz: ", expected, "; export the bundle again");
}

Array const& take(Npz const& file, std::string const& name) {
    Array const* found = file.find(name);
    if (found == nullptr)
        fail(EDGEOSR_BAD_BUNDLE,
             "golden.npz holds no frames with their verdicts: it lacks ",
             name,
             "; export the bundle again");
    return *found;
}

template <class Number>
std::vector<Number> numbers_of(Array const& array) {
    return std::vector<Number>(array.numbers<Number>(), array.numbers<Number>() + array.size());
}

Expected expected_from(Npz const& file,
                       std::string const& prefix,
                       std::uint64_t count,
                       std::uint64_t classes,
                       std::uint64_t parts) {
    Expected made;
    for (auto name : {"label", "second"}) {
        Array const& array = take(file, prefix + name);
        if (!array.is("<i8", {count})) refuse(joined(prefix, name, " must be int64 [", count, "]"));
        auto const labels = numbers_of<std::int64_t>(array);
        for (std::int64_t label : labels)
            if (label < 0 || static_cast<std::uint64_t>(label) >= classes)
                refuse(joined(prefix, name, " must be classes from 0 to ", classes - 1, "; got ", label));
        (std::string_view(name) == "label" ? made.label : made.second) = labels;
    }
    Array const &gap = take(file, prefix + "gap"), &score = take(file, prefix + "score");
    Array const& values = take(file, prefix + "values");
    if (!score.is("<f4", {count})) refuse(joined(prefix, "score must be float32 [", count, "]"));
    made.score = numbers_of<float>(score);
    if (gap.is("<f4", {count})) made.gap = numbers_of<float>(gap);
    if (made.gap.empty() ||
        !std::all_of(made.gap.begin(), made.gap.end(), [](float each) { return each >= 0; }))
        refuse(joined(prefix, "gap must be numbers from 0, float32 [", count, "]"));
    if (!values.is("<f4", {count, parts}))
        refuse(joined(prefix, "values must be float32 [", count, ", ", parts, "]"));
    made.values = numbers_of<float>(values);
    if (!all_finite(made.values)) refuse(joined(prefix, "values must be finite numbers"));
    // A score may be infinite where the model itself says unknown, which no typed graph does.
    for (float each : made.score)
        if (!std::isfinite(each) && (!prefix.empty() || !(each > 0)))
            refuse(joined(prefix, "score must be numbers"));
    return made;
}

Rounding rounding_from(Npz const& file, std::string const& name, std::uint64_t parts) {
    Array const& array = take(file, name);
    std::vector<float> found;
    if (array.is("<f4", {2 + parts})) found = numbers_of<float>(array);
    auto const usable = [](float each) { return std::isfinite(each) && each >= 0; };
    if (found.empty() || !std::all_of(found.begin(), found.end(), usable))
        refuse(joined(name, " must be finite numbers from 0, float32 [", 2 + parts, "]"));
    Rounding made;
    made.score = static_cast<double>(found[0]);
    made.gap = static_cast<double>(found[1]);
    made.values.assign(found.begin() + 2, found.end());
    return made;
}

Size size_from(Array const& array, std::optional<Size> fixed) {
    if (!array.is("<i8", {2})) refuse("size must be (height, width), int64 [2]");
    std::int64_t const height = array.numbers<std::int64_t>()[0], width = array.numbers<std::int64_t>()[1];
    auto const largest = static_cast<std::int64_t>(kLargestSide);
    if (height < 1 || width < 1 || height > largest || width > largest ||
        height * width > static_cast<std::int64_t>(kLargestFrame))
        refuse(joined("size must be (height, width) of a frame; got ", height, "x", width));
    if (fixed && (height != fixed->height_px || width != fixed->width_px))
        refuse(joined("size must be that of the bundle's frames, ", fixed->height_px, "x", fixed->width_px));
    return {static_cast<int>(height), static_cast<int>(width)};
}

/// Numbers that the file may hold of the manifest are the manifest's: edited ones are noticed.
void require_numbers(Npz const& file, std::string const& name, std::vector<double> const& wanted) {
    Array const* array = file.find(name);
    if (array == nullptr) return;
    if (!array->is("<f8", {wanted.size()}) ||
        !std::equal(wanted.begin(), wanted.end(), array->numbers<double>()))
        refuse(joined(name, " must be the manifest's, which was edited after the export"));
}

void require_threshold(Npz const& file, std::string const& name, Threshold const& wanted) {
    require_numbers(
        file, name, wanted.by_class.empty() ? std::vector<double>{wanted.value} : wanted.by_class);
}

/// The numbers of golden_manifest.py, and the field of the manifest that each is of.
void require_preprocessing(Npz const& file, Preprocessing const& made) {
    Array const* array = file.find("preprocessing");
    if (array == nullptr) return;
    constexpr char const* kFields[] = {"height",
                                       "width",
                                       "fit",
                                       "crop_fraction",
                                       "resize_to",
                                       "mean",
                                       "mean",
                                       "mean",
                                       "std",
                                       "std",
                                       "std",
                                       "color"};
    double const wanted[] = {static_cast<double>(made.height_px),
                             static_cast<double>(made.width_px),
                             static_cast<double>(made.fit),
                             made.crop_fraction,
                             static_cast<double>(made.resize_to_px),
                             made.mean[0],
                             made.mean[1],
                             made.mean[2],
                             made.std[0],
                             made.std[1],
                             made.std[2],
                             made.bgr ? 1.0 : 0.0};
    if (!array->is("<f8", {std::size(wanted)})) refuse("preprocessing must be the manifest's, float64 [12]");
    std::string edited;
    char const* last = "";
    for (std::size_t i = 0; i < std::size(wanted); ++i)
        if (array->numbers<double>()[i] != wanted[i] && std::string_view(last) != kFields[i]) {
            edited += joined(edited.empty() ? "" : ", ", kFields[i]);
            last = kFields[i];
        }
    if (!edited.empty())
        refuse(
            joined("preprocessing must be the manifest's, whose ", edited, " was edited after the export"));
}

/// The digest that the file may hold of the classes' names is that of the manifest's, in their order.
void require_names(Npz const& file, std::vector<std::string> const& names) {
    Array const* array = file.find("classes");
    if (array == nullptr) return;
    std::string whole;
    for (auto const& name : names)
        whole += joined(name.size(), ":", name);
    std::string const wanted = sha256_hex(reinterpret_cast<std::uint8_t const*>(whole.data()), whole.size());
    if (!array->is("|u1", {wanted.size()}) ||
        !std::equal(wanted.begin(), wanted.end(), array->numbers<std::uint8_t>()))
        refuse(
            "classes must be the digest of the manifest's names of classes, which were edited after the "
            "export");
}

/// Tell whether an entry has a place in the file.
bool is_known(std::string_view name, Manifest const& manifest) {
    for (auto plain : {"frames", "size", "bgr", "threshold", "classes", "preprocessing"})
        if (name == plain) return true;
    if (manifest.backbone && name == "rounding") return true;
    constexpr std::string_view kTyped = "typed_", kBody = "body_";
    if (manifest.backbone && name.substr(0, kTyped.size()) == kTyped) {
        name.remove_prefix(kTyped.size());
    } else if (manifest.body && name.substr(0, kBody.size()) == kBody) {
        name.remove_prefix(kBody.size());
        if (name == "rounding" || (name == "threshold" && manifest.body->threshold)) return true;
    }
    for (auto half : {"label", "second", "gap", "score", "values"})
        if (name == half) return true;
    return false;
}

/// Nothing else may be there: its type and shape would be nobody's to check.
void require_no_other(Npz const& file, Manifest const& manifest) {
    for (auto const& name : file.names())
        if (!is_known(name, manifest))
            fail(EDGEOSR_BAD_BUNDLE,
                 "golden.npz has an entry that edgeosr does not know, '",
                 shown(name),
                 "', made by a newer edgeosr: install it, or export the bundle again with this one");
}

Golden parsed(std::string_view data, Manifest const& manifest, Threshold const& portable) {
    static std::string const kName = "golden.npz";
    Npz const file(data, kName);
    require_no_other(file, manifest);
    std::uint64_t const classes = manifest.classes.size(), parts = manifest.fusion.parts.size();
    Array const &frames = take(file, "frames"), &bgr = take(file, "bgr");
    bool const shaped = frames.type == "|u1" && frames.shape.size() == 4 && frames.shape[3] == 3;
    if (!shaped || frames.size() == 0) refuse("frames must be uint8 [n, height, width, 3]");
    Golden made;
    made.count = frames.shape[0];
    if (made.count < kLeastFrames)
        refuse(joined("frames must be at least ", kLeastFrames, ": fewer prove too little"));
    if (made.count > kMostFrames) refuse(joined("frames must be at most ", kMostFrames));
    made.stored = {static_cast<int>(frames.shape[1]), static_cast<int>(frames.shape[2])};
    made.frames = numbers_of<std::uint8_t>(frames);
    made.size = size_from(take(file, "size"), manifest.frame);
    std::uint64_t const pixels =
        static_cast<std::uint64_t>(made.size.height_px) * static_cast<std::uint64_t>(made.size.width_px);
    if (made.count * pixels > kMostPixels)
        refuse(joined(
            "size must be of at most ", kMostPixels / made.count, " pixels with ", made.count, " frames"));
    if (bgr.is("|b1", {made.count}))
        for (std::uint8_t each : numbers_of<std::uint8_t>(bgr))
            made.bgr.push_back(each != 0);
    auto const blue = static_cast<std::size_t>(std::count(made.bgr.begin(), made.bgr.end(), true));
    if (made.bgr.empty() || blue == 0 || blue == made.count)
        refuse(joined("bgr must be bool [", made.count, "], with frames of both channel orders"));
    require_threshold(file, "threshold", portable);
    require_names(file, manifest.classes);
    require_preprocessing(file, manifest.preprocessing);
    if (manifest.body && manifest.body->threshold)
        require_threshold(file, "body_threshold", *manifest.body->threshold);
    made.portable = expected_from(file, "", made.count, classes, parts);
    if (manifest.backbone) {
        made.typed_rounding = rounding_from(file, "rounding", parts);
        made.typed = expected_from(file, "typed_", made.count, classes, parts);
    }
    if (manifest.body) {
        made.body_rounding = rounding_from(file, "body_rounding", parts);
        made.body = expected_from(file, "body_", made.count, classes, parts);
    }
    return made;
}

}  // namespace

Golden read_golden(std::string_view data,
                   Manifest const& manifest,
                   Threshold const& portable,
                   std::string const& path) {
    try {
        return parsed(data, manifest, portable);
    } catch (Failure const& failure) {
        fail_within(path, failure);
    }
}

std::size_t frames_at_once(Size size, bool engine) {
    constexpr std::size_t kOnDevice = 64, kOnProcessor = 4, kPixels = 8000000;
    std::size_t const pixels =
        static_cast<std::size_t>(size.height_px) * static_cast<std::size_t>(size.width_px);
    return std::max<std::size_t>(1, std::min(engine ? kOnDevice : kOnProcessor, kPixels / pixels));
}

void enlarge(Golden const& golden, std::size_t frame, std::uint8_t* out) {
    auto const height = static_cast<std::size_t>(golden.size.height_px),
               width = static_cast<std::size_t>(golden.size.width_px);
    auto const rows = static_cast<std::size_t>(golden.stored.height_px),
               columns = static_cast<std::size_t>(golden.stored.width_px);
    std::uint8_t const* from = golden.frames.data() + frame * rows * columns * 3;
    for (std::size_t y = 0; y < height; ++y)
        for (std::size_t x = 0; x < width; ++x) {
            std::uint8_t const* pixel = from + (y * rows / height * columns + x * columns / width) * 3;
            for (int c = 0; c < 3; ++c)
                *out++ = pixel[c];
        }
}

}  // namespace edgeosr
