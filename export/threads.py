"""How many threads a graph is run on during an export: as many as its size is worth.

Threads wait for each other at every node, and they wait by spinning. That costs nothing on an idle machine;
on a busy one a waiting thread holds a processor that its work needs. How much a second thread is worth was
measured on 2 processors with six times as much to do (3x3 convolutions, batches of 64, time on two threads
over time on one): 1.00 at 1.4 million multiply-adds a frame, 0.84 at 21 million, 0.76 at 85 million, 0.75 at
340 million. torch's threads cost more: 100 steps of OpenGAN's discriminator took 3 to 8 s on one and 37 to
40 s on two, which is why it trains on one (``edgeosr.training.opengan_loop``).
"""

import math
from typing import TYPE_CHECKING, Any

from edgeosr.errors import import_extra
from edgeosr.export.graph.assemble import TANGENTS_NOTE
from edgeosr.usable_processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import Sequence

# Multiply-adds of one frame below which a graph runs on one thread.
SMALL = 20_000_000
ENOUGH_THREADS = 4
# Their second input is the weight, or the second factor.
_MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def graph_threads(model: bytes) -> int:
    """Return the threads that suit a serialised graph: one if it is small, else up to 4."""
    onnx = import_extra("onnx", extra="export", purpose="running the graph")
    proto = onnx.load_model_from_string(model)
    if multiply_adds(proto) < SMALL:
        return 1
    return min(usable_processors(), ENOUGH_THREADS)


def multiply_adds(proto: Any) -> int:
    """Return about how many multiply-adds a graph takes for one frame, tangents included.

    Only convolutions and matrix products count. A size that the graph leaves open counts as 1.

    Args:
        proto: ``onnx.ModelProto``.
    """
    shapes = _shapes(proto)
    total = 0
    for node in proto.graph.node:
        if node.op_type not in _MULTIPLYING or len(node.input) < 2:
            continue
        weight = shapes.get(node.input[1], ())
        if node.op_type == "ConvTranspose":
            positions = shapes.get(node.input[0], ())[2:]
            total += math.prod(weight) * math.prod(positions)
        elif node.op_type == "Conv":
            total += math.prod(weight) * math.prod(shapes.get(node.output[0], ())[2:])
        else:
            # Each output number takes as many as the factors have in common.
            first = shapes.get(node.input[0], (1,))
            total += math.prod(shapes.get(node.output[0], ())) * (first[-1] if first else 1)
    noted = {entry.key: entry.value for entry in proto.metadata_props}.get(TANGENTS_NOTE, "")
    return total * (1 + (int(noted) if noted.isdecimal() else 0))


def _shapes(proto: Any) -> "dict[str, Sequence[int]]":
    """Return the sizes of every tensor whose rank is known, by name; 1 for an open size."""
    found: dict[str, Sequence[int]] = {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        if value.name not in found and value.type.tensor_type.HasField("shape"):
            found[value.name] = tuple(max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim)
    return found
