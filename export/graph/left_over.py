"""The last step before a graph is written: nothing in it is left to be computed while it is loaded.

A bundle's own reader refuses nodes of constants alone (``edgeosr.bundle.onnx.constants``), whole numbers
divided by what could be 0 (``division``), convolutions that do not say their kernel (``nodes``), and long
lists of numbers outside raw data (``wire``). Exporters write all of these, and tangents of probes of the
image are made of constants up to the first layer that is not linear.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeosr.errors import import_extra
from edgeosr.export.graph.constant_values import ConstantValues, opset_of, read_names
from edgeosr.export.graph.reading import SIZES

# Bytes that one result may have: 32 probes of 224 x 224 pixels behind a first layer of 64 channels have a
# hundred million.
_LARGEST = 1 << 28
# Of sizes and of numbers from 0 on they make such numbers: of all of their inputs, or of the first.
_OF_ALL = frozenset(("Add", "Concat", "Max", "Min", "Mul"))
_OF_FIRST = frozenset(
    ("Gather", "Identity", "ReduceProd", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze")
)
_INT32, _INT64, _ONE = 6, 7, "edgeosr__one"
# No tensor has more axes: an end of Shape beyond says "all", as exporters write with the largest number.
_MOST_AXES = 16


def with_nothing_left_over(proto: Any) -> Any:
    """Return a graph that computes the same, ready for a bundle.

    Left alone is what weights are dequantised by, and what would be larger than ``_LARGEST`` bytes; a
    bundle's reader tells of the latter.

    Args:
        proto: ``onnx.ModelProto``; changed in place.
    """
    onnx = import_extra("onnx", extra="export", purpose="writing the graph")
    graph = proto.graph
    _name_ends(graph)
    _keep_constants(proto, onnx)
    _guard_divisors(graph, onnx)
    _say_kernels(graph, onnx)
    for tensor in (*graph.initializer, *(each.t for node in graph.node for each in node.attribute)):
        if tensor.data_type and not tensor.HasField("raw_data"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    return proto


def _keep_constants(proto: Any, onnx: Any) -> None:
    graph = proto.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for value in graph.input:  # a default is no constant
        tensors.pop(value.name, None)
    outputs = {value.name for value in graph.output}
    values = ConstantValues(onnx, tensors, opset_of(proto), set(read_names(graph.node)), grown=_LARGEST)
    made: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type == "Constant":
            values.add_constant(node)
        elif outputs.isdisjoint(node.output) and (found := values.computed(node)) is not None:
            made.update(found)
    if not made:
        return
    kept = [node for node in graph.node if not any(name in made for name in node.output)]
    read = {*read_names(kept), *outputs, *(value.name for value in graph.input)}
    kept = [node for node in kept if node.op_type != "Constant" or not read.isdisjoint(node.output)]
    _replace(graph.node, kept)
    _replace(graph.value_info, [value for value in graph.value_info if value.name not in made])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in made.items() if name in read
    )


def _name_ends(graph: Any) -> None:
    """Drop what is left out at the end of a node's inputs and outputs, and name outputs that nobody reads."""
    taken = dict.fromkeys(name for node in graph.node for name in node.output)
    for place, node in enumerate(graph.node):
        # How many outputs a Split has says how it splits.
        for names in (node.input,) if node.op_type == "Split" else (node.input, node.output):
            while len(names) > 1 and not names[-1]:
                del names[-1]
        for index, name in enumerate(node.output):
            if not name:
                node.output[index] = _free(f"edgeosr__unread_{place}_{index}", taken)
        if node.op_type == "Shape":
            kept = [each for each in node.attribute if each.name != "end" or each.i < _MOST_AXES]
            _replace(node.attribute, kept)


def _replace(field: Any, kept: list[Any]) -> None:
    del field[:]
    field.extend(kept)


def _guard_divisors(graph: Any, onnx: Any) -> None:
    """Divide by a size, or by 1 where it is 0: sizes are not 0, but nobody who reads the graph knows that."""
    makers = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored[node.output[0]] = node.attribute[0].t
    not_negative = {
        name
        for name, tensor in stored.items()
        if tensor.data_type in (_INT32, _INT64) and (onnx.numpy_helper.to_array(tensor) >= 0).all()
    }
    kinds = {name: tensor.data_type for name, tensor in stored.items()}
    # A graph that was written once has its guards.
    positive = {name for name in not_negative if (onnx.numpy_helper.to_array(stored[name]) >= 1).all()}
    guarded = {
        name
        for node in graph.node
        if node.op_type == "Max" and not positive.isdisjoint(node.input)
        for name in node.output
    }
    nodes: list[Any] = []
    guards: dict[str, str] = {}
    ones: dict[int, str] = {}
    for node in graph.node:
        size = node.input[1] if node.op_type == "Div" else ""
        if size and size not in guarded and _is_size(size, makers, not_negative):
            if size not in guards:
                guards[size] = _free(f"{size}__from_one_on", makers)
                kind = _kind(size, makers, kinds)
                one = ones.setdefault(kind, _free(f"{_ONE}_{kind}", kinds))
                nodes.append(onnx.helper.make_node("Max", [size, one], [guards[size]], guards[size]))
            node.input[1] = guards[size]
        nodes.append(node)
    if guards:
        _replace(graph.node, nodes)
        for kind, name in ones.items():
            number = np.array(1, np.int32 if kind == _INT32 else np.int64)
            graph.initializer.append(onnx.numpy_helper.from_array(number, name))


def _cast_to(node: Any) -> int:
    return next(int(each.i) for each in node.attribute if each.name == "to")


def _free(name: str, taken: Mapping[str, Any]) -> str:
    while name in taken:
        name += "_"
    return name


def _kind(name: str, makers: Mapping[str, Any], kinds: Mapping[str, int]) -> int:
    """Return the element type of a tensor that is made of sizes, see `_is_size`."""
    while (node := makers.get(name)) is not None and name not in kinds:
        if node.op_type in SIZES:
            return _INT64
        if node.op_type == "Cast":
            return _cast_to(node)
        name = node.input[0]
    return kinds[name]


def _say_kernels(graph: Any, onnx: Any) -> None:
    """State the kernel of each convolution that leaves it to the shape of its weights."""
    shapes = {tensor.name: tensor.dims for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            shapes[node.output[0]] = node.attribute[0].t.dims
        elif node.op_type == "DequantizeLinear" and node.input[0] in shapes:
            shapes[node.output[0]] = shapes[node.input[0]]
        said = {attribute.name for attribute in node.attribute}
        if (
            node.op_type in ("Conv", "ConvTranspose")
            and node.input[1] in shapes
            and "kernel_shape" not in said
        ):
            kernel = [int(size) for size in shapes[node.input[1]][2:]]
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", kernel))


def _is_size(name: str, makers: Mapping[str, Any], not_negative: set[str]) -> bool:
    """Tell whether a tensor is made of sizes, and numbers from 0 on, in a way that makes none below 0."""
    found, waiting, seen = False, [name], set[str]()
    while waiting:
        each = waiting.pop()
        node = makers.get(each)
        if each in seen or each in not_negative:
            continue
        seen.add(each)
        if node is None:
            return False
        if node.op_type in SIZES:
            found = True
        elif node.op_type in _OF_ALL:
            waiting += node.input
        elif node.op_type in _OF_FIRST:
            waiting += node.input[:1]
        elif node.op_type == "Cast" and _cast_to(node) in (_INT32, _INT64):
            waiting += node.input
        else:
            return False
    return found
