"""``edgeosr export --precision P --for openvino``: what is in the bundle, and what runs it."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgeosr import Runtime
from edgeosr.bundle.directory import Bundle, read_bundle, write_bundle
from edgeosr.bundle.manifest import BODY, BODY_SCHEMA
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.cli.export import _body_from
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import BundleError, DecisionGateError, ExportError, UsageError
from edgeosr.export.bundling import replaced_bundle
from edgeosr.export.calibrate import fit_on_select, score_select, threshold_on_calibrate
from edgeosr.export.export_run import export_run
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision import export_body
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.precision.portable import Portable
from edgeosr.export.precision.split import body_bytes, boundary_of
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime import openvino_module
from edgeosr.runtime.golden import read_golden
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.openvino_module import Core
from edgeosr.runtime.openvino_stages import Body
from edgeosr.runtime.verify import verify_bundle

WHY_NOT = openvino_module.why_not


@pytest.fixture(scope="module", autouse=True)
def any_processor() -> Iterator[None]:
    """A processor without the instructions runs a body as well, slower: the tests do not depend on it."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (openvino_module, export_body):
            patch.setattr(module, "why_not", lambda precision, core: "")
        yield


@pytest.fixture(scope="module")
def report(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("body") / "digits.edgeosr"
    settings = ExportSettings(openvino="bf16", recalibrate=True, min_agreement=0.9, out=out, threads=1)
    return export_run(digits_run, settings)


@pytest.fixture(scope="module")
def bundle(report: Any) -> Bundle:
    return read_bundle(report.path)


@pytest.fixture(scope="module")
def frames(bundle: Bundle) -> list[Any]:
    _, parts = reopen_parts(bundle.manifest.data)
    return [parts.test.read(i) for i in range(60)]


def test_the_bundle_holds_the_body_and_says_what_it_is(bundle: Bundle, report: Any) -> None:
    assert set(bundle.files) == {"model.onnx", "scorer.npz", "golden.npz", BODY}
    record = bundle.manifest.body
    assert bundle.manifest.schema == BODY_SCHEMA and record is not None
    assert (record.precision, record.outputs) == ("bf16", ("map",))
    assert "OpenVINO 20" in record.converter and record.processor
    assert record.fusion is not None and record.threshold is not None
    assert record.gate.known > 100 and record.gate.unknown > 100 and record.gate.recalibrated
    assert record.gate.described() in report.as_text() and "replaced" not in report.as_text()
    graph = onnx.load_model_from_string(bundle.files[BODY]).graph
    assert [value.name for value in graph.input] == ["pixels"]


def test_the_bodys_threshold_is_told_with_what_it_promises(bundle: Bundle, report: Any) -> None:
    assert bundle.manifest.body is not None and bundle.manifest.body.threshold is not None
    own = bundle.manifest.body.threshold
    low, high = own.interval
    said = " ".join(report.as_text().split())
    assert (
        f"body's threshold {own.value:.4g}, for at most 5.0% of known images rejected (95% interval of that "
        f"rate: {low:.1%} to {high:.1%}, from {own.groups} independent groups)" in said
    )
    shown = (
        f"its own: rejects 5 % of known images or fewer (95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    )
    assert f"accept if score <= {own.value:.4g}, {shown}" in text_from_bundle(bundle)


def test_an_export_says_which_bundle_it_replaced(bundle: Bundle, digits_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.edgeosr"
    shutil.copytree(bundle.path, path)
    again = export_run(digits_run, ExportSettings(out=path, threads=1))
    words = f"the bundle made {bundle.manifest.created}, with a body in bf16"
    assert again.replaced.startswith(words) and "--out" in again.replaced
    assert f"replaced         {words}" in again.as_text()
    assert json.loads(again.as_json())["replaced"] == again.replaced
    assert read_bundle(path).manifest.body is None
    (path / "manifest.json").write_text("{}")
    assert replaced_bundle(path) == f"a bundle at {path} that could not be read"


def test_auto_takes_the_body_with_its_own_threshold_and_it_decides_like_model_onnx(
    bundle: Bundle, frames: list[Any]
) -> None:
    record = bundle.manifest.body
    assert record is not None and record.threshold is not None
    portable = Runtime(bundle.path, backend="onnxruntime", threads=1)
    assert portable.graph == "model.onnx" and portable.threshold == bundle.manifest.threshold.value
    with Runtime(bundle.path) as runtime:
        assert (runtime.backend, runtime.graph) == ("openvino", BODY)
        assert runtime.why == "this processor has the instructions for its body"
        assert runtime.providers[0].endswith("bf16") and runtime.threshold == record.threshold.value
        found, expected = runtime(frames), portable(frames)
    same = [one.label == other.label for one, other in zip(found, expected, strict=True)]
    assert np.mean(same) > 0.9
    # It is the fusion of the record that makes the score, of values that are not those of float32.
    fusion = record.fusion
    assert fusion is not None
    values = np.array([[one.parts[name] for name in fusion.parts] for one in found])
    np.testing.assert_allclose([one.score for one in found], fusion.scores(values), rtol=1e-5)
    assert [one.parts for one in found] != [one.parts for one in expected]


def test_verify_compares_the_body_with_what_it_said_where_it_was_made(bundle: Bundle) -> None:
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    assert golden.body is not None and golden.body_rounding is not None
    checks = verify_bundle(bundle.path, backends=["onnxruntime", "openvino"], threads=1).checks
    assert all(check.passed for check in checks)
    assert checks[1].score_distance[1] < 0.1 * checks[1].band


def test_golden_verdicts_say_the_thresholds_that_they_were_made_with(bundle: Bundle) -> None:
    golden, body = read_golden(bundle.files["golden.npz"], bundle.manifest), bundle.manifest.body
    assert body is not None and body.threshold is not None
    assert golden.threshold == bundle.manifest.threshold.limit
    assert golden.body_threshold == body.threshold.limit != golden.threshold
    assert f"accept if score <= {body.threshold.value:.4g}, its own" in text_from_bundle(bundle)
    edited = replace(body, threshold=replace(body.threshold, value=50.0))
    with pytest.raises(BundleError, match=r"body_threshold must be the manifest's 50\.0, which was edited"):
        read_golden(bundle.files["golden.npz"], replace(bundle.manifest, body=edited))


def test_golden_verdicts_say_what_made_the_bodys_input(bundle: Bundle, tmp_path: Path) -> None:
    """libedgeosr makes it by the manifest, so that a body would get another one from an edited manifest."""
    made = bundle.manifest.preprocessing
    assert read_golden(bundle.files["golden.npz"], bundle.manifest).preprocessing == made
    edited = replace(bundle.manifest, preprocessing=replace(made, mean=(0.4, *made.mean[1:])))
    write_bundle(tmp_path / "edited.edgeosr", edited, dict(bundle.files))
    with pytest.raises(
        BundleError, match=r"golden\.npz: preprocessing must be the manifest's, whose mean was"
    ):
        verify_bundle(tmp_path / "edited.edgeosr", backends=["openvino"])


@contextlib.contextmanager
def without(instructions: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            openvino_module, "why_not", lambda precision, core: f"the processor has no {instructions}"
        )
        patch.setattr(export_body, "why_not", openvino_module.why_not)
        yield


def test_without_the_instructions_model_onnx_runs_and_the_reason_is_told(bundle: Bundle) -> None:
    with without("bf16"):
        with Runtime(bundle.path, threads=1) as runtime:
            assert runtime.backend == "onnxruntime" and "the processor has no bf16" in runtime.why
        with Runtime(bundle.path, backend="openvino") as runtime:
            assert (runtime.backend, runtime.graph) == ("openvino", "model.onnx")
            assert runtime.why == "it was asked for; in float32, because the processor has no bf16"
            assert runtime.threshold == bundle.manifest.threshold.value


def test_without_the_instructions_no_body_is_exported(digits_run: Path) -> None:
    with (
        without("VNNI"),
        pytest.raises(ExportError, match=r"--precision int8 is judged .* has no VNNI; export on"),
    ):
        export_run(digits_run, ExportSettings(openvino="int8"))


def changed(bundle: Bundle, folder: Path, **files: bytes) -> Path:
    path = folder / "changed.edgeosr"
    write_bundle(
        path, bundle.manifest, {**bundle.files, **{f"{name}.onnx": data for name, data in files.items()}}
    )
    return path


def broken(data: bytes) -> bytes:
    """The body with its first convolution's weights turned round: other decisions, the same shapes."""
    model = onnx.load_model_from_string(data)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == first.input[1])
    array = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(array[::-1]), weight.name))
    return bytes(model.SerializeToString())


def test_auto_leaves_a_body_that_decides_otherwise_and_says_so(bundle: Bundle, tmp_path: Path) -> None:
    path = changed(bundle, tmp_path, body=broken(bundle.files[BODY]))
    with Runtime(path, threads=1) as runtime:
        assert runtime.backend == "onnxruntime" and "does not decide here as where it was made" in runtime.why
        assert runtime.threshold == bundle.manifest.threshold.value
    (check,) = verify_bundle(path, backends=["openvino"]).checks
    assert check.failed


def test_a_body_that_takes_or_gives_other_tensors_is_refused_unrun(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"body\.onnx of .* is not run"):
        changed(bundle, tmp_path, body=bundle.files["model.onnx"])


def test_a_body_that_decides_otherwise_is_not_exported(
    classifier: ClassifierGraph, images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = scored_graph(classifier, "closed-form")
    scores = score_select(GraphRunner(graph.model(), threads=1), images, None)
    fit = fit_on_select(scores, default_part=classifier.default_part, parts=graph.parts)
    model, picture = graph.model(fit.fusion), tmp_path / "refused.gate.png"
    limit, _ = threshold_on_calibrate(GraphRunner(model, threads=1), images, 0.1)
    parts = CalibrationParts(train=images, select=images, calibrate=images, open_select=None)
    made = export_body._made

    def wrong(*arguments: Any) -> tuple[bytes, str]:
        data, converter = made(*arguments)
        return broken(data), converter

    monkeypatch.setattr(export_body, "_made", wrong)
    said = r"(?s)the bf16 graph decides .*Try --recalibrate or leave --precision"
    with pytest.raises(DecisionGateError, match=said):
        settings = ExportSettings(openvino="bf16", threads=1)
        portable = Portable(
            graph=graph,
            fit=fit,
            threshold=limit,
            model=model,
            parts=parts,
            settings=settings,
            picture=picture,
        )
        export_body.export_body(portable)
    assert picture.exists()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_any_ending_runs_in_any_precision(graph: ScoredGraph, images: Any, precision: str) -> None:
    settings = ExportSettings(openvino=precision)
    parts = CalibrationParts(train=images, select=images, calibrate=images, open_select=None)
    fusion = graph.scorer.fusion  # weights of 0: no layer moves the score, so int8 takes all that it can
    data, _ = export_body._made(graph, fusion, parts, settings)
    operators = {node.op_type for node in onnx.load_model_from_string(data).graph.node}
    assert ("QuantizeLinear" in operators) == (precision == "int8")
    outputs = boundary_of(graph).outputs
    float32 = export_body._from_pixels(body_bytes(graph), graph.classifier.input_name)
    model, count = graph.model(fusion), len(graph.parts)
    batch = np.stack([images.read(i) for i in range(6)])
    typed, plain, whole = (
        OpenVinoGraph(model, parts=count, body=body).run(batch).values
        for body in (
            Body(model=data, precision=precision, outputs=outputs),
            Body(model=float32, precision="f32", outputs=outputs),
            None,
        )
    )
    np.testing.assert_allclose(plain, whole, rtol=1e-3, atol=1e-4)
    # Where an image of this random network is named otherwise, the norm of its class jumps.
    smooth = [i for i, name in enumerate(graph.parts) if name != "class_jacobian"]
    distance, largest = np.abs(typed - whole).max(axis=0), np.abs(whole).max(axis=0)
    assert distance.max() > 0 and (distance[smooth] < 0.3 * (1 + largest[smooth])).all()


def test_a_body_in_f32_is_the_network_as_it_is_and_needs_no_instructions(
    graph: ScoredGraph, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = CalibrationParts(train=images, select=images, calibrate=images, open_select=None)
    data, converter = export_body._made(graph, graph.scorer.fusion, parts, ExportSettings(openvino="f32"))
    assert data == export_body._from_pixels(body_bytes(graph), graph.classifier.input_name)
    assert converter == "as it is"
    monkeypatch.undo()
    for module in (openvino_module, export_body):  # an old processor, as Linux and OpenVINO tell it
        monkeypatch.setattr(module, "why_not", WHY_NOT)
    monkeypatch.setattr(openvino_module, "processor_flags", lambda: frozenset({"sse2"}))
    monkeypatch.setattr(Core, "get_property", lambda core, device, name: ["FP32"])
    export_body.require_body_here("f32")
    for precision in ("bf16", "int8"):
        with pytest.raises(ExportError, match=f"--precision {precision} is judged on the processor"):
            export_body.require_body_here(precision)


@pytest.mark.parametrize(
    ("precision", "library", "said"),
    [
        ("bf16", None, "--precision must come with --for"),
        (None, "openvino", "--for must come with --precision"),
        ("bf16", "tensorrt", "--for must be openvino; got 'tensorrt'"),
    ],
)
def test_both_options_are_needed(precision: str | None, library: str | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _body_from(precision, library)
    assert _body_from(None, None) is None and _body_from("int8", "openvino") == "int8"


def test_what_typed_graphs_cannot_do_is_refused_with_its_option() -> None:
    with pytest.raises(
        UsageError, match=r"per-class is for model\.onnx alone.*--precision int8 --for openvino"
    ):
        ExportSettings(openvino="int8", threshold_rule="per-class")
    with pytest.raises(
        UsageError, match=r"--precision for openvino must be one of f32, bf16, int8; got 'fp16'"
    ):
        ExportSettings(openvino="fp16")
    with pytest.raises(UsageError, match=r"decided in model\.onnx.*--precision bf16 --for openvino"):
        ExportSettings(openvino="bf16", unknown_outputs=("rest",))
