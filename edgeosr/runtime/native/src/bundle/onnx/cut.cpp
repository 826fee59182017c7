#include "bundle/onnx/cut.h"

#include <set>

#include "bundle/onnx/field_numbers.inc"
#include "bundle/onnx/wire.h"

namespace edgeosr::onnx {
namespace {

constexpr std::uint32_t kVarint = 0, kBytes = 2;

/// One field of a message: `whole` with its key, `body` without.
struct Piece {
    std::uint32_t number = 0;
    std::string_view whole, body;
};

std::uint64_t varint(std::string_view data, std::size_t& at) {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (at >= data.size()) refuse("it ends within a number");
        auto const byte = static_cast<unsigned char>(data[at++]);
        value |= static_cast<std::uint64_t>(byte & 127) << shift;
        if (byte < 128) return value;
    }
    refuse("it has a number of more than 64 bits");
}

std::vector<Piece> pieces_of(std::string_view data) {
    std::vector<Piece> pieces;
    for (std::size_t at = 0; at < data.size();) {
        std::size_t const begin = at;
        std::uint64_t const key = varint(data, at);
        std::size_t body = at;
        std::uint64_t left = 0;
        switch (key & 7) {
            case kVarint:
                varint(data, at);
                break;
            case kBytes:
                left = varint(data, at);
                body = at;
                break;
            default:
                left = (key & 7) == 1 ? 8 : 4;
        }
        if (left > data.size() - at) refuse("it ends within a field");
        at += static_cast<std::size_t>(left);
        pieces.push_back({static_cast<std::uint32_t>(key >> 3),
                          data.substr(begin, at - begin),
                          data.substr(body, at - body)});
    }
    return pieces;
}

void put_varint(std::string& out, std::uint64_t value) {
    for (; value >= 128; value >>= 7)
        out.push_back(static_cast<char>(value | 128));
    out.push_back(static_cast<char>(value));
}

void put_number(std::string& out, std::uint32_t field, std::int64_t value) {
    put_varint(out, field << 3 | kVarint);
    put_varint(out, static_cast<std::uint64_t>(value));
}

void put_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
    put_varint(out, field << 3 | kBytes);
    put_varint(out, bytes.size());
    out += bytes;
}

std::string value_info(Cut const& cut) {
    std::string tensor, type, made, shape;
    put_number(tensor, kTensorType_elem_type, cut.type);
    for (std::int64_t size : cut.shape) {
        std::string dimension;
        put_number(dimension, kDimension_dim_value, size);
        put_bytes(shape, kShape_dim, dimension);
    }
    if (!shape.empty()) put_bytes(tensor, kTensorType_shape, shape);
    put_bytes(type, kType_tensor_type, tensor);
    put_bytes(made, kValue_name, cut.name);
    put_bytes(made, kValue_type, type);
    return made;
}

struct Node {
    std::string_view whole;
    std::vector<std::string_view> inputs, outputs;
};

std::string cut_body(std::string_view graph, Cut const& from, std::vector<Cut> const& to) {
    std::vector<Node> nodes;
    std::set<std::string_view> needed, made;
    auto const pieces = pieces_of(graph);
    for (auto const& piece : pieces) {
        if (piece.number != kGraph_node) continue;
        Node node{piece.whole, {}, {}};
        for (auto const& part : pieces_of(piece.body)) {
            if (part.number == kNode_input) node.inputs.push_back(part.body);
            if (part.number == kNode_output) node.outputs.push_back(part.body);
        }
        made.insert(node.outputs.begin(), node.outputs.end());
        nodes.push_back(std::move(node));
    }
    if (made.count(from.name) == 0) refuse("it has no tensor '", from.name, "'; export the bundle again");
    for (auto const& one : to) {
        if (made.count(one.name) == 0) refuse("it has no tensor '", one.name, "'; export the bundle again");
        needed.insert(one.name);
    }
    std::vector<bool> kept(nodes.size());
    for (std::size_t i = nodes.size(); i-- > 0;) {
        for (auto name : nodes[i].outputs)
            kept[i] = kept[i] || (name != from.name && needed.count(name) > 0);
        if (kept[i]) needed.insert(nodes[i].inputs.begin(), nodes[i].inputs.end());
    }
    std::string out;
    std::set<std::string_view> there = {from.name, ""};
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (kept[i]) there.insert(nodes[i].outputs.begin(), nodes[i].outputs.end());
    for (auto const& piece : pieces) {
        if (piece.number == kGraph_name) out += piece.whole;
        if (piece.number != kGraph_initializer) continue;
        for (auto const& part : pieces_of(piece.body))
            if (part.number == kTensor_name && needed.count(part.body) > 0) {
                out += piece.whole;
                there.insert(part.body);
            }
    }
    for (auto name : needed)
        if (there.count(name) == 0)
            refuse("it reads '", shown(name), "' behind '", from.name, "'; export the bundle again");
    for (std::size_t i = 0; i < nodes.size(); ++i)
        if (kept[i]) out += nodes[i].whole;
    put_bytes(out, kGraph_input, value_info(from));
    for (auto const& one : to)
        put_bytes(out, kGraph_output, value_info(one));
    return out;
}

}  // namespace

std::string cut_graph(std::string_view data, Cut const& from, std::vector<Cut> const& to) {
    std::string out;
    for (auto const& piece : pieces_of(data)) {
        if (piece.number == kModel_graph)
            put_bytes(out, kModel_graph, cut_body(piece.body, from, to));
        else if (piece.number == kModel_ir_version || piece.number == kModel_opset_import)
            out += piece.whole;
    }
    return out;
}

}  // namespace edgeosr::onnx
