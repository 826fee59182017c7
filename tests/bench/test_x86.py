"""The x86 table: every row decides before it is timed, and stands beside the same base."""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime" / "backends"))

from typed_bundle import CLASSES, GATE, HEIGHT, WIDTH, deployed_classifier, sample_frames

from edgeosr.bench import x86
from edgeosr.bench.native_front_end import build_front_end
from edgeosr.bench.table_command import require_one_network
from edgeosr.bundle.body import BodyRecord
from edgeosr.bundle.directory import Bundle, read_bundle, write_bundle
from edgeosr.bundle.manifest import BODY, parse_manifest
from edgeosr.bundle.network import EmbeddingRecord, HeadRecord
from edgeosr.errors import BundleError, MissingDependencyError
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.golden import Calibrated, JudgedBody, recorded
from edgeosr.export.precision.export_body import BodyRunner, _from_pixels
from edgeosr.export.precision.split import body_bytes
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.golden import LEAST_FRAMES, write_golden
from edgeosr.runtime.openvino_stages import Body
from edgeosr.scoring.scorer_file import write_scorer


def small_bundle(path: Path, precision: str) -> Path:
    """A network of two convolutions with a body; its int8 is float32 here, which is enough to be run."""
    classifier = classifier_from_onnx(
        deployed_classifier(path.with_suffix(".onnx")), CLASSES, ExportSettings()
    )
    graph = scored_graph(classifier, "closed-form")
    fusion = replace(graph.scorer.fusion, weights=(1.0 / len(graph.parts),) * len(graph.parts))
    model, data = graph.model(fusion), _from_pixels(body_bytes(graph), classifier.input_name)
    body = Body(model=data, precision=precision, outputs=("map", "logits"))
    runner = BodyRunner(model, body, parts=len(graph.parts))
    asked = Calibrated(
        graph=graph, fusion=fusion, threshold=0.0, frame=None, model=model, any_size=model,
        body=JudgedBody(runner=runner, fusion=fusion, threshold=0.0),
    )  # fmt: skip
    record = BodyRecord(
        precision=precision, ending="map", logits=True, converter="none", processor="any", fusion=None,
        threshold=None, gate=GATE,
    )  # fmt: skip
    sample = Path(__file__).parents[1] / "core" / "bundle" / "sample_manifest.json"
    manifest = parse_manifest(sample.read_bytes())
    head = graph.scorer.head
    changed = replace(
        manifest, classes=CLASSES, jacobian=graph.jacobian, fusion=fusion, discriminator=None, body=record,
        preprocessing=classifier.preprocessing, head=HeadRecord(head.kind, head.temperature, head.margin),
        embedding=EmbeddingRecord(graph.scorer.dimension), threshold=replace(manifest.threshold, value=0.0),
    )  # fmt: skip
    files = {
        "model.onnx": model,
        "scorer.npz": write_scorer(graph.fitted(fusion, 0.0)),
        "golden.npz": write_golden(recorded(asked, sample_frames(LEAST_FRAMES, seed=9))),
        BODY: data,
    }
    write_bundle(path, changed, files)
    return path


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("x86")
    return [read_bundle(small_bundle(folder / f"{name}.edgeosr", name)) for name in ("bf16", "int8")]


@pytest.fixture(scope="module")
def report(bundles: list[Bundle]) -> Any:
    paths = [bundle.path for bundle in bundles]
    return x86.x86_report(paths, frame=(2 * HEIGHT, 2 * WIDTH), turns=10, limit_s=0.1)


def test_a_body_in_f32_has_rows_beside_those_of_model_onnx_in_f32(tmp_path: Path) -> None:
    path = small_bundle(tmp_path / "f32.edgeosr", "f32")
    rows = x86.x86_report([path], frame=(2 * HEIGHT, 2 * WIDTH), turns=10, limit_s=0.1)["rows"]
    names = ["openvino, f32", "openvino, f32 body", "native + f32", "native + f32 body"]
    assert [row["name"] for row in rows] == ["onnxruntime, f32", *names]
    assert min(row["golden_frames_decided_alike"] for row in rows) >= 0.98


def test_every_row_decides_as_the_base_and_is_timed_in_the_same_turns(report: Any) -> None:
    names = ["onnxruntime, f32", *(f"openvino, {name}" for name in ("f32", "bf16", "int8"))]
    assert [row["name"] for row in report["rows"]] == [
        *names,
        "native + f32",
        "native + bf16",
        "native + int8",
    ]
    assert len({row["turns"] for row in report["rows"]}) == 1
    for row in report["rows"]:
        exact = "bf16" not in row["name"]
        assert row["golden_frames_decided_alike"] >= (0.98 if exact else 0.8)
    assert report["rows"][0]["faster_cpu"] == 1.0
    assert [one["frame"] for one in report["front_ends"]] == [[480, 640], [720, 1280], [1080, 1920]]


def test_rows_with_a_body_keep_what_its_gate_found(report: Any) -> None:
    for row in report["rows"]:
        if row["name"].endswith("f32"):
            assert row["gate"] == "" and row["body"] is None
        else:
            assert row["gate"] == GATE.agreements()
            assert row["body"] == {"converter": "none", "gate": asdict(GATE)}


def test_the_text_says_on_what_it_was_measured(report: Any) -> None:
    text = x86.as_text(report)
    assert report["processor"]["name"] in text and "load" in text and "openvino 20" in text
    without = {**report, "processor": {**report["processor"], "has": []}}
    assert "neither bf16 nor VNNI" in x86.as_text(without)


def test_bundles_without_a_body_or_of_another_network_are_refused(bundles: list[Bundle]) -> None:
    bare = replace(bundles[0], manifest=replace(bundles[0].manifest, body=None))
    with pytest.raises(BundleError, match="holds no body for OpenVINO"):
        x86.rows_of([bare], None)
    other = replace(bundles[1], files={**bundles[1].files, "model.onnx": b""})
    with pytest.raises(BundleError, match="must be exports of one network"):
        x86.rows_of([bundles[0], other], SimpleNamespace(pixels=np.zeros((1, 3, 8, 8), np.float32)))


def test_two_bundles_of_one_precision_are_refused_before_anything_is_timed(bundles: list[Bundle]) -> None:
    bare = replace(bundles[0], manifest=replace(bundles[0].manifest, body=None))
    require_one_network([bare, *bundles])
    for twice in ([bare, bare], [bundles[0], bundles[0]]):
        with pytest.raises(BundleError, match=r"must have another precision; got .* time them one by one"):
            require_one_network(twice)


def test_without_a_compiler_it_is_said_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingDependencyError, match="there is no no-such-compiler; install a C"):
        build_front_end(tmp_path)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(MissingDependencyError, match="false cannot compile"):
        build_front_end(tmp_path)
