"""Models of opset 7 to 12, as the model zoos hold them, are converted and compute what they did."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.export.graph.checks import load_classifier_onnx

RANDOM = np.random.default_rng(5)
IMAGES = RANDOM.normal(size=(2, 3, 16, 16)).astype(np.float32)


def weight(*shape):
    return RANDOM.normal(0, 0.4, shape).astype(np.float32)


HELD = {
    "first": weight(6, 3, 3, 3),
    "scale": weight(6) + 1,
    "shift": weight(6),
    "mean": weight(6),
    "var": np.abs(weight(6)) + 0.5,
    "head": weight(4, 6),
    "wide": weight(4, 96),
    "bias": weight(4),
    "six": np.array([0, -1]),
    "slope": weight(6, 1, 1),
    "sizes": np.array([1, 1, 2, 2], np.float32),
    "halves": np.array([1, 1, 1.5, 1.5], np.float32),
}


def model(opset, middle, *, weights="head", nodes_after=(), output="logits"):
    nodes = [
        ("Conv", "image first", "c", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        ("BatchNormalization", "c scale shift mean var", "n", {"epsilon": 1e-3, "momentum": 0.9}),
        *middle,
        ("Gemm", f"z {weights} bias", "logits", {"transB": 1, "alpha": 1.0, "beta": 1.0}),
        *nodes_after,
    ]
    held = {
        name: value for name, value in HELD.items() if any(name in given.split() for _, given, _, _ in nodes)
    }
    info = helper.make_tensor_value_info
    # As files of those years do: every weight is an input too.
    inputs = [info("image", TensorProto.FLOAT, [1, 3, 16, 16])]
    kinds = {np.float32: TensorProto.FLOAT, np.int64: TensorProto.INT64}
    inputs += [info(name, kinds[value.dtype.type], value.shape) for name, value in held.items()]
    graph = helper.make_graph(
        [helper.make_node(kind, given.split(), [made], **more) for kind, given, made, more in nodes],
        "zoo",
        inputs,
        [info(output, TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3)


def outputs(proto, images):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


POOL = [("GlobalAveragePool", "a", "p", {}), ("Flatten", "p", "z", {"axis": 1})]
RELU = ("Relu", "n", "a", {})
BODIES = {
    "plain": ([RELU, *POOL], {}),
    "reshaped": ([RELU, ("GlobalAveragePool", "a", "p", {}), ("Reshape", "p six", "z", {})], {}),
    "dropout": ([RELU, *POOL[:1], ("Dropout", "p", "d", {"ratio": 0.5}), ("Flatten", "d", "z", {})], {}),
    "softmax": ([RELU, *POOL], {"nodes_after": [("Softmax", "logits", "out", {"axis": 1})], "output": "out"}),
    "sum and concat": (
        [
            RELU,
            ("Sum", "a n a", "s", {}),
            ("MaxPool", "s", "m", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("LRN", "m", "l", {"size": 3}),
            ("Relu", "l", "r", {}),
            ("GlobalAveragePool", "r", "p", {}),
            ("Flatten", "p", "z", {}),
        ],
        {},
    ),
    "leaky, elu, prelu": (
        [
            ("LeakyRelu", "n", "e", {"alpha": 0.1}),
            ("Elu", "e", "f", {}),
            ("PRelu", "f slope", "a", {}),
            *POOL,
        ],
        {},
    ),
    "squeezed mean": (
        [
            RELU,
            ("ReduceMean", "a", "p", {"axes": [2, 3], "keepdims": 1}),
            ("Squeeze", "p", "z", {"axes": [2, 3]}),
        ],
        {},
    ),
    "average of the whole": (
        [RELU, ("AveragePool", "a", "p", {"kernel_shape": [16, 16]}), ("Flatten", "p", "z", {})],
        {},
    ),
    "padded": (
        [
            RELU,
            ("Pad", "a", "q", {"pads": [0, 0, 1, 1, 0, 0, 1, 1], "mode": "reflect"}),
            ("GlobalAveragePool", "q", "p", {}),
            ("Flatten", "p", "z", {}),
        ],
        {},
    ),
    "clipped": ([("Clip", "n", "a", {"min": 0.0, "max": 6.0}), *POOL], {}),
    "sliced": (
        [
            ("Slice", "n", "s", {"axes": [2, 3], "starts": [1, 1], "ends": [13, 13]}),
            ("Relu", "s", "a", {}),
            *POOL,
        ],
        {},
    ),
    "enlarged": (
        [("Upsample", "n sizes", "u", {"mode": "nearest"}), ("Relu", "u", "a", {}), *POOL],
        {},
    ),
    "enlarged and smooth": (
        [("Upsample", "n sizes", "u", {"mode": "linear"}), ("Relu", "u", "a", {}), *POOL],
        {},
    ),
    "enlarged by one and a half": (
        [("Resize", "n halves", "u", {"mode": "nearest"}), ("Relu", "u", "a", {}), *POOL],
        {},
    ),
    "enlarged by one and a half, smooth": (
        [("Resize", "n halves", "u", {"mode": "linear"}), ("Relu", "u", "a", {}), *POOL],
        {},
    ),
    "split": (
        [
            ("Transpose", "n", "t", {"perm": [0, 2, 3, 1]}),
            ("Transpose", "t", "b", {"perm": [0, 3, 1, 2]}),
            ("Relu", "b", "a", {}),
            *POOL,
        ],
        {},
    ),
    "unsqueezed": (
        [
            RELU,
            ("GlobalAveragePool", "a", "p", {}),
            ("Squeeze", "p", "q", {"axes": [2, 3]}),
            ("Unsqueeze", "q", "u", {"axes": [2]}),
            ("Flatten", "u", "z", {}),
        ],
        {},
    ),
}
# What these operators took as attributes became inputs later, or the operator is gone.
FORMS = {
    "dropout": 11,
    "padded": 10,
    "clipped": 10,
    "sliced": 9,
    "enlarged": 9,
    "enlarged and smooth": 9,
    "leaky, elu, prelu": 12,
}
FROM = {"enlarged": 9, "enlarged and smooth": 9}
FROM |= {name: 10 for name in BODIES if "one and a half" in name}
FORMS |= {name: 10 for name in BODIES if "one and a half" in name}


def test_domains_that_no_node_uses_do_not_keep_a_model_from_being_converted(tmp_path):
    # As tf2onnx writes them.
    old = model(11, BODIES["plain"][0])
    old.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    path = tmp_path / "zoo.onnx"
    path.write_bytes(old.SerializeToString())
    loaded = load_classifier_onnx(path)
    np.testing.assert_allclose(
        outputs(ir.to_proto(loaded), IMAGES[:1]), outputs(old, IMAGES[:1]), rtol=1e-4, atol=1e-5
    )


CASES = [
    (body, opset)
    for body in BODIES
    for opset in (7, 8, 9, 10, 11, 12)
    if opset in (9, 10) or body == "plain"
    if FROM.get(body, 7) <= opset <= FORMS.get(body, 12)
]


@pytest.mark.parametrize(("body", "opset"), CASES)
def test_an_old_model_is_converted_and_gives_the_same(body, opset, tmp_path):
    middle, more = BODIES[body]
    old = model(opset, middle, **more)
    path = tmp_path / "zoo.onnx"
    path.write_bytes(old.SerializeToString())
    loaded = load_classifier_onnx(path)
    assert 13 <= loaded.opset_imports[""] <= 20
    expected = np.concatenate([outputs(old, image[None]) for image in IMAGES])
    np.testing.assert_allclose(outputs(ir.to_proto(loaded), IMAGES), expected, rtol=1e-4, atol=1e-5)
