"""``backend="openvino"``: model.onnx in float32 on openvino says what it says on onnxruntime."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typed_bundle import sample_frames

from edgeosr.bundle.directory import Bundle
from edgeosr.errors import FrameError, InferenceError, MissingDependencyError, UsageError
from edgeosr.runtime import openvino_graph
from edgeosr.runtime.bands import SAME_GRAPH
from edgeosr.runtime.openvino_graph import OpenVinoGraph
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.verify import verify_bundle
from edgeosr.usable_processors import usable_processors
from edgeosr.verdict import Verdict

F32_ASKED = "it was asked for; in float32, because the bundle has no body"
TypedBundle = Callable[..., Bundle]


def said(verdicts: list[Verdict]) -> list[tuple[Any, ...]]:
    return [(one.index, one.accepted, one.finite) for one in verdicts]


@pytest.mark.parametrize("method", ["closed-form", "probes", "none"])
def test_openvino_says_what_onnxruntime_says(typed_bundle: TypedBundle, method: str) -> None:
    path = typed_bundle(method, "fp32").path
    frames = list(sample_frames(8))
    expected = Runtime(path, backend="onnxruntime", threads=1)
    with Runtime(path, backend="openvino") as runtime:
        assert (runtime.backend, runtime.why) == ("openvino", F32_ASKED)
        assert runtime.providers[0].startswith("OpenVINO 20") and runtime.providers[0].endswith("f32")
        for color in ("rgb", "bgr"):
            wanted = expected(frames, color=color)
            for found in (runtime(frames, color=color), [runtime(frame, color=color) for frame in frames]):
                assert said(found) == said(wanted)
                np.testing.assert_allclose(
                    [one.score for one in found], [one.score for one in wanted], atol=SAME_GRAPH
                )
        scores = [[one.score for one in runtime(frames, color=color)] for color in ("rgb", "bgr")]
        assert not np.allclose(*scores, atol=10 * SAME_GRAPH)


def test_frames_of_any_size_and_frames_that_may_not_be_written_are_judged(
    typed_bundle: TypedBundle,
) -> None:
    path = typed_bundle("closed-form", "fp32", "cosine").path
    expected, runtime = (Runtime(path, backend=name, threads=1) for name in ("onnxruntime", "openvino"))
    for height, width in ((1, 1), (7, 90), (20, 30)):
        frame = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        frame.setflags(write=False)
        assert runtime(frame).score == pytest.approx(expected(frame).score, abs=SAME_GRAPH)
    with pytest.raises(FrameError):
        runtime(np.zeros((4, 4), np.uint8))
    runtime.close()
    with pytest.raises(UsageError, match="closed"):
        runtime(np.zeros((4, 4, 3), np.uint8))


def test_a_graph_that_is_not_cut_runs_whole_and_what_is_not_finite_is_unknown(bundle_path: Path) -> None:
    with Runtime(bundle_path, backend="openvino") as runtime:
        white = runtime(np.full((5, 5, 3), 255, np.uint8))
        assert not white.finite and not white.accepted
        assert runtime(np.full((5, 5, 3), 100, np.uint8)).finite


def test_calls_of_several_threads_do_not_mix_their_frames(typed_bundle: TypedBundle) -> None:
    frames = sample_frames(6)
    found: dict[int, set[float]] = {index: set() for index in range(len(frames))}
    with Runtime(typed_bundle("closed-form", "fp32", "cosine").path, backend="openvino") as runtime:
        alone = [runtime(frame).score for frame in frames]

        def judge(index: int) -> None:
            for _ in range(30):
                found[index].add(runtime(frames[index]).score)

        threads = [threading.Thread(target=judge, args=(index,)) for index in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {index: {score} for index, score in enumerate(alone)}


@pytest.mark.parametrize("wrong", ["channel order", "scores", "batches"])
def test_an_openvino_that_decides_otherwise_is_refused_before_the_first_frame(
    typed_bundle: TypedBundle, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    right = OpenVinoGraph._rows

    def rows(self: OpenVinoGraph, requests: Any, frames: Any, bgr: bool, limit_s: Any) -> Any:
        found, exposed = right(self, requests, frames, bgr and wrong != "channel order", limit_s)
        if wrong == "scores":
            found = found._replace(score=found.score + np.float32(0.1))
        elif wrong == "batches" and len(frames) > 1:
            found = found._replace(label=found.label[::-1])
        return found, exposed

    monkeypatch.setattr(OpenVinoGraph, "_rows", rows)
    path = typed_bundle("closed-form", "fp32", "cosine").path
    words = r"does not decide here as where .* OpenVINO .* f32: take backend='onnxruntime'"
    with pytest.raises(InferenceError, match=words):
        Runtime(path, backend="openvino")
    (check,) = verify_bundle(path, backends=["openvino"]).checks
    assert check.failed and "does not decide here" in check.detail


@pytest.mark.parametrize(("name", "taken"), [("log_jacobian", True), ("max_logit", False)])
def test_a_mask_that_flips_is_no_fault_and_another_part_that_is_off_is_told_as_such(
    typed_bundle: TypedBundle, monkeypatch: pytest.MonkeyPatch, name: str, taken: bool
) -> None:
    bundle = typed_bundle("closed-form", "fp32", "cosine")
    fusion, right, calls = bundle.manifest.fusion, OpenVinoGraph._rows, [0]
    place = fusion.parts.index(name)
    step = 2 * SAME_GRAPH

    def rows(self: OpenVinoGraph, requests: Any, frames: Any, bgr: bool, limit_s: Any) -> Any:
        found, exposed = right(self, requests, frames, bgr, limit_s)
        calls[0] += 1
        if calls[0] == 7:  # one frame, alone
            found.values[0, place] += step * fusion.stds[place]
            found.score[0] += step * fusion.weights[place]
        return found, exposed

    monkeypatch.setattr(OpenVinoGraph, "_rows", rows)
    if taken:
        Runtime(bundle.path, backend="openvino").close()
        assert calls[0] > 64
        return
    words = (
        r"tiny\.edgeosr decides here, but with other numbers than where it was made \(0 of \d+ golden "
        r"verdicts differ\): .*golden frame 5.*; do not use it with OpenVINO .* f32: take backend="
    )
    with pytest.raises(InferenceError, match=words):
        Runtime(bundle.path, backend="openvino")


def test_without_the_package_the_line_that_installs_it_is_told(
    typed_bundle: TypedBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[openvino\]'"):
        Runtime(typed_bundle("closed-form", "fp32", "cosine").path, backend="openvino")


def test_the_second_frame_of_a_size_has_a_front_end_of_its_own_and_the_last_sizes_keep_theirs(
    typed_bundle: TypedBundle,
) -> None:
    bundle = typed_bundle("closed-form", "fp32", "cosine")
    graph = OpenVinoGraph(bundle.files["model.onnx"], parts=len(bundle.manifest.parts))
    rng = np.random.default_rng(2)
    pictures = [rng.integers(0, 256, (1, 20 + side, 30, 3), dtype=np.uint8) for side in range(6)]
    first = [graph.run(picture).score[0] for picture in pictures]
    assert graph._fronts == {}  # each of another size
    for picture, score in zip(pictures, first, strict=True):
        graph.run(picture)
        assert graph.run(picture).score[0] == pytest.approx(score, abs=1e-5)
    assert list(graph._fronts) == [(20 + side, 30) for side in (2, 3, 4, 5)]
    assert set(graph._idle) == {False, *graph._fronts}


def test_a_frame_alone_takes_one_thread_and_a_batch_all_unless_told(
    typed_bundle: TypedBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, asked = openvino_graph.compiled, set()

    def compiled(*arguments: Any, threads: int, alone: bool) -> Any:
        asked.add(threads)
        return right(*arguments, threads=threads, alone=alone)

    monkeypatch.setattr(openvino_graph, "compiled", compiled)
    model = typed_bundle("closed-form", "fp32", "cosine").files["model.onnx"]
    frames = np.ascontiguousarray(sample_frames(3))
    parts = len(typed_bundle("closed-form", "fp32", "cosine").manifest.parts)
    for threads, expected in ((None, [{1}, {1, usable_processors()}]), (3, [{3}, {3}])):
        asked.clear()
        graph = OpenVinoGraph(model, parts=parts, threads=threads)
        graph.run(frames[:1])
        assert asked == expected[0]
        graph.run(frames)
        assert asked == expected[1] and graph._stages == ()  # nothing is kept to be compiled again


def test_networks_for_the_golden_batches_are_let_go_and_compiled_again_for_an_applications(
    typed_bundle: TypedBundle,
) -> None:
    frames = np.ascontiguousarray(sample_frames(3))
    with Runtime(typed_bundle("closed-form", "fp32", "cosine").path, backend="openvino") as runtime:
        graph = runtime._backend._graph  # type: ignore[union-attr]
        assert set(graph._compiled) == {False} and True not in graph._idle and graph._stages
        alone = [runtime(frame).score for frame in frames]
        assert [one.score for one in runtime(frames)] == pytest.approx(alone, abs=SAME_GRAPH)
        assert set(graph._compiled) == {False, True} and graph._stages == ()
        with graph.briefly():  # what cannot be compiled again is kept
            graph.run(frames)
        assert [one.score for one in runtime(frames)] == pytest.approx(alone, abs=SAME_GRAPH)


def test_frames_alone_do_not_wait_for_the_networks_of_the_first_batch(
    typed_bundle: TypedBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = np.ascontiguousarray(sample_frames(3))
    right, compiling, go_on = openvino_graph.compiled, threading.Event(), threading.Event()

    def compiled(*arguments: Any, **options: Any) -> Any:
        compiling.set()
        assert go_on.wait(60)
        return right(*arguments, **options)

    with Runtime(typed_bundle("closed-form", "fp32", "cosine").path, backend="openvino") as runtime:
        expected = [runtime(frame).score for frame in frames]
        monkeypatch.setattr(openvino_graph, "compiled", compiled)
        batches: list[list[Verdict]] = []
        alone: list[float] = []
        two = [threading.Thread(target=lambda: batches.append(runtime(list(frames)))) for _ in range(2)]
        one = threading.Thread(target=lambda: alone.extend(runtime(frame).score for frame in frames))
        for thread in two:
            thread.start()
        assert compiling.wait(60)
        one.start()
        one.join(30)
        waits, batches_before = one.is_alive(), len(batches)
        go_on.set()
        for thread in (one, *two):
            thread.join(60)
    assert not waits and alone == expected and batches_before == 0
    assert [[one.score for one in said] for said in batches] == [pytest.approx(expected, abs=SAME_GRAPH)] * 2


def test_a_network_that_is_too_slow_is_ended(typed_bundle: TypedBundle) -> None:
    path = typed_bundle("closed-form", "fp32", "cosine").path
    with pytest.raises(InferenceError, match=r"within 1e-09 s on openvino.*warmup_limit_s"):
        Runtime(path, backend="openvino", warmup_limit_s=1e-9)


def test_providers_are_not_for_openvino(typed_bundle: TypedBundle) -> None:
    with pytest.raises(UsageError, match="providers are for onnxruntime; the backend openvino"):
        Runtime(typed_bundle("closed-form", "fp32", "cosine").path, backend="openvino", providers=["Other"])


def test_verify_judges_the_golden_frames_on_openvino_too(typed_bundle: TypedBundle) -> None:
    report = verify_bundle(typed_bundle("closed-form", "fp32").path, backends=["openvino"])
    (check,) = report.checks
    assert report.passed and check.frames == check.agreed + check.ties
    assert check.score_distance[1] < SAME_GRAPH and "OpenVINO" in check.detail


def test_bytes_that_are_no_graph_are_refused_with_a_way_out() -> None:
    with pytest.raises(InferenceError, match=r"openvino .* cannot read model.onnx.*backend='onnxruntime'"):
        OpenVinoGraph(b"no graph", parts=1)


def test_a_signal_after_openvino_is_raised_in_python_as_before(bundle_path: Path) -> None:
    # OpenVINO leaves a stack for signals that it unmaps; the next signal ended the process.
    code = (
        "import faulthandler, gc, os, signal, sys, threading, time\n"
        "faulthandler.enable()\n"
        "import edgeosr\n"
        "def told(*_): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGTERM, told)\n"
        "opened = [edgeosr.Runtime(sys.argv[1], backend='openvino', threads=1) for _ in range(2)]\n"
        "def drop():\n"
        "    opened.pop().close()\n"
        "    gc.collect()\n"
        "for _ in range(2):\n"
        "    thread = threading.Thread(target=drop)\n"
        "    thread.start()\n"
        "    thread.join()\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(5)\n"
        "    except KeyboardInterrupt:\n"
        "        print('told')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(bundle_path)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "told\ntold\n"), ended.stderr
