"""Arguments of the Python API that are none: a UsageError or FrameError that says what was expected."""

import copy
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edgeosr
from edgeosr.errors import FrameError, StorageError, UsageError
from edgeosr.kernels.driver.arrays import device_bytes
from edgeosr.preprocessing import LARGEST_FRAME, LONGEST_SIDE

FRAME = np.random.default_rng(3).integers(0, 256, (6, 9, 3), np.uint8)


class Answers:
    """What another library's array may answer when it is asked where it lies."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __dlpack_device__(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def __dlpack__(self, stream: Any = None) -> Any:
        return None


class Unequal:
    __hash__ = None  # type: ignore[assignment]  # like an array's

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")


ODD: list[Any] = [
    None, True, b"1", "", "x", 1.5, [], [None], {}, (1, 2), 1 + 2j, np.array([1, 2]), np.bool_(True),
    10**400, "x" * 9000, object(), Unequal(), Answers((1, 0)),
]  # fmt: skip


def shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:9]}" if not isinstance(value, Unequal) else "unequal"


@pytest.fixture(scope="module")
def runtime(bundle_path: Path) -> Any:
    with edgeosr.Runtime(bundle_path, threads=1) as opened:
        yield opened


def said_of(call: Callable[[], object]) -> str:
    with pytest.raises((UsageError, FrameError)) as caught:
        call()
    assert "; got " in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("value", ODD, ids=shown)
def test_what_is_no_threshold_no_colour_and_no_frame_is_refused(value: Any, runtime: Any) -> None:
    if type(value) not in (float, dict):  # a mapping sets the classes that it names
        assert "threshold must be a number" in said_of(lambda: setattr(runtime, "threshold", value))
    assert "color must be one of rgb, bgr" in said_of(lambda: runtime(FRAME, color=value))
    if not isinstance(value, list) or value:  # an empty one is no frame too many
        said_of(lambda: runtime(value))
    said_of(lambda: runtime([value]))


@pytest.mark.parametrize("argument", ["bundle", "backend", "build", "threads", "warmup", "providers"])
@pytest.mark.parametrize("value", ODD, ids=shown)
def test_what_is_no_argument_of_a_runtime_is_refused(argument: str, value: Any, bundle_path: Path) -> None:
    if value is None and argument in ("build", "threads"):
        return  # what they are by default
    if argument == "bundle" and isinstance(value, str) and value:
        return  # a path, if not of a bundle; one that is too long is below
    given = {"bundle": bundle_path, argument: value}
    assert said_of(lambda: edgeosr.Runtime(**given)).startswith(argument)


def test_numbers_of_any_kind_are_thresholds(runtime: Any) -> None:
    for number in (Fraction(1, 2), np.float16(0.5), np.int8(1), 3, float("inf"), -float("inf")):
        runtime.threshold = number
        assert runtime.threshold == float(number) and type(runtime.threshold) is float


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp == 1024, reason="no wider number than a float here")
def test_a_number_wider_than_a_float_is_no_threshold(runtime: Any) -> None:
    before = runtime.threshold
    for text in ("1e4000", "-1e4000"):
        said = said_of(lambda: setattr(runtime, "threshold", np.longdouble(text)))  # noqa: B023  # called at once
        assert "threshold must be a number; got" in said and runtime.threshold == before
    for text in ("inf", "1.5"):
        runtime.threshold = np.longdouble(text)
        assert runtime.threshold == float(text)


@pytest.mark.parametrize("answer", [RuntimeError("no"), None, 2, "ab", (2,), (object(), 1), (2, 0, 0)])
def test_an_array_that_does_not_say_where_it_lies_is_no_frame(answer: Any, runtime: Any) -> None:
    assert "a frame must be a NumPy array" in said_of(lambda: runtime(Answers(answer)))


@pytest.mark.parametrize("answer", [RuntimeError("requires grad"), None, (2,), (2, 0)])
def test_an_engine_is_told_what_is_wrong_with_an_array(answer: Any) -> None:
    with pytest.raises(UsageError, match="frames must be an array on a CUDA device; Answers does not say"):
        device_bytes("frames", Answers(answer), 0)
    with pytest.raises(UsageError, match="does not say where it lies"):
        device_bytes("frames", type("Half", (), {"__cuda_array_interface__": {"shape": (1,)}})(), 0)


def test_a_masked_array_is_refused(runtime: Any) -> None:
    assert "fill it first" in said_of(lambda: runtime(np.ma.masked_array(FRAME, FRAME > 9)))
    said_of(lambda: runtime([np.ma.masked_array(FRAME)]))


@pytest.mark.parametrize(
    "same",
    [
        lambda a: np.repeat(np.repeat(a, 2, axis=0), 2, axis=1)[::2, ::2],
        lambda a: np.asfortranarray(a),
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(">u1"),
        lambda a: a.astype(np.dtype("u1", metadata={"camera": 1})),
        lambda a: a.view(np.recarray),
        lambda a: a.view(type("Own", (np.ndarray,), {"__getitem__": lambda self, _: 1 / 0})),
        lambda a: np.frombuffer(a.tobytes(), np.uint8).reshape(a.shape),
    ],
)
def test_a_frame_is_its_values_however_it_lies(same: Callable[[Any], Any], runtime: Any) -> None:
    assert runtime(same(FRAME)).score == runtime(FRAME).score


def test_a_frame_of_more_pixels_than_stated_is_refused(runtime: Any) -> None:
    huge: NDArray[np.uint8] = np.broadcast_to(np.uint8(0), (8192, 4097, 3))
    for frames in (huge, [huge], huge[None]):
        assert f"at most {LARGEST_FRAME} pixels; got 8192x4097" in said_of(lambda: runtime(frames))  # noqa: B023


@pytest.mark.parametrize("value", ODD, ids=shown)
def test_the_other_functions_say_what_they_take(value: Any, bundle_path: Path) -> None:
    if value is not None:
        assert "settings must be" in said_of(lambda: edgeosr.evaluate_bundle(bundle_path, value))
        assert "settings must be" in said_of(lambda: edgeosr.export_run(bundle_path, value))
    assert "settings must be" in said_of(lambda: edgeosr.export_model(bundle_path, value))
    assert "settings must be" in said_of(lambda: edgeosr.train_run(value))
    if isinstance(value, str) and len(value) > 5000:
        for call in (edgeosr.Runtime, edgeosr.export_run, edgeosr.evaluate_bundle, edgeosr.resumed_settings):
            with pytest.raises(StorageError, match="File name too long; check the path"):
                call(value)
    elif not isinstance(value, str):
        for call in (edgeosr.export_run, edgeosr.evaluate_bundle, edgeosr.resumed_settings):
            assert "must be a path" in said_of(lambda: call(value))  # noqa: B023  # called at once


def test_a_frame_whose_side_float32_cannot_measure_is_refused(runtime: Any) -> None:
    for shape in ((1, LONGEST_SIDE + 1, 3), (LONGEST_SIDE + 1, 1, 3)):
        assert f"a side of a frame must be of at most {LONGEST_SIDE} pixels" in said_of(
            lambda: runtime(np.zeros(shape, np.uint8))  # noqa: B023  # called at once
        )
    wide = np.zeros((1, LONGEST_SIDE, 3), np.uint8)
    wide[:, LONGEST_SIDE // 2 :] = 255
    assert runtime(wide).score == pytest.approx(runtime(wide[:, 1024:-1024]).score, abs=0.02)


def test_a_batch_that_does_not_fit_in_memory_is_a_frame_error(
    runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(np, "ascontiguousarray", full)
    monkeypatch.setattr(np, "stack", full)
    for frames in (np.stack, np.ascontiguousarray), None:
        batch = [FRAME, FRAME] if frames is None else np.zeros((2, *FRAME.shape), np.uint8)[:, ::2]
        assert "frames of one call must fit in memory; got [2, " in said_of(lambda: runtime(batch))  # noqa: B023


def test_a_runtime_has_no_attribute_that_nobody_reads_and_is_not_copied(runtime: Any) -> None:
    with pytest.raises(AttributeError, match="treshold"):
        runtime.treshold = 2
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UsageError, match=r"neither copied nor pickled.*open the bundle again"):
            copied(runtime)


@pytest.mark.parametrize("path", ["", "\ud800", "a\ud83d.edgeosr"])
def test_a_text_that_is_no_path_is_refused(path: str) -> None:
    assert "bundle must be a path" in said_of(lambda: edgeosr.Runtime(path))
