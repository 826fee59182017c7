"""A backbone for a device is refused before any work if the device's kernel could not score what it gives."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.errors import ExportError
from edgeosr.export import calibrated
from edgeosr.export.export_run import export_run
from edgeosr.export.foreign import export_model as export_model_module
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.foreign.export_model import export_model
from edgeosr.export.kernel_limits import require_kernel
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings

KNOWN = tuple("0123456789")
RNG = np.random.default_rng(2)


def weights(*shape):
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def saved(path, *, side=8, activation="Relu", channels=12, kernel=3, hidden_size=False):
    """A classifier with a map of ``side`` x ``side``; ``hidden_size``: shape inference cannot tell that."""
    arrays = {
        "first": weights(6, 3, 3, 3),
        "last": weights(channels, 6, kernel, kernel),
        "head": weights(len(KNOWN), channels),
        "slope": np.full((channels, 1, 1), 0.1, np.float32),
        "yes": np.array(True),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["y1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["y1"], ["h"], "relu1"),
    ]
    if hidden_size:
        nodes += [
            helper.make_node("Shape", ["h"], ["size"], "size"),
            helper.make_node("Where", ["yes", "size", "size"], ["same"], "same"),
            helper.make_node("Reshape", ["h", "same"], ["h2"], "reshape"),
        ]
    operands = ["y2", "slope"] if activation == "PRelu" else ["y2"]
    nodes += [
        helper.make_node(
            "Conv", [nodes[-1].output[0], "last"], ["y2"], "conv2", pads=[(kernel - 1) // 2] * 4
        ),
        helper.make_node(activation, operands, ["a"], "last_activation"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["z"], "flatten"),
        helper.make_node("Gemm", ["z", "head"], ["scores"], "gemm", transB=1),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "deployed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(KNOWN)])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.fixture
def _nothing_long(monkeypatch):
    """Whatever takes long fails the test."""

    def never(*args, **kwargs):
        raise AssertionError("something long was begun before the refusal")

    for module, name in (
        (export_model_module, "discriminator_for"),
        (export_model_module, "four_parts"),
        (calibrated, "make_probes"),
        (calibrated, "fit_on_select"),
    ):
        monkeypatch.setattr(module, name, never)


PROBES = {"jacobian": "probes", "cut": "last-conv"}
CLOSED_FORM = "export with --jacobian probes, which needs no map, or"
REFUSED = {
    "PReLU": ({"activation": "PRelu"}, {}, "activation", CLOSED_FORM),
    "ELU": ({"activation": "Elu"}, {}, "activation", CLOSED_FORM),
    "Mish": ({"activation": "Mish"}, {}, "activation", CLOSED_FORM),
    "a map of 289 positions": ({"side": 17}, {}, "289", CLOSED_FORM),
    "the same for one frame size": ({"side": 17}, {"frame": (480, 640)}, "289", CLOSED_FORM),
    "a map whose size only a run tells": ({"side": 17, "hidden_size": True}, {}, "289", CLOSED_FORM),
    "a table of 145 taps": ({"kernel": 9}, {}, "145", CLOSED_FORM),
    "33 probes": ({}, {**PROBES, "probes": 33}, "33", "--probes 32 or fewer"),
    "a wide embedding": ({"channels": 2049}, {"jacobian": "none"}, "2049", "--engine onnx"),
}


EVERY_CASE = [("fp16", case) for case in REFUSED] + [("fp32", "PReLU"), ("int8", "33 probes")]


@pytest.mark.usefixtures("_nothing_long")
@pytest.mark.parametrize(("precision", "case"), EVERY_CASE)
def test_what_the_kernel_cannot_take_is_refused_first_and_nothing_is_written(precision, case, tmp_path):
    network, options, reason, instead = REFUSED[case]
    path = saved(tmp_path / "deployed.onnx", **network)
    settings = ExportSettings(data="digits", precision=precision, **options)
    with pytest.raises(ExportError) as caught:
        export_model(path, settings)
    text = str(caught.value)
    assert text.startswith(f"--engine {precision} makes a backbone for the fused kernel")
    assert reason in text and instead in text and text.endswith("export with --engine onnx")
    assert text.count("--engine onnx") == 1 and text.count("model.onnx") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["deployed.onnx"]


@pytest.mark.usefixtures("_nothing_long")
def test_a_run_with_too_many_probes_for_the_kernel_is_refused_first(digits_run, tmp_path):
    settings = ExportSettings(jacobian="probes", probes=33, precision="fp16", out=tmp_path / "digits.edgeosr")
    with pytest.raises(ExportError, match=r"(got|has) 33.*--probes 32 or fewer.*--engine onnx"):
        export_run(digits_run, settings)
    assert not list(tmp_path.iterdir())


TAKEN = {
    "256 positions": ({"side": 16}, {}),
    "113 taps": ({"kernel": 8}, {}),
    "32 probes": ({}, {**PROBES, "probes": 32}),
    "2048 channels": ({"channels": 2048}, {"jacobian": "none"}),
    "PReLU without a closed form": ({"activation": "PRelu"}, {"jacobian": "none"}),
    "PReLU with probes": ({"activation": "PRelu"}, PROBES),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_the_kernel_takes_is_not_refused(case, tmp_path):
    network, options = TAKEN[case]
    settings = ExportSettings(precision="fp16", **options)
    classifier = classifier_from_onnx(saved(tmp_path / "deployed.onnx", **network), KNOWN, settings)
    assert calibrated.draft_of(classifier, settings).classifier is classifier


@pytest.mark.parametrize("case", REFUSED)
def test_without_a_backbone_nothing_is_refused(case, tmp_path):
    network, options, _, _ = REFUSED[case]
    settings = ExportSettings(**options)
    classifier = classifier_from_onnx(saved(tmp_path / "deployed.onnx", **network), KNOWN, settings)
    calibrated.draft_of(classifier, settings)


def test_the_discriminator_counts_too(tmp_path):
    classifier = classifier_from_onnx(saved(tmp_path / "deployed.onnx"), KNOWN, ExportSettings())
    sizes = [(1025, 12), (1, 1025)]
    layers = tuple((weights(*size), np.zeros(size[0], np.float32)) for size in sizes)
    graph = scored_graph(dataclasses.replace(classifier, layers=layers), "closed-form")
    with pytest.raises(ExportError, match="1025"):
        require_kernel(graph, "fp16")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_weight_that_the_devices_fp16_cannot_hold_is_refused_here_and_not_on_the_device(
    tmp_path, precision
):
    classifier = classifier_from_onnx(saved(tmp_path / "deployed.onnx"), KNOWN, ExportSettings())
    layers = ((weights(5, 12), np.zeros(5, np.float32)), (weights(1, 5), np.zeros(1, np.float32)))
    layers[0][0][3, 2] = -7e4
    graph = scored_graph(dataclasses.replace(classifier, layers=layers), "closed-form")
    words = r"layer 0 must be within 65504 .*; got one of 7e\+04; score with model\.onnx"
    with pytest.raises(ExportError, match=words):
        require_kernel(graph, precision)
    require_kernel(graph, None)


def test_a_map_whose_size_nothing_tells_is_refused(tmp_path):
    classifier = classifier_from_onnx(saved(tmp_path / "deployed.onnx"), KNOWN, ExportSettings())
    graph = scored_graph(classifier, "closed-form")
    require_kernel(graph, "fp16")
    with pytest.raises(
        ExportError, match="neither shape inference nor a run of the graph tells; export with"
    ):
        require_kernel(dataclasses.replace(graph, map_size=None), "fp16")
    without = scored_graph(classifier, "none")
    assert without.map_size is None
    require_kernel(without, "fp16")
