"""The driver's calls: held against cuda-python's own; copies, streams, contexts, what a capture forbids."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble, Result
from cuda_streams import QueuedCudaDouble

from edgeosr.errors import (
    CudaError,
    DeviceError,
    DriverTooOldError,
    MissingDependencyError,
    NoDeviceError,
    NoDriverError,
)
from edgeosr.kernels.driver import driver, graphs, memory, streams
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.driver.graphs import Graph

CALL = re.compile(r'call\(\s*"(cu\w+)"((?:[^()]|\([^()]*\))*)\)')


def opened() -> tuple[QueuedCudaDouble, Driver]:
    cuda = QueuedCudaDouble()
    found = Driver(cuda)
    found.device(None)
    return cuda, found


def test_the_driver_allocates_nothing_before_a_device_was_asked_for_nor_on_another_thread() -> None:
    cuda = QueuedCudaDouble()
    bare = Driver(cuda)
    with pytest.raises(CudaError, match=r"cuMemAlloc failed: CUDA_ERROR_NOT_INITIALIZED \(3\)"):
        bare.allocate(16)
    bare.start()
    with pytest.raises(CudaError, match="cuMemAlloc failed: CUDA_ERROR_INVALID_CONTEXT"):
        bare.allocate(16)
    bare.device(None)
    bare.free(bare.allocate(16))

    def elsewhere() -> int:
        with pytest.raises(CudaError, match="cuMemAlloc failed: CUDA_ERROR_INVALID_CONTEXT"):
            bare.allocate(16)
        bare.device(None)
        return bare.allocate(16)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(elsewhere).result()


@pytest.mark.parametrize("module", [driver, graphs, memory, streams])
def test_every_driver_call_is_one_of_cuda_python_s_with_as_many_arguments(module: Any) -> None:
    from cuda.bindings import driver as genuine

    calls = CALL.findall(Path(module.__file__).read_text("utf-8"))
    assert len(calls) > 4
    for name, rest in calls:
        signature = (getattr(genuine, name).__doc__ or "").splitlines()[0]
        taken = [
            word for word in signature[signature.index("(") + 1 : signature.rindex(")")].split(",") if word
        ]
        # Parentheses of inner calls first, so that their commas do not count; *grid stands for six.
        given = re.sub(r"\([^()]*\)", "", rest).replace("*grid", "1, 2, 3, 4, 5, 6")
        given = re.sub(r"if (\w+) else", r"or \1 or", given)
        assert len([word for word in given.split(",") if word.strip()]) == len(taken), (name, rest, signature)


def test_a_copy_has_happened_only_when_the_stream_was_waited_for() -> None:
    cuda, device = opened()
    stream, host = device.stream(), device.allocate_host(4)
    room = device.allocate(4)
    host.bytes()[:] = (1, 2, 3, 4)
    device.copy_in(room, host, 4, stream)
    back = device.allocate_host(4)
    device.copy_out(back, room, 4, stream)
    assert back.bytes().tolist() != [1, 2, 3, 4]
    device.synchronize(stream)
    assert back.bytes().tolist() == [1, 2, 3, 4]
    assert (cuda.bytes_in, cuda.bytes_out) == (4, 4)


def test_mapped_memory_is_one_place_with_two_addresses() -> None:
    _, device = opened()
    host = device.allocate_host(8, mapped=True)
    assert host.device_address not in (0, host.address)
    host.bytes()[:] = range(8)
    stream, room, plain = device.stream(), device.allocate(8), device.allocate_host(8)
    device.copy_on_device(room, host.device_address, 8, stream)
    device.copy_out(plain, room, 8, stream)
    device.synchronize(stream)
    assert plain.bytes().tolist() == list(range(8))
    assert plain.device_address == 0


def test_a_graph_replays_what_was_captured_and_nothing_ran_meanwhile() -> None:
    cuda, device = opened()
    stream, host, room = device.stream(), device.allocate_host(1), device.allocate(1)
    host.bytes()[0] = 7
    graph = Graph(device, stream, lambda: device.copy_in(room, host, 1, stream))
    device.synchronize(stream)
    assert cuda.bytes_in == 0
    for _ in range(3):
        graph.replay()
    device.synchronize(stream)
    assert cuda.bytes_in == 3
    graph.close()
    assert cuda.graphs == {}


def test_an_allocation_in_a_capture_spoils_it_and_the_stream_goes_on() -> None:
    cuda, device = opened()
    stream = device.stream()
    words = "cuMemAlloc failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    with pytest.raises(CudaError, match=words):
        Graph(device, stream, lambda: device.allocate(4))
    assert not cuda.capturing() and cuda.graphs == {}
    host, room = device.allocate_host(4), device.allocate(4)
    device.copy_in(room, host, 4, stream)
    device.synchronize(stream)
    assert cuda.bytes_in == 4


def test_what_breaks_a_capture_is_raised_and_nothing_of_it_stays() -> None:
    cuda, device = opened()
    stream = device.stream()

    def breaks() -> None:
        raise ValueError("not of CUDA")

    with pytest.raises(ValueError, match="not of CUDA"):
        Graph(device, stream, breaks)
    assert not cuda.capturing()
    assert cuda.count("cuGraphDestroy") == 1 and cuda.count("cuGraphInstantiate") == 0
    Graph(device, stream, lambda: None).close()
    device.destroy_stream(stream)
    assert cuda.leaks() == []


def test_a_recording_that_cannot_be_made_a_graph_is_freed_and_one_that_stays_behind_is_no_error() -> None:
    cuda, device = opened()
    stream = device.stream()
    cuda.fail_at["cuGraphInstantiate", 0] = Result.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(CudaError, match="cuGraphInstantiate failed: CUDA_ERROR_OUT_OF_MEMORY"):
        Graph(device, stream, lambda: None)
    assert cuda.count("cuGraphDestroy") == 1
    cuda.fail_at["cuGraphDestroy", 0] = Result.CUDA_ERROR_INVALID_VALUE
    Graph(device, stream, lambda: None).replay()


def test_an_own_stream_is_given_back_when_its_block_ends_and_when_it_breaks() -> None:
    cuda, device = opened()
    with device.own_stream() as stream:
        assert stream in cuda.streams
    with pytest.raises(ValueError, match="inside"), device.own_stream():
        raise ValueError("inside")
    assert cuda.leaks() == []


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (Result.CUDA_ERROR_NO_DEVICE, NoDeviceError, "sees no device; check nvidia-smi"),
        (Result.CUDA_ERROR_STUB_LIBRARY, NoDriverError, "the toolkit's stub"),
        (Result.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, DriverTooOldError, "restart after its update"),
        (Result.CUDA_ERROR_OUT_OF_MEMORY, CudaError, r"cuInit failed: CUDA_ERROR_OUT_OF_MEMORY \(2\)"),
    ],
)
def test_each_failure_of_the_start_has_its_error_and_next_step(
    code: Result, error: type[DeviceError], words: str
) -> None:
    with pytest.raises(error, match=words):
        Driver(CudaDouble(failures={"cuInit": code})).device(None)


def test_a_driver_without_a_function_of_cuda_python_is_too_old() -> None:
    def missing(_: int) -> None:
        raise RuntimeError('Function "cuInit" not found')

    with pytest.raises(DriverTooOldError, match=r"older than the installed cuda-python.*'cuda-python<13'"):
        Driver(SimpleNamespace(cuInit=missing)).start()


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(NoDeviceError, match="device 3 was asked for; the driver sees 1"):
        Driver(CudaDouble()).device(3)


def test_a_device_s_name_ends_at_its_first_zero() -> None:
    class Filled(CudaDouble):
        def _DeviceGetName(self, size: int, ordinal: int) -> bytes:
            return b"NVIDIA H100\0\0left over\0".ljust(size, b" ")

    assert Driver(Filled()).device(None).name == "NVIDIA H100"
    assert Driver(CudaDouble()).device(None).name == "Orin"


def test_without_cuda_python_the_error_names_the_purpose_and_the_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)
    for name in [name for name in sys.modules if name.startswith("cuda.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependencyError, match=r"running an engine.*pip install 'edgeosr\[cuda\]'"):
        open_driver("running an engine")


def test_memory_under_waiting_work_is_not_freed_unseen() -> None:
    _, device = opened()
    stream, host, room = device.stream(), device.allocate_host(4), device.allocate(4)
    device.copy_in(room, host, 4, stream)
    with pytest.raises(AssertionError, match="freed while work"):
        device.free(room)
    with pytest.raises(AssertionError, match="freed while work"):
        device.free_host(host)


def test_within_makes_the_context_current_and_puts_the_old_one_back() -> None:
    cuda, device = opened()
    context = device.current_context()
    cuda.context = 0
    with device.within(context):
        assert cuda.context == context
    assert cuda.context == 0
    with pytest.raises(RuntimeError, match="inside"), device.within(context):
        raise RuntimeError("inside")
    assert cuda.context == 0
    assert np.asarray(cuda.stack).size == 0
