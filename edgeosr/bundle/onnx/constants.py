"""What a graph makes of its constants: nothing, but weights that are kept as whole numbers of 8 bits.

onnxruntime and engines compute what no input reaches while they load a graph: nothing can stop them, and what
is made of a few small constants may be of any size. Following that exactly takes a second onnxruntime. So
nothing is followed. ``edgeosr export`` computes what is left of it before it writes (its ``left_over.py``),
and a node of constants alone is refused. Sizes that constants say are read where they stand.
"""

import math
from collections.abc import Collection, Sequence

from edgeosr.bundle.onnx.tensors import Values, bytes_of, elements_of, values_of_tensor
from edgeosr.bundle.onnx.wire import Fields, WireError

# Elements that constants may ask for, of what a frame gives: 256 MiB of float32.
LARGEST_RESULT = 1 << 26
# Bytes of constants, dequantised weights as float32.
LARGEST_CONSTANTS = 1 << 29
# Which inputs say how large the result is; Resize has scales and sizes.
_SIZED_BY = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Tile": (1,),
    "Range": (0, 1, 2),
    "Resize": (2, 3),
    "Pad": (1,),
}
# Inputs whose numbers are none below 0: the inference of shapes ends the process on a negative axis.
_NOT_NEGATIVE = {"Expand": (1,), "Pad": (1,), "Resize": (2, 3), "Split": (1,), "Tile": (1,), "TopK": (1,)}
# Inputs that may be a constant without elements; of others some releases of onnxruntime read the first.
_MAY_BE_EMPTY = {"ConstantOfShape": (0,), "Expand": (1,), "Reshape": (1,), "Resize": (1, 2)}
# Weights that onnxruntime lays out anew for each node, in blocks of channels: which two axes are filled up.
_IN_BLOCKS = {"Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (-2, -1), "MatMul": (-2, -1)}
_BLOCK = 16


class Constants:
    """The constants of a graph, by name; nodes are told in their order.

    Args:
        fixed: inputs of the graph whose shape is fixed.
    """

    def __init__(self, fixed: Collection[str]) -> None:
        self._stored: dict[str, Fields] = {}
        # By name: how many numbers of which shape, as float32.
        self._dequantised = dict[str, list[int]]()
        # What no input of an open shape reaches: its shape may be known while the graph is loaded.
        self._fixed = set(fixed)
        self.bytes = 0
        # Over all nodes: what each reads of constants, as it is laid out for that node alone.
        self.bytes_read = 0

    def add(self, name: str, tensor: Fields, size: int) -> None:
        """Take in a constant that ``tensors.require_tensor`` has checked; ``size``: its bytes."""
        self._stored[name] = tensor
        self.bytes += size

    def values_of(self, name: str) -> Values | None:
        """Return the values of a short constant; None of any other tensor."""
        return values_of_tensor(self._stored[name]) if name in self._stored else None

    def follow(self, node: Fields, where: str) -> None:
        """Take in what a node makes.

        Raises:
            WireError: it is made of constants alone, or of a size that they say and that is too large.
        """
        op, inputs = node["op_type"], [name for name in node["input"] if name]
        if op == "Constant":
            if inputs:
                raise WireError(f"{where} reads {inputs[0]!r}; a constant reads nothing")
            self._stored.update((name, _tensor_of(node)) for name in node["output"])
            return
        constant = [name for name in inputs if name in self._stored or name in self._dequantised]
        if len(constant) == len(inputs):
            if op != "DequantizeLinear" or any(name not in self._stored for name in inputs):
                raise WireError(
                    f"{where} computes on constants alone, which a graph does while it is loaded; edgeosr "
                    "export keeps what they make instead"
                )
            self._dequantised.update((name, self._stored[inputs[0]]["dims"]) for name in node["output"])
            self.bytes += 4 * elements_of(self._stored[inputs[0]])
        elif all(name in self._fixed or name in constant for name in inputs):
            if op in ("Shape", "Size"):
                raise WireError(
                    f"{where} asks for a shape that no frame changes; edgeosr export writes numbers"
                )
            self._fixed.update(node["output"])
        self.bytes_read += sum(self._read(node, place) for place in range(len(node["input"])))
        self._require_elements(node, op, where)
        self._require_size(node, op, where)
        for place in _NOT_NEGATIVE.get(op, ()):
            self._require_not_negative(node["input"][place : place + 1], where)

    def _read(self, node: Fields, place: int) -> int:
        """Return the bytes of one input, if it is a constant, with what fills up the blocks of weights."""
        op, name = node["op_type"], node["input"][place]
        if name in self._stored:
            size, dims = bytes_of(self._stored[name]), self._stored[name]["dims"]
        elif name in self._dequantised:
            dims = self._dequantised[name]
            size = 4 * math.prod(dims)
        else:
            return 0
        if place != 1 or op not in _IN_BLOCKS or len(dims) < 2:
            return size
        groups = next((each["i"] for each in node["attribute"] if each.get("name") == "group"), 1)
        first, second = _IN_BLOCKS[op]
        # In groups, the channels of one are not filled up.
        for axis in (first, second) if groups == 1 else (first,):
            size = size // max(dims[axis], 1) * (-(-dims[axis] // _BLOCK) * _BLOCK)
        return size

    def _require_elements(self, node: Fields, op: str, where: str) -> None:
        """Refuse a constant without elements, but where it stands for nothing or for a number's shape."""
        for place, name in enumerate(node["input"]):
            if op == "Concat" or place in _MAY_BE_EMPTY.get(op, ()) or name not in self._stored:
                continue
            if not elements_of(self._stored[name]):
                raise WireError(
                    f"{where} reads {name!r}, a constant of shape {self._stored[name]['dims']} without "
                    "elements; it must have one at least, or be left out where the operator allows that"
                )

    def _require_not_negative(self, names: Sequence[str], where: str) -> None:
        for name in (each for each in names if each in self._stored):
            values = self.values_of(name)
            if values is None:
                raise WireError(f"{where} has a size that is no short list of numbers")
            if (values < 0).any():
                raise WireError(
                    f"{where} has the sizes {values[:8].tolist()}; none may be below 0: write the size "
                    "itself, and a Slice for what is cut off"
                )

    def _require_size(self, node: Fields, op: str, where: str) -> None:
        """Refuse a size that constants say and that is too large, or no short list of numbers."""
        given, asked = node["input"], 1.0
        for place in _SIZED_BY.get(op, ()):
            name = given[place] if place < len(given) else ""
            if name not in self._stored and name not in self._dequantised:
                continue
            values = self.values_of(name)
            if values is None or values.dtype.kind not in "iuf":
                raise WireError(f"{where} has a size that is no short list of numbers")
            sizes = [abs(float(value)) for value in values.reshape(-1)]
            if op == "Pad":  # both sides of an axis; what goes in has one place on it at least
                half = len(sizes) // 2
                sizes = [1 + before + after for before, after in zip(sizes, sizes[half:], strict=False)]
            asked *= math.prod(max(size, 1.0) for size in sizes)
        if not asked <= LARGEST_RESULT:
            raise WireError(
                f"{where} is asked by constants for {asked:.3g} numbers, or for that many times more; "
                f"at most {LARGEST_RESULT} are allowed"
            )


def _tensor_of(node: Fields) -> Fields:
    """Return what a checked Constant says, as a TensorProto."""
    (attribute,) = node["attribute"]
    if "t" in attribute:
        tensor: Fields = attribute["t"]
        return tensor
    numbers = "_int" in attribute["name"]
    single = [attribute["i"]] if "i" in attribute else [attribute["f"]] if "f" in attribute else None
    values = (attribute["ints"] if numbers else attribute["floats"]) if single is None else single
    made: Fields = {"dims": [] if single is not None else [len(values)], "data_type": 7 if numbers else 1}
    empty: Fields = {"float_data": [], "int32_data": [], "int64_data": [], "double_data": []}
    return {**empty, **made, "int64_data" if numbers else "float_data": values}
