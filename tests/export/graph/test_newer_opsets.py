"""Models of opsets 21 and later, as newer exporters write them, come to 20 and compute what they did."""

import numpy as np
import onnx_ir as ir
import pytest

from edgeosr.errors import ExportError
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.graph import opset as opsets
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.graph.opset import largest_difference
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings

RANDOM = np.random.default_rng(3)
CONV = ("Conv", "image kernel", "y", {})
HELD = {
    "each": RANDOM.normal(1, 0.5, 6).astype(np.float32),
    "shift": RANDOM.normal(0, 0.5, 6).astype(np.float32),
    "rows": np.array([0, 6, 196]),
    "map": np.array([0, 6, 14, 14]),
    "one": np.array([1]),
}
STARTS = {
    "plain": [("Conv", "image kernel", "c", {})],
    "groups": [CONV, ("GroupNormalization", "y each shift", "c", {"num_groups": 3, "epsilon": 1e-3})],
    "one group": [CONV, ("GroupNormalization", "y each shift", "c", {"num_groups": 1})],
    "root mean square": [
        CONV,
        ("Transpose", "y", "last", {"perm": [0, 2, 3, 1]}),
        ("RMSNormalization", "last each", "unit", {}),
        ("Transpose", "unit", "c", {"perm": [0, 3, 1, 2]}),
    ],
    "attention": [
        CONV,
        ("Reshape", "y rows", "flat", {}),
        ("Unsqueeze", "flat one", "heads", {}),
        ("Attention", "heads heads heads", "seen", {}),
        ("Reshape", "seen map", "c", {}),
    ],
    "cast": [CONV, ("Cast", "y", "wide", {"to": 11, "round_mode": "up"}), ("Cast", "wide", "c", {"to": 1})],
}
CASES = [
    *((start, opset) for start in ("plain", "groups") for opset in (21, 22, 23)),
    *(("one group", 21), ("root mean square", 23), ("attention", 23), ("cast", 24)),
]


def read(foreign_model, saved, start, opset):
    held = {
        name: value for name, value in HELD.items() if any(name in node[1].split() for node in STARTS[start])
    }
    proto = foreign_model(start=STARTS[start], held=held, opset=opset)
    path = saved(proto)
    return proto, path


@pytest.mark.parametrize(("start", "opset"), CASES)
def test_a_new_model_is_brought_to_opset_20_and_gives_the_same(start, opset, foreign_model, saved):
    proto, path = read(foreign_model, saved, start, opset)
    model = load_classifier_onnx(path)
    assert model.opset_imports[""] == 20
    assert largest_difference(proto, ir.to_proto(model), 3) < 1e-5
    # What is left is what a bundle may have.
    scored_graph(classifier_from_onnx(path, tuple("abcd"), ExportSettings()), "none").model()


def test_an_onnxruntime_that_does_not_read_the_opset_needs_no_comparison(foreign_model, saved, monkeypatch):
    run, proto = opsets._run, read(foreign_model, saved, "groups", 21)[0]

    def older(graph, images):
        return None if graph.opset_import[0].version > 20 else run(graph, images)

    monkeypatch.setattr(opsets, "_run", older)
    model = load_classifier_onnx(saved(proto))
    monkeypatch.undo()
    assert largest_difference(proto, ir.to_proto(model), 3) < 1e-5
    # A pool that rounds its size up has an edge in which versions differ.
    pool = ("AveragePool", "a", "q", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})
    middle = [pool, ("GlobalAveragePool", "q", "p", {}), ("Flatten", "p", "z", {})]
    path = saved(foreign_model(middle=middle, opset=22))
    load_classifier_onnx(path)
    monkeypatch.setattr(opsets, "_run", older)
    with pytest.raises(ExportError, match=r"onnxruntime does not run, .*pip install -U onnxruntime"):
        load_classifier_onnx(path)


def test_what_the_older_set_cannot_say_is_named(foreign_model, saved, monkeypatch):
    proto, path = read(foreign_model, saved, "cast", 24)
    monkeypatch.setattr(opsets, "_run", lambda graph, images: None)
    for node in proto.graph.node:
        if node.output[0] == "wide":
            next(one for one in node.attribute if one.name == "round_mode").s = b"down"
    with pytest.raises(
        ExportError, match=r"opset 24 .* to 20: opset 20 has no round_mode of Cast \(node 'node_wide'\)"
    ):
        load_classifier_onnx(saved(proto))
    monkeypatch.setattr("onnx.defs.onnx_opset_version", lambda: 22)
    with pytest.raises(
        ExportError, match=r"the installed onnx .* knows, up to 22; .* has 24; pip install -U onnx"
    ):
        load_classifier_onnx(path)


def test_a_newer_file_format_around_an_old_opset_is_no_hindrance(foreign_model, saved):
    proto = foreign_model(opset=18)
    proto.ir_version = 11
    assert load_classifier_onnx(saved(proto)).ir_version <= 9
