"""Biases for bf16 take back what rounding the weights adds to a channel on average, and nothing else."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.export.precision.bf16 import PREFIX, for_bf16, rounded_to_bf16

RNG = np.random.default_rng(0)
FLOAT = TensorProto.FLOAT


def model_of(nodes: list[Any], held: dict[str, Any], outputs: tuple[str, ...]) -> bytes:
    """A graph from images ``x`` of 3 channels."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", FLOAT, ["batch", 3, 12, 10])],
        [helper.make_tensor_value_info(name, FLOAT, ["batch", "c", "h", "w"]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def floats(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def with_rounded_weights(body: bytes) -> bytes:
    """The body as it is in bf16, but for what rounding does to the values between its layers."""
    model = onnx.load_model_from_string(body)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            tensor.CopyFrom(numpy_helper.from_array(rounded_to_bf16(values), tensor.name))
    return bytes(model.SerializeToString())


def means(body: bytes, images: Any) -> list[Any]:
    """Each output's mean over images and positions, ``[channels]``."""
    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    return [found.mean(axis=(0, 2, 3)) for found in session.run(None, {"x": images})]


# Images of a network behind its normalisation are no longer around 0 in each channel.
IMAGES = np.abs(floats(12, 3, 12, 10)) + 1
BATCHES = [IMAGES[:8], IMAGES[8:]]


@pytest.mark.parametrize(
    ("shape", "attributes", "biased"),
    [
        ((6, 3, 3, 3), {"pads": [1, 1, 1, 1]}, True),
        ((6, 3, 3, 3), {"strides": [2, 2], "pads": [0, 0, 1, 1]}, False),
        ((6, 1, 5, 3), {"group": 3, "dilations": [1, 2]}, True),
        ((6, 3, 1, 1), {}, False),
    ],
    ids=str,
)
def test_a_channel_has_its_mean_again_when_its_weights_are_rounded(
    shape: tuple[int, ...], attributes: dict[str, Any], biased: bool
) -> None:
    held = {"w": floats(*shape), **({"b": floats(shape[0])} if biased else {})}
    nodes = [helper.make_node("Conv", ["x", *held], ["y"], **attributes)]
    body = model_of(nodes, held, ("y",))
    corrected, count = for_bf16(body, "x", BATCHES)
    assert count == 1
    (exact,), (rounded,) = means(body, IMAGES), means(with_rounded_weights(body), IMAGES)
    (found,) = means(with_rounded_weights(corrected), IMAGES)
    lost = np.abs(rounded - exact).max()
    assert np.abs(found - exact).max() < 1e-5 < 1e-3 < lost


def test_weights_stay_and_two_convolutions_that_share_them_have_biases_of_their_own() -> None:
    held = {"w": floats(3, 3, 3, 3), "b": floats(3)}
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["y"], **same),
        helper.make_node("Relu", ["y"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["z"], **same),
    ]
    body = model_of(nodes, held, ("y", "z"))
    corrected, count = for_bf16(body, "x", BATCHES)
    made = onnx.load_model_from_string(corrected)
    onnx.checker.check_model(made, full_check=True)
    now = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    assert count == 2 and sorted(now) == ["b", f"{PREFIX}/bias_0", f"{PREFIX}/bias_1", "w"]
    np.testing.assert_array_equal(now["w"], held["w"])
    np.testing.assert_array_equal(now["b"], held["b"])
    assert (now[f"{PREFIX}/bias_0"] != now[f"{PREFIX}/bias_1"]).all()
    assert [value.name for value in made.graph.output] == ["y", "z"]


def test_what_is_no_convolution_of_constants_stays_as_it_is() -> None:
    pool = model_of([helper.make_node("GlobalAveragePool", ["x"], ["y"])], {}, ("y",))
    assert for_bf16(pool, "x", BATCHES) == (pool, 0)
    computed = [
        helper.make_node("Relu", ["w"], ["v"]),
        helper.make_node("Conv", ["x", "v"], ["y"]),
    ]
    body = model_of(computed, {"w": floats(6, 3, 3, 3)}, ("y",))
    assert for_bf16(body, "x", BATCHES) == (body, 0)


def test_numbers_are_rounded_to_the_nearest_of_bf16_and_ties_to_even() -> None:
    step = 2.0**-7
    given = np.array([1, 1 + 0.49 * step, 1 + 0.5 * step, 1 + 1.5 * step, -1 - 0.51 * step, 0], np.float32)
    expected = np.array([1, 1, 1, 1 + 2 * step, -1 - step, 0], np.float32)
    np.testing.assert_array_equal(rounded_to_bf16(given), expected)
