"""Runtime on a machine with a GPU (of doubles): which backend it takes and why, and what its verdicts are."""

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_double import HostArray, Result
from machine import Machine
from test_engine_runner import aligned

import edgeosr
from edgeosr.bundle.directory import Bundle, read_bundle, write_bundle
from edgeosr.bundle.manifest import manifest_bytes, parse_manifest
from edgeosr.errors import (
    BundleError,
    DeviceLostError,
    DeviceMemoryError,
    EngineError,
    EngineRunError,
    FrameError,
    MissingDependencyError,
    UsageError,
)
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

TypedBundle = Callable[..., Bundle]


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def machine(
    request: pytest.FixtureRequest,
    typed_bundle: TypedBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Machine]:
    yield Machine(monkeypatch, tmp_path, typed_bundle(), rtx=request.param == "tensorrt_rtx")


def near(limit: float, scores: list[float]) -> np.ndarray:
    return np.abs(np.array(scores) - limit) < 0.03


def test_verdicts_are_those_of_onnxruntime(machine: Machine, frames: np.ndarray) -> None:
    machine.add()
    with (
        edgeosr.Runtime(machine.path, backend=machine.builder) as engine,
        edgeosr.Runtime(machine.path, backend="onnxruntime") as portable,
    ):
        assert (engine.backend, portable.backend) == (machine.builder, "onnxruntime")
        assert engine.why == portable.why == "it was asked for"
        assert engine.providers == ("plan.plan",)
        assert engine.threshold == portable.threshold
        for color in ("rgb", "bgr"):
            found, expected = engine(frames, color=color), portable(frames, color=color)
            assert isinstance(found, list) and isinstance(expected, list)
            close = near(engine.threshold, [verdict.score for verdict in expected])
            assert close.mean() < 0.5
            for one, other, tie in zip(found, expected, close, strict=True):
                assert (one.nearest, one.finite) == (other.nearest, other.finite)
                assert one.score == pytest.approx(other.score, abs=0.03)
                assert one.parts == pytest.approx(other.parts, abs=0.03)
                assert tie or (one.accepted, one.label) == (other.accepted, other.label)
        single = engine(frames[0])
        assert isinstance(single, edgeosr.Verdict) and single.score == engine([frames[0]])[0].score
        assert engine(frames[:0]) == []
    assert machine.cuda.leaks() == []


def test_auto_takes_the_engine_and_says_so(machine: Machine, frames: np.ndarray) -> None:
    machine.add()
    with edgeosr.Runtime(machine.path) as runtime:
        assert (runtime.backend, runtime.why) == (machine.builder, "it is the fastest that runs here")
        runtime(frames[0])
    assert machine.trt.deserialized == [b"plan"]


def test_the_newest_engine_that_can_run_is_taken(machine: Machine) -> None:
    machine.add(b"old", created="2026-01-01T00:00:00Z")
    machine.add(b"new", created="2026-03-01T00:00:00Z")
    machine.add(b"elsewhere", created="2026-04-01T00:00:00Z", targets=("sm_120",))
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.providers == ("new.plan",)
    assert machine.trt.deserialized == [b"new"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "10.13.0"}, "it was built by .* 10.13.0, and here is"),
        ({"targets": ("sm_75",)}, "it is for sm_75, and .* is sm_8"),
        ({"device": "Orin Nano"}, "it was built on Orin Nano, and this is"),
        ({"bytes_of": "huge"}, "GiB"),
    ],
)
def test_an_engine_that_cannot_run_here_is_never_deserialised(
    machine: Machine, frames: np.ndarray, changes: dict[str, Any], words: str
) -> None:
    if "bytes_of" in changes:
        machine.patch.setattr("edgeosr.runtime.engines.preflight._MEMORY_FACTOR", 1 << 40)
        changes, words = {}, "MiB of memory"
    machine.add(**changes)
    with pytest.raises(EngineError, match=rf"no {machine.builder} engine .*{words}.*edgeosr build"):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.backend == "onnxruntime"
        assert runtime.why.startswith(f"{machine.builder}: no {machine.builder} engine")
        runtime(frames[0])
    assert machine.trt.deserialized == []


def test_a_stale_plan_is_refused_and_built_anew_when_asked(machine: Machine, frames: np.ndarray) -> None:
    machine.add()
    manifest = machine.path / "manifest.json"
    checked = parse_manifest(manifest.read_bytes())
    stale = tuple(replace(record, backbone="e" * 64) for record in checked.engines)
    manifest.write_bytes(manifest_bytes(replace(checked, engines=stale)))
    with pytest.raises(EngineError, match="built from another backbone"):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    assert machine.builds == 0 and machine.trt.deserialized == []
    with edgeosr.Runtime(machine.path, backend=machine.builder, build="auto") as runtime:
        assert runtime.providers == ("built.plan",)
        runtime(frames[0])
    assert machine.builds == 1 and machine.trt.deserialized == [b"built"]


def test_auto_builds_only_when_asked(machine: Machine) -> None:
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.backend == "onnxruntime" and "no engine yet (edgeosr build" in runtime.why
    assert machine.builds == 0
    with edgeosr.Runtime(machine.path, build="auto") as runtime:
        assert (runtime.backend, machine.builds) == (machine.builder, 1)
    with edgeosr.Runtime(machine.path, build="auto"):
        assert machine.builds == 1


def test_a_plan_swapped_for_another_of_its_name_is_refused(machine: Machine) -> None:
    machine.add()
    (machine.path / "engines" / "plan.plan").write_bytes(b"nalp")
    with pytest.raises(BundleError, match="not the plan that was built"):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    assert machine.trt.deserialized == []


def test_what_tensorrt_does_not_load_is_told_in_its_words(machine: Machine, frames: np.ndarray) -> None:
    machine.add()
    machine.plans.clear()
    with pytest.raises(
        EngineRunError, match=r"could not load plan\.plan: magic tag does not match; build it again"
    ):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.backend == "onnxruntime" and "magic tag" in runtime.why
    assert machine.cuda.leaks() == []


@pytest.mark.parametrize("what", ["type", "name"])
def test_a_plan_of_another_network_is_refused(machine: Machine, what: str) -> None:
    machine.add()
    if what == "type":
        machine.engine.types["map"] = machine.trt.DataType.FLOAT
        words = "map must have the type DataType.HALF; got DataType.FLOAT"
    else:
        machine.engine.inputs.remove("channel_order")
        words = "tensors must be channel_order, frames, logits, map; got frames, logits, map"
    with pytest.raises(EngineRunError, match=words):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    assert machine.cuda.leaks() == []


def test_without_the_module_the_named_backend_says_how_to_get_it(
    machine: Machine, frames: np.ndarray
) -> None:
    machine.add()
    machine.patch.setitem(sys.modules, machine.builder, None)
    with pytest.raises(MissingDependencyError, match=f"{machine.builder} is not installed"):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.backend == "onnxruntime"


def test_the_typed_threshold_is_the_one_in_force(
    machine: Machine, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(machine.path)
    checked = bundle.manifest
    assert checked.backbone is not None
    typed = replace(
        checked.backbone, threshold=replace(checked.threshold, value=-100.0), fusion=checked.fusion
    )
    scorer = replace(read_scorer(bundle.files["scorer.npz"]), threshold=-100.0)
    files = {**bundle.files, "scorer.npz": write_scorer(scorer)}
    write_bundle(machine.path, replace(checked, backbone=typed), files)
    machine.add()
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.threshold == -100.0
        verdicts = runtime(frames)
        assert isinstance(verdicts, list) and not any(verdict.accepted for verdict in verdicts)
        runtime.threshold = math.inf
        assert all(verdict.accepted and verdict.threshold == math.inf for verdict in runtime(list(frames)))
    with edgeosr.Runtime(machine.path, backend="onnxruntime") as portable:
        assert portable.threshold == checked.threshold.value


def test_an_edited_threshold_is_refused_where_the_engine_runs_and_where_it_does_not(machine: Machine) -> None:
    bundle = read_bundle(machine.path)
    edited = replace(bundle.manifest, threshold=replace(bundle.manifest.threshold, value=123.0))
    write_bundle(machine.path, edited, bundle.files)
    machine.add()
    words = r"scorer.npz is not the scorer of its manifest: the threshold must be 123\.0"
    for backend in ("auto", machine.builder):
        with pytest.raises(BundleError, match=words):
            edgeosr.Runtime(machine.path, backend=backend)
    probe = importlib.import_module("edgeosr.runtime.engines.gpu").probe_gpus
    machine.patch.setattr(
        "edgeosr.runtime.backends.open_engine.probe_gpus", lambda: probe("libcuda-that-is-not-there.so")
    )
    with pytest.raises(BundleError, match=words):
        edgeosr.Runtime(machine.path)


def test_arrays_on_the_device_are_taken_by_engines_and_refused_by_the_cpu(
    machine: Machine, frames: np.ndarray
) -> None:
    machine.add()
    batch = aligned(frames[:2])
    with edgeosr.Runtime(machine.path) as runtime:
        expected = runtime(batch)
        found = runtime(HostArray(batch))  # type: ignore[call-overload]
        assert [verdict.score for verdict in found] == [verdict.score for verdict in expected]
        single = runtime(HostArray(batch[0]))  # type: ignore[call-overload]
        assert single.score == pytest.approx(expected[0].score, abs=1e-3)
        assert runtime(HostArray(batch[:0])) == []  # type: ignore[call-overload]
    with (
        edgeosr.Runtime(machine.path, backend="onnxruntime") as portable,
        pytest.raises(
            FrameError, match=r"backend onnxruntime .* got HostArray on a CUDA device: copy it first"
        ),
    ):
        portable(HostArray(batch))  # type: ignore[call-overload]


def test_a_runtime_survives_full_memory_and_ends_with_a_lost_device(
    machine: Machine, frames: np.ndarray
) -> None:
    machine.add()
    runtime = edgeosr.Runtime(machine.path)
    machine.cuda.fail_at = {("cuGraphLaunch", 0): Result.CUDA_ERROR_OUT_OF_MEMORY}
    with pytest.raises(DeviceMemoryError, match="can go on"):
        runtime(frames[0])
    assert runtime(frames[0])
    with pytest.raises(FrameError, match="takes frames of 20x30"):
        runtime(frames[0, :, :-1])
    assert runtime(frames[0])
    machine.cuda.lose_at(("cuStreamSynchronize", 0), Result.CUDA_ERROR_LAUNCH_FAILED)
    for _ in range(3):
        with pytest.raises(DeviceLostError, match="CUDA_ERROR_LAUNCH_FAILED"):
            runtime(frames[0])
    runtime.close()
    with pytest.raises(UsageError, match="closed; make a new one"):
        runtime(frames[0])


def test_what_rtx_compiled_is_kept_for_the_next_process(
    typed_bundle: TypedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: np.ndarray
) -> None:
    machine = Machine(monkeypatch, tmp_path, typed_bundle(), rtx=True)
    machine.add()
    with edgeosr.Runtime(machine.path) as runtime:
        runtime(frames[0])
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.read_bytes() == b"compiled"
    config = machine.engine.configs[0]
    assert (
        config.dynamic_shapes_kernel_specialization_strategy
        is machine.trt.DynamicShapesKernelSpecializationStrategy.EAGER
    )
    assert config.cuda_graph_strategy is machine.trt.CudaGraphStrategy.DISABLED
    assert machine.cuda.count("cuGraphInstantiate") == 1
    for content, read in ((b"compiled for long", b"compiled for long"), (b"of another GPU", b"")):
        kept.write_bytes(content)
        machine.engine.configs.clear()
        with edgeosr.Runtime(machine.path, warmup=0) as runtime:
            runtime(frames[0])
        assert machine.engine.configs[0].cache.content == read


def test_where_rtx_forbids_our_capture_it_captures_itself(
    typed_bundle: TypedBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: np.ndarray
) -> None:
    machine = Machine(monkeypatch, tmp_path, typed_bundle(), rtx=True)
    machine.add()
    machine.engine.capturable = False
    with (
        edgeosr.Runtime(machine.path) as runtime,
        edgeosr.Runtime(machine.path, backend="onnxruntime") as portable,
    ):
        for frame in frames[:3]:
            one, other = runtime(frame), portable(frame)
            assert one.nearest == other.nearest and one.score == pytest.approx(other.score, abs=0.03)
    assert machine.engine.configs[-1].cuda_graph_strategy is machine.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    assert machine.cuda.count("cuStreamBeginCapture") == 0
    assert machine.cuda.leaks() == []


def test_conflicting_arguments_are_refused(machine: Machine) -> None:
    machine.add()
    with pytest.raises(
        UsageError, match=r"backend must be one of auto, onnxruntime, .*got 'tensort'; did you mean"
    ):
        edgeosr.Runtime(machine.path, backend="tensort")
    with pytest.raises(UsageError, match="build must be auto; got 'yes'"):
        edgeosr.Runtime(machine.path, build="yes")
    with pytest.raises(UsageError, match="providers are for onnxruntime"):
        edgeosr.Runtime(machine.path, backend=machine.builder, providers=["CUDAExecutionProvider"])


def test_without_a_gpu_a_named_engine_says_why_and_auto_runs_on_the_cpu(
    machine: Machine, frames: np.ndarray
) -> None:
    machine.add()
    probe = importlib.import_module("edgeosr.runtime.engines.gpu").probe_gpus
    machine.patch.setattr(
        "edgeosr.runtime.backends.open_engine.probe_gpus", lambda: probe("libcuda-that-is-not-there.so")
    )
    with pytest.raises(
        EngineError, match=f"{machine.builder} needs an NVIDIA GPU: there is no NVIDIA driver"
    ):
        edgeosr.Runtime(machine.path, backend=machine.builder)
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.backend == "onnxruntime" and "no NVIDIA driver" in runtime.why
        assert runtime(frames[0])


def test_a_bundle_without_a_backbone_asks_no_driver(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_bundle(machine.path)
    golden = replace(read_golden(whole.files["golden.npz"], whole.manifest), typed=None, rounding=None)
    files = {"model.onnx": whole.files["model.onnx"], "scorer.npz": whole.files["scorer.npz"]}
    plain = replace(whole.manifest, backbone=None, engines=())
    write_bundle(machine.path, plain, {**files, "golden.npz": write_golden(golden)})

    def asked() -> None:
        raise AssertionError("the driver was asked")

    monkeypatch.setattr("edgeosr.runtime.backends.open_engine.probe_gpus", asked)
    with edgeosr.Runtime(machine.path) as runtime:
        assert (
            runtime.backend == "onnxruntime"
            and "no typed backbone (edgeosr export RUN --engine" in runtime.why
        )
    # What a box without an NVIDIA GPU can do about it is told where OpenVINO is installed.
    for there in (True, False):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, there=there: there or None)
        with edgeosr.Runtime(machine.path) as runtime:
            line = "--precision bf16 --for openvino makes one"
            assert (line in runtime.why) is there
    with pytest.raises(EngineError, match="has no typed backbone"):
        edgeosr.Runtime(machine.path, backend=machine.builder)


@pytest.mark.parametrize("fault", ["create_execution_context", "execute_async_v3", "lost", "full"])
def test_auto_takes_the_cpu_when_the_engine_loads_but_does_not_run(
    machine: Machine, frames: np.ndarray, fault: str
) -> None:
    machine.add()
    words = {
        "create_execution_context": "no execution context",
        "execute_async_v3": "could not run the engine",
    }
    if fault == "lost":
        machine.cuda.lose_at(("cuGraphLaunch", 0), Result.CUDA_ERROR_LAUNCH_FAILED)
    elif fault == "full":
        machine.cuda.fail_at = {("cuMemHostAlloc", 0): Result.CUDA_ERROR_OUT_OF_MEMORY}
    else:
        machine.engine.fails = {fault}
    with edgeosr.Runtime(machine.path) as runtime:
        assert runtime.backend == "onnxruntime"
        assert words.get(fault, "the GPU") in runtime.why
        assert runtime(frames[0])
    if fault != "lost":
        assert machine.cuda.leaks() == []
