"""Swaps from an engine, over the doubles: nothing less comes in its place, and no third one is loaded."""

import ctypes
import os

import pytest
from cuda_double import Result
from handle import BUNDLE, MEMORY, NO_BACKEND, NO_PREVIOUS, NOT_VERIFIED, frame

from edgeosr.runtime.native.library import ONNXRUNTIME_VARIABLE, Verification, onnxruntime_library

GOLDEN = (20, 30)  # of the golden frames, so that they are judged


@pytest.fixture
def running(machine, monkeypatch):
    """A machine whose engine ``auto`` has taken, with onnxruntime beside it; and the handle."""
    made = machine(integrated=False)
    made.add(b"gold", frame=GOLDEN)
    monkeypatch.setenv("EDGEOSR_TENSORRT", made.library.decode())
    monkeypatch.setenv(ONNXRUNTIME_VARIABLE, str(onnxruntime_library()))
    handle = made.open(backend=b"auto", backend_library=None)
    assert handle.info()["graph"] == "backbone.onnx"
    return made, handle


def swapped(made, handle):
    return made.native.edgeosr_swap(handle.pointer, os.fsencode(made.path))


FAULTS = {
    "no memory": (MEMORY, "the GPU's memory is full while the engine is loaded"),
    "no builds of the kernel": (NO_BACKEND, "no build of the fused kernel for Orin"),
    "a damaged plan": (BUNDLE, "is not the engine that was built"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_swap_whose_engine_does_not_open_goes_on_with_the_old_one(running, frames, monkeypatch, fault):
    made, handle = running
    shown = frames[0][: GOLDEN[0], : GOLDEN[1]].copy()
    before = handle.judge(frame(shown))[0]
    if fault == "no memory":
        made.cuda.failures["cuMemAlloc"] = Result.CUDA_ERROR_OUT_OF_MEMORY
    elif fault == "no builds of the kernel":
        monkeypatch.setenv("EDGEOSR_CUBINS", "/nowhere")
    else:
        (made.path / "engines" / "gold.plan").write_bytes(b"gol?")
    status, words = FAULTS[fault]
    assert swapped(made, handle) == status and words in handle.last_error()
    made.cuda.failures.clear()
    info, after = handle.info(), handle.judge(frame(shown))[0]
    assert (info["backend"], info["graph"], info["generation"]) == ("tensorrt", "backbone.onnx", 1)
    assert after["score"] == before["score"]


def test_what_cannot_be_verified_leaves_nothing_of_an_earlier_verification(machine):
    made = machine()
    made.add()  # of another size than the golden frames
    sizes = {"struct_bytes": ctypes.sizeof(Verification)}
    out = Verification(**sizes, verdicts=7, agreed=7, score_band=7.0)
    assert made.native.edgeosr_verify(made.open().pointer, ctypes.byref(out)) == NOT_VERIFIED
    assert bytes(out) == bytes(Verification(**sizes))


class Watched(list):
    """What is alive, and how many engines were at once."""

    most = 0

    def append(self, one):
        super().append(one)
        self.most = max(self.most, sum(each.startswith("engine") for each in self))


def test_two_engines_are_loaded_at_once_and_never_three(running):
    made, handle = running
    made.trt.alive = watched = Watched(made.trt.alive)
    for _ in range(3):
        handle.swap(made.path)
    assert watched.most == 2
    handle.rollback()
    assert handle.info()["generation"] == 5


def test_only_a_swap_that_fails_after_the_files_were_found_good_takes_the_rollback(running, monkeypatch):
    made, handle = running
    handle.swap(made.path)
    assert made.native.edgeosr_swap(handle.pointer, b"/nowhere") == BUNDLE
    handle.rollback()
    monkeypatch.setenv("EDGEOSR_CUBINS", "/nowhere")
    assert swapped(made, handle) == NO_BACKEND
    assert made.native.edgeosr_rollback(handle.pointer) == NO_PREVIOUS
    assert "a swap that failed keeps none" in handle.last_error()
    assert handle.info()["generation"] == 3
