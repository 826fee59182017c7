"""What one node may say, whatever reaches it: its operator, attributes, inputs and outputs."""

import re
from collections.abc import Mapping, Sequence

from edgeosr.bundle.onnx.operators import (
    ATTRIBUTES,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LEAST_INPUTS,
    LEFT_OUT,
    OPERATORS,
    STRING,
    STRINGS,
    TENSOR,
    UNNAMED_OUTPUTS,
)
from edgeosr.bundle.onnx.tensors import TYPE_NAMES, require_tensor
from edgeosr.bundle.onnx.wire import Fields, WireError

_FIELD_OF = {
    FLOAT: "f",
    INT: "i",
    STRING: "s",
    TENSOR: "t",
    FLOATS: "floats",
    INTS: "ints",
    STRINGS: "strings",
}
_LONGEST_STRING = 64
# Of one axis: filters as large as any classifier's, and windows over a whole map of a large frame.
_LARGEST_FILTER, _LARGEST_POOL = 64, 256
_OF_WINDOWS = ("kernel_shape", "strides", "dilations", "output_padding", "output_shape", "pads")
# More of them than any axes; the numbers of a Constant are no setting.
_LONGEST_LIST = 32


def require_node(node: Fields, where: str) -> int:
    """Check a node by itself; return the bytes of the constants in it.

    Raises:
        WireError: no bundle's graph may have it.
    """
    op = node.get("op_type", "")
    if node.get("domain", "") not in ("", "ai.onnx") or node.get("overload") or op not in OPERATORS:
        raise WireError(f"{where} is no operator that a bundle may have ({node.get('domain') or 'ONNX'})")
    total, said = 0, dict[str, Fields]()
    for attribute in node["attribute"]:
        name = attribute.get("name", "")
        if name in said:
            raise WireError(f"{where} has the attribute {name!r} twice")
        if name not in OPERATORS[op]:
            raise WireError(f"{where} has the attribute {name!r}, which {op} does not have")
        said[name] = attribute
        total += _require_attribute(attribute, name, where)
    if op == "Constant" and len(said) != 1:
        raise WireError(f"{where} must have one value, of numbers; got {len(said)}")
    _require_ends(node, op, where)
    if "num_outputs" in said and said["num_outputs"]["i"] != len(node["output"]):
        raise WireError(f"{where} says {said['num_outputs']['i']} outputs and has {len(node['output'])}")
    _require_window(op, said, where)
    if op == "Einsum":
        _require_equation(said.get("equation", {}).get("s", b""), len(node["input"]), where)
    return total


def _require_attribute(attribute: Fields, name: str, where: str) -> int:
    """Readers go by the type, by what is there, or by a default where nothing is: all must say the same."""
    rule = ATTRIBUTES[name]
    field = _FIELD_OF[rule.kind]
    there = [each for each in _FIELD_OF.values() if attribute.get(each) not in (None, [])]
    lists = rule.kind in (FLOATS, INTS, STRINGS)
    if attribute.get("type") != rule.kind or there not in ([[field], []] if lists else [[field]]):
        raise WireError(
            f"{where}.{name} is of type {attribute.get('type')} and holds {', '.join(there) or 'nothing'}; "
            f"it must be of type {rule.kind} and hold {field}"
        )
    value = attribute[field]
    if rule.kind == TENSOR:
        return require_tensor(value, f"{where}.{name}")
    if rule.kind in (INT, INTS):
        numbers = value if lists else [value]
        if any(not rule.least <= number <= rule.most for number in numbers):
            raise WireError(f"{where} has {name} {numbers[:8]}; it may be from {rule.least} to {rule.most}")
        if name == "to" and value not in TYPE_NAMES:
            raise WireError(f"{where} makes the type {value}; a bundle has {', '.join(TYPE_NAMES.values())}")
    for text in [value] if rule.kind == STRING else value if rule.kind == STRINGS else []:
        word = str(text[:_LONGEST_STRING], "latin-1")
        if len(text) > _LONGEST_STRING or not word.isascii() or (rule.words and word not in rule.words):
            words = f", one of {', '.join(sorted(rule.words))}" if rule.words else ""
            raise WireError(
                f"{where} has {name} {word!r}; it is a word of up to {_LONGEST_STRING} letters{words}"
            )
    if lists and len(value) > _LONGEST_LIST and not name.startswith("value"):
        raise WireError(f"{where} has {len(value)} {name}; at most {_LONGEST_LIST} are read")
    return 0


def _require_window(op: str, said: Mapping[str, Fields], where: str) -> None:
    """Refuse a window without a kernel, or for different numbers of axes.

    onnxruntime 1.17 goes beyond the end of the shortest of these lists, or of its input's axes.
    """
    lengths = {name: len(said[name]["ints"]) for name in _OF_WINDOWS if name in said}
    axes = {name: length / 2 if name == "pads" else length for name, length in lengths.items() if length}
    if "kernel_shape" in OPERATORS[op] and axes.get("kernel_shape") not in (1, 2, 3):
        raise WireError(
            f"{where} must have a kernel_shape of 1 to 3 axes; got {lengths.get('kernel_shape', 0)}"
        )
    most = _LARGEST_FILTER if op.startswith("Conv") else _LARGEST_POOL
    if any(size > most for size in said.get("kernel_shape", {}).get("ints", ())):
        raise WireError(
            f"{where} has kernel_shape {said['kernel_shape']['ints'][:8]}; at most {most} an axis are allowed"
        )
    if len(set(axes.values())) > 1:
        told = ", ".join(f"{name} {count:g}" for name, count in axes.items())
        raise WireError(f"{where} has lists for different numbers of axes: {told}")


def _require_ends(node: Fields, op: str, where: str) -> None:
    """Refuse inputs and outputs without a name: some operators read them all the same."""
    least = LEAST_INPUTS.get(op, 1)
    if len(node["input"]) < least:
        raise WireError(f"{where} has {len(node['input'])} inputs; {op} needs at least {least}")
    for place, name in enumerate(node["input"]):
        if not name and place not in LEFT_OUT.get(op, ()):
            raise WireError(f"{where} leaves out its input {place}, which {op} needs")
    outputs = node["output"]
    if not any(outputs) or (not all(outputs) and op not in UNNAMED_OUTPUTS):
        raise WireError(f"{where} has an output without a name")


def _require_equation(text: memoryview | bytes, inputs: int, where: str) -> None:
    """Take terms of letters, each once in its term, and a result of letters that are in them.

    Dots, and terms without letters, make some releases of onnxruntime loop without end.
    """
    equation = re.sub(" ", "", str(text, "ascii"))
    found = re.fullmatch(r"([A-Za-z]+(?:,[A-Za-z]+)*)->([A-Za-z]*)", equation)
    terms: Sequence[str] = found[1].split(",") if found else []
    made = found[2] if found else ""
    once = all(len(set(term)) == len(term) for term in (*terms, made))
    if not once or len(terms) != inputs or not set(made) <= set("".join(terms)):
        raise WireError(
            f"{where} has the equation {equation!r} for {inputs} inputs; a bundle's has a term of letters "
            "for each, -> and letters of them, none twice in a term"
        )
