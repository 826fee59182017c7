"""What goes wrong on a GPU, over the doubles: each is a status with words, and what can go on does."""

import ctypes
import json
import re
from pathlib import Path

import numpy as np
import pytest
from cuda_double import Result
from cuda_streams import CaptureResult
from engine_double import TrtDouble
from handle import BUNDLE, FAILED, FRAME, MEMORY, NO_BACKEND, frame, options, said_on_opening

from edgeosr.bundle.digest import manifest_with_digest
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.errors import CudaError
from edgeosr.kernels.build.ahead import SOURCE_FILE
from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.runtime.backends.device_failure import is_fatal
from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, onnxruntime_library

OTHER = (24, 32)  # of the frames of the engines here


def refused(made, **changes):
    given = {"backend": b"tensorrt", "backend_library": made.library, "warmup_frames": -1, **changes}
    return said_on_opening(made.native, made.path, options(**given))


def test_frames_that_the_engine_does_not_take_are_refused_with_what_to_build(machine, frames):
    made = machine()
    made.add()
    handle = made.open()
    status, _ = handle.status_of(frame(np.zeros((20, 30, 3), np.uint8)))
    assert status == FRAME
    assert (
        "takes frames of 24x32 (height x width); got 20x30: build one for them, edgeosr build"
        in handle.last_error()
    )
    assert handle.judge(frame(frames[0]))["finite"] == 1


def test_batches_below_the_profile_are_refused(machine, frames):
    made = machine()
    made.add().least = (2, 24, 32, 3)
    handle = made.open()
    for count in (1, 5):  # 5: the last piece has one
        status, _ = handle.status_of(np.concatenate([frame(one) for one in frames[:count]]))
        assert status == FRAME and "batches from 2 to 4 frames; got 1" in handle.last_error()
    assert len(handle.judge(*map(frame, frames))) == 6
    made.add(b"golden", frame=(20, 30), created="2026-03-01T00:00:00Z").least = (2, 20, 30, 3)
    status, said = refused(made)  # golden frames are judged one by one
    assert status == FRAME and "batches from 2 to 4 frames; got 1" in said


def spoilt(**methods):
    """Makes an engine say this of every tensor."""
    return lambda engine: vars(engine).update(
        {name: lambda tensor, found=found: found for name, found in methods.items()}
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda engine: engine.outputs.pop("map"), "must be channel_order, frames, logits, map; got channel"),
        (lambda engine: engine.types.update(map=TrtDouble.DataType.FLOAT), "map must have the type 1 of"),
        (
            lambda engine: engine.types.update(frames=TrtDouble.DataType.INT8),
            "frames must have the type 5 of",
        ),
        (spoilt(get_tensor_mode=TrtDouble.TensorIOMode.NONE), "must have the mode 1 of TensorRT's list; got"),
        (spoilt(get_tensor_location=TrtDouble.TensorLocation.HOST), "must have the location 0 of"),
        (spoilt(get_tensor_format=TrtDouble.TensorFormat.CHW2), "must have the format 0 of"),
        (lambda engine: vars(engine).update(least=(0, *OTHER, 3)), "must have batches of 1 or more"),
        (lambda engine: vars(engine).update(least=(5, *OTHER, 3)), "must have batches of 1 or more"),
        (lambda engine: vars(engine).update(most=(4, *OTHER, 4)), "must be [batch, height, width, 3]"),
    ],
    ids=[
        "no map", "another type of the map", "another type of the frames", "another mode", "on the host",
        "another format", "an empty batch", "a largest batch below the smallest", "four channels",
    ],
)  # fmt: skip
def test_an_engine_with_other_tensors_is_refused(machine, spoil, words):
    made = machine()
    spoil(made.add())
    status, said = refused(made)
    assert status == FAILED and words in said and "build it again: edgeosr build BUNDLE" in said


def test_an_engine_of_another_backbone_and_one_that_is_too_large_for_the_memory_are_not_loaded(machine):
    made = machine(integrated=False)
    digest = made.bundle.manifest.files[BACKBONE].sha256
    made.add()
    manifest = made.path / "manifest.json"
    text = manifest.read_text("utf-8")
    other = json.loads(text.replace(f'"backbone": "{digest}"', f'"backbone": "{"0" * 64}"'))
    manifest.write_bytes(manifest_with_digest(other))
    status, said = refused(made)
    assert status == NO_BACKEND and "plan.plan: it was built from another backbone than the bundle" in said
    manifest.write_text(text, "utf-8")
    made.add(b"good", created="2026-03-01T00:00:00Z")
    made.card.memory = 3 * len(b"good") - 1
    status, said = refused(made)
    assert status == NO_BACKEND and "good.plan: it has 0 MiB and Orin 0 MiB of memory left; end other" in said
    made.card.memory += 1
    assert "good.plan" in made.open().info()["backend_library"]


def test_a_plan_that_tensorrt_does_not_load_says_its_words(machine):
    made = machine()
    made.add()
    made.trt.engines.clear()
    status, said = refused(made)
    assert status == FAILED and "could not load plan.plan: magic tag does not match; build it again" in said


def test_tensorrt_that_does_not_start_says_its_words(machine):
    made = machine()
    made.add()
    made.trt.starts = 0
    status, said = refused(made)
    assert status == NO_BACKEND and "could not start: it is a double; update the NVIDIA driver" in said
    assert made.trt.asked == [made.version]


def test_a_tensorrt_that_complains_at_its_start_is_not_touched_any_more(machine):
    """The genuine one gives an object where CUDA does not start, and its first use ends the process."""
    made = machine()
    made.add()
    made.trt.starts = 2
    made.trt.words = b"CUDA initialization failure with error: 35"
    status, said = refused(made)
    assert status == NO_BACKEND and "could not start: CUDA initialization failure with error: 35;" in said
    assert made.trt.alive == ["runtime 0"] and made.trt.loaded == []
    made.trt.alive.clear()


def test_a_damaged_and_a_missing_plan_are_refused(machine):
    made = machine()
    made.add()
    plan = made.path / "engines" / "plan.plan"
    plan.write_bytes(b"pla?")
    status, said = refused(made)
    assert status == BUNDLE and "is not the engine that was built" in said
    plan.unlink()
    status, said = refused(made)
    assert status == BUNDLE and "plan.plan is missing" in said


@pytest.mark.parametrize("how", ["another source", "none for this card", "no folder"])
def test_without_a_build_of_the_kernel_it_says_where_it_looked(machine, monkeypatch, how):
    made = machine()
    made.add()
    if how == "another source":
        (made.cubins / SOURCE_FILE).write_text("0" * 64 + "\n", "utf-8")
    elif how == "none for this card":
        next(made.cubins.glob("*.cubin")).unlink()
    else:
        monkeypatch.setenv("EDGEOSR_CUBINS", str(made.cubins / "nowhere"))
    status, said = refused(made)
    assert (
        status == NO_BACKEND and "no build of the fused kernel for Orin (sm_87, driver of CUDA 12.6)" in said
    )
    words = {
        "another source": "they are of another version of the kernel",
        "none for this card": "none is for this GPU and its driver",
        "no folder": "nowhere (it has no file source.sha256)",
    }
    assert words[how] in said and "python -m edgeosr.kernels.build_cubins" in said


def test_a_full_gpu_is_told_and_the_next_call_may_work(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    before = handle.judge(frame(frames[0]))["score"]
    made.cuda.fail_at = {("cuMemAlloc", number): Result.CUDA_ERROR_OUT_OF_MEMORY for number in (0, 1)}
    status, _ = handle.status_of(np.concatenate([frame(one) for one in frames[:2]]))
    assert status == MEMORY
    assert "the GPU's memory is full while frames are judged (cuMemAlloc)" in handle.last_error()
    assert "this runtime can go on" in handle.last_error()
    made.cuda.fail_at.clear()
    assert handle.judge(frame(frames[0]))["score"] == before


def test_what_a_failed_run_left_in_the_stream_ends_before_its_buffers_are_freed(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    before = handle.judge(frame(frames[0]))["score"]
    made.cuda.fail_at = {("cuMemcpyDtoHAsync", 0): Result.CUDA_ERROR_INVALID_VALUE}
    status, _ = handle.status_of(frame(frames[1]))
    assert (
        status == FAILED
        and "cuMemcpyDtoHAsync: CUDA_ERROR_1, while frames are judged; this" in handle.last_error()
    )
    made.cuda.fail_at = {("cuMemAlloc", 0): Result.CUDA_ERROR_OUT_OF_MEMORY}
    assert len(handle.judge(*map(frame, frames[:2]))) == 2  # in memory of the size before
    assert handle.judge(frame(frames[0]))["score"] == before


def test_memory_that_other_sizes_hold_is_freed_for_a_new_one(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    for count in (1, 2):
        handle.judge(*map(frame, frames[:count]))
    made.cuda.fail_at = {("cuMemAlloc", 0): Result.CUDA_ERROR_OUT_OF_MEMORY}
    assert len(handle.judge(*map(frame, frames[:3]))) == 3
    assert sum("context" in name for name in made.trt.alive) == 2  # the size that was used longest ago
    contexts = len(made.trt.contexts)
    handle.judge(*map(frame, frames[:2]))
    assert len(made.trt.contexts) == contexts


def test_after_a_call_without_memory_for_its_rows_the_next_one_has_room_for_them(machine, frames):
    made = machine()
    made.add()
    handle = made.open()
    many = np.concatenate([frame(frames[0])] * 64)
    made.plugin.edgeosr_tensorrt_test_allow(ctypes.c_size_t(64 * 8))  # the labels, and not the parts' values
    try:
        assert handle.status_of(many)[0] == MEMORY
        assert handle.last_error() == "there is too little memory; judge fewer frames in one call"
    finally:
        made.plugin.edgeosr_tensorrt_test_allow(ctypes.c_size_t(-1))
    status, said = handle.status_of(many)
    assert status == 0 and len(set(said["score"].tolist())) == 1


def test_each_code_of_cuda_is_fatal_where_python_says_so(libraries):
    is_fatal_here = libraries[3].edgeosr_tensorrt_test_is_fatal
    header = (Path(find_nvcc().include) / "cuda.h").read_text("utf-8")
    codes = {name: int(code) for name, code in re.findall(r"^\s+(CUDA_ERROR_\w+)\s*= (\d+)", header, re.M)}
    assert len(codes) > 80 and codes["CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD"] == 908
    fatal = {name for name in codes if is_fatal(CudaError("words", call="cuInit", code=name))}
    assert {name for name, code in codes.items() if is_fatal_here(code)} == fatal
    assert "CUDA_ERROR_CAPTURED_EVENT" not in fatal and "CUDA_ERROR_ILLEGAL_ADDRESS" in fatal


def test_what_a_capture_of_the_program_forbids_ends_no_runtime(machine, frames):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    made.cuda.fail_at = {("cuMemAlloc", 0): CaptureResult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED}
    assert handle.status_of(frame(frames[0]))[0] == FAILED
    assert handle.last_error().startswith("cuMemAlloc: CUDA_ERROR_900, while frames are judged; this runtime")
    made.cuda.fail_at.clear()
    assert handle.judge(frame(frames[0]))["finite"] == 1


OPENING = {
    ("cuMemAlloc", Result.CUDA_ERROR_OUT_OF_MEMORY): (
        MEMORY,
        "the GPU's memory is full while the engine is loaded (cuMemAlloc); close other programs on it, or "
        "take the back end onnxruntime",
    ),
    ("cuMemAlloc", Result.CUDA_ERROR_INVALID_VALUE): (
        FAILED,
        "cuMemAlloc: CUDA_ERROR_1, while the engine is loaded; if it happens again, take the back end "
        "onnxruntime",
    ),
    ("cuModuleLoadData", Result.CUDA_ERROR_LAUNCH_FAILED): (
        FAILED,
        "the GPU failed while the engine is loaded: cuModuleLoadData: CUDA_ERROR_719; CUDA allows no further "
        "use of the GPU in this process: start a new one; if it happens again, see dmesg",
    ),
    ("cuModuleLoadData", Result.CUDA_ERROR_NO_BINARY_FOR_GPU): (
        NO_BACKEND,
        "the driver does not load the fused kernel's build fused_score-sm_87-cuda12.6.cubin "
        "(cuModuleLoadData: CUDA_ERROR_209); make the builds again: python -m edgeosr.kernels.build_cubins",
    ),
}


@pytest.mark.parametrize(("call", "code"), OPENING)
def test_what_the_driver_refuses_at_opening_is_told_without_a_runtime_that_there_is_not(machine, call, code):
    made = machine(integrated=False)
    made.add()
    made.cuda.fail_at = {(call, 0): code}
    assert refused(made) == OPENING[call, code]


def test_files_that_only_begin_like_a_build_are_none(machine):
    made = machine()
    made.add()
    good = next(made.cubins.glob("*.cubin"))
    for name in (f"{good.name}.part", f"{good.name}~", good.name.replace("12.6", "12.06")):
        (made.cubins / name).write_bytes(b"")
    (made.cubins / "fused_score-compute_87-cuda12.6.ptx.bak").write_bytes(b"")
    assert made.open().info()["backend_library"].endswith(f", {good.name})")
    good.unlink()
    assert "none is for this GPU and its driver" in refused(made)[1]


def test_words_that_are_cut_end_at_a_letter(machine, monkeypatch, tmp_path):
    made = machine()
    made.add()
    for more in range(3):  # of one of three bytes, which may lie across the end in two ways
        monkeypatch.setenv("EDGEOSR_CUBINS", "/" + "x" * more + "\u20ac" * 800)
        status, said = refused(made)
        assert status == NO_BACKEND and 2040 < len(said.encode()) < 2048


def test_after_a_swap_of_engines_the_logger_of_the_first_is_still_there(machine, frames):
    """TensorRT keeps it; the double ends the process if it is given another."""
    made = machine()
    made.add()
    first, second = made.open(), made.open()
    first.close()
    made.handles.remove(first)
    assert second.judge(frame(frames[0]))["finite"] == 1
    made.trt.starts = 2  # what it says before counts for no later start
    made.trt.words = b"CUDA initialization failure"
    assert "could not start: CUDA initialization failure;" in refused(made)[1]
    made.trt.alive.remove("runtime 0")
    made.trt.starts = 1
    assert made.open().judge(frame(frames[0]))["finite"] == 1


@pytest.mark.parametrize("call", ["cuStreamSynchronize", "cuLaunchKernel", "cuMemcpyHtoDAsync"])
def test_a_lost_device_ends_the_runtime_and_every_later_call_says_so(machine, frames, call):
    made = machine(integrated=False)
    made.add()
    handle = made.open()
    handle.judge(frame(frames[0]))
    made.cuda.lose_at((call, 0), Result.CUDA_ERROR_LAUNCH_FAILED)
    said = []
    for _ in range(2):
        status, verdicts = handle.status_of(frame(frames[0]))
        assert status == FAILED and verdicts["accepted"][0] == 0
        said.append(handle.last_error())
    assert said[0] == said[1]
    assert said[0].startswith(f"the GPU failed while frames are judged: {call}: CUDA_ERROR_719; this runtime")
    assert "start a new one" in said[0]


@pytest.mark.parametrize("method", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_what_tensorrt_refuses_is_told_in_its_words_and_the_next_call_may_work(machine, frames, method):
    made = machine()
    engine = made.add()
    handle = made.open()
    engine.fails.add(method)
    made.trt.words = b"it does not want to"
    status, _ = handle.status_of(frame(frames[0]))
    assert status == FAILED and "it does not want to; build the engine again" in handle.last_error()
    engine.fails.clear()
    assert handle.judge(frame(frames[0]))["finite"] == 1


def test_a_context_that_tensorrt_does_not_make_is_want_of_memory(machine, frames):
    made = machine()
    engine = made.add()
    handle = made.open()
    engine.fails.add("create_execution_context")
    assert handle.status_of(frame(frames[0]))[0] == MEMORY
    assert "TensorRT made no execution context, often for want of memory" in handle.last_error()


def test_a_verdict_that_was_not_written_is_no_verdict(machine, frames):
    made = machine()
    made.add()
    handle = made.open()
    handle.judge(frame(frames[0]))
    made.cuda.executes = False
    assert handle.status_of(frame(frames[0]))[0] == FAILED
    assert "a verdict was not written as it must be" in handle.last_error()
    made.cuda.executes = True
    cleared = made.cuda.count("cuMemsetD32Async")
    for _ in range(2):
        assert handle.judge(frame(frames[0]))["finite"] == 1
    assert made.cuda.count("cuMemsetD32Async") == cleared + 1  # what that launch left of its counters


def test_no_device_and_an_old_tensorrt_are_told_before_anything_is_loaded(machine):
    made = machine()
    made.add()
    made.cuda.failures["cuInit"] = Result.CUDA_ERROR_NO_DEVICE
    status, said = refused(made)
    assert status == NO_BACKEND and "finds no GPU it can use (cuInit: CUDA_ERROR_100)" in said
    assert made.trt.asked == []


@pytest.mark.parametrize("backend", [b"tensorrt", b"auto"])
def test_an_engine_that_was_never_verified_may_follow_another_and_says_so(
    machine, frames, monkeypatch, backend
):
    made = machine()
    made.add()
    monkeypatch.setenv("EDGEOSR_TENSORRT", made.library.decode())
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, str(onnxruntime_library()))
    handle = made.open(backend=backend, backend_library=None)
    before = handle.judge(frame(frames[0]))
    handle.swap(made.path)
    after, said = handle.judge(frame(frames[0])), handle.info()
    assert (after["score"], after["generation"], said["backend"]) == (before["score"], 2, "tensorrt")
    assert "it was not verified: its engine takes frames of 24x32" in said["why"]
