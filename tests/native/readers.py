"""Python's readers and the library's, given the same; each Python test of a rule becomes one of both.

A plugin of pytest (``-p readers``): what a test imports as ``parse_manifest``, ``require_graph``, ``parse``
or ``read_golden`` asks the library too, and fails the test where the two do not both take the document or
both refuse it.
"""

import ctypes
import os
from pathlib import Path

from edgeosr.bundle import manifest
from edgeosr.bundle.onnx import rules, wire
from edgeosr.errors import EdgeosrError
from edgeosr.runtime import golden

ROOM = 4096
# What the library does not look at, or takes in fewer forms; src/bundle/manifest.h says so.
NOT_LOOKED_AT = ("the group of every image, as edgeosr writes it",)
STRICTER = ("a time such as", "nested too deeply")


class Readers:
    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self.asked = 0

    def _said(self, name, *arguments):
        room = ctypes.create_string_buffer(ROOM)
        status = getattr(self._library, f"edgeosr_test_{name}")(*arguments, room, ctypes.c_size_t(ROOM))
        self.asked += 1
        return status, room.value.decode("utf-8", "replace")

    def manifest(self, data):
        return self._said("manifest", data, ctypes.c_size_t(len(data)))

    def wire(self, data):
        return self._said("wire", data, ctypes.c_size_t(len(data)))

    def graph(self, data, contract):
        return self._said("graph", data, ctypes.c_size_t(len(data)), spelled(contract).encode())

    def npz(self, data):
        return self._said("npz", data, ctypes.c_size_t(len(data)))

    def scorer(self, data):
        return self._said("scorer", data, ctypes.c_size_t(len(data)))

    def golden(self, data, of):
        return self._said("golden", data, ctypes.c_size_t(len(data)), of, ctypes.c_size_t(len(of)))


def spelled(contract):
    lines = [f"default {name}" for name in contract.defaults]
    for kind, tensors in (("in", contract.inputs), ("out", contract.outputs)):
        for name, one in tensors.items():
            assert len(one.types) == 1
            sizes = " ".join("-1" if size is None else str(size) for size in one.shape)
            lines.append(f"{kind} {name} {one.types[0]} {int(one.open_axes)} {one.batch} {sizes}")
    return "\n".join(lines)


def require_same(python, status, said, data):
    """Fail unless both took it (``python`` is None, ``status`` 0) or both refused it."""
    assert status in (0, 2), f"the library said {status}: {said}"
    if (python is None) == (status == 0):
        return
    if python is not None and any(words in str(python) for words in NOT_LOOKED_AT):
        return
    if python is None and any(words in said for words in STRICTER):
        return
    raise AssertionError(
        f"Python {'took' if python is None else 'refused'} what the library "
        f"{'took' if status == 0 else 'refused'}"
        f"\n  Python: {python}\n  library: {said}\n  of: {bytes(data[:300])!r}"
    )


def doubled(ask, original, only=lambda *arguments: True):
    """Return the Python reader that asks the library too."""

    def reader(data, *arguments, **named):
        error = None
        try:
            return original(data, *arguments, **named)
        except (EdgeosrError, wire.WireError) as found:
            error = found
            raise
        finally:
            if only(*arguments):
                require_same(error, *ask(bytes(data), *arguments), data)

    return reader


def pytest_configure(config):
    """Take the readers' places before any test module imports them."""
    path = os.environ.get("EDGEOSR_TEST_READERS")
    if path is None:
        return
    config.native_readers = readers = Readers(Path(path))
    manifest.parse_manifest = doubled(lambda data, *_: readers.manifest(data), manifest.parse_manifest)
    rules.require_graph = doubled(readers.graph, rules.require_graph)
    golden.read_golden = doubled(
        lambda data, of: readers.golden(data, manifest.manifest_bytes(of)), golden.read_golden
    )
    parse = wire.parse
    wire.parse = doubled(
        lambda data, *_: readers.wire(data), parse, only=lambda table, _where: table is wire.MODEL
    )
    rules.parse = parse  # require_graph's own, which is asked as a whole


def pytest_terminal_summary(terminalreporter, config):
    """Say how often the library was asked."""
    readers = getattr(config, "native_readers", None)
    if readers is not None:
        terminalreporter.write_line(f"libedgeosr read {readers.asked} documents")
