#include "bundle/onnx/nodes.h"

#include <algorithm>
#include <set>
#include <vector>

#include "bundle/onnx/field_numbers.inc"
#include "bundle/onnx/operators.h"
#include "bundle/onnx/tensors.h"

namespace edgeosr::onnx {
namespace {

constexpr std::size_t kLongestString = 64;
// Of one axis: filters as large as any classifier's, and windows over a whole map of a large frame.
constexpr std::int64_t kLargestFilter = 64, kLargestPool = 256;
constexpr std::size_t kLongestList =
    32;  // more of them than any axes; the numbers of a Constant are no setting

std::uint32_t field_of(std::int64_t kind) {
    switch (kind) {
        case kFloat:
            return kAttribute_f;
        case kInt:
            return kAttribute_i;
        case kString:
            return kAttribute_s;
        case kTensor:
            return kAttribute_t;
        case kFloats:
            return kAttribute_floats;
        case kInts:
            return kAttribute_ints;
        default:
            return kAttribute_strings;
    }
}

/// Readers go by the type, by what is there, or by a default where nothing is: all must say the same.
void require_one_kind(Message const& attribute, AttributeRule const& rule, std::string const& where) {
    bool const list = rule.kind == kFloats || rule.kind == kInts || rule.kind == kStrings;
    std::uint32_t const field = field_of(rule.kind);
    bool others = false;
    for (std::int64_t kind : {kFloat, kInt, kString, kTensor, kFloats, kInts, kStrings})
        others |= field_of(kind) != field && attribute.has(field_of(kind));
    if (attribute.whole(kAttribute_type, 0) != rule.kind || others || (!list && !attribute.has(field)))
        refuse(where,
               " is of type ",
               attribute.whole(kAttribute_type, 0),
               "; it must be of type ",
               rule.kind,
               " and hold that alone");
}

std::uint64_t require_attribute(Message const& attribute,
                                AttributeRule const& rule,
                                std::string const& where) {
    std::string const here = joined(where, ".", rule.name);
    require_one_kind(attribute, rule, here);
    std::uint32_t const field = field_of(rule.kind);
    if (rule.kind == kTensor) return require_tensor(*attribute.find(field)->message, here).bytes;
    if (rule.kind == kInt || rule.kind == kInts)
        for (std::int64_t number : attribute.wholes(field))
            if (number < rule.least || number > rule.most)
                refuse(here, " is ", number, "; it may be from ", rule.least, " to ", rule.most);
    if (std::string_view(rule.name) == "to" && !is_type(attribute.whole(field, 0)))
        refuse(here, " makes the type ", attribute.whole(field, 0), ", which no bundle has");
    if (rule.kind == kString || rule.kind == kStrings)
        for (std::string_view text : attribute.texts(field)) {
            bool const ascii =
                std::all_of(text.begin(), text.end(), [](char each) { return (each & 0x80) == 0; });
            if (text.size() > kLongestString || !ascii ||
                (rule.words[0] != '\0' && !has_word(rule.words, text)))
                refuse(here,
                       " is '",
                       shown(text),
                       "'; it is a word of up to ",
                       kLongestString,
                       " letters",
                       rule.words[0] != '\0' ? ", one of" : "",
                       rule.words);
        }
    bool const list = rule.kind == kFloats || rule.kind == kInts || rule.kind == kStrings;
    if (list && attribute.count(field) > kLongestList && std::string_view(rule.name).substr(0, 5) != "value")
        refuse(here, " has ", attribute.count(field), " of them; at most ", kLongestList, " are read");
    return 0;
}

/// Refuse a window without a kernel, or for different numbers of axes.
void require_window(Message const& node, Operator const& op, std::string const& where) {
    std::set<std::size_t> doubled;  // twice the axes, for pads are two an axis
    for (auto name : {"kernel_shape", "strides", "dilations", "output_padding", "output_shape", "pads"}) {
        Message const* attribute = attribute_of(node, name);
        std::size_t const length = attribute != nullptr ? attribute->count(kAttribute_ints) : 0;
        if (length > 0) doubled.insert(std::string_view(name) == "pads" ? length : 2 * length);
    }
    Message const* kernel = attribute_of(node, "kernel_shape");
    std::size_t const axes = kernel != nullptr ? kernel->count(kAttribute_ints) : 0;
    if (has_word(op.attributes, "kernel_shape") && (axes < 1 || axes > 3))
        refuse(where, " must have a kernel_shape of 1 to 3 axes; got ", axes);
    std::int64_t const most =
        std::string_view(op.name).substr(0, 4) == "Conv" ? kLargestFilter : kLargestPool;
    if (kernel != nullptr)
        for (std::int64_t size : kernel->wholes(kAttribute_ints))
            if (size > most)
                refuse(where, " has a kernel of ", size, "; at most ", most, " an axis are allowed");
    if (doubled.size() > 1) refuse(where, " has lists for different numbers of axes");
}

/// Refuse inputs and outputs without a name: some operators read them all the same.
void require_ends(Message const& node, Operator const& op, std::string const& where) {
    auto const inputs = node.texts(kNode_input), outputs = node.texts(kNode_output);
    if (inputs.size() < op.least_inputs)
        refuse(where, " has ", inputs.size(), " inputs; ", op.name, " needs at least ", op.least_inputs);
    for (std::size_t place = 0; place < inputs.size(); ++place)
        if (inputs[place].empty() && (place > 31 || (op.left_out >> place & 1) == 0))
            refuse(where, " leaves out its input ", place, ", which ", op.name, " needs");
    std::size_t named = 0;
    for (auto name : outputs)
        named += name.empty() ? 0 : 1;
    if (named == 0 || (named < outputs.size() && !op.unnamed_outputs))
        refuse(where, " has an output without a name");
}

bool is_term(std::string_view term) {
    bool seen[128] = {};
    for (char letter : term) {
        bool const known = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
        if (!known || seen[static_cast<int>(letter)]) return false;
        seen[static_cast<int>(letter)] = true;
    }
    return true;
}

/// Take terms of letters, each once in its term, and a result of letters that are in them. Dots, and terms
/// without letters, make some releases of onnxruntime loop without end.
void require_equation(std::string_view text, std::size_t inputs, std::string const& where) {
    std::string equation;
    for (char letter : text)
        if (letter != ' ') equation.push_back(letter);
    std::size_t const arrow = equation.find("->");
    bool good = arrow != std::string::npos;
    std::size_t terms = 0;
    std::string_view const left = std::string_view(equation).substr(0, good ? arrow : 0);
    std::string_view const made = good ? std::string_view(equation).substr(arrow + 2) : std::string_view();
    for (std::size_t begin = 0; good && begin <= left.size();) {
        std::size_t const end = std::min(left.find(',', begin), left.size());
        std::string_view const term = left.substr(begin, end - begin);
        good = !term.empty() && is_term(term);
        ++terms;
        begin = end + 1;
    }
    good = good && terms == inputs && is_term(made);
    for (char letter : made)
        good = good && left.find(letter) != std::string_view::npos;
    if (!good)
        refuse(where,
               " has the equation '",
               shown(equation),
               "' for ",
               inputs,
               " inputs; a bundle's has a term of letters for each, -> and letters of them, none twice in a "
               "term");
}

}  // namespace

Message const* attribute_of(Message const& node, std::string_view name) {
    for (Message const* attribute : node.messages(kNode_attribute))
        if (attribute->text(kAttribute_name) == name) return attribute;
    return nullptr;
}

std::uint64_t require_node(Message const& node, std::string const& where) {
    std::string_view const domain = node.text(kNode_domain);
    Operator const* op = find_operator(node.text(kNode_op_type));
    if ((!domain.empty() && domain != "ai.onnx") || !node.text(kNode_overload).empty() || op == nullptr)
        refuse(
            where, " is no operator that a bundle may have (", domain.empty() ? "ONNX" : shown(domain), ")");
    std::uint64_t total = 0;
    std::set<std::string_view> said;
    for (Message const* attribute : node.messages(kNode_attribute)) {
        std::string_view const name = attribute->text(kAttribute_name);
        if (!said.insert(name).second) refuse(where, " has the attribute '", shown(name), "' twice");
        AttributeRule const* rule = find_attribute_rule(name);
        if (!has_word(op->attributes, name) || rule == nullptr)
            refuse(where, " has the attribute '", shown(name), "', which ", op->name, " does not have");
        total += require_attribute(*attribute, *rule, where);
    }
    std::string_view const type(op->name);
    if (type == "Constant" && said.size() != 1)
        refuse(where, " must have one value, of numbers; got ", said.size());
    require_ends(node, *op, where);
    if (Message const* outputs = attribute_of(node, "num_outputs"))
        if (outputs->whole(kAttribute_i, 0) != static_cast<std::int64_t>(node.count(kNode_output)))
            refuse(where,
                   " says ",
                   outputs->whole(kAttribute_i, 0),
                   " outputs and has ",
                   node.count(kNode_output));
    require_window(node, *op, where);
    if (type == "Einsum") {
        Message const* equation = attribute_of(node, "equation");
        require_equation(
            equation != nullptr ? equation->text(kAttribute_s) : "", node.count(kNode_input), where);
    }
    return total;
}

}  // namespace edgeosr::onnx
