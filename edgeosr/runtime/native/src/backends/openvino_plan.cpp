#include "backends/openvino_plan.h"

#include "base/failure.h"
#include "bundle/onnx/cut.h"

namespace edgeosr {
namespace {

constexpr std::int64_t kFloat = 1, kInt64 = 7;  // of TensorProto.DataType

Floats floats_of(std::vector<double> const& values) {
    return Floats(values.begin(), values.end());
}

/// The scorer for what the body gives. The file's own is of an engine, which may have another fusion and
/// gain.

}  // namespace

Plan plan_of_body(Bundle const& bundle, BodyRecord const& record) {
    Plan plan{std::string(bundle.file("body.onnx")), true, !record.int8, {}};
    plan.outputs.push_back(record.ending == Ending::kMap ? "map" : "embedding");
    if (record.ending == Ending::kTangents) plan.outputs.push_back("tangents");
    if (record.logits) plan.outputs.push_back("logits");
    return plan;
}

Plan plan_of_model(Bundle const& bundle) {
    auto const& input = bundle.manifest.preprocessing;
    auto const parts = static_cast<std::int64_t>(bundle.manifest.fusion.parts.size());
    Plan plan;
    plan.outputs = {"label", "score", "values"};
    try {
        plan.model =
            onnx::cut_graph(bundle.file("model.onnx"),
                            {"pixels", kFloat, {1, 3, input.height_px, input.width_px}},
                            {{"label", kInt64, {1}}, {"score", kFloat, {1}}, {"values", kFloat, {1, parts}}});
    } catch (Failure const& failure) {
        fail(EDGEOSR_BACKEND_FAILED,
             "OpenVINO runs model.onnx of ",
             bundle.path,
             " from its tensor 'pixels' on, and it cannot be cut there: ",
             failure.what(),
             ", or take the back end onnxruntime");
    }
    return plan;
}

Scorer scorer_for(Bundle const& bundle, BodyRecord const& record) {
    Scorer made = read_scorer(bundle.file("scorer.npz"), &bundle.manifest);
    Fusion const& fusion = record.fusion ? *record.fusion : bundle.manifest.fusion;
    made.means = floats_of(fusion.means);
    made.stds = floats_of(fusion.stds);
    made.weights = floats_of(fusion.weights);
    made.probe_gain = 1;
    if (made.closed_form != (record.ending == Ending::kMap) ||
        (made.probes > 0) != (record.ending == Ending::kTangents) ||
        (made.head == Head::kExternal) != record.logits)
        fail(EDGEOSR_BAD_BUNDLE,
             "body.onnx of ",
             bundle.path,
             " gives other tensors than scorer.npz takes; export the bundle again");
    return made;
}

}  // namespace edgeosr
