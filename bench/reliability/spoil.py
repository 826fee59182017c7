"""Bundles made by an enemy who can compute every hash, and bundles that a disk or a copy has damaged.

Each spoiler changes the files of a good bundle, given as bytes by name, with a random generator. ``HOSTILE``
ones get a manifest with the right hashes afterwards; ``DAMAGED`` ones keep the old.
"""

import contextlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.bundle.digest import DIGEST, manifest_with_digest
from edgeosr.bundle.directory import MANIFEST_NAME
from edgeosr.errors import import_extra
from edgeosr.files import sha256_of

Files = dict[str, bytes]
Random = np.random.Generator
Spoiler = Callable[[Files, Random], None]

_WORDS = ["", "x" * 5000, "a/b", "../../outside", "\x1b[31m", "‮", "\ud800", "unknown", "NaN", "\0", "é" * 40]
_NUMBERS: list[Any] = [-1, 0, 1, 2**31, 2**53 + 1, 2**64, 10**400, 0.5, -0.0, 1e308, 1e-320]
_NUMBERS += [True, None, "1", [], {}]


def flipped_bits(files: Files, random: Random) -> None:
    """Change a few bytes of one file, anywhere."""
    name = str(random.choice(sorted(files)))
    data = bytearray(files[name])
    for place in random.integers(0, len(data), int(random.integers(1, 5))):
        data[place] ^= 1 << int(random.integers(0, 8))
    files[name] = bytes(data)


def cut_off(files: Files, random: Random) -> None:
    """Cut one file off, or let it go on."""
    name = str(random.choice(sorted(files)))
    data = files[name]
    files[name] = data[: int(random.integers(0, len(data)))] if random.random() < 0.7 else data + data[:100]


def moved_bytes(files: Files, random: Random) -> None:
    """Copy a stretch of one file over another place of it."""
    name = str(random.choice(sorted(files)))
    data = bytearray(files[name])
    size = int(random.integers(1, min(200, len(data))))
    a, b = (int(place) for place in random.integers(0, len(data) - size + 1, 2))
    data[a : a + size] = data[b : b + size]
    files[name] = bytes(data)


def swapped_files(files: Files, random: Random) -> None:
    """Give one file the bytes of another."""
    a, b = (str(name) for name in random.choice(sorted(files), 2, replace=False))
    files[a] = files[b]


def manifest_values(files: Files, random: Random) -> None:
    """Give random fields of the manifest values of other types and sizes."""
    plain = json.loads(files[MANIFEST_NAME])
    for _ in range(int(random.integers(1, 3))):
        node, key = _somewhere(plain, random)
        choice = int(random.integers(0, 5))
        if choice == 0:
            node[key] = _WORDS[int(random.integers(0, len(_WORDS)))]
        elif choice == 1:
            node[key] = [node[key]] * int(random.choice([2, 1000, 100_000]))
        elif choice == 2 and isinstance(node, dict):
            del node[key]
        else:
            node[key] = _NUMBERS[int(random.integers(0, len(_NUMBERS)))]
    files[MANIFEST_NAME] = json.dumps(plain).encode("utf-8", "surrogatepass")


def manifest_text(files: Files, random: Random) -> None:
    """Write a manifest that is no strict JSON, or a deep or long one."""
    text = files[MANIFEST_NAME].decode()
    made = [
        "[" * 100_000,
        '{"a":' * 50_000,
        text.replace('"classes"', '"classes": [], "classes"', 1),
        text.replace("1", "1e999", 1),
        text.replace("1", "9" * 5000, 1),
        text + " " * (5 * 2**20),
        "﻿" + text,
        text.replace('"schema"', '"schema\\u0000"', 1),
        json.dumps({**json.loads(text), "classes": [f"c{i}" for i in range(200_000)]}),
        json.dumps({**json.loads(text), "versions": {f"p{i}": "1" for i in range(100_000)}}),
    ]
    files[MANIFEST_NAME] = made[int(random.integers(0, len(made)))].encode("utf-8", "surrogatepass")


def array_entries(files: Files, random: Random) -> None:
    """Change one array of an npz: its type, shape, values, or the entry's name."""
    name = str(random.choice(["scorer.npz", "golden.npz"]))
    with np.load(io.BytesIO(files[name])) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    key = str(random.choice(sorted(arrays)))
    array = arrays[key]
    choice = int(random.integers(0, 8))
    if choice == 0:
        arrays[key] = array.astype(random.choice(["f8", "i1", "u1", "f2", "c8", "S3"]))
    elif choice == 1:
        arrays[key] = array.reshape(-1)[: int(random.integers(0, array.size + 1))]
    elif choice == 2:
        arrays[key] = np.full_like(array, random.choice([0, 1, 255]))
    elif choice == 3 and array.dtype.kind == "f":
        arrays[key] = np.where(random.random(array.shape) < 0.01, np.nan, array).astype(array.dtype)
    elif choice == 4:
        arrays[key] = np.broadcast_to(array, (3, *array.shape)).copy()
    elif choice == 5:
        arrays[f"{key}x"] = arrays.pop(key)
    elif choice == 6 and array.dtype.kind in "iu":
        arrays[key] = np.full_like(array, np.iinfo(array.dtype).max)
    else:
        arrays[key] = array[..., None]
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files[name] = buffer.getvalue()


def array_headers(files: Files, random: Random) -> None:
    """Write an npz whose headers or directory claim what is not there."""
    name = str(random.choice(["scorer.npz", "golden.npz"]))
    headers = [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000000000,), }",
        "{'descr': [('a', '<f4', (1000000, 1000000))], 'fortran_order': False, 'shape': (), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 3000,
        "__import__('os').system('true')",
    ]
    header = headers[int(random.integers(0, len(headers)))].encode() + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED if random.random() < 0.3 else 0) as archive:
        for index in range(int(random.choice([1, 3, 2000]))):
            archive.writestr("format.npy" if index == 0 else f"a{index}.npy", array)
    files[name] = buffer.getvalue()


def graph_fields(files: Files, random: Random) -> None:
    """Change a graph the way that a list of attacks does."""
    helper = import_extra("onnx.helper", extra="export", purpose="making hostile graphs")
    onnx = import_extra("onnx", extra="export", purpose="making hostile graphs")
    name = str(random.choice([each for each in files if each.endswith(".onnx")]))
    model = onnx.load_model_from_string(files[name])
    graph, copied = model.graph, onnx.load_model_from_string(files[name]).graph
    node = graph.node[int(random.integers(0, len(graph.node)))]
    tensor = graph.initializer[int(random.integers(0, len(graph.initializer)))]

    def first(*made: Any, constants: Any = ()) -> None:
        kept = list(graph.node)
        del graph.node[:]
        graph.node.extend([*made, *kept])
        graph.initializer.extend(constants)

    def whole(label: str, *values: int) -> Any:
        return onnx.numpy_helper.from_array(np.array(values, np.int64), label)

    big = int(random.choice([1 << 20, 1 << 31, 1 << 40]))
    attacks: list[Callable[[], Any]] = [
        lambda: tensor.external_data.add(key="location", value="../../../canary"),
        lambda: tensor.__setattr__("data_location", 1),
        lambda: node.attribute.add(name="v", type=4).t.external_data.add(key="location", value="canary"),
        lambda: node.__setattr__(
            "op_type", str(random.choice(["If", "Loop", "RandomNormal", "Foo", "Scan"]))
        ),
        lambda: node.__setattr__("domain", "com.microsoft"),
        # A copy: protobuf does not end when a message is copied into itself.
        lambda: node.attribute.add(name="body", type=5).g.CopyFrom(copied),
        lambda: model.functions.add(name="f", domain="d"),
        lambda: model.opset_import.add(domain="com.microsoft", version=1),
        lambda: graph.sparse_initializer.add(),
        lambda: first(helper.make_node("ConstantOfShape", ["s"], ["t"]), constants=[whole("s", big, big)]),
        lambda: first(
            helper.make_node("ConstantOfShape", ["s"], ["t"]),
            helper.make_node("MatMul", ["t", "t"], ["u"]),
            constants=[whole("s", 8000, 8000)],
        ),
        lambda: first(
            helper.make_node("Range", ["a", "b", "c"], ["t"]),
            constants=[
                onnx.numpy_helper.from_array(np.array(v, np.int64), k)
                for k, v in {"a": 0, "b": big, "c": 1}.items()
            ],
        ),
        lambda: first(
            helper.make_node("Mul", ["s", "s"], ["q"]),
            helper.make_node("Expand", [tensor.name, "q"], ["t"]),
            constants=[whole("s", big, 1, 1, big)],
        ),
        lambda: first(
            helper.make_node("Pad", [tensor.name, "s"], ["t"]),
            constants=[whole("s", *([big] * 2 * len(tensor.dims)))],
        ),
        # Each ended a process, or filled its memory, before it could be refused.
        lambda: first(
            helper.make_node("Neg", ["one"], ["t"]),
            helper.make_node("Div", ["least", "t"], ["u"]),
            constants=[whole("one", 1), whole("least", -(1 << 63))],
        ),
        lambda: first(helper.make_node("Max", [graph.input[0].name, ""], ["t"])),
        lambda: first(helper.make_node("Split", [graph.input[0].name], ["t", "u"], axis=3, num_outputs=1)),
        lambda: first(
            helper.make_node("Shape", [graph.input[-1].name], ["t"]),
            helper.make_node("Pow", ["t", "s"], ["u"]),
            helper.make_node("ConstantOfShape", ["u"], ["v"]),
            constants=[whole("s", 16)],
        ),
        lambda: graph.output.pop(),
        lambda: graph.output[0].type.tensor_type.shape.dim[0].__setattr__("dim_value", 7),
        lambda: graph.output[-1].type.tensor_type.shape.dim.add(dim_value=3),
        lambda: graph.input.add().CopyFrom(graph.input[0]),
        lambda: graph.input[0].type.tensor_type.__setattr__("elem_type", 1),
        lambda: node.input.__setitem__(0, "nothing") if node.input else None,
        lambda: node.output.__setitem__(0, graph.node[0].output[0]),
        lambda: tensor.dims.append(big),
        lambda: tensor.__setattr__("raw_data", tensor.raw_data[:-1]),
        lambda: node.attribute[0].ints.append(1 << 40) if node.attribute else None,
        lambda: node.attribute[0].__setattr__("i", -(1 << 40)) if node.attribute else None,
        lambda: graph.node.extend([node] * 30_000),
    ]
    attacks[int(random.integers(0, len(attacks)))]()
    files[name] = model.SerializeToString()
    if random.random() < 0.03:
        files[name] = b"\x32\x08ab" + b"ORTM" + b"xx" + files[name]


def graph_bytes(files: Files, random: Random) -> None:
    """Change bytes of a graph near its beginning or end, where its structure is, not in the weights."""
    name = str(random.choice([each for each in files if each.endswith(".onnx")]))
    data = bytearray(files[name])
    near = min(6000, len(data))
    for _ in range(int(random.integers(1, 4))):
        place = int(random.integers(0, near))
        place = place if random.random() < 0.7 else len(data) - 1 - place
        data[place] = int(random.integers(0, 256))
    files[name] = bytes(data)


DAMAGED: tuple[Spoiler, ...] = (flipped_bits, cut_off, moved_bytes, swapped_files)
HOSTILE: tuple[Spoiler, ...] = (
    flipped_bits,
    cut_off,
    moved_bytes,
    swapped_files,
    manifest_values,
    manifest_text,
    array_entries,
    array_headers,
    graph_fields,
    graph_bytes,
)


def spoilt(files: Files, number: int, seed: int) -> tuple[str, Files]:
    """Return the files of the bundle of that number, and what was done to them.

    Args:
        files: of a good bundle, the manifest with them.
        number: from 0; every number is another bundle, the same each time.
        seed: of all of them.
    """
    random = np.random.default_rng((seed, number))
    made, kinds = dict(files), (*HOSTILE, *DAMAGED)
    index = number % len(kinds)
    kinds[index](made, random)
    if index >= len(HOSTILE):
        return f"damaged: {kinds[index].__name__}", made
    with_hashes(made)
    return f"hostile: {kinds[index].__name__}", made


def with_hashes(files: Files) -> None:
    """Give the manifest the hashes and sizes of the other files, and its own, if it can be read at all."""
    try:
        plain = json.loads(files[MANIFEST_NAME])
        for name, record in plain["files"].items():
            record["sha256"], record["bytes"] = sha256_of(files[name]), len(files[name])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    files[MANIFEST_NAME] = json.dumps(plain).encode("utf-8", "surrogatepass")
    if isinstance(plain.get(DIGEST), str):
        with contextlib.suppress(ValueError):  # of text or a number that no JSON has
            files[MANIFEST_NAME] = manifest_with_digest(plain)


def _somewhere(plain: Any, random: Random) -> tuple[Any, Any]:
    node = plain
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[int(random.integers(0, len(keys)))]
        value = node[key]
        if not isinstance(value, dict | list) or not value or random.random() < 0.2:
            return node, key
        node = value
