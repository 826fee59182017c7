"""Class scores in every form that exporters leave them in become ``[batch, classes]``."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto

from edgeosr.errors import ExportError
from edgeosr.export.graph.checks import load_classifier_onnx

IMAGES = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)


def outputs(proto, images=IMAGES):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


FORMS = {
    "squares": (("Reshape", "logits shape", "out", {}), ["n", 4, 1, 1], [-1, 4, 1, 1]),
    "channels last": (("Reshape", "logits shape", "out", {}), ["n", 1, 1, 4], [-1, 1, 1, 4]),
    "rows between": (("Reshape", "logits shape", "out", {}), ["n", 1, 4], [-1, 1, 4]),
    "turned round": (("Transpose", "logits", "out", {"perm": [1, 0]}), [4, "n"], [1]),
    "of the size -1": (("Identity", "logits", "out", {}), [-1, -1], [1]),
    "of an undeclared size": (("Identity", "logits", "out", {}), ["n", "classes"], [1]),
}


@pytest.mark.parametrize("batch", ["n", 1])
@pytest.mark.parametrize("form", FORMS)
def test_scores_of_another_form_are_brought_to_two_axes(form, batch, foreign_model, saved):
    node, shape, target = FORMS[form]
    declared = [batch if size == "n" else size for size in shape]
    image = (-1 if form == "of the size -1" and batch == "n" else batch, 3, 16, 16)
    model = foreign_model([node], [("out", declared)], {"shape": np.array(target)}, image=image)
    plain = foreign_model()
    loaded = load_classifier_onnx(saved(model), classes=4)
    assert list(loaded.graph.outputs[0].shape)[1:] == [4]
    np.testing.assert_allclose(outputs(ir.to_proto(loaded)), outputs(plain), rtol=1e-5)


@pytest.mark.parametrize(
    "last",
    [
        [("Squeeze", "logits", "out", {})],
        [("Squeeze", "logits first", "out", {})],
        [("Reshape", "logits one", "out", {})],
        [("Reshape", "logits square", "s", {}), ("Squeeze", "s", "out", {})],
    ],
)
def test_a_frozen_batch_that_was_squeezed_away_comes_back(last, foreign_model, saved):
    held = {"first": np.array([0]), "one": np.array([-1]), "square": np.array([1, 4, 1, 1])}
    model = foreign_model(last, [("out", [4])], held, image=(1, 3, 16, 16))
    loaded = load_classifier_onnx(saved(model), classes=4)
    np.testing.assert_allclose(outputs(ir.to_proto(loaded)), outputs(foreign_model()), rtol=1e-5)


def test_without_class_scores_the_outputs_are_listed(foreign_model, saved):
    with pytest.raises(ExportError, match=r"class scores.*'a' float32 \[n, 6, 14, 14\].*--logits TENSOR"):
        load_classifier_onnx(saved(foreign_model((), [("a", ["n", 6, 14, 14])])))


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_scores_that_are_cast_name_the_tensor_before(kind, foreign_model, saved):
    model = foreign_model([("Cast", "logits", "out", {"to": kind})], [("out", ["n", 4])])
    model.graph.output[0].type.tensor_type.elem_type = kind
    path = saved(model)
    with pytest.raises(
        ExportError, match=r"'out' is cast from 'logits', which is float32: .*--logits logits"
    ):
        load_classifier_onnx(path)
    assert [value.name for value in load_classifier_onnx(path, logits="logits").graph.outputs] == ["logits"]


def test_one_output_of_two_classes_is_told_what_it_needs(foreign_model, saved):
    held = {"head": np.ones((1, 6), np.float32), "bias": np.zeros(1, np.float32)}
    model = foreign_model([("Sigmoid", "logits", "out", {})], [("out", ["n", 1])], held)
    with pytest.raises(
        ExportError, match=r"'out' float32 \[n, 1\]; .*two: .*\[0, x\] as output, or \[-x, x\]"
    ):
        load_classifier_onnx(saved(model))


def test_of_several_outputs_those_of_the_right_number_stay(foreign_model, saved):
    path = saved(foreign_model((), [("z", ["n", 6]), ("logits", ["n", 4])]))
    for classes, names in ((4, ["logits"]), (6, ["z"]), (5, ["z", "logits"]), (None, ["z", "logits"])):
        assert [value.name for value in load_classifier_onnx(path, classes=classes).graph.outputs] == names
