"""What a graph computes of constants and of fixed sizes alone: computed once, and kept as weights.

Exporters leave arithmetic in the graph: torch's older one writes the padding of a ``ZeroPad2d`` as a chain of
seven nodes, and weight normalisation, standardised filters and fused scales are computed for every image. The
results are constants to everybody who reads the graph after this, and a bundle's own reader need not follow
how they came about.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.onnx.constants import MOST_WORK
from edgeosr.errors import InferenceError, import_extra
from edgeosr.export.graph.branches import decided_by_sizes, is_random
from edgeosr.export.graph.open_sizes import depend_on_batch
from edgeosr.export.graph.operators import QUANTISED_GRAPH
from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.graph.reading import SIZES
from edgeosr.export.graph.writer import import_onnx_ir
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

# Bytes that one result may have where it is larger than what it is made of, and what all of them may have.
_GROWN, _TOTAL = 1 << 24, 1 << 29
# Constants with more numbers than these say no size.
_SHORT = 256
# Sizes count as fixed if they are the same for all of these batches, and nothing of the batch is in them;
# another one is compared afterwards.
_BATCHES, _OTHER_BATCH = (1, 2, 9), 3
# Rounding, relative to the largest output; what a wrong constant changes is of the size of the output.
_TOLERANCE = 1e-3
# Each number of one input may meet each of the others.
_PRODUCTS = ("Attention", "Det", "DeformConv", "Einsum", "GRU", "LSTM", "RNN")
_SETTINGS = SessionSettings(threads=1, optimisation="none")

_Array = NDArray[Any]


def with_constants_computed(proto: Any) -> Any:
    """Replace every tensor that is made of constants alone by its value.

    Left alone are random numbers, what would grow to more than ``_GROWN`` bytes or take more multiplications
    than ``MOST_WORK``, and operators of quantised graphs, which say more than their values.

    Args:
        proto: ``onnx.ModelProto`` with one input, all of its sizes fixed but the batch.

    Returns:
        The graph; unchanged if there is nothing to compute, or if the outcome would not give the same.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    values = _Values(onnx, tensors, _opset(proto), set(_read_names(proto.graph.node)))
    made: dict[str, _Array] = {}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            values.add_constant(node)
        elif outputs.isdisjoint(node.output) and (found := values.computed(node)) is not None:
            made.update(found)
    return _replaced(proto, made, onnx, batch=1) if made else proto


def with_sizes_computed(proto: Any) -> Any:
    """Replace what is made of fixed sizes, and of constants, by its value: all but the batch is fixed.

    Args:
        proto: ``onnx.ModelProto`` with one input, ``[batch, fixed sizes]``, the batch open; no control flow.

    Returns:
        The graph; unchanged like that of ``with_constants_computed``.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    names = _of_sizes(proto)
    runs = [_run(proto, names, batch, onnx) for batch in _BATCHES] if names else []
    found = [run for run in runs if run is not None]
    if len(found) < len(_BATCHES) or not names:
        return proto
    runs_of = {name: arrays for name, *arrays in zip(names, *found, strict=True)}
    moving = depend_on_batch(proto, runs_of, _BATCHES, onnx)
    same = {
        name: arrays[0]
        for name, arrays in runs_of.items()
        if name not in moving
        and arrays[0].nbytes <= _GROWN
        and all(_equal(arrays[0], other) for other in arrays[1:])
    }
    outputs = {value.name for value in proto.graph.output}
    whole = [node for node in proto.graph.node if all(name in same for name in node.output if name)]
    made = {
        name: same[name] for node in whole if outputs.isdisjoint(node.output) for name in node.output if name
    }
    return _replaced(proto, made, onnx, batch=_OTHER_BATCH) if made else proto


class _Values:
    """The values of constants, and of what nodes make of them."""

    def __init__(self, onnx: Any, tensors: Mapping[str, Any], opset: int, read: set[str]) -> None:
        self._onnx, self._opset, self._read = onnx, opset, read
        self._tensors: dict[str, Any] = dict(tensors)
        self._arrays: dict[str, _Array] = {}
        self._left, self._work_left = _TOTAL, MOST_WORK

    def add_constant(self, node: Any) -> None:
        """Take in a Constant node; one of text or of a sparse tensor is left alone."""
        for attribute in node.attribute:
            value = self._onnx.helper.get_attribute_value(attribute)
            if attribute.name == "value":
                self._tensors[node.output[0]] = value
            elif attribute.name in ("value_int", "value_ints"):
                self._arrays[node.output[0]] = np.array(value, np.int64)
            elif attribute.name in ("value_float", "value_floats"):
                self._arrays[node.output[0]] = np.array(value, np.float32)

    def computed(self, node: Any) -> dict[str, _Array] | None:
        """Return what a node makes of constants alone, by name; None if it is of others, or too large."""
        names = [name for name in node.input if name]
        if not names or self._read.isdisjoint(node.output) or not _may_be_computed(node):
            return None
        if not all(name in self._tensors or name in self._arrays for name in names):
            return None
        given = {name: self._array(name) for name in names}
        if any(array.dtype.kind not in "biuf" for array in given.values()):  # text, numbers of 4 bits
            return None
        types = self._types_made(node, given)
        if types is None:
            return None
        size = sum(_bytes(kind, self._onnx) for kind in types.values())
        if size > max(_GROWN, sum(array.nbytes for array in given.values())) or size > self._left:
            return None
        work = _work(node, list(given.values()), types)
        if work > self._work_left:
            return None
        made = self._run(node, given, types)
        if made is not None:
            self._left -= size
            self._work_left -= work
            self._arrays.update(made)
        return made

    def _array(self, name: str) -> _Array:
        if name not in self._arrays:
            self._arrays[name] = self._onnx.numpy_helper.to_array(self._tensors[name])
        return self._arrays[name]

    def _types_made(self, node: Any, given: Mapping[str, _Array]) -> dict[str, Any] | None:
        """Return type and shape of every output, before anything is made; None if they are not known."""
        helper, opsets = self._onnx.helper, [self._onnx.helper.make_opsetid("", self._opset)]
        to_tensor = self._onnx.numpy_helper.from_array
        types = {
            name: helper.make_tensor_type_proto(_kind(array, helper), array.shape)
            for name, array in given.items()
        }
        short = {name: to_tensor(array, name) for name, array in given.items() if array.size <= _SHORT}
        try:
            schema = self._onnx.defs.get_schema(node.op_type, self._opset, "")
            made = self._onnx.shape_inference.infer_node_outputs(
                schema, node, types, short, opset_imports=opsets
            )
        except (self._onnx.shape_inference.InferenceError, self._onnx.defs.SchemaError, KeyError):
            return None
        # Of old operators in training mode, the outputs that nothing reads are of unknown shape.
        wanted = [name for name in node.output if name in self._read]
        known = all(name in made and _bytes(made[name], self._onnx) >= 0 for name in wanted)
        return {name: made[name] for name in wanted} if known else None

    def _run(
        self, node: Any, given: Mapping[str, _Array], types: Mapping[str, Any]
    ) -> dict[str, _Array] | None:
        helper = self._onnx.helper
        inputs = [
            helper.make_tensor_value_info(name, _kind(array, helper), array.shape)
            for name, array in given.items()
        ]
        outputs = [helper.make_value_info(name, kind) for name, kind in types.items()]
        graph = helper.make_graph([node], "constants", inputs, outputs)
        opsets = [helper.make_opsetid("", self._opset)]
        data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
        try:
            arrays = run_session(open_session(data, _SETTINGS), list(types), dict(given))
        except InferenceError:
            return None
        return dict(zip(types, (np.asarray(array) for array in arrays), strict=True))


def _work(node: Any, given: Sequence[_Array], types: Mapping[str, Any]) -> int:
    """Return how many multiplications, or steps like them, a node takes at most, or about."""
    dims = [[int(dim.dim_value) for dim in kind.tensor_type.shape.dim] for kind in types.values()]
    made = sum(math.prod(each) for each in dims)
    sizes = [array.size for array in given]
    if node.op_type in ("MatMul", "Gemm"):
        # Of m x k and k x n numbers, the root of mk, kn and mn is their product; so it is of many at once.
        return math.isqrt(sizes[0] * sizes[min(1, len(sizes) - 1)] * made)
    if node.op_type in ("Conv", "ConvTranspose") and len(given) > 1:
        return max(sizes[0], made) * math.prod(given[1].shape[1:])
    if node.op_type in _PRODUCTS:
        return math.prod(max(1, size) for size in sizes)
    for attribute in node.attribute:
        if attribute.name == "kernel_shape":
            return made * math.prod(int(size) for size in attribute.ints)
    return made + sum(sizes)


def _may_be_computed(node: Any) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type in QUANTISED_GRAPH or is_random(node):
        return False
    if node.op_type == "Dropout" and len(node.input) > 2:  # in training mode it draws
        return False
    return not any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)


def _kind(array: _Array, helper: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def _bytes(kind: Any, onnx: Any) -> int:
    """Return the bytes of a tensor of this type; -1 if its shape is not known, or it is of no numbers."""
    tensor = kind.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    if not kind.HasField("tensor_type") or not tensor.HasField("shape") or min(dims, default=0) < 0:
        return -1
    if tensor.elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return -1
    size: int = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).itemsize
    for dim in dims:
        size *= dim
    return size


def _of_sizes(proto: Any) -> list[str]:
    """Name the tensors that are made of sizes, and of constants, alone; in the order of the graph."""
    if not any(node.op_type in SIZES for node in proto.graph.node):
        return []
    model = import_onnx_ir().from_proto(proto)
    found: dict[Any, str] = {}
    for node in model.graph:
        given = [value for value in node.inputs if value is not None]
        if node.op_type in SIZES:
            fits = decided_by_sizes(node.outputs[0])
        else:
            fits = any(value in found for value in given) and all(
                value in found or decided_by_sizes(value) for value in given
            )
        if fits and not is_random(node) and not any(_is_body(each) for each in node.attributes.values()):
            found.update({value: str(value.name) for value in node.outputs if value.name})
    return list(found.values())


def _is_body(attribute: Any) -> bool:
    kinds = import_onnx_ir().AttributeType
    return attribute.type in (kinds.GRAPH, kinds.GRAPHS)


def _run(proto: Any, names: Sequence[str], batch: int, onnx: Any) -> list[_Array] | None:
    """Return what tensors hold for black images; None if the graph does not run."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.value_info[:]
    there = {value.name for value in shown.graph.output}
    shown.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in there
    )
    image = proto.graph.input[0]
    sizes = [dim.dim_value for dim in image.type.tensor_type.shape.dim[1:]]
    try:
        session = open_session(shown.SerializeToString(), _SETTINGS)
        found = run_session(session, list(names), {image.name: np.zeros((batch, *sizes), np.float32)})
    except InferenceError:
        return None
    return [np.asarray(array) for array in found]


def _equal(one: _Array, other: _Array) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f" and other.dtype.kind == "f")


def _replaced(proto: Any, made: Mapping[str, _Array], onnx: Any, batch: int) -> Any:
    """Return the graph with these tensors as weights, if it gives the same on noise; else as it is."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    graph = changed.graph
    kept = [node for node in graph.node if not any(name in made for name in node.output)]
    read = set(_read_names(kept))
    del graph.node[:]
    graph.node.extend(kept)
    kept_info = [value for value in graph.value_info if value.name not in made]
    del graph.value_info[:]
    graph.value_info.extend(kept_info)
    for name, array in made.items():
        if name in read:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    difference = largest_difference(proto, changed, batch)
    return proto if difference is None or difference > _TOLERANCE else changed


def _read_names(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield what nodes read, those of their bodies included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _read_names(body.node)
                yield from (value.name for value in body.output)


def _opset(proto: Any) -> int:
    return int(max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")))
