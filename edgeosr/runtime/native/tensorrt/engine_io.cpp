#include "engine_io.h"

#include <algorithm>

#include "base/failure.h"

namespace edgeosr::trt {
namespace {

constexpr char kAgain[] = "; it is no engine of this bundle: build it again: edgeosr build BUNDLE";

std::string listed(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    std::string text;
    for (auto const& name : names)
        text += joined(text.empty() ? "" : ", ", shown(name));
    return text;
}

std::vector<std::string> outputs_of(edgeosr_tensorrt_bundle const& bundle) {
    std::vector<std::string> made;
    if (bundle.ending == 0) made = {kMap};
    if (bundle.ending == 1) made = {kEmbedding, kTangents};
    if (bundle.ending == 2) made = {kEmbedding};
    if (bundle.logits != 0) made.push_back(kLogits);
    return made;
}

template <class Kind>
void require_same(std::string const& name, char const* what, Kind got, Kind wanted) {
    if (got != wanted)
        fail(EDGEOSR_BACKEND_FAILED,
             "the engine's ",
             name,
             " must have the ",
             what,
             " ",
             static_cast<int>(wanted),
             " of TensorRT's list; got ",
             static_cast<int>(got),
             kAgain);
}

Shape shape_from(nvinfer1::Dims const& dims) {
    if (dims.nbDims != 4 || dims.d[3] != 3)
        fail(EDGEOSR_BACKEND_FAILED, "the engine's frames must be [batch, height, width, 3]", kAgain);
    return {dims.d[0], dims.d[1], dims.d[2]};
}

}  // namespace

EngineIo engine_io(nvinfer1::ICudaEngine const& engine, edgeosr_tensorrt_bundle const& bundle) {
    using nvinfer1::DataType;
    EngineIo made;
    made.outputs = outputs_of(bundle);
    made.half = bundle.half != 0;
    std::vector<std::string> expected = made.outputs, names;
    expected.insert(expected.end(), {kFrames, kChannelOrder});
    for (std::int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
        char const* const name = engine.getIOTensorName(i);
        names.push_back(name != nullptr ? name : "");
    }
    if (listed(names) != listed(expected))
        fail(EDGEOSR_BACKEND_FAILED,
             "the engine's tensors must be ",
             listed(expected),
             "; got ",
             listed(names),
             kAgain);
    for (auto const& name : names) {
        bool const input = name == kFrames || name == kChannelOrder;
        DataType wanted = made.half ? DataType::kHALF : DataType::kFLOAT;
        if (name == kFrames) wanted = DataType::kUINT8;
        if (name == kChannelOrder) wanted = DataType::kINT64;
        if (name == kLogits) wanted = DataType::kFLOAT;
        char const* const text = name.c_str();
        require_same(name, "type", engine.getTensorDataType(text), wanted);
        require_same(name,
                     "mode",
                     engine.getTensorIOMode(text),
                     input ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT);
        require_same(name, "location", engine.getTensorLocation(text), nvinfer1::TensorLocation::kDEVICE);
        require_same(name, "format", engine.getTensorFormat(text), nvinfer1::TensorFormat::kLINEAR);
    }
    using nvinfer1::OptProfileSelector;
    made.least = shape_from(engine.getProfileShape(kFrames, 0, OptProfileSelector::kMIN));
    made.most = shape_from(engine.getProfileShape(kFrames, 0, OptProfileSelector::kMAX));
    if (made.least.batch < 1 || made.most.batch < made.least.batch)
        fail(EDGEOSR_BACKEND_FAILED, "the engine's profile must have batches of 1 or more", kAgain);
    return made;
}

void EngineIo::require_frames(std::int64_t height, std::int64_t width, std::int64_t batch) const {
    bool const inside =
        height >= least.height && height <= most.height && width >= least.width && width <= most.width;
    if (!inside) {
        std::string takes = joined(least.height, "x", least.width);
        if (least.height != most.height || least.width != most.width)
            takes += joined(" to ", most.height, "x", most.width);
        fail(EDGEOSR_BAD_FRAME,
             "this engine takes frames of ",
             takes,
             " (height x width); got ",
             height,
             "x",
             width,
             ": build one for them, edgeosr build BUNDLE --frame ",
             height,
             "x",
             width,
             ", or take the back end onnxruntime");
    }
    if (batch < least.batch)
        fail(EDGEOSR_BAD_FRAME,
             "this engine takes batches from ",
             least.batch,
             " to ",
             most.batch,
             " frames; got ",
             batch,
             ": build one for it, edgeosr build BUNDLE --batch 1,1,",
             most.batch);
}

}  // namespace edgeosr::trt
