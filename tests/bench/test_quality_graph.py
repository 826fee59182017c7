"""``evaluate`` measures the graph that the Runtime runs here, at its threshold, and names it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from edgeosr import ExportSettings, Runtime, export_run
from edgeosr.bench import quality_graph
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle, read_manifest
from edgeosr.bundle.manifest import BODY
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import BundleError, MissingDependencyError, UsageError
from edgeosr.export.precision import export_body
from edgeosr.runtime import openvino_module


@pytest.fixture(scope="module", autouse=True)
def any_processor():
    """A processor without the instructions runs a body as well, slower: the tests do not depend on it."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (openvino_module, export_body):
            patch.setattr(module, "why_not", lambda precision, core: "")
        yield


@pytest.fixture(scope="module")
def path(digits_run, tmp_path_factory):
    """A bundle whose body has weights and a threshold of its own."""
    out = tmp_path_factory.mktemp("body") / "digits.edgeosr"
    settings = ExportSettings(openvino="bf16", recalibrate=True, min_agreement=0.9, out=out, threads=1)
    return export_run(digits_run, settings).path


def measured(path, tmp_path, **settings):
    return evaluate_bundle(path, QualitySettings(out=tmp_path / "evaluation", **settings))


def rates(path, **named):
    """What a count of the Runtime's own verdicts gives: shares of rejected known and accepted unknown."""
    data = read_manifest(path).data
    _, parts = reopen_parts(data)
    unknown = parts.unknown_test.of_classes(data.unknown)
    with Runtime(path, **named) as runtime:
        accepted = [
            [runtime(images.read(i)).accepted for i in range(len(images))] for images in (parts.test, unknown)
        ]
    return 1 - np.mean(accepted[0]), np.mean(accepted[1])


def test_a_body_that_runs_here_is_measured_at_its_own_threshold_as_the_runtime_judges(path, tmp_path):
    manifest = read_manifest(path)
    found = measured(path, tmp_path)
    assert (found.graph.file, found.graph.backend) == (BODY, "openvino")
    assert found.graph.runs.endswith("bf16") and found.graph.sha256 == manifest.files[BODY].sha256
    rejected, accepted = rates(path)
    # A frame alone and one in a batch may be rounded to either side of the threshold.
    assert found.fused.false_reject.value == pytest.approx(rejected, abs=2 / found.fused.known)
    assert found.fused.false_accept.value == pytest.approx(accepted, abs=2 / found.fused.unknown)
    threshold = manifest.body.threshold.value
    assert found.manifest.threshold.value == threshold != manifest.threshold.value
    plain = json.loads((found.out / "report.json").read_text("utf-8"))
    assert plain["threshold"]["value"] == threshold
    assert plain["fusion"]["weights"] == list(manifest.body.fusion.weights)
    assert plain["measured"] == found.graph.as_json()
    text = found.as_text()
    assert "\nmeasured body.onnx on openvino (OpenVINO 20" in text
    assert f"at the shipped threshold {threshold:.4g}" in text


def test_model_onnx_is_measured_where_it_was_asked_for_and_the_reader_is_told(path, tmp_path):
    manifest = read_manifest(path)
    found = measured(path, tmp_path, backend="onnxruntime")
    assert (found.graph.file, found.graph.backend) == ("model.onnx", "onnxruntime")
    assert found.manifest.threshold == manifest.threshold
    assert "measured model.onnx on onnxruntime" in found.as_text()
    assert "edgeosr.Runtime may take another graph" in found.as_text().replace("\n" + " " * 9, " ")
    rejected, _ = rates(path, backend="onnxruntime")
    assert found.fused.false_reject.value == pytest.approx(rejected)


def test_without_the_instructions_model_onnx_is_measured_and_the_reason_is_told(path, tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_module, "why_not", lambda precision, core: "the processor has no bf16")
    found = measured(path, tmp_path)
    assert (found.graph.file, found.graph.backend) == ("model.onnx", "onnxruntime")
    assert found.graph.note.startswith("edgeosr.Runtime runs it here: openvino: ")
    assert "the processor has no bf16" in found.graph.note
    with Runtime(path) as runtime:  # and what the machine lacks comes before what the bundle does
        assert runtime.why.startswith("openvino: ") and "no typed backbone" in runtime.why


def test_a_plain_bundle_names_its_graph_too_and_openvino_is_measured_where_it_is_named(
    digits_bundle, tmp_path, monkeypatch
):
    found = measured(digits_bundle, tmp_path)
    assert (found.graph.file, found.graph.backend, found.graph.note) == ("model.onnx", "onnxruntime", "")
    assert "\nmeasured model.onnx on onnxruntime (1." in found.as_text()
    other = measured(digits_bundle, tmp_path, backend="openvino")
    assert (other.graph.file, other.graph.backend) == ("model.onnx", "openvino")
    assert other.graph.runs.endswith("f32")
    assert other.fused.auroc == pytest.approx(found.fused.auroc, abs=1e-3)
    monkeypatch.setattr(quality_graph, "Runtime", Gone)
    with pytest.raises(MissingDependencyError, match="not here"):
        measured(digits_bundle, tmp_path, backend="openvino")
    with pytest.raises(UsageError, match=r"one of auto, onnxruntime, openvino; got .tensorrt"):
        QualitySettings(backend="tensorrt")


class Gone:
    def __init__(self, *_, **__):
        raise MissingDependencyError("not here")


class OnAnEngine:
    """A Runtime where an engine runs."""

    backend, graph, providers, threshold = "tensorrt", "backbone.onnx", ("engines/a.plan",), 1.25

    def __init__(self, path, **_):
        self.manifest = read_manifest(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_an_engine_that_would_run_here_is_named_where_model_onnx_is_measured(path, tmp_path, monkeypatch):
    monkeypatch.setattr(quality_graph, "Runtime", OnAnEngine)
    found = measured(path, tmp_path)
    assert found.graph.file == "model.onnx"
    note = "NOT what edgeosr.Runtime runs here: engines/a.plan on tensorrt, which accepts scores up to 1.25"
    assert found.graph.note.startswith(note)


def test_a_bundle_that_is_replaced_while_it_is_opened_is_not_measured(path, monkeypatch):
    monkeypatch.setattr(quality_graph, "Runtime", OnAnEngine)
    bundle = read_bundle(path)
    other = replace(bundle, manifest=replace(bundle.manifest, name="other"))
    with (
        pytest.raises(BundleError, match="was replaced while it was opened"),
        quality_graph.measured_graph(other, QualitySettings()),
    ):
        pass
