"""The runner over the doubles: right verdicts, order of the work, bytes that cross, captured graphs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_double import DlpackArray, HostArray

from edgeosr.errors import FrameError, UsageError
from edgeosr.runtime.backends.cuda_frames import as_cuda_frames
from edgeosr.runtime.onnxruntime_graph import OnnxRuntimeGraph
from edgeosr.scoring.scorer_file import read_scorer

Make = Callable[..., Any]
DISCRETE = ["copy in {0}", "engine", "kernel", "copy out {1}"]


@functools.lru_cache
def portable_graph(model: bytes, parts: int) -> OnnxRuntimeGraph:
    return OnnxRuntimeGraph(model, parts=parts)


def portable(rig: Any, frames: np.ndarray, *, bgr: bool = False) -> Any:
    graph = portable_graph(rig.bundle.files["model.onnx"], len(rig.bundle.manifest.parts))
    return graph.run(np.ascontiguousarray(frames), bgr=bgr)


def assert_like_portable(rig: Any, rows: Any, frames: np.ndarray, *, bgr: bool = False) -> None:
    expected = portable(rig, frames, bgr=bgr)
    tolerance = 0.03  # standard deviations of known samples: fp16 backbone and fp16 weights
    limit = rig.bundle.manifest.threshold.value
    sure = np.abs(expected.score - limit) > tolerance
    assert sure.any()
    assert rows.label.tolist() == expected.label.tolist()
    assert np.abs(rows.score - expected.score).max() < tolerance
    assert (rows.accepted == (expected.score <= limit))[sure].all()
    assert rows.values.shape == expected.values.shape
    for name, found, exact in zip(rig.bundle.manifest.parts, rows.values.T, expected.values.T, strict=True):
        # Of logarithms the difference is relative by itself.
        relative = 0.0 if name.startswith("log_") else 0.02
        assert found == pytest.approx(exact, rel=relative, abs=0.02), name


@pytest.mark.parametrize("integrated", [False, True])
@pytest.mark.parametrize(
    ("method", "precision", "head"),
    [
        ("closed-form", "fp16", "external"),
        ("closed-form", "fp16", "cosine"),
        ("closed-form", "fp32", "cosine"),
        ("probes", "fp32", "cosine"),
        ("probes", "fp32", "external"),
        ("probes", "fp16", "cosine"),
        ("probes", "fp16", "external"),
        ("none", "fp16", "external"),
    ],
)
def test_verdicts_are_those_of_the_portable_graph(
    rig: Make, frames: np.ndarray, method: str, precision: str, head: str, integrated: bool
) -> None:
    each = rig(method, precision, head, integrated=integrated)
    assert (set(each.engine.outputs) == {"map"}) == (head == "cosine" and method == "closed-form")
    if method == "probes":
        gain = read_scorer(each.bundle.files["scorer.npz"]).probes.gain
        assert (gain == 1) == (precision == "fp32"), "fp16 tangents are scaled into its range, and back"
    rows = each.run(frames[:4])
    assert_like_portable(each, rows, frames[:4])
    assert {True, False} == set(each.run(frames).accepted.tolist())
    assert_like_portable(each, each.run(frames, bgr=True), frames, bgr=True)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_discrete_gpu_gets_the_frames_and_gives_80_bytes_a_sample(
    rig: Make, frames: np.ndarray, batch: int
) -> None:
    each = rig()
    each.run(frames[:batch])  # prepares
    each.cuda.bytes_in = each.cuda.bytes_out = 0
    each.cuda.done.clear()
    each.run(frames[:batch])
    assert each.cuda.bytes_in == frames[:batch].nbytes
    assert each.cuda.bytes_out == 80 * batch
    assert each.cuda.done == [step.format(frames[:batch].nbytes, 80 * batch) for step in DISCRETE]


def test_an_integrated_gpu_copies_nothing(rig: Make, frames: np.ndarray) -> None:
    each = rig(integrated=True)
    for _ in range(3):
        assert_like_portable(each, each.run(frames[:2]), frames[:2])
    assert each.cuda.bytes_in == each.cuda.bytes_out == 0
    assert not {name for name, *_ in each.cuda.calls} & {"cuMemcpyDtoHAsync", "cuMemcpyDtoDAsync"}
    assert each.cuda.done[-2:] == ["engine", "kernel"]  # counters are clear, verdicts were cleared here


def test_the_first_run_is_not_captured_the_second_is_and_later_ones_are_one_launch(
    rig: Make, frames: np.ndarray
) -> None:
    each = rig()
    each.run(frames[:1])
    shape = (1, *frames.shape[1:])
    assert each.engine.log == [("execute", shape, False), ("execute", shape, True)]
    each.cuda.calls.clear()
    for number in range(1, 5):
        assert_like_portable(each, each.run(frames[number : number + 1]), frames[number : number + 1])
    assert len(each.engine.log) == 2
    names = [name for name, *_ in each.cuda.calls if not name.startswith("cuCtx")]
    assert names == ["cuGraphLaunch", "cuStreamSynchronize"] * 4


def test_each_shape_and_colour_has_its_context_and_all_share_the_activation_memory(
    rig: Make, frames: np.ndarray
) -> None:
    each = rig()
    for batch in (1, 2, 1, 2):
        for bgr in (False, True):
            assert_like_portable(each, each.run(frames[:batch], bgr=bgr), frames[:batch], bgr=bgr)
    assert len(each.engine.contexts) == 4
    assert len({context.memory for context in each.engine.contexts}) == 1
    assert len(each.cuda.graphs) == 4


def test_the_least_recently_used_shape_goes_first(rig: Make, frames: np.ndarray) -> None:
    each = rig(most_slots=2)
    for batch in (1, 2, 1, 3):  # 2 goes
        each.run(frames[:batch])
    made = len(each.engine.contexts)
    each.run(frames[:1])
    assert len(each.engine.contexts) == made
    assert_like_portable(each, each.run(frames[:2]), frames[:2])
    assert len(each.engine.contexts) == made + 1
    assert len(each.cuda.graphs) == 2


def test_a_batch_beyond_the_profile_goes_through_in_pieces(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    assert_like_portable(each, each.run(frames[:11]), frames[:11])
    assert [context.shape[0] for context in each.engine.contexts] == [4, 3]


def test_a_new_threshold_reaches_the_captured_graphs(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    scores = each.run(frames[:3]).score
    captured = len(each.engine.log)
    for limit in (float(scores[1]), float(np.nextafter(scores[1], np.float32(-np.inf))), np.inf, -np.inf):
        rows = each.run(frames[:3], threshold=limit)
        assert rows.accepted.tolist() == [bool(score <= limit) for score in scores.tolist()]
    # A float64 between two float32 values: a float32 score is compared with it, not with its neighbour.
    between = float(scores[1]) - 1e-12
    assert not each.run(frames[:3], threshold=between).accepted[1]
    assert len(each.engine.log) == captured


def test_frames_on_the_device_are_used_where_they_lie(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    batch = aligned(frames[:2])
    for _ in range(4):
        assert_like_portable(each, run_on_device(each, HostArray(batch)), batch)
    assert each.cuda.bytes_in == 0 and each.cuda.bytes_out == 4 * 160 + 160  # and those of the first run
    assert each.cuda.count("cuMemcpyDtoDAsync") == 0
    # Warm-up, once as it comes, then the same address again: captured, replayed.
    assert [captured for _, _, captured in each.engine.log] == [False, False, True]
    other = aligned(frames[2:4])
    assert_like_portable(each, run_on_device(each, HostArray(other)), other)
    assert_like_portable(each, run_on_device(each, DlpackArray(batch)), batch)


def test_frames_at_an_address_tensorrt_does_not_take_are_copied_on_the_device(
    rig: Make, frames: np.ndarray
) -> None:
    each = rig()
    batch = aligned(frames[:3])
    for _ in range(3):
        assert_like_portable(each, run_on_device(each, HostArray(batch[1:])), batch[1:])
    assert each.cuda.count("cuMemcpyDtoDAsync") == 3 and each.cuda.bytes_in == 0


def test_the_producers_stream_is_waited_for(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    batch, late = aligned(np.zeros_like(frames[:1])), frames[:1]
    run_on_device(each, HostArray(batch))
    producer = each.runner._driver.stream()
    each.cuda.put(producer, "camera", lambda: np.copyto(batch, late))
    each.cuda.done.clear()
    assert_like_portable(each, run_on_device(each, HostArray(batch, stream=producer)), late)
    assert each.cuda.done.index("camera") < each.cuda.done.index("engine")
    each.runner._driver.destroy_stream(producer)


def test_frames_on_another_device_or_of_another_kind_are_refused(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    with pytest.raises(UsageError, match="on device 0, but the frames are on device 1"):
        run_on_device(each, DlpackArray(aligned(frames[:1]), device=(2, 1)))
    with pytest.raises(UsageError, match="frames must be uint8"):
        as_cuda_frames(HostArray(frames.astype(np.float32)), None)
    with pytest.raises(FrameError, match="must be contiguous"):
        as_cuda_frames(HostArray(frames[:, :, ::2]), None)
    with pytest.raises(FrameError, match="channels last"):
        as_cuda_frames(HostArray(np.zeros((3, 20, 30), np.uint8)), None)
    assert_like_portable(each, each.run(frames[:1]), frames[:1])


def test_frames_beyond_the_profile_name_the_build_that_would_take_them(rig: Make, frames: np.ndarray) -> None:
    each = rig()
    with pytest.raises(
        FrameError, match=r"takes frames of 20x30 .*got width 31.*edgeosr build BUNDLE --frame 20x31"
    ):
        each.run(np.zeros((1, 20, 31, 3), np.uint8))
    few = rig(engine_settings={"least": (2, 20, 30, 3)})
    with pytest.raises(FrameError, match=r"batches from 2 to 4 frames; got 1.*--batch 1,1,4"):
        few.run(frames[:1])
    assert_like_portable(each, each.run(frames[:1]), frames[:1])


def run_on_device(rig: Any, array: Any) -> Any:
    return rig.run(as_cuda_frames(array, None))


def aligned(frames: np.ndarray) -> np.ndarray:
    """A copy at an address that TensorRT takes."""
    room = np.empty(frames.nbytes + 256, np.uint8)
    start = -room.ctypes.data % 256
    copy = room[start : start + frames.nbytes].reshape(frames.shape)
    copy[:] = frames
    return copy
