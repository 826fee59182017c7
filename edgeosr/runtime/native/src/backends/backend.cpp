#include "backends/backend.h"

#include "backends/onnxruntime.h"
#include "backends/openvino.h"
#include "base/failure.h"

namespace edgeosr {

std::vector<Choice> choices(Manifest const& manifest, BackendOptions const& options) {
    if (options.name == "onnxruntime" || options.name == "openvino")
        return {{options.name == "openvino", false, "it was asked for"}};
    if (options.name != "auto")
        fail(EDGEOSR_BAD_ARGUMENT,
             "the back end must be auto, onnxruntime or openvino; got ",
             shown(options.name));
    if (!manifest.body || !options.library.empty()) return {{false, false, "it runs everywhere"}};
    return {{true, true, "this processor has the instructions for its body"}, {false, false, ""}};
}

std::unique_ptr<Backend> open_backend(Bundle& bundle, BackendOptions const& options, Choice& choice) {
    if (choice.openvino) return open_openvino(bundle, options, choice.body_only, choice.why);
    Bytes const model = bundle.take_file("model.onnx");
    return open_onnxruntime(model, bundle.manifest.fusion.parts.size(), options);
}

}  // namespace edgeosr
