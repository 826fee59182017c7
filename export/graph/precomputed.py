"""What a graph computes of constants and of fixed sizes alone: computed once, and kept as weights.

Exporters leave arithmetic in the graph: torch's older one writes the padding of a ``ZeroPad2d`` as a chain of
seven nodes, and weight normalisation, standardised filters and fused scales are computed for every image. The
results are constants to everybody who reads the graph after this, and a bundle's own reader need not follow
how they came about.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import InferenceError, import_extra
from edgeosr.export.graph.branches import decided_by_sizes
from edgeosr.export.graph.constant_values import GROWN, ConstantValues, opset_of, read_names
from edgeosr.export.graph.open_sizes import depend_on_batch
from edgeosr.export.graph.operators import is_random
from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.graph.reading import SIZES
from edgeosr.export.graph.writer import import_onnx_ir
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

# Sizes count as fixed if they are the same for all of these batches, and nothing of the batch is in them;
# another one is compared afterwards.
_BATCHES, _OTHER_BATCH = (1, 2, 9), 3
# Rounding, relative to the largest output; what a wrong constant changes is of the size of the output.
_TOLERANCE = 1e-3
_SETTINGS = SessionSettings(threads=1, optimisation="none")

_Array = NDArray[Any]


def with_constants_computed(proto: Any) -> Any:
    """Replace every tensor that is made of constants alone by its value.

    Left alone are random numbers, what would grow to more than ``GROWN`` bytes or take more multiplications
    than ``MOST_WORK``, and operators of quantised graphs, which say more than their values.

    Args:
        proto: ``onnx.ModelProto`` with one input, all of its sizes fixed but the batch.

    Returns:
        The graph; unchanged if there is nothing to compute, or if the outcome would not give the same.
    """
    onnx = import_extra("onnx", extra="export", purpose="reading an ONNX file")
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    outputs = {value.name for value in proto.graph.output}
    values = ConstantValues(onnx, tensors, opset_of(proto), set(read_names(proto.graph.node)))
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
        and arrays[0].nbytes <= GROWN
        and all(_equal(arrays[0], other) for other in arrays[1:])
    }
    outputs = {value.name for value in proto.graph.output}
    whole = [node for node in proto.graph.node if all(name in same for name in node.output if name)]
    made = {
        name: same[name] for node in whole if outputs.isdisjoint(node.output) for name in node.output if name
    }
    return _replaced(proto, made, onnx, batch=_OTHER_BATCH) if made else proto


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
    read = set(read_names(kept))
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
