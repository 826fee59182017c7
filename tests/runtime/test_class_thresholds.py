"""A bundle with a threshold a class: every verdict is judged by that of its class, and engines refuse it."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeosr import Runtime
from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import EngineError, UsageError
from edgeosr.runtime.engines.build_bundle import BuildOptions, build_bundle
from edgeosr.runtime.predict import predict_source
from edgeosr.runtime.verify import verify_bundle
from edgeosr.scoring.thresholds import ClassThreshold
from edgeosr.verdict import Verdict

Frames = NDArray[np.uint8]


@pytest.fixture(scope="module")
def limits(manifest: Manifest, frames: Frames, expected_of: Callable[[Frames], Any]) -> tuple[float, ...]:
    """The class predicted most often accepts all its frames; the next takes the common one; others none."""
    label = expected_of(frames).label
    most = int(np.bincount(label).argmax())
    values = [-1e6] * len(manifest.classes)
    values[most] = 1e6
    values[(most + 1) % len(values)] = manifest.threshold.value
    return tuple(values)


@pytest.fixture(scope="module")
def own_path(manifest: Manifest, make_bundle: Callable[..., Path], limits: tuple[float, ...]) -> Path:
    common = manifest.threshold
    by_class = tuple(
        ClassThreshold(value=one, interval=None if one == common.value else (0.0, 0.1), groups=9, images=60)
        for one in limits
    )
    return make_bundle(threshold=replace(common, by_class=by_class))


@pytest.fixture
def runtime(own_path: Path) -> Iterator[Runtime]:
    with Runtime(own_path, warmup=0) as opened:
        yield opened


def many(verdicts: Verdict | list[Verdict]) -> list[Verdict]:
    assert isinstance(verdicts, list)
    return verdicts


def test_a_verdict_is_judged_by_the_threshold_of_its_class(
    runtime: Runtime, frames: Frames, limits: tuple[float, ...]
) -> None:
    verdicts = many(runtime(frames))
    assert {one.accepted for one in verdicts} == {True, False}
    for one in verdicts:
        assert one.threshold == limits[one.index]
        assert one.accepted == (one.finite and one.score <= limits[one.index])


def test_the_threshold_is_a_read_only_mapping_by_class_name(
    runtime: Runtime, limits: tuple[float, ...]
) -> None:
    shown = runtime.threshold
    assert isinstance(shown, Mapping)
    assert list(shown.items()) == list(zip(runtime.classes, limits, strict=True))
    with pytest.raises(TypeError):
        shown[runtime.classes[0]] = 1.0  # type: ignore[index]


def test_a_number_sets_every_class(runtime: Runtime, frames: Frames) -> None:
    runtime.threshold = math.inf
    assert runtime.threshold == math.inf
    assert all(one.accepted == one.finite and one.threshold == math.inf for one in many(runtime(frames)))


def test_a_mapping_sets_the_classes_that_it_names(runtime: Runtime, limits: tuple[float, ...]) -> None:
    first, second, *_ = runtime.classes
    runtime.threshold = {second: 7}
    assert runtime.threshold == dict(zip(runtime.classes, limits, strict=True)) | {second: 7.0}
    runtime.threshold = {}
    assert runtime.threshold[second] == 7.0  # type: ignore[index]
    runtime.threshold = 2.0
    runtime.threshold = {first: -1.0}
    assert runtime.threshold == dict.fromkeys(runtime.classes, 2.0) | {first: -1.0}


def test_names_of_no_class_and_what_is_no_number_are_refused_and_change_nothing(runtime: Runtime) -> None:
    before, name = runtime.threshold, runtime.classes[0]
    with pytest.raises(
        UsageError, match=r"name the class 'zeroo', which .*did you mean 'zero'\?; its classes"
    ):
        runtime.threshold = {name: 1.0, "zeroo": 2.0}
    with pytest.raises(UsageError, match="name the class 3, which the bundle does not know; its classes are"):
        runtime.threshold = {3: 2.0}  # type: ignore[dict-item]
    for wrong in (math.nan, "1", None, True):
        with pytest.raises(UsageError, match=f"the threshold of {name} must be a number; got"):
            runtime.threshold = {name: wrong}  # type: ignore[dict-item]
    assert runtime.threshold == before


def test_a_bundle_with_one_threshold_takes_a_mapping_too(bundle_path: Path, frames: Frames) -> None:
    with Runtime(bundle_path, warmup=0) as runtime:
        common, first = runtime.threshold, many(runtime(frames))[0]
        assert isinstance(common, float)
        runtime.threshold = {first.nearest: -1e9}
        for one in many(runtime(frames)):
            assert one.threshold == (-1e9 if one.nearest == first.nearest else common)


def test_a_runtime_on_an_engine_takes_a_number_only(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Runtime(bundle_path, warmup=0) as runtime:
        monkeypatch.setattr(runtime, "backend", "tensorrt")
        with pytest.raises(
            UsageError, match=r"the backend tensorrt compares with one threshold .*set a number"
        ):
            runtime.threshold = {runtime.classes[0]: 1.0}
        runtime.threshold = 1.0


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_an_engine_refuses_the_bundle_before_anything_is_looked_for(own_path: Path, backend: str) -> None:
    with pytest.raises(EngineError, match=r"has a threshold a class.*--threshold-rule common --engine fp16"):
        Runtime(own_path, backend=backend)


def test_building_an_engine_refuses_the_bundle_too(own_path: Path) -> None:
    for targets in ((), ("sm_86",)):
        with pytest.raises(EngineError, match=r"has a threshold a class.*--threshold-rule common"):
            build_bundle(own_path, BuildOptions(targets=targets))


def test_the_best_backend_is_onnxruntime_and_says_why(runtime: Runtime) -> None:
    assert runtime.backend == "onnxruntime"
    assert "a threshold a class, which engines do not take yet" in runtime.why


def test_verify_compares_by_the_thresholds_of_the_classes(own_path: Path) -> None:
    report = verify_bundle(own_path)
    by_name = {check.backend: check for check in report.checks}
    assert report.passed
    for name in ("onnxruntime", "openvino"):
        check = by_name.pop(name)
        assert check.available and check.agreed + check.ties == check.frames
    assert all("a threshold a class" in check.detail for check in by_name.values())


def test_predict_says_the_thresholds_and_can_replace_them_all(
    own_path: Path, frames: Frames, limits: tuple[float, ...], tmp_path: Path
) -> None:
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    lines: list[str] = []
    summary = predict_source(own_path, str(tmp_path), json_lines=True, emit=lines.append)
    rows = [json.loads(line) for line in lines]
    assert all(row["threshold"] == limits[row["index"]] for row in rows)
    assert list(summary.as_json()["threshold"].values()) == list(limits)
    assert "(thresholds per class, -1e+06 to 1e+06)" in summary.as_text()
    everything = predict_source(own_path, str(tmp_path), threshold=1e9, emit=lambda line: None)
    assert everything.accepted == len(frames) and everything.as_json()["threshold"] == 1e9
