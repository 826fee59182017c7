"""Branches that are always the same are inlined; what may change with the image is refused by its name."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgeosr.errors import UnsupportedGraphError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.graph.checks import load_classifier_onnx
from edgeosr.export.graph.writer import find_value

IMAGES = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=f"node_{output}", **attributes)


def branch(name, *nodes):
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    return helper.make_graph(list(nodes), name, [], outputs)


def squeezed(*nodes, condition="yes", then=None, held=None):
    """The pool's output squeezed inside an If, as torch's exporters write it."""
    then = then or branch("then", node("Squeeze", "p spatial", "t"))
    other = branch("else", node("Identity", "p", "t"))
    choice = node("If", condition, "z", then_branch=then, else_branch=other)
    held = {"spatial": np.array([2, 3]), **(held or {})}
    return [*nodes, choice], held


def with_nodes(foreign_model, nodes, held, opset=17):
    model = foreign_model((), held=held, middle=(("GlobalAveragePool", "a", "p", {}),), opset=opset)
    head = list(model.graph.node)
    del model.graph.node[3:]
    model.graph.node.extend([*nodes, *head[3:]])
    return model


def size_of(axis, name="p"):
    return [
        node("Shape", name, "shape"),
        node("Gather", f"shape axis_{axis}", "length", axis=0),
        node("Equal", "length one", "is_one"),
    ], {f"axis_{axis}": np.array(axis), "one": np.array(1)}


def outputs(proto, images=IMAGES):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def same_as_before(model, path):
    import onnx_ir as ir

    loaded = load_classifier_onnx(path)
    assert not [one for one in loaded.graph if one.op_type == "If"]
    np.testing.assert_allclose(outputs(ir.to_proto(loaded)), outputs(model), rtol=1e-6)
    return loaded


def test_a_squeeze_inside_an_if_is_seen_through_and_keeps_its_name(foreign_model, saved):
    sizes, held = size_of(3)
    nodes, more = squeezed(*sizes, condition="is_one", held=held)
    model = with_nodes(foreign_model, nodes, more)
    loaded = same_as_before(model, saved(model))
    assert find_value(loaded, "z") is not None
    assert add_closed_form(loaded, find_embedding(loaded)).dimension == 6


@pytest.mark.parametrize("opset", [11, 17])
def test_constant_conditions_and_nested_branches_are_inlined(opset, foreign_model, saved):
    held = {"yes": np.array(True), "no": np.array(False)}
    squeeze = ("Squeeze", "p", "t", {"axes": [2, 3]}) if opset < 13 else ("Squeeze", "p spatial", "t", {})
    inner = branch("inner", node("Identity", "p", "u"), node(*squeeze[:3], **squeeze[3]))
    # Both levels use the name t.
    then = branch(
        "then", node("If", "no", "t", then_branch=branch("i", node("Relu", "p", "t")), else_branch=inner)
    )
    nodes, more = squeezed(then=then, held=held)
    same = with_nodes(foreign_model, nodes, more, opset)
    same_as_before(same, saved(same))


def test_an_if_as_the_last_node_gives_the_output(foreign_model, saved):
    model = foreign_model((), [("out", ["n", 4])], {"yes": np.array(True)})
    then, other = branch("t", node("Relu", "logits", "r")), branch("e", node("Identity", "logits", "i"))
    model.graph.node.append(node("If", "yes", "out", then_branch=then, else_branch=other))
    loaded = same_as_before(model, saved(model))
    assert [value.name for value in loaded.graph.outputs] == ["out"]


def test_a_branch_with_weights_of_its_own_is_inlined(foreign_model, saved):
    then = branch("then", node("Squeeze", "p spatial", "s"), node("Mul", "s gain", "t"))
    then.initializer.append(numpy_helper.from_array(np.float32(3), "gain"))
    nodes, more = squeezed(then=then, held={"yes": np.array(True)})
    model = with_nodes(foreign_model, nodes, more)
    same_as_before(model, saved(model))


def test_a_condition_on_the_image_is_refused_by_the_name_of_the_if(foreign_model, saved):
    held = {"none": np.float32(0)}
    nodes = [node("ReduceMax", "image", "top", keepdims=0), node("Greater", "top none", "bright")]
    model = with_nodes(foreign_model, *squeezed(*nodes, condition="bright", held=held))
    with pytest.raises(
        UnsupportedGraphError, match=r"'node_z' \(If.*way to its scores.*without control flow"
    ):
        load_classifier_onnx(saved(model))


def counted(source):
    return [node("NonZero", source, "places"), node("Size", "places", "count")]


def sized(*nodes):
    return [*nodes, node("Greater", "count limit", "many")]


SIZED_BY_THE_IMAGE = {
    "the size of NonZero": sized(*counted("image")),
    "the length of Compress": sized(
        node("Reshape", "image flat", "row"),
        node("Greater", "row none", "bright"),
        node("Compress", "row bright", "kept"),
        node("Size", "kept", "count"),
    ),
    "a node after NonZero": sized(
        node("NonZero", "image", "places"),
        node("Transpose", "places", "turned"),
        node("Size", "turned", "count"),
    ),
    "a length that is read off the image": sized(
        node("ReduceMax", "image", "top", keepdims=0),
        node("Abs", "top", "positive"),
        node("Ceil", "positive", "whole"),
        node("Cast", "whole", "length", to=TensorProto.INT64),
        node("Reshape", "length flat", "shape"),
        node("ConstantOfShape", "shape", "made"),
        node("Size", "made", "count"),
    ),
}


@pytest.mark.parametrize("nodes", SIZED_BY_THE_IMAGE.values(), ids=list(SIZED_BY_THE_IMAGE))
def test_a_condition_on_sizes_that_the_image_decides_is_refused(nodes, foreign_model, saved):
    # Noise and black images are on the same side of it: only the graph can tell.
    held = {"limit": np.array(10**5), "none": np.float32(0), "flat": np.array([-1])}
    model = with_nodes(foreign_model, *squeezed(*nodes, condition="many", held=held))
    with pytest.raises(UnsupportedGraphError, match=r"'node_z' \(If.*without control flow"):
        load_classifier_onnx(saved(model))


def test_a_count_of_constants_is_no_count_of_the_image(foreign_model, saved):
    held = {"limit": np.array(2), "table": np.array([1.0, 0.0, 2.0, 3.0], np.float32)}
    model = with_nodes(foreign_model, *squeezed(*sized(*counted("table")), condition="many", held=held))
    same_as_before(model, saved(model))


def test_a_condition_on_the_batch_is_refused(foreign_model, saved):
    sizes, held = size_of(0)
    then = branch("then", node("Reshape", "p flat", "t"))
    more = {**held, "flat": np.array([-1, 6])}
    model = with_nodes(foreign_model, *squeezed(*sizes, condition="is_one", then=then, held=more))
    with pytest.raises(UnsupportedGraphError, match="'node_z'"):
        load_classifier_onnx(saved(model))


def test_a_loop_on_the_way_is_refused_and_one_beside_it_is_not(foreign_model, saved):
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [node("Identity", "go", "on"), node("Relu", "before", "after")],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("before", TensorProto.FLOAT, None),
        ],
        [info("on", TensorProto.BOOL, []), info("after", TensorProto.FLOAT, None)],
    )
    held = {"times": np.array(2), "yes": np.array(True)}
    for source, refused in (("logits", True), ("image", False)):
        shape = ["n", 4] if refused else ["n", 3, 16, 16]
        outputs = [("looped", shape)] if refused else [("logits", ["n", 4]), ("looped", shape)]
        model = foreign_model((), outputs, held)
        model.graph.node.append(node("Loop", f"times yes {source}", "looped", body=body))
        if refused:
            with pytest.raises(UnsupportedGraphError, match=r"'node_looped' \(Loop"):
                load_classifier_onnx(saved(model))
        else:
            assert [value.name for value in load_classifier_onnx(saved(model)).graph.outputs] == ["logits"]


def test_what_only_the_body_of_a_dropped_branch_reads_is_dropped_with_it(foreign_model, saved):
    held = {"none": np.float32(0), "heavy": np.ones((4, 4), np.float32)}
    model = foreign_model((), [("logits", ["n", 4]), ("extra", ["n", 4])], held)
    then, other = (
        branch("t", node("MatMul", "costly heavy", "r")),
        branch("e", node("Identity", "logits", "i")),
    )
    model.graph.node.extend(
        [
            node("Exp", "logits", "costly"),
            node("ReduceMax", "image", "top", keepdims=0),
            node("Greater", "top none", "bright"),
            node("If", "bright", "extra", then_branch=then, else_branch=other),
        ]
    )
    loaded = load_classifier_onnx(saved(model), logits="logits")
    assert [one.op_type for one in loaded.graph][-1] == "Gemm"
    assert set(loaded.graph.initializers) == {"kernel", "head", "bias"}


def test_a_squeeze_that_torch_scripts_is_read(saved):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = torch.nn.Conv2d(3, 6, 3), torch.nn.Linear(6, 4)

        def forward(self, image):
            return self.head(
                torch.nn.functional.adaptive_avg_pool2d(self.conv(image).relu(), 1).squeeze(3).squeeze(2)
            )

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torch.jit.script(Network().eval()), (torch.zeros(1, 3, 16, 16),), stream, dynamo=False,
            opset_version=17, input_names=["image"],
        )  # fmt: skip
    model = onnx.load_model_from_string(stream.getvalue())
    loaded = load_classifier_onnx(saved(model))
    assert add_closed_form(loaded, find_embedding(loaded)).dimension == 6
