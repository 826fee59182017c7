"""Protocol buffers' wire format, for the messages of ONNX that a bundle's graphs may have.

Stricter than the format: a field that is not in the tables, of another wire type, or there twice where there
may be one, is refused. Protobuf itself would take the last or merge the two, and other readers differ.
https://protobuf.dev/programming-guides/encoding/, field numbers of onnx.proto3 (IR version 11).
"""

import struct
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["int", "float", "bytes", "text", "ints", "floats", "doubles", "skip", "refused"]
# Of a message: its fields by name. A singular one is a value, a repeated one a list.
Fields = dict[str, Any]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
LONGEST_TEXT = 65_535
MOST_NODES = 20_000
# Of a list.
MOST_NUMBERS = 1 << 16
# Fields and numbers of a whole file: each is read by itself, all of them in a second or so. An exported
# graph has some ten thousand.
MOST_VALUES = 1 << 19


class WireError(ValueError):
    """The bytes are not such a message; says why and where."""


@dataclass(frozen=True)
class Field:
    """A field of a message.

    Attributes:
        name: as in onnx.proto3.
        kind: of a scalar; or ``message``: the table of one. ``skip``: bytes that nothing reads;
            ``refused``: its presence is an error.
        many: it may be there more than once.
        message: fields of the message, by number.
        most: how often it may be there, or how many numbers it may hold in all.
    """

    name: str
    kind: Kind | Literal["message"]
    many: bool = False
    message: "dict[int, Field] | None" = None
    most: int = MOST_NUMBERS


class _Budget:
    """What may still be read of a file."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise WireError(f"it has more than {MOST_VALUES} fields and numbers outside raw data")


def parse(data: bytes | memoryview, table: dict[int, Field], where: str) -> Fields:
    """Read one message, with all that is in it.

    Args:
        data: its bytes.
        table: its fields.
        where: what to call it in messages.

    Returns:
        its fields by name; those that are not there are missing, repeated ones an empty list.

    Raises:
        WireError: see the module.
    """
    return _parsed(memoryview(data), table, where, _Budget())


def _parsed(view: memoryview, table: dict[int, Field], where: str, budget: _Budget) -> Fields:
    found: Fields = {field.name: [] for field in table.values() if field.many}
    position, end = 0, len(view)
    while position < end:
        budget.spend(1)
        tag, position = _varint(view, position, end, where)
        number, wire = tag >> 3, tag & 7
        field = table.get(number)
        if field is None:
            raise WireError(f"{where} has the field {number}, which no graph of a bundle may have")
        if field.kind == "refused":
            raise WireError(f"{where} has {field.name}, which no graph of a bundle may have")
        if wire == _BYTES:
            size, position = _varint(view, position, end, where)
            if size > end - position:
                raise WireError(f"{where}.{field.name} reaches beyond its end")
            value = _from_bytes(view[position : position + size], field, where, budget)
            position += size
        elif wire == _VARINT and field.kind in ("int", "ints"):
            number_read, position = _varint(view, position, end, where)
            value = _signed(number_read)
        elif wire == _FIXED64 and field.kind == "doubles":
            if end - position < 8:
                raise WireError(f"{where}.{field.name} reaches beyond its end")
            (value,) = struct.unpack_from("<d", view, position)
            position += 8
        elif wire == _FIXED32 and field.kind in ("float", "floats"):
            if end - position < 4:
                raise WireError(f"{where}.{field.name} reaches beyond its end")
            (value,) = struct.unpack_from("<f", view, position)
            position += 4
        else:
            raise WireError(f"{where}.{field.name} has the wire type {wire}")
        if field.many:
            if field.kind in ("ints", "floats", "doubles") and wire == _BYTES:
                found[field.name].extend(value)
            else:
                found[field.name].append(value)
            if len(found[field.name]) > field.most:
                raise WireError(f"{where} has more than {field.most} {field.name}")
        elif field.name in found:
            raise WireError(f"{where}.{field.name} is there twice; readers would merge the two")
        else:
            found[field.name] = value
    return found


def _from_bytes(content: memoryview, field: Field, where: str, budget: _Budget) -> Any:
    kind = field.kind
    if kind == "message":
        assert field.message is not None
        return _parsed(content, field.message, f"{where}.{field.name}", budget)
    if kind in ("bytes", "skip"):
        return content
    if kind == "text":
        if len(content) > LONGEST_TEXT:
            raise WireError(f"{where}.{field.name} has {len(content)} bytes; at most {LONGEST_TEXT} are read")
        try:
            return str(content, "utf-8")
        except UnicodeDecodeError as error:
            raise WireError(f"{where}.{field.name} is not UTF-8") from error
    if kind in ("floats", "doubles", "ints"):
        # No number takes less than a byte.
        least = {"floats": 4, "doubles": 8, "ints": 1}[kind]
        budget.spend(len(content) // least)
        if len(content) // (10 if kind == "ints" else least) > field.most:
            raise WireError(f"{where} has more than {field.most} {field.name}")
    if kind == "floats":
        if len(content) % 4:
            raise WireError(f"{where}.{field.name} is no list of float32")
        return struct.unpack(f"<{len(content) // 4}f", content)
    if kind == "doubles":
        if len(content) % 8:
            raise WireError(f"{where}.{field.name} is no list of float64")
        return struct.unpack(f"<{len(content) // 8}d", content)
    if kind == "ints":
        values, position = [], 0
        while position < len(content):
            value, position = _varint(content, position, len(content), where)
            values.append(_signed(value))
        return values
    raise WireError(f"{where}.{field.name} has the wire type {_BYTES}")


def _varint(view: memoryview, position: int, end: int, where: str) -> tuple[int, int]:
    value = shift = 0
    while position < end:
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
        shift += 7
        if shift > 63:
            break
    raise WireError(f"{where} has a number that does not end or is larger than 64 bits")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_TENSOR: Final = {
    1: Field("dims", "ints", many=True, most=16),
    2: Field("data_type", "int"),
    4: Field("float_data", "floats", many=True),
    5: Field("int32_data", "ints", many=True),
    7: Field("int64_data", "ints", many=True),
    8: Field("name", "text"),
    9: Field("raw_data", "bytes"),
    10: Field("double_data", "doubles", many=True),
    12: Field("doc_string", "skip"),
    13: Field("external_data (weights in another file)", "refused"),
    14: Field("data_location", "int"),
}
_DIMENSION: Final = {
    1: Field("dim_value", "int"),
    2: Field("dim_param", "text"),
    3: Field("denotation", "skip"),
}
_SHAPE: Final = {1: Field("dim", "message", many=True, message=_DIMENSION, most=16)}
_TENSOR_TYPE: Final = {1: Field("elem_type", "int"), 2: Field("shape", "message", message=_SHAPE)}
_TYPE: Final = {
    1: Field("tensor_type", "message", message=_TENSOR_TYPE),
    6: Field("denotation", "skip"),
}
_ENTRY: Final = {1: Field("key", "text"), 2: Field("value", "text")}
_VALUE: Final = {
    1: Field("name", "text"),
    2: Field("type", "message", message=_TYPE),
    3: Field("doc_string", "skip"),
    4: Field("metadata_props", "message", many=True, message=_ENTRY),
}
_ATTRIBUTE: Final = {
    1: Field("name", "text"),
    2: Field("f", "float"),
    3: Field("i", "int"),
    4: Field("s", "bytes"),
    5: Field("t", "message", message=_TENSOR),
    6: Field("a subgraph", "refused"),
    7: Field("floats", "floats", many=True),
    8: Field("ints", "ints", many=True),
    9: Field("strings", "bytes", many=True),
    11: Field("subgraphs", "refused"),
    13: Field("doc_string", "skip"),
    20: Field("type", "int"),
    21: Field("a reference to a function's attribute", "refused"),
    22: Field("a sparse tensor", "refused"),
    23: Field("sparse tensors", "refused"),
}
_NODE: Final = {
    1: Field("input", "text", many=True, most=4096),
    2: Field("output", "text", many=True, most=4096),
    3: Field("name", "text"),
    4: Field("op_type", "text"),
    5: Field("attribute", "message", many=True, message=_ATTRIBUTE, most=64),
    6: Field("doc_string", "skip"),
    7: Field("domain", "text"),
    8: Field("overload", "text"),
    9: Field("metadata_props", "message", many=True, message=_ENTRY),
}
_GRAPH: Final = {
    1: Field("node", "message", many=True, message=_NODE, most=MOST_NODES),
    2: Field("name", "text"),
    5: Field("initializer", "message", many=True, message=_TENSOR, most=MOST_NODES),
    10: Field("doc_string", "skip"),
    11: Field("input", "message", many=True, message=_VALUE),
    12: Field("output", "message", many=True, message=_VALUE),
    13: Field("value_info", "message", many=True, message=_VALUE),
    15: Field("sparse initializers", "refused"),
    16: Field("metadata_props", "message", many=True, message=_ENTRY),
}
_OPSET: Final = {1: Field("domain", "text"), 2: Field("version", "int")}
MODEL: Final = {
    1: Field("ir_version", "int"),
    2: Field("producer_name", "text"),
    3: Field("producer_version", "text"),
    4: Field("domain", "text"),
    5: Field("model_version", "int"),
    6: Field("doc_string", "skip"),
    7: Field("graph", "message", message=_GRAPH),
    8: Field("opset_import", "message", many=True, message=_OPSET),
    14: Field("metadata_props", "message", many=True, message=_ENTRY),
    20: Field("training information", "refused"),
    25: Field("functions", "refused"),
}
