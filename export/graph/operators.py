"""Operators that several checks name."""

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
