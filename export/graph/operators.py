"""Operators that several checks name."""

from typing import Any

# A graph with one of these is quantised already.
QUANTISED_GRAPH = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
)


def is_random(node: Any) -> bool:
    """Tell whether a node, of onnx or of onnx_ir, gives random numbers."""
    return node.op_type in ("Bernoulli", "Multinomial") or node.op_type.startswith("Random")
