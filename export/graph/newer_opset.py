"""Graphs of opsets beyond the newest that every backend reads, brought back to it.

Opsets 21 and later hardly changed what operators mean: most only take more types, which a float32 classifier
has none of. So a graph is relabelled where the older set has the same operator. New operators that are
defined by others are replaced by those; GroupNormalization, whose scale became one for each channel, is
written out.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeosr.errors import import_extra

# Looked through up to here; of what comes later nobody knows yet what it means.
_NEWEST_KNOWN = 28
_STANDARD = ("", "ai.onnx")
# The IR version that goes with opset 20.
IR_VERSION = 9


class NotLoweredError(Exception):
    """Why a graph cannot be brought back, in words."""


def is_known(opset: int, onnx: Any) -> bool:
    """Tell whether the changes up to this opset are known, here and to the installed onnx."""
    return bool(opset <= min(_NEWEST_KNOWN, onnx.defs.onnx_opset_version()))


def lowered(proto: Any, opset: int, target: int, onnx: Any) -> Any:
    """Return the same graph in an older opset; ``proto`` stays as it is.

    Args:
        proto: ``onnx.ModelProto`` of standard operators.
        opset: its own.
        target: 20 or later.
        onnx: the package.

    Raises:
        NotLoweredError: an operator is new, or has another meaning in the older set; the message names it.
    """
    result = _with_new_operators_written_out(proto, target, onnx)
    if result is proto:
        result = onnx.ModelProto()
        result.CopyFrom(proto)
    if any(node.op_type == "GroupNormalization" for node in result.graph.node):
        _write_out_groups(result, onnx)
    for node in _nodes(result.graph):
        _relabel(node, opset, target, onnx)
    kept = [entry for entry in result.opset_import if entry.domain not in _STANDARD]
    del result.opset_import[:]
    result.opset_import.extend([onnx.helper.make_opsetid("", target), *kept])
    result.ir_version = min(result.ir_version, IR_VERSION)
    return result


def may_round_otherwise(proto: Any) -> bool:
    """Tell whether versions differ in an edge of an operator, so that only a comparison can tell.

    Pools with ``ceil_mode`` no longer count windows that begin in the padding on the right.
    """
    return any(
        attribute.name == "ceil_mode" and attribute.i
        for node in _nodes(proto.graph)
        for attribute in node.attribute
    )


def _with_new_operators_written_out(proto: Any, target: int, onnx: Any) -> Any:
    new = {node.op_type for node in _nodes(proto.graph) if not _since(node.op_type, target, onnx)}
    if not new:
        return proto
    inliner = import_extra("onnx.inliner", extra="export", purpose="reading an ONNX file")
    inline = inliner.inline_selected_functions
    if "inline_schema_functions" not in inspect.signature(inline).parameters:
        raise NotLoweredError(f"opset {target} has no {', '.join(sorted(new))}; a newer onnx may help")
    # Types decide how some of them are written out, those of weights too.
    typed = onnx.shape_inference.infer_shapes(proto)
    known = {value.name for value in (*typed.graph.value_info, *typed.graph.input)}
    typed.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in typed.graph.initializer
        if tensor.name not in known
    )
    return inline(typed, [("", name) for name in sorted(new)], inline_schema_functions=True)


def _since(operator: str, opset: int, onnx: Any) -> Any:
    """Return the definition that holds in an opset, None if it has none."""
    try:
        return onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None


def _relabel(node: Any, opset: int, target: int, onnx: Any) -> None:
    """Take out settings that the older operator has not, and that say what it does anyway."""
    old, new = _since(node.op_type, target, onnx), _since(node.op_type, opset, onnx)
    where = f"{node.op_type} (node {node.name or node.output[0]!r})"
    if old is None or new is None or (node.op_type == "GroupNormalization" and node.domain in _STANDARD):
        raise NotLoweredError(f"opset {target} has no {where} as it is here")
    for attribute in list(node.attribute):
        if attribute.name in old.attributes:
            continue
        default = new.attributes[attribute.name].default_value if attribute.name in new.attributes else None
        if default is None or onnx.helper.get_attribute_value(default) != onnx.helper.get_attribute_value(
            attribute
        ):
            raise NotLoweredError(f"opset {target} has no {attribute.name} of {where}")
        node.attribute.remove(attribute)
    if len(node.input) > old.max_input or len(node.output) > old.max_output:
        raise NotLoweredError(f"opset {target} has fewer inputs or outputs of {where}")


def _write_out_groups(proto: Any, onnx: Any) -> None:
    """Write GroupNormalization as torch did before: a row a group, normalised; then each channel's scale."""
    shaped = onnx.shape_inference.infer_shapes(proto)
    sizes = {
        value.name: [
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        ]
        for value in (*shaped.graph.value_info, *shaped.graph.input)
        if value.type.tensor_type.HasField("shape")
    }
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        if node.op_type == "GroupNormalization":
            proto.graph.node.extend(_groups(node, sizes.get(node.input[0]), proto, onnx))
        else:
            proto.graph.node.append(node)


def _groups(node: Any, sizes: "list[int | None] | None", proto: Any, onnx: Any) -> list[Any]:
    said = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if not sizes or None in sizes[1:] or said.get("stash_type", 1) != 1:
        raise NotLoweredError(
            f"GroupNormalization (node {node.name or node.output[0]!r}) is of unknown shape"
        )
    image, scale, bias = node.input
    out, groups = node.output[0], int(said["num_groups"])
    names = {name: f"{out}/groups/{name}" for name in ("rows", "unit", "map", "scale", "bias", "scaled")}
    channels = [1, sizes[1], *[1] * (len(sizes) - 2)]
    held = {
        "as_rows": np.array([0, groups, -1]),
        "as_map": np.array([0, *sizes[1:]]),
        "as_channels": np.array(channels),
        "ones": np.ones(groups, np.float32),
        "zeros": np.zeros(groups, np.float32),
    }
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, f"{out}/groups/{name}") for name, value in held.items()
    )
    names |= {name: f"{out}/groups/{name}" for name in held}

    def made(kind: str, given: list[str], result: str, **more: Any) -> Any:
        return onnx.helper.make_node(kind, given, [result], name=f"{result}/node", **more)

    return [
        made("Reshape", [image, names["as_rows"]], names["rows"]),
        made(
            "InstanceNormalization",
            [names["rows"], names["ones"], names["zeros"]],
            names["unit"],
            epsilon=said.get("epsilon", 1e-5),
        ),
        made("Reshape", [names["unit"], names["as_map"]], names["map"]),
        made("Reshape", [scale, names["as_channels"]], names["scale"]),
        made("Reshape", [bias, names["as_channels"]], names["bias"]),
        made("Mul", [names["map"], names["scale"]], names["scaled"]),
        made("Add", [names["scaled"], names["bias"]], out),
    ]


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield all nodes, those of bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)
