"""Swaps from a body, and what is said where an engine and a body are there: nothing less is taken unasked."""

import ctypes
import os
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from body_bundles import add_engine_of_no_machine, write_body_bundle
from handle import FAILED, FRAME, NO_BACKEND, NO_PREVIOUS, frame, in_child, opened, options, said_on_opening
from openvino_frames import LIBRARY, frames_of
from openvino_shim import build_shim

import edgeosr
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.runtime import openvino_module
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, OPENVINO_VARIABLE


def no_bf16():
    """Why no body in bf16 runs here; "" where one does."""
    import openvino

    return openvino_module.why_not("bf16", openvino.Core())


def require_bf16():
    if why := no_bf16():
        pytest.skip(f"{why}, and without them no body in bf16 runs")


@pytest.fixture
def network(typed_bundle, body_bundle):
    """Makes a bundle whose graph of this name OpenVINO runs: the body in bf16, or model.onnx in float32."""

    def made(graph):
        if graph == "body.onnx":
            require_bf16()
            return body_bundle()
        return typed_bundle()

    return made


@pytest.mark.parametrize(
    ("graph", "backend"), [("model.onnx", b"openvino"), ("body.onnx", b"openvino"), ("body.onnx", b"auto")]
)
def test_a_swap_whose_network_does_not_compile_goes_on_with_the_old_one(
    native, network, monkeypatch, tmp_path, graph, backend
):
    bundle = network(graph)
    shim = ctypes.CDLL(str(build_shim(tmp_path, LIBRARY.decode())))
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, options().backend_library.decode())
    monkeypatch.setenv(OPENVINO_VARIABLE, shim._name)
    one, path = frame(frames_of()[3]), os.fsencode(bundle.path)
    with opened(native, bundle.path, backend=backend, backend_library=None) as handle:
        before = handle.judge(one)[0]
        shim.shim_set(2)
        assert native.edgeosr_swap(handle.pointer, path) == FAILED
        assert "OpenVINO" in handle.last_error()
        shim.shim_set(0)
        info, after = handle.info(), handle.judge(one)[0]
        assert (info["graph"], info["generation"]) == (graph, 1) and after["score"] == before["score"]


# Four processors, of whichever there are, and how often the network was opened.
COUNTING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
static atomic_int opened;
int count_opened(void) { return opened; }
int get_nprocs(void) { return 4; }
int open(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    if (strstr(path, getenv("COUNTED")) != NULL) ++opened;
    return real(path, flags, mode);
}
"""
# A run that waits holds the one network that there is: each call beside it needs another.
JUDGING = """
import ctypes, os, sys, threading, time
from pathlib import Path
from edgeosr.runtime.native.library import load_library
from handle import frame, opened
from openvino_frames import frames_of
library, bundle, shim, counting = sys.argv[1:]
shim, counting, one = ctypes.CDLL(shim), ctypes.CDLL(counting), frame(frames_of()[3])
def until(true, seconds):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.001)
    return true()
chosen = {"backend": b"openvino", "backend_library": shim._name.encode()}
with opened(load_library(library), bundle, **chosen) as handle:
    said = []
    def beside(calls, more):
        ran = shim.shim_inside()
        shim.shim_set(1)
        judge = lambda: said.append(handle.status_of(one)[0])
        threads = [threading.Thread(target=judge) for _ in range(calls + 1)]
        threads[0].start()
        assert until(lambda: shim.shim_inside() > ran, 60)
        for thread in threads[1:]:
            thread.start()
        until(lambda: counting.count_opened() > before + more, 1 if more else 60)
        shim.shim_set(0)
        for thread in threads:
            thread.join()
        print(counting.count_opened() - before, *said)
        said.clear()
    path = Path(bundle + os.environ["COUNTED"])
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = counting.count_opened()
    beside(1, 0)
    beside(3, 1)
"""


@pytest.mark.parametrize("precision", ["", "f32"], ids=["model.onnx", "body.onnx"])
def test_a_network_that_was_replaced_on_the_disk_is_read_once_more_and_not_at_each_call(
    built, typed_bundle, tmp_path, precision
):
    path, counting = tmp_path / "replaced.edgeosr", tmp_path / "counting.so"
    if precision:
        write_body_bundle(path, typed_bundle(), precision=precision)
    else:
        shutil.copytree(typed_bundle().path, path)
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(counting), "-ldl"]
    subprocess.run(command, input=COUNTING, text=True, check=True)
    shim = build_shim(tmp_path, LIBRARY.decode())
    counted = {"LD_PRELOAD": str(counting), "COUNTED": "/body.onnx" if precision else "/model.onnx"}
    said = in_child(JUDGING, built, path, shim, counting, **counted)
    assert said == ["1 0 0", "1 0 0 0 0"]  # opened once, and every call was answered


@pytest.fixture
def engine_and_body(typed_bundle, body_bundle, tmp_path):
    """A bundle with a body, and with an engine that no machine runs."""
    typed, bundle = typed_bundle(), body_bundle()
    path = tmp_path / "both.edgeosr"
    golden = read_golden(typed.files["golden.npz"], typed.manifest)
    with_body = read_golden(bundle.files["golden.npz"], bundle.manifest)
    golden = replace(golden, body=with_body.body, body_rounding=with_body.body_rounding)
    files = {**bundle.files, BACKBONE: typed.files[BACKBONE], "golden.npz": write_golden(golden)}
    write_bundle(path, replace(bundle.manifest, backbone=typed.manifest.backbone), files)
    add_engine_of_no_machine(path)
    return path


def test_what_runs_says_why_the_engine_before_it_does_not(native, engine_and_body, monkeypatch):
    """The body; and where the processor has no instructions for it, model.onnx, which says so too."""
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, options().backend_library.decode())
    monkeypatch.setenv(OPENVINO_VARIABLE, LIBRARY.decode())
    graph, why = "body.onnx", "this processor has the instructions for its body; tensorrt: "
    if no_bf16():
        graph, why = "model.onnx", "tensorrt: "
    with opened(native, engine_and_body, backend=b"auto", backend_library=None) as handle:
        said = handle.info()
        assert said["graph"] == graph and said["why"].startswith(why)
        assert not no_bf16() or f"; openvino: {no_bf16()}" in said["why"]
        handle.swap(engine_and_body)  # the engine did not run before either
        assert handle.info()["graph"] == graph
    with edgeosr.Runtime(engine_and_body) as runtime:
        assert runtime.graph == graph and runtime.why.startswith(why)


@pytest.mark.parametrize("fault", ["the processor", "the golden frames"])
def test_model_onnx_says_why_neither_engine_nor_body_runs(engine_and_body, monkeypatch, fault):
    if fault == "the processor":
        monkeypatch.setattr(openvino_module, "why_not", lambda precision, core: "it is too old")
    else:
        require_bf16()  # else no golden frame gets as far as that
        bundle = read_bundle(engine_and_body)
        golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
        other = replace(golden.body, label=(golden.body.label + 1) % 4, second=(golden.body.label + 2) % 4)
        files = {**bundle.files, "golden.npz": write_golden(replace(golden, body=other))}
        write_bundle(engine_and_body, bundle.manifest, files)
    with edgeosr.Runtime(engine_and_body) as runtime:
        assert runtime.graph == "model.onnx"
        assert runtime.why.startswith("tensorrt: ") and "; openvino: " in runtime.why
        assert {"the processor": "too old", "the golden frames": "another version of openvino"}[
            fault
        ] in runtime.why


def test_the_plug_in_of_tensorrt_is_named_by_a_whole_path_too(native, engine_and_body, monkeypatch):
    monkeypatch.setenv("EDGEOSR_TENSORRT_PLUGIN", "build/plugin.so")
    status, said = said_on_opening(native, engine_and_body, options(backend=b"tensorrt"))
    assert status == NO_BACKEND and said.startswith("EDGEOSR_TENSORRT_PLUGIN must be a whole path, or ")


def pixels(height, width):
    return frame(np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize("old", [(24, 32), None])
def test_a_swap_to_a_bundle_that_would_refuse_the_frames_that_come_leaves_the_old_one_at_work(
    native, make_bundle, old
):
    other = os.fsencode(make_bundle(frame=(16, 24)))
    with opened(native, make_bundle(frame=old)) as handle:
        if old is None:  # then it is known of the frames that were judged last
            handle.judge(pixels(16, 24))
        assert handle.judge(pixels(24, 32))["generation"] == 1
        assert native.edgeosr_swap(handle.pointer, other) == FRAME
        said = handle.last_error()
        assert said.startswith(f"{other.decode()} takes frames of 16x24 only (height x width), and this ")
        assert "judges those of 24x32: export it without --frame or with this size" in said
        assert handle.judge(pixels(24, 32))["generation"] == 1
        assert native.edgeosr_rollback(handle.pointer) == NO_PREVIOUS


def test_a_swap_to_a_bundle_for_one_size_is_taken_where_its_frames_come_or_none_came_yet(native, make_bundle):
    fixed, free = make_bundle(frame=(24, 32)), make_bundle()
    with opened(native, free) as handle:
        handle.swap(fixed)  # the warm-up's and the golden frames are not the application's
        assert handle.info()["frame"] == [24, 32]
        handle.swap(free)
        assert handle.judge(pixels(24, 32))["generation"] == 3
        handle.swap(fixed)
        assert handle.judge(pixels(24, 32))["generation"] == 4
        assert handle.status_of(pixels(16, 24))[0] == FRAME
        handle.swap(fixed)  # what was refused is not what comes
