#include "backends/backend.h"

#include "backends/onnxruntime.h"
#include "backends/openvino.h"
#include "backends/tensorrt.h"
#include "base/failure.h"

namespace edgeosr {
namespace {

/// Why "auto" takes model.onnx, as far as the bundle tells: what it has is tried, and says itself why it does
/// not run.
std::string why_model(Manifest const& manifest, BackendOptions const& options, bool engine) {
    if (!options.library.empty())
        return engine || manifest.body ? "backend_library was given, which auto takes for onnxruntime's alone"
                                       : "it runs everywhere";
    std::string const no_engine =
        joined("the bundle has no engine of TensorRT",
               manifest.backbone ? " yet (edgeosr build makes one, on the device)" : "");
    if (!engine && !manifest.body)
        return joined("it runs everywhere; ", no_engine, " and no body for OpenVINO");
    return !engine && manifest.backbone ? no_engine : "";
}

}  // namespace

std::vector<Choice> choices(Manifest const& manifest, BackendOptions const& options) {
    using On = Choice::On;
    for (auto const& [name, on] : {std::pair<char const*, On>{"onnxruntime", On::kOnnxRuntime},
                                   {"openvino", On::kOpenVino},
                                   {"tensorrt", On::kTensorRt}})
        if (options.name == name) return {{on, false, "it was asked for"}};
    if (options.name != "auto")
        fail(EDGEOSR_BAD_ARGUMENT,
             "the back end must be auto, onnxruntime, openvino or tensorrt; got ",
             shown(options.name));
    std::vector<Choice> made;
    bool const engine = has_engine(manifest);
    if (options.library.empty()) {
        if (engine) made.push_back({On::kTensorRt, false, "it is the fastest that runs here"});
        if (manifest.body)
            made.push_back({On::kOpenVino,
                            true,
                            manifest.body->precision == BodyPrecision::kF32
                                ? "any processor runs its f32 body"
                                : "this processor has the instructions for its body"});
    }
    made.push_back({On::kOnnxRuntime, false, why_model(manifest, options, engine)});
    return made;
}

std::unique_ptr<Backend> open_backend(Bundle& bundle, BackendOptions const& options, Choice& choice) {
    if (choice.on == Choice::On::kTensorRt) return open_tensorrt(bundle, options);
    if (choice.on == Choice::On::kOpenVino)
        return open_openvino(bundle, options, choice.body_only, choice.why);
    Bytes const model = bundle.take_file("model.onnx");
    return open_onnxruntime(model, bundle.manifest.fusion.parts.size(), options);
}

}  // namespace edgeosr
