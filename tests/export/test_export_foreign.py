"""A classifier that edgeosr did not train becomes the same kind of bundle."""

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle
from edgeosr.data import grouping
from edgeosr.data.catalogue import open_image_set
from edgeosr.errors import DataError, ExportError, UsageError
from edgeosr.export.foreign.export_model import export_model
from edgeosr.export.measure import GraphRunner
from edgeosr.export.settings import ExportSettings
from edgeosr.training import opengan_settings

SIDE = 16
CHANNELS = 96
MEAN, STD = (0.3, 0.3, 0.3), (0.35, 0.35, 0.35)
KNOWN = ("0", "1", "2", "3", "4", "5", "6")


def _graph(weight, bias, *, softmax):
    """Random 7x7 features, pooled, and a linear head; as exporters write it."""
    random = np.random.default_rng(5)
    kernel = random.normal(0, 0.12, (CHANNELS, 3, 7, 7)).astype(np.float32)
    offset = random.normal(-0.5, 0.5, CHANNELS).astype(np.float32)
    nodes = [
        helper.make_node(
            "Conv", ["image", "kernel", "offset"], ["y"], "last_conv", kernel_shape=[7, 7], pads=[3] * 4
        ),
        helper.make_node("Relu", ["y"], ["a"], "last_relu"),
        helper.make_node("GlobalAveragePool", ["a"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"], "head", transB=1),
    ]
    output = "scores"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["probabilities"], "softmax", axis=1))
        output = "probabilities"
    arrays = {"kernel": kernel, "offset": offset, "weight": weight, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "deployed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", len(bias)])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@dataclass(frozen=True, kw_only=True)
class ShortOpenGan(opengan_settings.OpenGanSettings):
    """What a discriminator is worth, tests/core/test_opengan.py asks; here it must only exist."""

    epochs: int = 3
    steps: int = 20


@pytest.fixture(scope="module", autouse=True)
def _short_discriminator_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opengan_settings, "OpenGanSettings", ShortOpenGan)
        yield


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A linear classifier on random features, fitted to seven digits, with a softmax at its end."""
    from edgeosr.preprocessing import Preprocessing

    images = open_image_set("digits").train.of_classes(KNOWN)
    preprocessing = Preprocessing(height=SIDE, width=SIDE)
    pixels = np.stack([preprocessing.resize(images.read(i)) for i in range(len(images))])
    inputs = ((pixels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    blank = np.zeros((len(KNOWN), CHANNELS), np.float32)
    probe = _graph(blank, blank[:, 0].copy(), softmax=False)
    probe.graph.output.append(helper.make_empty_tensor_value_info("features"))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    (features,) = session.run(["features"], {"image": inputs})
    head = LogisticRegression(C=1e3, max_iter=300).fit(features, images.labels)
    path = tmp_path_factory.mktemp("deployed") / "deployed.onnx"
    onnx.save(_graph(head.coef_.astype(np.float32), head.intercept_.astype(np.float32), softmax=True), path)
    return path


def settings(**changes):
    return ExportSettings(**{"data": "digits", "known": KNOWN, "mean": MEAN, "std": STD, **changes})


@pytest.fixture(scope="module")
def report(deployed, tmp_path_factory):
    return export_model(deployed, settings(out=tmp_path_factory.mktemp("out") / "wrapped.edgeosr"))


def test_labels_are_the_deployed_classifiers_own(report, deployed):
    images = open_image_set("digits").train.of_classes(KNOWN)
    frames = np.stack([images.read(i) for i in range(50)])
    bundle = read_bundle(report.path)
    label, _, values = GraphRunner(bundle.files["model.onnx"]).run(frames)
    preprocessing = bundle.manifest.preprocessing
    pixels = np.stack([preprocessing.resize(frame) for frame in frames])
    inputs = ((pixels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(deployed), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": inputs})
    assert np.mean(label == probabilities.argmax(axis=1)) >= 0.96
    # The logits are taken before the softmax: a probability never exceeds 1.
    top = -values[:, bundle.manifest.parts.index("max_logit")]
    assert top.max() > 1.5


def test_the_report_says_which_tensor_the_logits_are(report):
    said = "the output 'probabilities' holds probabilities; the logits before it, 'scores', are taken"
    assert report.notes == (said,)
    assert f"model            {said}\n" in report.as_text()
    assert json.loads(report.as_json())["notes"] == [said]


def test_a_contradiction_with_the_model_s_own_names_is_told_before_the_export_fails(
    deployed, tmp_path, capsys
):
    model = onnx.load(deployed)
    helper.set_model_props(model, {"names": json.dumps(KNOWN)})
    path = tmp_path / "named.onnx"
    onnx.save(model, path)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(KNOWN[::-1]), "utf-8")
    with pytest.raises(DataError, match="in another order"):
        export_model(path, settings(known=None, known_file=names))
    assert "--known-file gives the classes in another order" in capsys.readouterr().err


def test_groups_that_no_bundle_can_keep_are_refused_before_the_export(deployed, tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "LARGEST_IDS", 9)
    monkeypatch.setattr("edgeosr.export.foreign.export_model.check_on_known_images", None)  # not come to
    with pytest.raises(DataError, match="characters to keep; at most 9 fit into a bundle"):
        export_model(deployed, settings(groups="none", out=tmp_path / "no.edgeosr"))


def test_without_unknown_images_top_logit_and_relative_mahalanobis_decide_alike(report):
    manifest = report.manifest
    weights = dict(zip(manifest.parts, manifest.fusion.weights, strict=True))
    # Without a margin there is no ovr_loss: movr_loss is that very number. Rows that weigh nothing are gone.
    assert weights == {
        "log_jacobian": 0,
        "discriminator": 0,
        "movr_loss": 0,
        "max_logit": 0.5,
        "log_norm": 0,
        "raw_jacobian": 0,
        "relative_mahalanobis": 0.5,
    }
    assert manifest.fusion.note.startswith("equal weights: a deployed classifier has no folds")
    assert manifest.head.kind == "external"
    assert manifest.training is None
    assert "last_conv" in manifest.jacobian.with_respect_to
    assert manifest.discriminator is not None
    assert manifest.discriminator.selected_by == "synthetic"


def test_its_bundle_can_be_evaluated_on_the_classes_it_does_not_know(report, tmp_path):
    quality = evaluate_bundle(report.path, QualitySettings(out=tmp_path / "evaluation"))
    assert quality.manifest.data.unknown == ("7", "8", "9")
    assert quality.fused.closed_accuracy > 0.7
    assert quality.fused.auroc > 0.55


def test_real_outliers_may_weigh_the_parts(deployed, tmp_path):
    made = export_model(deployed, settings(outliers="digits:7", out=tmp_path / "with.edgeosr"))
    assert made.manifest.outliers is not None
    assert made.manifest.discriminator is not None
    assert made.manifest.discriminator.selected_by == "real"
    assert made.select_auroc is not None


def test_no_torch_is_needed_and_then_there_is_no_discriminator(deployed, tmp_path):
    out = tmp_path / "notorch.edgeosr"
    program = textwrap.dedent(f"""
        import sys

        class NoTorch:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("torch", "kornia"):
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, NoTorch())
        from pathlib import Path
        from edgeosr.export.foreign.export_model import export_model
        from edgeosr.export.settings import ExportSettings
        export_model(Path({str(deployed)!r}), ExportSettings(
            data="digits", known={KNOWN!r}, mean={MEAN!r}, std={STD!r}, out=Path({str(out)!r})))
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    manifest = read_bundle(out).manifest
    assert manifest.discriminator is None
    assert "discriminator" not in manifest.parts
    assert "log_jacobian" in manifest.parts


def test_a_network_without_a_closed_form_names_the_node_and_the_way_out(deployed, tmp_path):
    model = onnx.load(deployed)
    relu = next(node for node in model.graph.node if node.name == "last_relu")
    relu.op_type, relu.name = "Exp", "odd_activation"
    path = tmp_path / "odd.onnx"
    onnx.save(model, path)
    with pytest.raises(ExportError, match=r"odd_activation.*--jacobian none"):
        export_model(path, settings())
    assert [file.name for file in tmp_path.iterdir()] == ["odd.onnx"]


def test_images_are_asked_for(deployed):
    with pytest.raises(UsageError, match="add --data FOLDER"):
        export_model(deployed, settings(data=None, known=None))


def test_another_number_of_classes_than_outputs_is_refused(deployed):
    with pytest.raises(UsageError, match="7 outputs, but there are 10 known classes"):
        export_model(deployed, settings(known=None))


def test_classes_in_the_wrong_order_are_noticed(deployed):
    with pytest.raises(DataError, match=r"stand in another order than .*write --known 0,1,2,3,4,5,6;"):
        export_model(deployed, settings(known=KNOWN[3:] + KNOWN[:3]))


def test_an_embedding_that_is_not_there_is_refused(deployed):
    with pytest.raises(ExportError, match="no tensor named 'nowhere'"):
        export_model(deployed, settings(embedding="nowhere"))
