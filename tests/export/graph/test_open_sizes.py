"""A number that a few batches do not move stays to be computed if the batch is in it, wherever that is."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.graph.precomputed import with_sizes_computed


def whole(*values):
    return np.array(values, np.int64)


HELD = {
    "zero": whole(0),
    "one": whole(1),
    "two": whole(2),
    "none": np.zeros(0, np.int64),
    "fifteen": whole(15),
    "sixteen": whole(16),
    "spot": np.float32([[1]]),
    "first": np.array(0),
    "step": np.array(1),
    "long": np.array(16),
    "pads": whole(0, 0, 0, 0, 15, 0, 0, 0),
}
# ceil(batch / 16): 1 for all batches up to 16.
PARTS = [
    ("Shape", "image", "size", {}),
    ("Gather", "size zero", "batch", {}),
    ("Add", "batch fifteen", "more", {}),
    ("Div", "more sixteen", "parts", {}),
]
NUMBER = {
    "another axis": [
        *PARTS,
        ("Concat", "one parts", "sides", {"axis": 0}),
        ("Expand", "spot sides", "spots", {}),
        ("Shape", "spots", "shape", {}),
        ("Gather", "shape one", "number", {}),
    ],
    "an axis counted from behind": [
        *PARTS,
        ("Concat", "parts one", "sides", {"axis": 0}),
        ("Expand", "spot sides", "spots", {}),
        ("Shape", "spots", "number", {"start": -2, "end": -1}),
    ],
    "the count of all": [
        *PARTS,
        ("Concat", "one parts", "sides", {"axis": 0}),
        ("Expand", "spot sides", "spots", {}),
        ("Neg", "spots", "turned", {}),
        ("Size", "turned", "number", {}),
    ],
    "what is left for an axis": [
        *PARTS,
        ("Pad", "image pads", "padded", {}),
        ("Mul", "parts sixteen", "full", {}),
        ("Slice", "padded zero full zero", "filled", {}),
        ("Concat", "parts minus", "sides", {"axis": 0}),
        ("Reshape", "filled sides", "rows", {}),
        ("Shape", "rows", "shape", {}),
        ("Gather", "shape one", "count", {}),
        ("Div", "count large", "number", {}),
    ],
    "no numbers at first": [
        ("Shape", "image", "size", {}),
        ("Gather", "size first", "batch", {}),
        ("Max", "batch long", "end", {}),
        ("Range", "long end step", "range", {}),
        ("ReduceSum", "range", "number", {"keepdims": 0}),
    ],
}
HELD |= {"minus": whole(-1), "large": whole(16 * 3 * 8 * 8)}


def model(steps, *, inferred=True):
    nodes = [
        ("GlobalAveragePool", "image", "pool", {}),
        ("Flatten", "pool", "flat", {}),
        *steps,
        ("Cast", "number", "factor", {"to": TensorProto.FLOAT}),
        ("Mul", "flat factor", "out", {}),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(kind, given.split(), [made], **more) for kind, given, made, more in nodes],
        "sizes",
        [info("image", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [info("out", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in HELD.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    # As the graph is read: with the shapes that can be inferred.
    return shape_inference.infer_shapes(made, data_prop=True) if inferred else made


@pytest.mark.parametrize("inferred", [True, False], ids=["shapes known", "shapes unknown"])
@pytest.mark.parametrize("number", NUMBER)
def test_a_number_with_the_batch_in_it_stays_wherever_it_comes_in(number, inferred):
    proto = model(NUMBER[number], inferred=inferred)
    changed = with_sizes_computed(proto)
    assert "factor" not in {tensor.name for tensor in changed.graph.initializer}
    assert largest_difference(proto, changed, 1) == 0


def test_sizes_beside_a_batch_that_is_only_moved_are_fixed():
    """As torch writes a flattening and a window: the sides that hold a multiple of the batch tell all."""
    steps = [
        ("Shape", "image", "size", {}),
        ("Slice", "size zero one", "batch", {}),
        ("Mul", "batch two", "doubled", {}),
        ("Concat", "doubled minus", "sides", {"axis": 0}),
        ("Reshape", "image sides", "rows", {}),
        ("Shape", "rows", "shape", {"start": -1}),
        ("Cast", "shape", "number", {"to": TensorProto.INT32}),
    ]
    changed = with_sizes_computed(model(steps))
    (number,) = [tensor for tensor in changed.graph.initializer if tensor.name == "factor"]
    assert numpy_helper.to_array(number) == 3 * 8 * 8 // 2


def test_a_slice_along_no_axis_leaves_a_size_as_it_is():
    steps = [
        ("Shape", "image", "size", {}),
        ("Slice", "size none none", "same", {}),
        ("Gather", "same zero", "number", {}),
    ]
    proto = model(steps)
    assert with_sizes_computed(proto) is proto
