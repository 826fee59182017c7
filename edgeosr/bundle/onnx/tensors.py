"""Constants inside a graph: of a listed type, all of them there, none elsewhere."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.onnx.wire import Fields, WireError

# TensorProto.DataType, by number: bytes an element, and the field that holds it where raw_data does not.
FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 9, 10, 11
_TYPES = {
    FLOAT: (4, "float_data"),
    UINT8: (1, "int32_data"),
    INT8: (1, "int32_data"),
    INT32: (4, "int32_data"),
    INT64: (8, "int64_data"),
    BOOL: (1, "int32_data"),
    FLOAT16: (2, "int32_data"),
    DOUBLE: (8, "double_data"),
}
TYPE_NAMES = {
    FLOAT: "float32",
    UINT8: "uint8",
    INT8: "int8",
    INT32: "int32",
    INT64: "int64",
    BOOL: "bool",
    FLOAT16: "float16",
    DOUBLE: "float64",
}
_MOST_AXES = 16
# Longer constants are not read: a size, or a divisor, is short.
SHORT = 64
Values = NDArray[Any]
_DTYPES = dict(
    zip(_TYPES, ("<f4", "|u1", "|i1", "<i4", "<i8", "|b1", "<f2", "<f8"), strict=True)  # in its order
)


def require_tensor(tensor: Fields, where: str) -> int:
    """Check a TensorProto, and return its size in bytes.

    Raises:
        WireError: of another type, or with fewer or more numbers than its shape says.
    """
    if tensor.get("data_location", 0) != 0:
        raise WireError(f"{where} is kept outside the file")
    kind = tensor.get("data_type")
    if kind not in _TYPES:
        raise WireError(f"{where} has the type {kind}; a bundle has {', '.join(TYPE_NAMES.values())}")
    dims = tensor["dims"]
    if len(dims) > _MOST_AXES or any(size < 0 for size in dims):
        raise WireError(f"{where} has the shape {dims[:_MOST_AXES]}")
    elements = math.prod(dims)
    width, field = _TYPES[kind]
    raw = tensor.get("raw_data")
    filled = [name for name in ("float_data", "int32_data", "int64_data", "double_data") if tensor[name]]
    if raw is not None:
        if filled or len(raw) != elements * width:
            raise WireError(f"{where} has {len(raw)} bytes for {elements} numbers of {width}")
    elif filled not in ([], [field]) or len(tensor[field]) != elements:
        raise WireError(f"{where} has other numbers than its shape {dims} and its type say")
    return elements * width


def elements_of(tensor: Fields) -> int:
    """Return how many numbers a checked TensorProto has."""
    return math.prod(tensor["dims"])


def bytes_of(tensor: Fields) -> int:
    """Return how many bytes a checked TensorProto's numbers have."""
    return elements_of(tensor) * _TYPES[tensor["data_type"]][0]


def values_of_tensor(tensor: Fields) -> Values | None:
    """Return a checked TensorProto's values, in one row; None if they are many."""
    kind, raw = tensor["data_type"], tensor.get("raw_data")
    if elements_of(tensor) > SHORT:
        return None
    if raw is not None:
        return np.frombuffer(raw, _DTYPES[kind])
    if kind == FLOAT16:  # as the bits of whole numbers
        return None
    with np.errstate(all="ignore"):
        wide = np.float64 if kind in (FLOAT, DOUBLE) else np.int64
        return np.array(tensor[_TYPES[kind][1]], wide).astype(_DTYPES[kind])
