#include "records.h"

#include <algorithm>
#include <tuple>

#include "base/failure.h"
#include "base/sha256.h"
#include "bundle/json.h"
#include "bundle/limits.inc"

namespace edgeosr::trt {
namespace {

// A plan is read, then copied to the device beside its activations.
constexpr std::uint64_t kMemoryFactor = 3, kMostBytes = std::uint64_t{1} << 62;
constexpr char kBuild[] = "; build one here: edgeosr build BUNDLE";

/// The records of TensorRT, and the digest of the backbone that the bundle holds, of a checked manifest.
std::vector<EngineRecord> engines_of(edgeosr_tensorrt_bundle const& bundle, std::string& backbone) {
    std::string const document = joined("the manifest of ", bundle.path);
    JsonValue const value =
        parse_json({static_cast<char const*>(bundle.manifest), bundle.manifest_bytes}, document);
    JsonNode const root(value, "", document);
    backbone = root.field("files").field("backbone.onnx").field("sha256").sha256();
    std::vector<EngineRecord> made;
    for (auto const& item : root.field("engines").items(0, kMostEngines)) {
        if (item.field("builder").choice({"tensorrt", "tensorrt_rtx"}) != 0) continue;
        EngineRecord one;
        one.file = item.field("file").text();
        one.sha256 = item.field("sha256").sha256();
        one.bytes = item.field("bytes").whole(1, kMostBytes);
        one.version = item.field("version").text();
        one.device = item.field("device").text(true);
        one.backbone = item.field("backbone").sha256();
        one.created = item.field("created").time();
        for (auto const& target : item.field("targets").items(1, 32))
            one.targets.push_back(target.text());
        auto const frame = item.field("frame").items(2, 2);
        one.height_px = static_cast<std::int32_t>(frame[0].whole(1, INT32_MAX));
        one.width_px = static_cast<std::int32_t>(frame[1].whole(1, INT32_MAX));
        made.push_back(std::move(one));
    }
    return made;
}

/// Why an engine cannot run on this device, with what to do; "" if it can.
std::string why_not(EngineRecord const& record, std::string const& backbone, Device const& device) {
    std::string const architecture = device.architecture();
    if (record.backbone != backbone)
        return joined("it was built from another backbone than the bundle holds", kBuild);
    if (std::find(record.targets.begin(), record.targets.end(), architecture) == record.targets.end()) {
        std::string targets;
        for (auto const& target : record.targets)
            targets += joined(targets.empty() ? "" : ", ", target);
        return joined("it is for ", targets, ", and ", device.name, " is ", architecture, kBuild);
    }
    if (!record.device.empty() && device.name != record.device)
        return joined("it was built on ", shown(record.device), ", and this is ", device.name, kBuild);
    if (record.bytes > device.memory / kMemoryFactor)
        return joined("it has ",
                      record.bytes >> 20,
                      " MiB and ",
                      device.name,
                      " ",
                      device.memory >> 20,
                      " MiB of memory left; end other programs, or export a smaller network");
    return "";
}

/// Likewise in this TensorRT.
std::string why_not(EngineRecord const& record, Library const& library) {
    if (library.is(record.version)) return "";
    return joined(
        "it was built by TensorRT ", shown(record.version), ", and here is ", library.version(), kBuild);
}

/// Return TensorRT's library; reasons: why engines do not run whatever it is, told too where there is none.
Library const& library_for(edgeosr_tensorrt_bundle const& bundle, std::string const& reasons) {
    try {
        return library(bundle.library);
    } catch (Failure const& failure) {
        if (reasons.empty()) throw;
        fail(failure.status(), failure.what(), "; of the other engines: ", reasons);
    }
}

}  // namespace

EngineRecord usable_engine(edgeosr_tensorrt_bundle const& bundle, Device const& device) {
    std::string backbone, reasons;
    auto const refused = [&reasons](EngineRecord const& one, std::string const& why) {
        if (!why.empty()) reasons += joined(reasons.empty() ? "" : "; ", one.file, ": ", why);
        return !why.empty();
    };
    std::vector<EngineRecord> left;
    for (auto const& one : engines_of(bundle, backbone))
        if (!refused(one, why_not(one, backbone, device))) left.push_back(one);
    EngineRecord best;
    Library const* const found = left.empty() ? nullptr : &library_for(bundle, reasons);
    for (auto const& one : left)
        if (!refused(one, why_not(one, *found)) &&
            std::tie(one.created, one.file) > std::tie(best.created, best.file))
            best = one;
    if (best.file.empty())
        fail(EDGEOSR_NO_BACKEND,
             "no engine of ",
             bundle.path,
             " can run on TensorRT here: ",
             reasons.empty() ? joined("it has none of TensorRT", kBuild) : reasons);
    return best;
}

Bytes engine_bytes(edgeosr_tensorrt_bundle const& bundle, EngineRecord const& record) {
    std::string const folder = joined(bundle.path, "/engines");
    Bytes plan = read_plain_file(folder, record.file, record.bytes, record.bytes);
    if (sha256_hex(plan.data(), plan.size()) != record.sha256)
        fail(EDGEOSR_BAD_BUNDLE,
             folder,
             "/",
             record.file,
             " is not the engine that was built: damaged or exchanged; build it again: edgeosr build ",
             bundle.path);
    return plan;
}

}  // namespace edgeosr::trt
