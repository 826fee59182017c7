"""A model whose scores are NaN or infinite is told so, with the place where they begin."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from edgeosr.errors import ExportError

MEAN, STD = (0.2, 0.45, 0.7), (0.15, 0.25, 0.35)
OWN = {"mean": MEAN, "std": STD}


def changed(path, to, weight, index, value):
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name == weight:
            array = numpy_helper.to_array(tensor).copy()
            array[index] = value
            tensor.CopyFrom(numpy_helper.from_array(array, weight))
    onnx.save(proto, to)
    return to


@pytest.mark.parametrize(
    ("weight", "index", "value", "node"),
    [
        ("kernel", (0, 1, 2, 3), np.nan, "'conv' (Conv)"),
        ("weight", (2, slice(0, 2)), np.inf, "'head' (Gemm)"),
    ],
)
def test_weights_that_are_not_finite_are_named(
    deployed, known, checked, tmp_path, weight, index, value, node
):
    broken = changed(deployed(), tmp_path / "broken.onnx", weight, index, value)
    with pytest.raises(ExportError) as refused:
        checked(broken, known, **OWN)
    count = 1 if weight == "kernel" else 2
    assert "not finite (NaN or infinite) on 84 of 84 known images" in str(refused.value)
    assert f"{count} of " in str(refused.value) and f"of the weights '{weight}'" in str(refused.value)
    assert f"which the node {node} reads; export it again" in str(refused.value)


def test_finite_weights_that_overflow_are_told_by_the_tensor_where_it_begins(
    deployed, known, checked, tmp_path
):
    proto = onnx.load(deployed())
    relu = next(i for i, node in enumerate(proto.graph.node) if node.op_type == "Relu")
    proto.graph.node[relu].input[0] = "huge"
    proto.graph.node.insert(relu, helper.make_node("Exp", ["scaled"], ["huge"], "explode"))
    proto.graph.node.insert(relu, helper.make_node("Mul", ["y", "factor"], ["scaled"], "scale"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(1e5, np.float32), "factor"))
    onnx.save(proto, tmp_path / "huge.onnx")
    with pytest.raises(ExportError, match=r"begin with the tensor 'huge', which the node 'explode' \(Exp\)"):
        checked(tmp_path / "huge.onnx", known, **OWN)


def test_a_few_such_images_are_a_warning(deployed, known, checked, tmp_path):
    files = sorted(known.glob("*/*.png"))
    levels = [((np.asarray(Image.open(file)) / 255 - MEAN) / STD).mean() for file in files]
    proto = onnx.load(deployed())
    nodes = proto.graph.node
    gemm = next(i for i, node in enumerate(nodes) if node.op_type == "Gemm")
    nodes[gemm].input[0] = "seen"
    # Nothing, but on bright images the root of a negative number.
    added = [
        helper.make_node("ReduceMean", ["image"], ["level"], "level", axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["level"], ["mean"], "mean", axes=[1], keepdims=1),
        helper.make_node("Sub", ["limit", "mean"], ["left"], "left"),
        helper.make_node("Sqrt", ["left"], ["root"], "root"),
        helper.make_node("Mul", ["root", "nothing"], ["zero"], "zero"),
        helper.make_node("Add", ["features", "zero"], ["seen"], "add"),
    ]
    for number, node in enumerate(added):
        nodes.insert(gemm + number, node)
    for name, value in (("nothing", 0.0), ("limit", np.quantile(levels, 0.96))):
        proto.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    onnx.save(proto, tmp_path / "few.onnx")
    check = checked(tmp_path / "few.onnx", known, false_reject_rate=0.4, embedding="features", **OWN)
    assert "known images: they begin with the tensor 'root'" in check.warnings[0]
    assert check.warnings[0].endswith("; such an image is rejected")
