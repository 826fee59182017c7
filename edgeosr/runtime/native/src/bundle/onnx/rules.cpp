#include "bundle/onnx/rules.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "bundle/onnx/constants.h"
#include "bundle/onnx/division.h"
#include "bundle/onnx/field_numbers.inc"
#include "bundle/onnx/nodes.h"
#include "bundle/unicode.h"

namespace edgeosr::onnx {
namespace {

std::string spelled(std::vector<std::int64_t> const& shape) {
    std::string text;
    for (std::int64_t size : shape)
        text += joined(text.empty() ? "" : ", ", size == kAny || size == kOpen ? "any" : joined(size));
    return joined("[", text, "]");
}

void require_type(std::string_view name, Message const& value, TensorContract const& contract) {
    static Message const nothing;
    Entry const* type = value.find(kValue_type);
    Entry const* tensor = type != nullptr ? type->message->find(kType_tensor_type) : nullptr;
    Message const& found = tensor != nullptr ? *tensor->message : nothing;
    if (found.whole(kTensorType_elem_type, 0) != contract.type)
        refuse(name,
               " must be ",
               type_name(contract.type),
               "; got ",
               type_name(found.whole(kTensorType_elem_type, 0)));
    Entry const* shape = found.find(kTensorType_shape);
    auto const dims = shape != nullptr ? shape->message->messages(kShape_dim) : std::vector<Message const*>();
    bool fits = dims.size() == contract.shape.size();
    std::vector<std::int64_t> sizes;
    for (std::size_t axis = 0; axis < dims.size(); ++axis) {
        bool const sized = dims[axis]->has(kDimension_dim_value);
        if (sized && dims[axis]->has(kDimension_dim_param))
            refuse("an axis of ", name, " has a size and a name");
        sizes.push_back(sized ? dims[axis]->whole(kDimension_dim_value, 0) : kAny);
        if (!fits || contract.shape[axis] == kAny) continue;
        fits = contract.shape[axis] == kOpen ? !sized
               : sized                       ? sizes[axis] == contract.shape[axis]
                                             : contract.open_axes;
    }
    if (!fits) refuse(name, " must have the shape ", spelled(contract.shape), "; got ", spelled(sizes));
    if (contract.shape[contract.batch] == kAny && dims[contract.batch]->has(kDimension_dim_value))
        refuse(name,
               " must take batches of any size; got one of ",
               dims[contract.batch]->whole(kDimension_dim_value, 0));
}

void require_ends(std::vector<Message const*> const& values,
                  std::map<std::string_view, TensorContract> const& expected,
                  char const* what) {
    std::set<std::string_view> found;
    for (Message const* value : values)
        if (!found.insert(value->text(kValue_name)).second) refuse("an input or output is named twice");
    bool same = found.size() == expected.size();
    for (auto name : found)
        same = same && expected.count(name) > 0;
    if (!same) {
        std::string names;
        for (auto const& each : expected)
            names += joined(names.empty() ? "" : ", ", each.first);
        refuse("its ", what, " must be ", names, "; got ", found.size(), " of other names");
    }
    for (Message const* value : values) {
        std::string_view const name = value->text(kValue_name);
        require_type(name, *value, expected.at(name));
    }
}

/// Refuse names that a terminal would act upon: back ends print them in their logs as they are.
void require_plain(std::string_view name) {
    for (std::string_view left = name; !left.empty();)
        if (!is_printable(take_point(left)))
            refuse("the name '", shown(name), "' has letters that no terminal may see");
}

/// Go through constants and nodes in their order, which must be one in which they can be computed.
void follow(Message const& graph, GraphContract const& contract) {
    std::set<std::string_view> fixed, there;
    for (auto const& input : contract.inputs)
        if (std::count(input.second.shape.begin(), input.second.shape.end(), kAny) == 0)
            fixed.insert(input.first);
    Constants constants(fixed);
    ElementTypes types;
    for (auto const& input : contract.inputs)
        types.add(input.first, input.second.type);
    for (Message const* tensor : graph.messages(kGraph_initializer)) {
        std::string_view const name = tensor->text(kTensor_name);
        require_plain(name);
        std::string const where = joined("the constant '", shown(name), "'");
        Tensor checked = require_tensor(*tensor, where);
        if (!there.insert(name).second) refuse(where, " is there twice");
        types.add(name, checked.type);
        if (contract.inputs.count(name) == 0)
            constants.add(name, std::move(checked));  // a default is no constant
    }
    for (auto const& input : contract.inputs)
        there.insert(input.first);
    for (Message const* node : graph.messages(kGraph_node)) {
        auto const inputs = node->texts(kNode_input), outputs = node->texts(kNode_output);
        require_plain(node->text(kNode_name));
        for (auto name : inputs)
            require_plain(name);
        for (auto name : outputs)
            require_plain(name);
        std::string const where =
            joined("the node '", shown(node->text(kNode_name)), "' (", shown(node->text(kNode_op_type)), ")");
        constants.add_bytes(require_node(*node, where));
        for (auto name : inputs)
            if (!name.empty() && there.count(name) == 0)
                refuse(where, " reads '", shown(name), "', which nothing before it makes");
        for (auto name : outputs) {
            if (!name.empty() && there.count(name) > 0)
                refuse(where, " makes '", shown(name), "', which is there already");
            there.insert(name);
        }
        constants.follow(*node, where);
        types.follow(*node, constants, where);
    }
    if (constants.bytes() > kLargestConstants)
        refuse("its constants have ", constants.bytes(), " bytes; a bundle has at most ", kLargestConstants);
    if (constants.bytes_read() > kLargestConstants)
        refuse("its nodes read ",
               constants.bytes_read(),
               " bytes of constants, counted for each node that reads them "
               "and in whole blocks of channels; a bundle's read at most ",
               kLargestConstants);
    for (auto const& output : contract.outputs)
        if (there.count(output.first) == 0) refuse("nothing makes its output '", output.first, "'");
}

GraphContract inputs_of(Manifest const& manifest) {
    std::int64_t const height = manifest.frame ? manifest.frame->height_px : kOpen;
    std::int64_t const width = manifest.frame ? manifest.frame->width_px : kOpen;
    GraphContract made;
    made.inputs["frames"] = {kTypeUint8, {kAny, height, width, 3}, true, 0};
    made.inputs["channel_order"] = {kTypeInt64, {3}, false, 0};
    return made;
}

/// The outputs of a network without the scoring.
void add_outputs(
    GraphContract& contract, Ending ending, bool logits, std::int64_t type, Manifest const& manifest) {
    auto const length = static_cast<std::int64_t>(manifest.dimension);
    if (ending == Ending::kMap) contract.outputs["map"] = {type, {kAny, length, kAny, kAny}, false, 0};
    if (ending != Ending::kMap) contract.outputs["embedding"] = {type, {kAny, length}, false, 0};
    if (ending == Ending::kTangents) contract.outputs["tangents"] = {type, {kAny, kAny, length}, false, 1};
    if (logits)
        contract.outputs["logits"] = {
            kTypeFloat, {kAny, static_cast<std::int64_t>(manifest.classes.size())}, false, 0};
}

void require_file(std::string_view data,
                  GraphContract const& contract,
                  char const* name,
                  std::string const& where) {
    try {
        require_graph(data, contract);
    } catch (Failure const& failure) {
        fail(failure.status(),
             name,
             " of ",
             where,
             " is not run, because ",
             failure.what(),
             "; export the bundle again, or get it again from where you trust it");
    }
}

}  // namespace

void require_graph(std::string_view data, GraphContract const& contract) {
    // A FlatBuffers file of onnxruntime's own format would not be read as ONNX at all.
    if (data.substr(std::min<std::size_t>(4, data.size()), 4) == "ORTM")
        refuse("it is of onnxruntime's own format (ORT), not ONNX");
    Message const model = parse(data, model_table());
    std::int64_t const version = model.whole(kModel_ir_version, 0);
    if (version < 7 || version > 11) refuse("it has the IR version ", version, "; a bundle has 7 to 11");
    auto const opsets = model.messages(kModel_opset_import);
    bool fits = opsets.size() == 1;
    if (fits) {
        std::string_view const domain = opsets[0]->text(kOpset_domain);
        std::int64_t const opset = opsets[0]->whole(kOpset_version, 0);
        fits = (domain.empty() || domain == "ai.onnx") && opset >= 13 && opset <= 20;
    }
    if (!fits) refuse("it has other operator sets; a bundle has one, the standard's 13 to 20");
    Entry const* graph = model.find(kModel_graph);
    if (graph == nullptr) refuse("it has no graph");
    if (!graph->message->has(kGraph_node)) refuse("it has 0 nodes");
    require_ends(graph->message->messages(kGraph_input), contract.inputs, "inputs");
    require_ends(graph->message->messages(kGraph_output), contract.outputs, "outputs");
    for (Message const* tensor : graph->message->messages(kGraph_initializer)) {
        std::string_view const name = tensor->text(kTensor_name);
        if (contract.inputs.count(name) > 0 && contract.defaults.count(name) == 0)
            refuse("its input ", name, " has a default, with which it would run unasked");
    }
    follow(*graph->message, contract);
}

void require_model(std::string_view data, Manifest const& manifest, std::string const& where) {
    GraphContract contract = inputs_of(manifest);
    contract.defaults = {"channel_order"};  // older bundles have one; the order is given all the same
    contract.outputs["label"] = {kTypeInt64, {kAny}, false, 0};
    contract.outputs["score"] = {kTypeFloat, {kAny}, false, 0};
    contract.outputs["values"] = {
        kTypeFloat, {kAny, static_cast<std::int64_t>(manifest.fusion.parts.size())}, false, 0};
    require_file(data, contract, "model.onnx", where);
}

void require_backbone(std::string_view data, Manifest const& manifest, std::string const& where) {
    BackboneRecord const& record = *manifest.backbone;
    GraphContract contract = inputs_of(manifest);
    add_outputs(contract, record.ending, record.logits, record.half ? kTypeFloat16 : kTypeFloat, manifest);
    require_file(data, contract, "backbone.onnx", where);
}

void require_body(std::string_view data, Manifest const& manifest, std::string const& where) {
    GraphContract contract;
    auto const& made = manifest.preprocessing;
    contract.inputs["pixels"] = {kTypeFloat, {kAny, 3, made.height_px, made.width_px}, true, 0};
    add_outputs(contract, manifest.body->ending, manifest.body->logits, kTypeFloat, manifest);
    require_file(data, contract, "body.onnx", where);
}

}  // namespace edgeosr::onnx
