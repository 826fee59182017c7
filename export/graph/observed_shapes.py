"""Shapes that inference does not find, read off two runs of the graph.

Exporters write sizes as arithmetic in the graph (torch's older one does so for every attention), which ONNX's
shape inference cannot follow: it then does not even know the rank of what comes after a Reshape.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from edgeosr.errors import InferenceError, import_extra
from edgeosr.export.graph.reading import static_shape
from edgeosr.export.graph.writer import import_onnx_ir
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

if TYPE_CHECKING:
    import onnx_ir as ir

# Two batches tell what grows with the batch from what does not.
_FEW, _MORE = 2, 3
# That of opset 20, which every onnxruntime reads that reads the graph.
_IR_VERSION = 9


def observe_shapes(graph: "ir.Graph", values: "Iterable[ir.Value]") -> None:
    """Give tensors of unknown rank, size or type what they have in runs on two images and on three.

    A size that is the same in both is taken as fixed; one that is in proportion to the batch is named after
    it. A graph that takes batches of one size only is run once. A graph whose one input is not ``[batch,
    fixed sizes]``, or that does not run, is left as it is.

    Args:
        graph: of a model; its nodes stay as they are.
        values: tensors to look at; those that are known already are left out.
    """
    unknown = [value for value in dict.fromkeys(values) if value.name and not _is_known(value)]
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    sizes = static_shape(inputs[0]) if len(inputs) == 1 else None
    if not unknown or not sizes or None in sizes[1:]:
        return
    if sizes[0] is None:
        one, other = (_run(graph, inputs[0], batch, unknown) for batch in (_FEW, _MORE))
    else:
        one = other = _run(graph, inputs[0], sizes[0], unknown)
    if one is None or other is None:
        return
    ir = import_onnx_ir()
    dimension = inputs[0].shape[0] if inputs[0].shape is not None else None
    batch = getattr(dimension, "value", None) or "batch"
    for value, few, more in zip(unknown, one, other, strict=True):
        if few.ndim == more.ndim:
            value.shape = ir.Shape([_size(*pair, batch) for pair in zip(few.shape, more.shape, strict=True)])
            value.dtype = ir.DataType.from_numpy(few.dtype)


def _is_known(value: "ir.Value") -> bool:
    sizes = static_shape(value)
    return value.dtype is not None and sizes is not None and None not in sizes[1:]


def _run(
    graph: "ir.Graph", image: "ir.Value", batch: int, values: "list[ir.Value]"
) -> "list[np.ndarray] | None":
    """Return what the values hold for a batch of zeros, None if the graph does not run."""
    onnx = import_extra("onnx", extra="export", purpose="reading shapes")
    ir = import_onnx_ir()
    proto = ir.to_proto(ir.Model(graph, ir_version=_IR_VERSION))
    there = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=value.name) for value in values if value.name not in there
    )
    del proto.graph.value_info[:]
    dtype = np.dtype(np.float32) if image.dtype is None else image.dtype.numpy()
    sizes = [size for size in (static_shape(image) or ())[1:] if size is not None]
    zeros = np.zeros((batch, *sizes), dtype)
    # Five images in all: threads would save little, and cost much on a busy machine.
    settings = SessionSettings(threads=1, optimisation="none")
    try:
        session = open_session(proto.SerializeToString(), settings)
        return run_session(session, [str(value.name) for value in values], {str(image.name): zeros})
    except InferenceError:
        return None


def _size(few: int, more: int, batch: str) -> "int | str | None":
    if few == more:
        return few
    times, rest = divmod(few, _FEW)
    if rest or times * _MORE != more:
        return None
    return batch if times == 1 else f"{times}*{batch}"
