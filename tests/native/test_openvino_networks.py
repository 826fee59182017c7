"""Further networks on OpenVINO: one that was not made is not tried again at each call, and why is told."""

import ctypes
import os
import shutil
import threading
import time

import pytest
from handle import frame, opened
from openvino_frames import LIBRARY, OPENVINO, frames_of
from openvino_shim import build_shim

PATIENCE, SECONDS = 100, 60
GENUINE, WAITING = 0, 1
WAITS = "; calls at once may wait for each other, for a further network was not made: "


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return ctypes.CDLL(str(build_shim(tmp_path_factory.mktemp("shim"), LIBRARY.decode())))


@pytest.fixture
def path(typed_bundle, tmp_path):
    return shutil.copytree(typed_bundle().path, tmp_path / "plain.edgeosr")


@pytest.fixture
def calls(native, path, shim):
    """Starts calls on threads, of which those that judge wait until the shim is genuine again."""
    if os.cpu_count() == 1:
        pytest.skip("on one processor one network is all that is made")
    one = frame(frames_of()[3])
    with opened(native, path, **{**OPENVINO, "backend_library": shim._name.encode()}) as handle:
        shim.shim_set(GENUINE)
        expected, said, threads = float(handle.judge(one)["score"][0]), [], []

        def start(count):
            for _ in range(count):
                threads.append(
                    threading.Thread(target=lambda: said.append(float(handle.judge(one)["score"][0])))
                )
                threads[-1].start()

        def finish():
            shim.shim_set(GENUINE)
            for thread in threads:
                thread.join(SECONDS)
            assert said == [expected] * len(threads)
            said.clear()
            threads.clear()

        yield handle, start, finish
        shim.shim_refuse(0)
        shim.shim_set(GENUINE)
        for thread in threads:
            thread.join(SECONDS)


def until(what):
    end = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < end, f"it did not come in {SECONDS} s"
        time.sleep(0.002)


def test_a_further_network_that_was_not_made_is_tried_again_after_a_hundred_calls_that_waited(shim, calls):
    handle, start, finish = calls
    refused, ran = shim.shim_refused(), shim.shim_inside()
    shim.shim_refuse(1)
    shim.shim_set(WAITING)
    start(1)
    until(lambda: shim.shim_inside() == ran + 1)
    assert WAITS not in handle.info()["why"]
    start(1)
    until(lambda: WAITS in handle.info()["why"])
    assert f"{WAITS}OpenVINO " in handle.info()["why"]
    assert " could not make a request: status -1; take the back end onnxruntime" in handle.info()["why"]
    start(PATIENCE - 1)
    time.sleep(0.5)  # for all to come
    assert shim.shim_refused() == refused + 1
    shim.shim_refuse(0)
    start(1)  # the hundredth that waits
    time.sleep(0.5)
    assert shim.shim_inside() == ran + 1 and WAITS in handle.info()["why"]
    start(1)
    until(lambda: shim.shim_inside() == ran + 2)
    assert WAITS not in handle.info()["why"]
    finish()
    assert shim.shim_refused() == refused + 1


def longer(file):
    file.write_bytes(file.read_bytes() + bytes(8))


def another_of_its_size(file):
    file.write_bytes(file.read_bytes()[:-1] + b"\0")


def a_link(file):
    file.symlink_to(file.replace(file.parent / "elsewhere.onnx"))


def without_file(file, calls, shim, change):
    """Judge with one network while another cannot be read; the file is as it was afterwards."""
    handle, start, _ = calls
    ran, kept = shim.shim_inside(), file.read_bytes()
    shim.shim_set(WAITING)
    start(1)
    until(lambda: shim.shim_inside() == ran + 1)
    change(file)
    start(1)
    until(lambda: WAITS in handle.info()["why"])
    file.unlink(missing_ok=True)
    file.write_bytes(kept)
    return ran + 1


@pytest.mark.parametrize("change", [longer, another_of_its_size, a_link], ids=lambda change: change.__name__)
def test_a_file_that_was_replaced_is_not_read_again(path, shim, calls, change):
    handle, start, finish = calls
    running = without_file(path / "model.onnx", calls, shim, change)
    assert f"{WAITS}{path} was replaced; open it again" in handle.info()["why"]
    start(2 * PATIENCE)
    time.sleep(0.5)
    assert shim.shim_inside() == running
    finish()


def test_a_file_that_is_missing_may_come_back(path, shim, calls):
    handle, start, finish = calls
    running = without_file(path / "model.onnx", calls, shim, lambda file: file.unlink())
    assert f"{WAITS}{path / 'model.onnx'} is missing" in handle.info()["why"]
    start(PATIENCE + 1)
    until(lambda: shim.shim_inside() == running + 1)
    assert WAITS not in handle.info()["why"]
    finish()
