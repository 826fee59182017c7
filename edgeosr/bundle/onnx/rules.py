"""What a bundle's graphs may be: checked byte by byte before onnxruntime reads them.

An attacker can compute every hash. So a graph is held against lists in this code: standard operators, inline
weights, the stated inputs and outputs, and nothing that is computed of constants alone. What it computes of
the frames, and how long that takes, is not bounded here; see docs/reliability.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeosr.bundle.onnx.constants import LARGEST_CONSTANTS, Constants
from edgeosr.bundle.onnx.division import ElementTypes
from edgeosr.bundle.onnx.nodes import require_node
from edgeosr.bundle.onnx.tensors import TYPE_NAMES, require_tensor
from edgeosr.bundle.onnx.wire import MODEL, Fields, WireError, parse

# What edgeosr export writes, and onnxruntime 1.17 reads.
_OPSETS = range(13, 21)
_IR_VERSIONS = range(7, 12)
# A FlatBuffers file of onnxruntime's own format has this at byte 4, and would not be read as ONNX at all.
_ORT_FORMAT = b"ORTM"


# Of an axis: it has no size, so that it takes any. An axis of any size (None) may have one.
OPEN = -2


@dataclass(frozen=True)
class TensorContract:
    """``types``: numbers of TensorProto.DataType; ``shape``: a size, None for any or ``OPEN``, an axis.

    ``open_axes``: an axis without a size is taken for any; ``batch``: the axis that must be open.
    """

    types: tuple[int, ...]
    shape: tuple[int | None, ...]
    open_axes: bool = False
    batch: int = 0


@dataclass(frozen=True)
class GraphContract:
    """Inputs and outputs by name, all of them and no others.

    ``defaults``: names of inputs that may have a default among the constants.
    """

    inputs: Mapping[str, TensorContract]
    outputs: Mapping[str, TensorContract]
    defaults: frozenset[str] = frozenset()


def require_graph(data: bytes, contract: GraphContract) -> None:
    """Check an ONNX file.

    Args:
        data: its bytes.
        contract: what goes in and comes out.

    Raises:
        WireError: it is not one that a bundle may have; says what and where.
    """
    if data[4:8] == _ORT_FORMAT:
        raise WireError("it is of onnxruntime's own format (ORT), not ONNX")
    model = parse(data, MODEL, "model")
    if model.get("ir_version") not in _IR_VERSIONS:
        raise WireError(f"it has the IR version {model.get('ir_version')}; a bundle has 7 to 11")
    opsets = [(each.get("domain", ""), each.get("version")) for each in model["opset_import"]]
    if len(opsets) != 1 or opsets[0][0] not in ("", "ai.onnx") or opsets[0][1] not in _OPSETS:
        raise WireError(f"it has the operator sets {opsets[:4]}; a bundle has one, the standard's 13 to 20")
    if "graph" not in model:
        raise WireError("it has no graph")
    graph = model["graph"]
    if not graph["node"]:
        raise WireError("it has 0 nodes")
    _require_inputs_and_outputs(graph, contract)
    _follow(graph, contract)


def _require_inputs_and_outputs(graph: Fields, contract: GraphContract) -> None:
    constants = {tensor.get("name", "") for tensor in graph["initializer"]}
    inputs = {_name(value): value for value in graph["input"]}
    outputs = {_name(value): value for value in graph["output"]}
    if len(inputs) != len(graph["input"]) or len(outputs) != len(graph["output"]):
        raise WireError("an input or output is named twice")
    for what, found, expected in (
        ("inputs", inputs, contract.inputs),
        ("outputs", outputs, contract.outputs),
    ):
        if set(found) != set(expected):
            raise WireError(f"its {what} must be {', '.join(expected)}; got {', '.join(found) or 'none'}")
        for name, value in found.items():
            _require_type(name, value, expected[name])
    replaceable = sorted(constants & set(inputs) - contract.defaults)
    if replaceable:
        raise WireError(f"its input {replaceable[0]} has a default, with which it would run unasked")


def _name(value: Fields) -> str:
    name: str = value.get("name", "")
    return name


def _require_type(name: str, value: Fields, contract: TensorContract) -> None:
    tensor = value.get("type", {}).get("tensor_type", {})
    kind = tensor.get("elem_type")
    if kind not in contract.types:
        wanted = " or ".join(TYPE_NAMES[each] for each in contract.types)
        raise WireError(f"{name} must be {wanted}; got {TYPE_NAMES.get(kind, kind)}")
    dims = tensor.get("shape", {}).get("dim", [])
    sizes = [each.get("dim_value") for each in dims]
    for each in dims:
        if "dim_value" in each and "dim_param" in each:
            raise WireError(f"an axis of {name} has a size and a name")
    fits = len(sizes) == len(contract.shape) and all(
        _takes(wanted, got, contract.open_axes) for got, wanted in zip(sizes, contract.shape, strict=True)
    )
    if not fits:
        raise WireError(f"{name} must have the shape {_spelled(contract.shape)}; got {_spelled(sizes)}")
    batch = contract.batch
    if contract.shape[batch] is None and sizes[batch] is not None:
        raise WireError(f"{name} must take batches of any size; got one of {sizes[batch]}")


def _takes(wanted: int | None, got: int | None, open_axes: bool) -> bool:
    if wanted == OPEN:
        return got is None
    return wanted is None or got == wanted or (got is None and open_axes)


def _spelled(shape: "list[int | None] | tuple[int | None, ...]") -> str:
    return "[" + ", ".join("any" if size in (None, OPEN) else str(size) for size in shape) + "]"


def _follow(graph: Fields, contract: GraphContract) -> None:
    """Go through constants and nodes in their order, which must be one in which they can be computed."""
    inputs = {_name(value) for value in graph["input"]}
    fixed = {name for name in inputs if None not in contract.inputs[name].shape}
    constants, kinds, there = Constants(fixed), ElementTypes(), set[str]()
    for value in graph["input"]:
        kinds.add(_name(value), value["type"]["tensor_type"]["elem_type"])  # checked with the contract
    for tensor in graph["initializer"]:
        name = tensor.get("name", "")
        _require_plain((name,))
        where = f"the constant {name!r}"
        size = require_tensor(tensor, where)
        if name in there:
            raise WireError(f"{where} is there twice")
        there.add(name)
        kinds.add(name, tensor["data_type"])
        if name not in inputs:  # a default is no constant
            constants.add(name, tensor, size)
    there |= inputs
    for node in graph["node"]:
        _require_plain((node.get("name", ""), *node["input"], *node["output"]))
        where = f"the node {node.get('name', '')!r} ({node.get('op_type', '')})"
        constants.bytes += require_node(node, where)
        missing = [name for name in node["input"] if name and name not in there]
        if missing:
            raise WireError(f"{where} reads {missing[0]!r}, which nothing before it makes")
        for name in node["output"]:
            if name and name in there:
                raise WireError(f"{where} makes {name!r}, which is there already")
            there.add(name)
        constants.follow(node, where)
        kinds.follow(node, constants.values_of, where)
    if constants.bytes > LARGEST_CONSTANTS:
        raise WireError(
            f"its constants have {constants.bytes} bytes; a bundle has at most {LARGEST_CONSTANTS}"
        )
    if constants.bytes_read > LARGEST_CONSTANTS:
        raise WireError(
            f"its nodes read {constants.bytes_read} bytes of constants, counted for each node that reads "
            f"them and in whole blocks of channels; a bundle's read at most {LARGEST_CONSTANTS}"
        )
    lost = [_name(value) for value in graph["output"] if _name(value) not in there]
    if lost:
        raise WireError(f"nothing makes its output {lost[0]!r}")


def _require_plain(names: Sequence[str]) -> None:
    """Refuse names that a terminal would act upon: onnxruntime prints them in its log as they are."""
    for name in names:
        if not name.isprintable():
            raise WireError(f"the name {name!r} has letters that no terminal may see")
