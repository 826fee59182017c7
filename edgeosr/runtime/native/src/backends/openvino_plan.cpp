#include "backends/openvino_plan.h"

#include "base/failure.h"
#include "bundle/onnx/cut.h"

namespace edgeosr {
namespace {

constexpr std::int64_t kFloat = 1, kInt64 = 7;  // of TensorProto.DataType

Floats floats_of(std::vector<double> const& values) {
    return Floats(values.begin(), values.end());
}

}  // namespace

Plan plan_of(Bundle const& bundle, bool with_body) {
    Plan plan;
    plan.body = with_body;
    plan.directory = bundle.path;
    plan.input = bundle.manifest.preprocessing;
    plan.parts = bundle.manifest.fusion.parts.size();
    for (auto const& file : bundle.manifest.files)
        if (file.name == (with_body ? "body.onnx" : "model.onnx")) plan.file = file;
    if (!with_body) {
        plan.outputs = {"label", "score", "values"};
        return plan;
    }
    BodyRecord const& record = *bundle.manifest.body;
    plan.precision = record.precision;
    plan.outputs.push_back(record.ending == Ending::kMap ? "map" : "embedding");
    if (record.ending == Ending::kTangents) plan.outputs.push_back("tangents");
    if (record.logits) plan.outputs.push_back("logits");
    return plan;
}

std::string_view network_of(Plan const& plan, std::string_view data, std::string& room) {
    if (plan.body) return data;
    auto const parts = static_cast<std::int64_t>(plan.parts);
    try {
        room =
            onnx::cut_graph(data,
                            {"pixels", kFloat, {1, 3, plan.input.height_px, plan.input.width_px}},
                            {{"label", kInt64, {1}}, {"score", kFloat, {1}}, {"values", kFloat, {1, parts}}});
    } catch (Failure const& failure) {
        fail(EDGEOSR_BACKEND_FAILED,
             "OpenVINO runs model.onnx of ",
             plan.directory,
             " from its tensor 'pixels' on, and it cannot be cut there: ",
             failure.what(),
             ", or take the back end onnxruntime");
    }
    return room;
}

Scorer scorer_for(Bundle const& bundle, BodyRecord const& record) {
    Scorer made = read_scorer(bundle.file("scorer.npz"), &bundle.manifest, bundle.path);
    Fusion const& fusion = record.fusion ? *record.fusion : bundle.manifest.fusion;
    made.means = floats_of(fusion.means);
    made.stds = floats_of(fusion.stds);
    made.weights = floats_of(fusion.weights);
    made.probe_gain = 1;
    auto const named = [](bool map, bool tangents, bool logits) {
        return joined(map        ? "a map"
                      : tangents ? "an embedding with tangents"
                                 : "an embedding",
                      logits ? " and logits" : "");
    };
    std::string const taken = named(made.closed_form, made.probes > 0, made.head == Head::kExternal);
    std::string const given =
        named(record.ending == Ending::kMap, record.ending == Ending::kTangents, record.logits);
    if (taken != given)
        fail(EDGEOSR_BAD_BUNDLE,
             "body.onnx of ",
             bundle.path,
             " gives other tensors than scorer.npz takes: expected ",
             taken,
             "; got ",
             given,
             "; export the bundle again");
    return made;
}

}  // namespace edgeosr
