"""Runtime: frames in, verdicts out, the same from every thread, batch size and colour order."""

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import edgeosr
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import BundleError, MissingDependencyError, UsageError
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.runtime.runtime import Runtime
from edgeosr.scoring.fusion import Fusion
from edgeosr.verdict import Verdict

Frames = NDArray[np.uint8]


@pytest.fixture
def runtime(bundle_path: Path) -> Runtime:
    return Runtime(bundle_path, threads=1)


def one(verdict: Verdict | list[Verdict]) -> Verdict:
    assert isinstance(verdict, Verdict)
    return verdict


def many(verdicts: Verdict | list[Verdict]) -> list[Verdict]:
    assert isinstance(verdicts, list)
    return verdicts


def test_verdicts_are_those_of_the_formulas(
    runtime: Runtime, frames: Frames, expected_of: Callable[[Frames], Any]
) -> None:
    expected = expected_of(frames)
    verdicts = many(runtime(frames))
    threshold = runtime.manifest.threshold.value
    assert {verdict.accepted for verdict in verdicts} == {True, False}
    for i, verdict in enumerate(verdicts):
        assert verdict.index == expected.label[i]
        assert verdict.nearest == runtime.classes[verdict.index]
        assert verdict.score == pytest.approx(expected.score[i], abs=1e-5)
        assert verdict.accepted == (verdict.score <= threshold)
        assert verdict.label == (verdict.nearest if verdict.accepted else "unknown")
        assert verdict.finite and verdict.threshold == threshold and verdict.latency_ms > 0
        named = dict(zip(runtime.manifest.parts, expected.values[i].tolist(), strict=True))
        assert list(verdict.parts) == list(named)
        assert verdict.parts == pytest.approx(named, abs=1e-5)


def test_one_frame_a_batch_and_a_list_agree(runtime: Runtime, frames: Frames) -> None:
    batch, listed = many(runtime(frames)), many(runtime(list(frames)))
    assert [(v.index, v.score, v.parts) for v in batch] == [(v.index, v.score, v.parts) for v in listed]
    for frame, verdict in zip(frames, batch, strict=True):
        single = one(runtime(frame))
        assert single.label == verdict.label
        # Vector instructions treat the end of a batch differently: the last bit may differ.
        assert single.score == pytest.approx(verdict.score, abs=1e-6)
        assert single.parts == pytest.approx(verdict.parts, abs=1e-6)


def test_bgr_frames_give_the_verdict_of_their_rgb_twins(runtime: Runtime, frames: Frames) -> None:
    rgb = many(runtime(frames))
    bgr = many(runtime(frames[..., ::-1], color="bgr"))
    assert [verdict.score for verdict in bgr] == [verdict.score for verdict in rgb]
    assert [verdict.score for verdict in many(runtime(frames, color="bgr"))] != [v.score for v in rgb]
    with pytest.raises(UsageError, match=r"color must be one of rgb, bgr; got 'brg'; did you mean"):
        runtime(frames, color="brg")  # type: ignore[arg-type]


def test_an_empty_batch_gives_no_verdicts(runtime: Runtime) -> None:
    assert runtime(np.zeros((0, 8, 8, 3), np.uint8)) == []
    assert runtime([]) == []


@pytest.mark.parametrize(("colour", "score_is_finite"), [((255, 255, 255), False), ((0, 90, 90), True)])
def test_what_is_not_finite_is_unknown_at_any_threshold(
    runtime: Runtime, colour: tuple[int, int, int], score_is_finite: bool
) -> None:
    runtime.threshold = math.inf
    verdict = one(runtime(np.full((8, 8, 3), colour, np.uint8)))
    assert math.isfinite(verdict.score) == score_is_finite
    assert not verdict.finite and not verdict.accepted and verdict.label == "unknown"


def test_the_threshold_is_inclusive_and_changeable_while_running(runtime: Runtime, frames: Frames) -> None:
    score = one(runtime(frames[0])).score
    runtime.threshold = score
    assert one(runtime(frames[0])).accepted
    runtime.threshold = float(np.nextafter(np.float32(score), np.float32(-np.inf)))
    assert not one(runtime(frames[0])).accepted
    runtime.threshold = np.float32(1000)  # type: ignore[assignment]
    assert one(runtime(frames[0])).threshold == 1000.0
    for wrong in (math.nan, "1", None, True):
        with pytest.raises(UsageError, match="threshold must be a number; got"):
            runtime.threshold = wrong  # type: ignore[assignment]
    assert runtime.threshold == 1000.0


def test_threads_get_the_verdicts_of_a_single_thread_and_one_threshold_a_call(
    runtime: Runtime, frames: Frames
) -> None:
    orders = [np.roll(np.arange(len(frames)), order) for order in range(4)]
    expected = [[verdict.score for verdict in many(runtime(frames[order]))] for order in orders]
    problems: list[object] = []
    finished = threading.Event()

    def call(order: int) -> None:
        for _ in range(60):
            verdicts = many(runtime(frames[orders[order]]))
            if [verdict.score for verdict in verdicts] != expected[order]:
                problems.append("scores differ")
            if len({verdict.threshold for verdict in verdicts}) != 1:
                problems.append("two thresholds in one call")
            if any(v.accepted != (v.score <= v.threshold) for v in verdicts):
                problems.append("decision and threshold differ")

    def turn() -> None:
        while not finished.is_set():
            for value in expected[0]:
                runtime.threshold = value

    turner = threading.Thread(target=turn)
    callers = [threading.Thread(target=call, args=(order,)) for order in range(4)]
    for thread in (turner, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    finished.set()
    turner.join()
    assert problems == []


def test_after_close_a_call_says_what_to_do(bundle_path: Path, frames: Frames) -> None:
    with Runtime(bundle_path, warmup=0) as runtime:
        runtime(frames[0])
    runtime.close()
    with pytest.raises(UsageError, match=r"closed; make a new one: edgeosr\.Runtime"), runtime:
        raise AssertionError("entered")
    with pytest.raises(UsageError, match=r"closed; make a new one: edgeosr\.Runtime"):
        runtime(frames[0])


def test_warm_up_runs_at_the_size_that_will_come(
    make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    warm_up = OnnxRuntimeGraph.warm_up

    def recorded(self: OnnxRuntimeGraph, frames: Frames, *, limit_s: float) -> Any:
        seen.append(frames.shape)
        return warm_up(self, frames, limit_s=limit_s)

    monkeypatch.setattr(OnnxRuntimeGraph, "warm_up", recorded)
    Runtime(make_bundle(), warmup=2)
    Runtime(make_bundle(frame=(24, 36)))
    Runtime(make_bundle(), warmup=0)
    assert seen == [(1, 16, 16, 3), (1, 16, 16, 3), (1, 24, 36, 3)]


def test_a_graph_of_another_number_of_parts_is_refused(
    make_bundle: Callable[..., Path], manifest: Manifest
) -> None:
    two = Fusion(parts=("movr_loss", "log_norm"), means=(0.0,) * 2, stds=(1.0,) * 2, weights=(1.0,) * 2)
    with pytest.raises(BundleError, match=r"values must have the shape \[any, 2\]; got \[any, 5\]"):
        Runtime(make_bundle(fusion=two))


def test_the_provider_is_the_one_that_runs(runtime: Runtime, bundle_path: Path) -> None:
    assert runtime.providers == ("CPUExecutionProvider",)
    with pytest.raises(UsageError, match="a provider of this onnxruntime must be one of"):
        Runtime(bundle_path, providers=["CudaExecutionProvider"])


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_below_one_are_refused(bundle_path: Path, threads: Any) -> None:
    with pytest.raises(UsageError, match="threads must be a whole number from 1"):
        Runtime(bundle_path, threads=threads)
    with pytest.raises(UsageError, match="warmup must be a whole number from 0"):
        Runtime(bundle_path, warmup=-1)


def test_a_graph_that_breaks_the_contract_is_refused_at_once(
    make_bundle: Callable[..., Path], graph_bytes: Callable[..., bytes], frames: Frames, manifest: Manifest
) -> None:
    for model in (graph_bytes(order="built in"), graph_bytes(outputs=("label", "score"))):
        with pytest.raises(BundleError, match=r"its (inputs|outputs) must be .*; got"):
            Runtime(make_bundle(model=model))
    model = onnx.load_model_from_string(graph_bytes())
    next(node for node in model.graph.node if "label" in node.output).output[0] = "top_class"
    model.graph.node.append(onnx.helper.make_node("Add", ["top_class", "four"], ["label"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([4]), "four"))
    beyond = Runtime(make_bundle(model=model.SerializeToString()), warmup=0)
    with pytest.raises(BundleError, match=r"gave class [4-7], but its manifest names 4 classes"):
        beyond(frames)


def test_a_manifest_that_was_edited_is_found_on_opening(
    make_bundle: Callable[..., Path], manifest: Manifest, tmp_path: Path
) -> None:
    whole = read_bundle(make_bundle())
    golden = read_golden(whole.files["golden.npz"], manifest)
    golden = replace(golden, classes=manifest.classes, preprocessing=manifest.preprocessing)
    files = {**whole.files, "golden.npz": write_golden(golden)}
    preprocessing = replace(manifest.preprocessing, mean=(0.1, 0.2, 0.3))
    edits: tuple[tuple[dict[str, Any], str | None], ...] = (
        ({}, None),
        ({"threshold": replace(manifest.threshold, value=9.5)}, r"scorer\.npz is not the .* must be 9\.5"),
        ({"classes": manifest.classes[::-1]}, r"golden\.npz: classes must be the digest"),
        ({"preprocessing": preprocessing}, r"golden\.npz: preprocessing .* whose mean was edited"),
    )
    for changes, words in edits:
        path = tmp_path / "a.edgeosr"
        write_bundle(path, replace(manifest, **changes), files)
        if words is None:
            Runtime(path).close()
            continue
        with pytest.raises(BundleError, match=words):
            Runtime(path)


def test_a_missing_or_half_removed_onnxruntime_says_what_to_install(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="pip install onnxruntime"):
        Runtime(bundle_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", type(sys)("onnxruntime"))
    with pytest.raises(MissingDependencyError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        Runtime(bundle_path)


def test_running_a_bundle_needs_numpy_and_onnxruntime_only(bundle_path: Path) -> None:
    program = (
        "import sys, numpy, edgeosr\n"
        f"with edgeosr.Runtime({str(bundle_path)!r}) as runtime:\n"
        "    assert runtime(numpy.ones((20, 20, 3), numpy.uint8)).label\n"
        "heavy = {'torch', 'PIL', 'onnx', 'onnx_ir', 'sklearn', 'scipy', 'rich', 'typer', 'cv2'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)


def test_the_runtime_is_reached_from_the_package() -> None:
    assert edgeosr.Runtime is Runtime
