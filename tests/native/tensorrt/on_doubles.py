"""Bundles on the plug-in for TensorRT, over doubles of libnvinfer and of the driver that are C libraries.

The kernel's own source runs on the CPU, the engine computes what ``backbone.onnx`` says. In a process of its
own: see ``test_tensorrt.py``; with NVIDIA's headers by ``make native-tensorrt TENSORRT_INCLUDE=FOLDER``.
"""

import re
import threading

import doubles
import numpy as np
import pytest
from cuda_double import CudaDouble, Result
from cuda_streams import QueuedCudaDouble
from handle import NO_BACKEND, frame, options, said_on_opening, text_at

from edgeosr.kernels.build.ahead import BUILDS
from edgeosr.kernels.build.images import suitable_builds
from edgeosr.kernels.driver.driver import Device, Driver
from edgeosr.runtime.native.build import HERE as LIBRARY
from edgeosr.runtime.native.library import BGR8, ONNXRUNTIME_VARIABLE, RGB8, onnxruntime_library

METHODS = (
    ("closed-form", "fp16", "external"),
    ("closed-form", "fp32", "cosine"),
    ("probes", "fp16", "cosine"),
    ("none", "fp32", "external"),
)


def require_same(said, rows):
    """Bit by bit what the Python runner says of the same frames over the same engine and kernel."""
    assert said["index"].tolist() == rows.label.tolist()
    np.testing.assert_array_equal(said["score"], rows.score)
    np.testing.assert_array_equal(said["parts"][:, : rows.values.shape[1]], rows.values)


@pytest.mark.parametrize("integrated", [True, False], ids=["shared memory", "own memory"])
@pytest.mark.parametrize(("method", "precision", "head"), METHODS)
def test_verdicts_are_those_of_python_bit_by_bit(machine, frames, method, precision, head, integrated):
    made = machine(method, precision, head, integrated=integrated)
    handle = made.open() if made.add() else None
    python = made.python(made.trt.engines[b"plan"], QueuedCudaDouble(integrated=integrated))
    limit = made.bundle.manifest.threshold.value
    for count, bgr in ((1, False), (1, True), (4, False), (6, True), (2, False)):  # 6: in two pieces
        pixel_format = BGR8 if bgr else RGB8
        said = handle.judge(*(frame(one, pixel_format=pixel_format) for one in frames[:count]))
        rows = python.run(frames[:count], bgr=bgr, threshold=limit)
        require_same(said, rows)
        assert said["accepted"].tolist() == [int(each <= limit) for each in rows.score]
    python.close()


def test_golden_frames_are_judged_before_the_first_frame_and_info_says_what_runs(machine):
    made = machine()
    made.add(frame=(20, 30))
    handle = made.open()
    info = handle.info()
    assert (info["backend"], info["graph"], info["frame"]) == ("tensorrt", "backbone.onnx", [20, 30])
    assert info["why"] == "it was asked for"
    wanted = f"TensorRT {made.spelled()}.9, Orin sm_87, plan.plan, fused_score-sm_87-cuda12.6.cubin)"
    assert info["backend_library"].endswith(wanted)
    status, out = handle.verify()
    assert (status, out.verdicts, out.differing) == (0, 128, 0) and out.agreed > 96


class Turned:
    """An engine's session whose numbers have the other sign."""

    def __init__(self, session):
        self.session = session

    def run(self, names, feed):
        return [-array for array in self.session.run(names, feed)]


def test_an_engine_that_decides_otherwise_is_refused_and_auto_takes_another_back_end(machine, anywhere):
    made = machine()
    engine = made.add(frame=(20, 30))
    engine.session = Turned(engine.session)
    anywhere(made)
    info = made.open(backend=b"auto", backend_library=None).info()
    assert info["backend"] == "onnxruntime" and info["why"].startswith("tensorrt: ")
    assert "does not decide here as where it was made" in info["why"]


def named(made, **changes):
    """Options that name the back end and its library."""
    return options(
        **{"backend": b"tensorrt", "backend_library": made.library, "warmup_frames": -1, **changes}
    )


@pytest.fixture
def anywhere(monkeypatch):
    """Names a machine's libnvinfer and onnxruntime, so that ``auto`` finds both."""

    def found(made):
        monkeypatch.setenv("EDGEOSR_TENSORRT", made.library.decode())
        monkeypatch.setenv(ONNXRUNTIME_VARIABLE, str(onnxruntime_library()))

    return found


def test_auto_takes_the_engine_first_where_it_opens(machine, frames, anywhere):
    made = machine()
    made.add()
    anywhere(made)
    handle = made.open(backend=b"auto", backend_library=None)
    info = handle.info()
    assert info["backend"] == "tensorrt" and info["why"].startswith(
        "it is the fastest that runs here; it was not"
    )
    assert "its engine takes frames of 24x32, and the golden frames are of 20x30" in info["why"]
    assert text_at(handle.judge(frame(frames[0]))[0]["nearest"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "10.2.0"}, "plan.plan: it was built by TensorRT 10.2.0, and here is"),
        ({"device": "Thor"}, "plan.plan: it was built on Thor, and this is Orin; build one here"),
        (
            {"targets": ("sm_89", "sm_90")},
            "plan.plan: it is for sm_89, sm_90, and Orin is sm_87; build one here",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_engine_of_elsewhere_is_no_error_of_auto_and_its_reason_is_told(machine, anywhere, changes, words):
    made = machine()
    made.add(**changes)
    anywhere(made)
    with_reason = made.open(backend=b"auto", backend_library=None).info()
    assert with_reason["backend"] == "onnxruntime" and with_reason["graph"] == "model.onnx"
    assert with_reason["why"].startswith("tensorrt: no engine of ") and words in with_reason["why"]
    status, said = said_on_opening(made.native, made.path, named(made))
    assert status == NO_BACKEND and words in said


def test_the_fourth_number_of_a_version_counts_where_it_is_said(machine):
    made = machine()
    made.add(version=f"{made.spelled()}.8")
    status, said = said_on_opening(made.native, made.path, named(made))
    words = f"built by TensorRT {made.spelled()}.8, and here is {made.spelled()}.9"
    assert status == NO_BACKEND and words in said
    made.add(b"same", version=f"{made.spelled()}.9")
    assert "same.plan" in made.open().info()["backend_library"]


def test_the_newest_engine_that_can_run_here_is_taken(machine):
    made = machine()
    made.add(b"old", created="2026-01-01T00:00:00Z")
    made.add(b"new", created="2026-03-01T00:00:00Z")
    made.add(b"newest", created="2026-04-01T00:00:00Z", device="Thor")
    assert "new.plan" in made.open().info()["backend_library"]


def test_frames_of_any_format_and_stride_are_those_of_packed_ones(machine, frames):
    made = machine()
    made.add()
    handle = made.open()
    wide = np.zeros((*frames.shape[1:2], frames.shape[2] + 9, 3), np.uint8)
    wide[:, : frames.shape[2]] = frames[0]
    strided = handle.judge(frame(wide[:, : frames.shape[2]]))[0]
    assert strided["score"] == handle.judge(frame(frames[0]))[0]["score"]
    reversed_channels = np.ascontiguousarray(frames[0][..., ::-1])
    assert handle.judge(frame(reversed_channels, pixel_format=BGR8))[0]["score"] == strided["score"]


def test_after_the_first_frame_of_a_size_nothing_is_allocated(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    for count in (1, 3):
        handle.judge(*map(frame, frames[:count]))
    before, contexts = len(made.cuda.calls), len(made.trt.contexts)
    own, plugin = made.native.edgeosr_test_allocations, made.plugin.edgeosr_tensorrt_test_allocations
    allocated = own() + plugin()
    for count in (1, 3, 3, 1):
        handle.judge(*map(frame, frames[:count]))
    assert own() + plugin() == allocated
    used = {name for name, *_ in made.cuda.calls[before:]}
    assert used == {
        "cuCtxPushCurrent", "cuCtxPopCurrent", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemsetD32Async",
        "cuLaunchKernel", "cuStreamSynchronize",
    }  # fmt: skip
    assert len(made.trt.contexts) == contexts


def test_a_jetson_copies_nothing(machine, frames):
    made = machine(integrated=True)
    made.add()
    handle = made.open()
    handle.judge(frame(frames[0]))
    before = len(made.cuda.calls)
    handle.judge(frame(frames[1]))
    assert {name for name, *_ in made.cuda.calls[before:]} == {
        "cuCtxPushCurrent", "cuCtxPopCurrent", "cuLaunchKernel", "cuStreamSynchronize",
    }  # fmt: skip
    assert made.cuda.bytes_in == made.cuda.bytes_out == 0


def test_sizes_beyond_the_last_eight_go_and_come_again(machine, frames):
    made = machine()
    made.add(most=12)
    handle = made.open()
    alone = [float(handle.judge(frame(one))[0]["score"]) for one in frames]
    for count in (*range(1, 12), 1, 5):
        batch = [frames[index % len(frames)] for index in range(count)]
        said = handle.judge(*map(frame, batch))
        assert said["score"].tolist() == [alone[index % len(frames)] for index in range(count)]
    assert sum("context" in name for name in made.trt.alive) == 8


class Once(set):
    """What fails the next time alone."""

    def __contains__(self, name):
        found = super().__contains__(name)
        self.discard(name)
        return found


def test_other_sizes_make_room_where_tensorrt_makes_no_context(machine, frames):
    made = machine()
    engine = made.add()
    handle = made.open()
    handle.judge(frame(frames[0]))
    engine.fails = Once({"create_execution_context"})
    assert len(handle.judge(*map(frame, frames[:2]))) == 2 and engine.fails == set()
    assert sum("context" in name for name in made.trt.alive) == 1


def judged_by_threads(handle, frames, times=6):
    """The scores that threads get at once, of each frame."""
    found = {index: set() for index in range(len(frames))}

    def judge(index):
        for _ in range(times):
            found[index].add(float(handle.judge(frame(frames[index]))[0]["score"]))

    threads = [threading.Thread(target=judge, args=(index,)) for index in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_threads_have_lanes_of_their_own_four_at_most_and_nobody_gets_anothers_verdict(machine, frames):
    made = machine()
    made.add()
    handle = made.open()
    alone = [{float(handle.judge(frame(one))[0]["score"])} for one in frames]
    assert judged_by_threads(handle, frames) == dict(enumerate(alone))
    assert 2 <= len(made.cuda.streams) - 1 <= 4
    # Activations of their own, too: contexts of two lanes run at once.
    assert len({context.memory for context in made.trt.contexts}) == len(made.cuda.streams) - 1


def test_without_memory_for_another_lane_calls_wait_for_those_that_there_are(machine, frames):
    made = machine()
    made.add()
    handle = made.open()
    alone = [{float(handle.judge(frame(one))[0]["score"])} for one in frames]
    made.cuda.failures["cuStreamCreate"] = Result.CUDA_ERROR_OUT_OF_MEMORY
    assert judged_by_threads(handle, frames, times=2) == dict(enumerate(alone))
    assert len(made.cuda.streams) - 1 == 1 and made.cuda.count("cuStreamCreate") > 1


def test_builds_of_the_kernel_beside_the_plug_in_are_found(machine, libraries, monkeypatch):
    made = machine()
    made.add()
    monkeypatch.delenv("EDGEOSR_CUBINS")
    beside = libraries[0] / "cubins"
    made.cubins.rename(beside)
    assert "fused_score-sm_87-cuda12.6.cubin" in made.open().info()["backend_library"]
    beside.rename(made.cubins)


@pytest.mark.parametrize("named", ["./cubins", "cubins"])
def test_a_relative_folder_of_builds_is_refused_for_it_is_another_after_a_chdir(machine, monkeypatch, named):
    made = machine()
    made.add()
    monkeypatch.chdir(made.cubins.parent)
    assert made.cubins.name == "cubins"
    monkeypatch.setenv("EDGEOSR_CUBINS", named)
    asked = options(backend=b"tensorrt", backend_library=made.library, warmup_frames=-1)
    status, said = said_on_opening(made.native, made.path, asked)
    assert status == NO_BACKEND
    assert f"EDGEOSR_CUBINS must be a whole path; got {named}: write the path from / on" in said


def test_the_driver_s_double_has_every_function_that_is_looked_for():
    """One that is missing may be no error: without those for clusters there are none."""
    text = (LIBRARY / "tensorrt" / "driver.h").read_text("utf-8")
    wanted = re.findall(r"FUNCTION\(\w+, (cu\w+)\)", text)
    assert len(wanted) > 30 and {"cuLaunchKernelEx", "cuOccupancyMaxActiveClusters"} <= set(wanted)
    assert set(wanted) == {name.removesuffix("_v2") for name in doubles.CUDA}


def test_the_double_reads_a_launch_as_c_says_it():
    config = Driver(CudaDouble())._in_clusters(24, 512, 60_000, 0x5EED, 8)
    assert str(doubles.launch_config(config.getPtr())) == str(config)


@pytest.mark.parametrize("clusters", [2, 0], ids=["with a place", "without a place"])
def test_a_device_with_clusters_is_launched_on_as_python_does(machine, frames, clusters):
    hopper = {"architecture": (9, 0), "driver": 13000, "integrated": False}
    made, twin = machine("closed-form", "fp16", "cosine", channels=128, **hopper), QueuedCudaDouble(**hopper)
    made.cuda.clusters = twin.clusters = clusters
    (made.cubins / "fused_score-sm_90-cuda13.0.cubin").write_bytes(b"\x7fELF")
    made.add(targets=("sm_90",))
    handle = made.open()
    assert "fused_score-sm_90-cuda13.0.cubin" in handle.info()["backend_library"]
    python = made.python(made.trt.engines[b"plan"], twin)
    for count in (1, 3):
        said = handle.judge(*map(frame, frames[:count]))
        require_same(said, python.run(frames[:count], bgr=False, threshold=0.0))
    launches = {"cuLaunchKernelEx": 2 if clusters else 0, "cuLaunchKernel": 0 if clusters else 2}
    assert {name: made.cuda.count(name) for name in launches} == launches
    asked, asked_twin = (cuda.count("cuOccupancyMaxActiveClusters") for cuda in (made.cuda, twin))
    # C asks for each size of batch when it is prepared, Python once for a kind of launch.
    assert (
        asked == 2 and asked_twin >= 1 and ("no clusters" in python._scorer.last_plan.why) == (not clusters)
    )
    python.close()


def test_a_cubin_is_chosen_as_python_chooses_it(machine, frames):
    for architecture, driver, integrated in (
        ((8, 7), 12060, True), ((8, 7), 13000, True), ((8, 6), 12080, False), ((8, 9), 13000, False),
        ((12, 1), 13000, False), ((12, 1), 13000, True), ((7, 5), 11080, False), ((7, 2), 11080, True),
        ((10, 0), 13000, False),
    ):  # fmt: skip
        made = machine(architecture=architecture, driver=driver, integrated=integrated)
        for build in BUILDS:
            (made.cubins / build.file_name).write_bytes(b"\x7fELF")
        made.add(targets=(f"sm_{architecture[0]}{architecture[1]}",))
        version = (driver // 1000, driver % 1000 // 10)
        best = suitable_builds(Device(0, "Orin", architecture, integrated, version))[0]
        handle = made.open()
        assert best.file_name in handle.info()["backend_library"]
        python = made.python(made.trt.engines[b"plan"], QueuedCudaDouble(architecture=architecture))
        require_same(handle.judge(frame(frames[0])), python.run(frames[:1], bgr=False, threshold=0.0))
        python.close()
        made.close()
