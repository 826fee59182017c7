"""Small graphs that a bundle may have, to be spoilt one thing at a time."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeosr.bundle.onnx.rules import GraphContract, TensorContract
from edgeosr.bundle.onnx.tensors import FLOAT, INT64, UINT8

CONTRACT = GraphContract(
    inputs={
        "frames": TensorContract((UINT8,), (None, None, None, 3)),
        "channel_order": TensorContract((INT64,), (3,)),
    },
    outputs={
        "label": TensorContract((INT64,), (None,)),
        "score": TensorContract((FLOAT,), (None,)),
        "values": TensorContract((FLOAT,), (None, 2)),
    },
)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def tensor(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


def good(*more_nodes, more=(), parts=2, producer=""):
    """Values are the mean of the frames times numbers, one a part; ``more_nodes`` come first."""
    nodes = [
        *more_nodes,
        node("Cast", ["frames"], ["x"], to=1),
        node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        node("Unsqueeze", ["mean", "one"], ["column"]),
        node("Mul", ["column", "weights"], ["values"]),
        node("ReduceSum", ["values", "one"], ["score"], keepdims=0),
        node("ArgMax", ["values"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", "h", "w", 3]),
            helper.make_tensor_value_info("channel_order", TensorProto.INT64, [3]),
        ],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["b"]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["b"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["b", parts]),
        ],
        [tensor("one", [1], np.int64), tensor("weights", [[1, -1, 0, 2, 3][:parts]]), *more],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name=producer
    )
