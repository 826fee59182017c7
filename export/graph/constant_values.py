"""The values of a graph's constants, and of what single nodes make of them, run one by one in onnxruntime."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import InferenceError
from edgeosr.export.graph.operators import QUANTISED_GRAPH, is_random
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

# Bytes that one result may have where it is larger than what it is made of, and what all of them may have.
GROWN, _TOTAL = 1 << 24, 1 << 29
# Multiplications of constants, in the whole graph: a second or so.
MOST_WORK = 1 << 32
# Constants with more numbers than these say no size.
_SHORT = 256
# Each number of one input may meet each of the others.
_PRODUCTS = ("Attention", "Det", "DeformConv", "Einsum", "GRU", "LSTM", "RNN")
_SETTINGS = SessionSettings(threads=1, optimisation="none")

_Array = NDArray[Any]


class ConstantValues:
    """The values of constants, and of what nodes make of them.

    Args:
        onnx: the module.
        tensors: the constants of a graph, by name.
        opset: of the graph.
        read: what its nodes read.
        grown: bytes that one result may have where it is larger than what it is made of.
    """

    def __init__(
        self, onnx: Any, tensors: Mapping[str, Any], opset: int, read: set[str], *, grown: int = GROWN
    ) -> None:
        self._onnx, self._opset, self._read, self._grown = onnx, opset, read, grown
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
        if size > max(self._grown, sum(array.nbytes for array in given.values())) or size > self._left:
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


def read_names(nodes: Iterable[Any]) -> Iterator[str]:
    """Yield what nodes read, those of their bodies included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from read_names(body.node)
                yield from (value.name for value in body.output)


def opset_of(proto: Any) -> int:
    """Return the standard's opset of an ``onnx.ModelProto``."""
    return int(max(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")))
