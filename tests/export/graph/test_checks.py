"""What a foreign ONNX file must be, what is mended on the way, and what each refusal says."""

import io
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeosr.errors import ExportError, StorageError, UnsupportedGraphError
from edgeosr.export.closed_form.jacobian import add_closed_form
from edgeosr.export.closed_form.pooling import find_embedding
from edgeosr.export.graph.checks import load_classifier_onnx

SIDE = 8
RNG = np.random.default_rng(0)
CONV = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
HEAD = RNG.standard_normal((5, 4)).astype(np.float32)


def classifier(
    *,
    nodes=None,
    inputs=None,
    outputs=None,
    held=None,
    opset=18,
    domains=(),
    ir_version=9,
    weights_as_inputs=False,
):
    """A small valid classifier, with parts replaced."""
    nodes = nodes or [
        helper.make_node("Conv", ["image", "conv"], ["y"], name="conv"),
        helper.make_node("Relu", ["y"], ["a"], name="relu"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["z"], name="flatten"),
        helper.make_node("Gemm", ["z", "head"], ["logits"], transB=1, name="head"),
    ]
    held = {"conv": CONV, "head": HEAD} if held is None else held
    info = helper.make_tensor_value_info
    inputs = inputs or [info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])]
    outputs = outputs or [info("logits", TensorProto.FLOAT, ["n", 5])]
    if weights_as_inputs:
        inputs = inputs + [info(name, TensorProto.FLOAT, list(values.shape)) for name, values in held.items()]
    initializers = [numpy_helper.from_array(values, name) for name, values in held.items()]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def image(shape, kind=TensorProto.FLOAT, name="image"):
    return helper.make_tensor_value_info(name, kind, shape)


def saved(proto, folder):
    path = folder / "classifier.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def outputs_of(model, images):
    proto = ir.to_proto(model) if isinstance(model, ir.Model) else model
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


IMAGES = RNG.standard_normal((3, 3, SIDE, SIDE)).astype(np.float32)


def test_valid_classifier_is_read_with_its_shapes(tmp_path):
    model = load_classifier_onnx(saved(classifier(), tmp_path))
    assert [value.name for value in model.graph.inputs] == ["image"]
    assert list(model.graph.outputs[0].shape)[1] == 5
    assert find_embedding(model) == "z"
    np.testing.assert_array_equal(outputs_of(model, IMAGES), outputs_of(classifier(), IMAGES))


def test_missing_file_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"nowhere\.onnx"):
        load_classifier_onnx(tmp_path / "nowhere.onnx")


@pytest.mark.parametrize("damage", ["text", "png", "first half", "garbage behind"])
def test_damaged_file_is_an_export_error(damage, tmp_path):
    whole = classifier().SerializeToString()
    data = {
        "text": b"not a model\n" * 9,
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "first half": whole[: len(whole) // 2],
        "garbage behind": whole + b"\xff" * 7,
    }[damage]
    with pytest.raises(ExportError, match=r"classifier\.onnx.*export"):
        load_classifier_onnx(saved(data, tmp_path))


def test_an_empty_file_is_a_storage_error_that_says_so(tmp_path):
    with pytest.raises(StorageError, match=r"classifier\.onnx: it is empty"):
        load_classifier_onnx(saved(b"", tmp_path))


def test_no_cut_of_a_file_escapes_as_another_error(tmp_path):
    whole = classifier().SerializeToString()
    for length in range(1, len(whole), 37):
        with pytest.raises(ExportError):
            load_classifier_onnx(saved(whole[:length], tmp_path))


def test_external_data_is_refused_by_file_name(tmp_path):
    path = tmp_path / "big.onnx"
    onnx.save(classifier(), path, save_as_external_data=True, location="big.bin", size_threshold=0)
    with pytest.raises(ExportError, match=r"weights in other files .*big\.bin.*onnx\.save"):
        load_classifier_onnx(path)


@pytest.mark.parametrize("domain", ["com.microsoft", "my.plugin", "ai.onnx.ml"])
def test_operator_of_another_domain_is_refused_by_node(domain, tmp_path):
    nodes = [helper.make_node("FusedConv", ["image", "conv"], ["logits"], name="fused_7", domain=domain)]
    proto = classifier(nodes=nodes, domains=[domain])
    with pytest.raises(UnsupportedGraphError, match=rf"'fused_7'.*{domain}\.FusedConv"):
        load_classifier_onnx(saved(proto, tmp_path))


def test_operator_of_another_domain_is_found_inside_a_branch(tmp_path):
    inner = helper.make_graph(
        [helper.make_node("Odd", ["image"], ["o"], name="inner", domain="my.plugin")],
        "branch",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    nodes = [helper.make_node("If", ["yes"], ["logits"], then_branch=inner, else_branch=inner)]
    proto = classifier(nodes=nodes, held={"yes": np.array(True)}, domains=["my.plugin"])
    with pytest.raises(UnsupportedGraphError, match=r"'inner'.*my\.plugin\.Odd"):
        load_classifier_onnx(saved(proto, tmp_path))


def test_functions_of_the_file_itself_are_inlined(tmp_path):
    opsets = [helper.make_opsetid("", 18)]
    body = [helper.make_node("Relu", ["i"], ["o"])]
    function = helper.make_function("own", "Activate", ["i"], ["o"], body, opsets)
    proto = classifier(domains=["own"])
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Activate", "own"
    proto.functions.append(function)
    model = load_classifier_onnx(saved(proto, tmp_path))
    assert add_closed_form(model).closed_form.activation == "relu"


@pytest.mark.parametrize("operator", ["QuantizeLinear", "DequantizeLinear", "ConvInteger", "QLinearConv"])
def test_quantised_graph_is_refused_by_node(operator, tmp_path):
    nodes = [helper.make_node(operator, ["image", "conv"], ["logits"], name="q3")]
    with pytest.raises(UnsupportedGraphError, match=rf"'q3'.*{operator}.*before quantisation"):
        load_classifier_onnx(saved(classifier(nodes=nodes), tmp_path))


def test_half_precision_is_refused_by_tensor(tmp_path):
    held = {"conv": CONV.astype(np.float16), "head": HEAD}
    with pytest.raises(ExportError, match=r"float32 classifier.*float16.*'conv'"):
        load_classifier_onnx(saved(classifier(held=held), tmp_path))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([image(["n", 4, SIDE, SIDE])], r"float \[n, 4, 8, 8\].*colour"),
        ([image(["n", SIDE, SIDE, "c"])], r"float \[n, 8, 8, c\].*colour"),
        ([image(["n", 3, SIDE, SIDE], TensorProto.UINT8)], r"uint8 \[n, 3, 8, 8\].*float32 graph"),
        ([image(["n", 3, SIDE, SIDE], TensorProto.FLOAT16)], "float16"),
        ([image(["n", 192])], r"\[n, 192\]"),
        ([image(["n", 3, SIDE, SIDE]), image(["n"], name="length")], r"2 inputs \('image', 'length'\)"),
        ([image(["n", 3, "h", "w"])], r"\[n, 3, h, w\].*height and width are open"),
    ],
)
def test_input_that_is_no_image_is_refused_with_what_came(inputs, said, tmp_path):
    proto = classifier(inputs=inputs)
    with pytest.raises(ExportError, match=rf"expected .*\[batch, 3, height, width\].*{said}"):
        load_classifier_onnx(saved(proto, tmp_path))


def test_open_height_and_width_can_be_given(tmp_path):
    path = saved(classifier(inputs=[image(["n", 3, "h", "w"])]), tmp_path)
    model = load_classifier_onnx(path, (SIDE, SIDE))
    assert list(model.graph.inputs[0].shape)[2:] == [SIDE, SIDE]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (["n", 1], TensorProto.FLOAT),
        (["n"], TensorProto.FLOAT),
        (["n", 5, 2, 1], TensorProto.FLOAT),
        (["n", 5], TensorProto.INT64),
    ],
)
def test_output_that_is_no_class_scores_is_refused_with_what_came(shape, kind, tmp_path):
    nodes = [helper.make_node("Conv", ["image", "conv"], ["y"]), helper.make_node("Shape", ["y"], ["s"])]
    target = {1: [-1], 2: [-1, shape[-1]], 4: [-1, 5, 2, 1]}[len(shape)]
    held = {
        "conv": RNG.standard_normal(
            (10 if len(shape) == 4 else 5 if shape == ["n", 5] else 1, 3, 8, 8)
        ).astype(np.float32),
        "target": np.array(target),
    }
    nodes.append(helper.make_node("Reshape", ["y", "target"], ["r"]))
    nodes.append(helper.make_node("Cast", ["r"], ["logits"], to=kind))
    outputs = [helper.make_tensor_value_info("logits", kind, shape)]
    proto = classifier(nodes=nodes, held=held, outputs=outputs)
    way_out = r"\[0, x\] as output" if shape == ["n", 1] else "logits as output"
    with pytest.raises(ExportError, match=f"expected class scores.*'logits' .*{way_out}"):
        load_classifier_onnx(saved(proto, tmp_path))


def test_outputs_other_than_the_class_scores_are_dropped(tmp_path):
    outputs = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 4, 6, 6]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5]),
    ]
    model = load_classifier_onnx(saved(classifier(outputs=outputs), tmp_path))
    assert [value.name for value in model.graph.outputs] == ["logits"]


def test_weights_listed_as_inputs_by_old_files_are_no_inputs(tmp_path):
    model = load_classifier_onnx(saved(classifier(weights_as_inputs=True, ir_version=3, opset=11), tmp_path))
    assert [value.name for value in model.graph.inputs] == ["image"]
    np.testing.assert_allclose(outputs_of(model, IMAGES), outputs_of(classifier(), IMAGES), rtol=1e-6)


@pytest.mark.parametrize(("opset", "becomes"), [(11, 13), (12, 13), (13, 13), (18, 18), (20, 20), (22, 20)])
def test_opset_is_brought_into_the_range_that_backends_read(opset, becomes, tmp_path):
    proto = classifier(opset=opset, ir_version=10 if opset > 20 else 7)
    model = load_classifier_onnx(saved(proto, tmp_path))
    assert model.opset_imports[""] == becomes
    np.testing.assert_allclose(outputs_of(model, IMAGES), outputs_of(proto, IMAGES), rtol=1e-6)


def test_older_opset_is_refused(tmp_path):
    with pytest.raises(ExportError, match=r"opset must be 7 or later.*has 6"):
        load_classifier_onnx(saved(classifier(opset=6, ir_version=5), tmp_path))


def frozen(target):
    """A batch of one, frozen into the input and a Reshape."""
    nodes = [
        helper.make_node("Conv", ["image", "conv"], ["y"], name="conv"),
        helper.make_node("GlobalAveragePool", ["y"], ["p"], name="pool"),
        helper.make_node("Reshape", ["p", "target"], ["z"], name="flatten"),
        helper.make_node("Gemm", ["z", "head"], ["logits"], transB=1, name="head"),
    ]
    return classifier(
        nodes=nodes,
        inputs=[image([1, 3, SIDE, SIDE])],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        held={"conv": CONV, "head": HEAD, "target": np.array(target)},
    )


@pytest.mark.parametrize("target", [[1, -1], [1, 4], [-1, 4]])
def test_batch_of_one_frozen_into_the_graph_is_freed(target, tmp_path):
    model = load_classifier_onnx(saved(frozen(target), tmp_path))
    one_by_one = [outputs_of(frozen(target), IMAGES[index : index + 1]) for index in range(3)]
    np.testing.assert_allclose(outputs_of(model, IMAGES), np.concatenate(one_by_one), rtol=1e-6)
    assert list(model.graph.outputs[0].shape)[1] == 5


def test_frozen_batch_that_cannot_be_freed_is_refused(tmp_path):
    # [4] -> [1, 4] by Unsqueeze: with two images the first dimension would be theirs together.
    proto = frozen([4])
    proto.graph.node.insert(3, helper.make_node("Unsqueeze", ["flat", "axis"], ["z"]))
    proto.graph.node[2].output[0] = "flat"
    proto.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
    with pytest.raises(ExportError, match=r"batch size at 1.*dynamic batch axis"):
        load_classifier_onnx(saved(proto, tmp_path))


def test_larger_fixed_batch_is_refused(tmp_path):
    proto = classifier(
        inputs=[image([8, 3, SIDE, SIDE])],
        outputs=[helper.make_tensor_value_info("logits", TensorProto.FLOAT, [8, 5])],
    )
    with pytest.raises(ExportError, match="fixes it at 8"):
        load_classifier_onnx(saved(proto, tmp_path))


def test_inputs_left_out_by_the_graph_are_reported_as_invalid(tmp_path):
    proto = classifier()
    proto.graph.node[1].input[0] = "missing"
    with pytest.raises(ExportError, match="not a valid ONNX graph"):
        load_classifier_onnx(saved(proto, tmp_path))


@pytest.mark.parametrize("opset", [11, 13, 17])
def test_a_classifier_of_torchs_older_exporter_with_a_frozen_batch_is_read(opset, tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 6), nn.Hardswish(), nn.Dropout(), nn.Linear(6, 5), nn.Softmax(1),
    ).eval()  # fmt: skip
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that this exporter is the older one
        torch.onnx.export(
            network, (torch.zeros(1, 3, SIDE, SIDE),), stream, dynamo=False, opset_version=opset
        )
    model = load_classifier_onnx(saved(stream.getvalue(), tmp_path))
    added = add_closed_form(model, find_embedding(model))
    assert (added.closed_form.activation, added.dimension) == ("hard_swish", 8)
    expected = network(torch.tensor(IMAGES)).detach().numpy()
    np.testing.assert_allclose(outputs_of(model, IMAGES), expected, rtol=1e-4, atol=1e-6)


def test_the_reader_and_the_embedding_are_still_found_under_the_name_they_first_had():
    from edgeosr.export import onnx_checks
    from edgeosr.export.closed_form.pooling import find_embedding

    assert onnx_checks.load_classifier_onnx is load_classifier_onnx
    assert onnx_checks.find_embedding is find_embedding
