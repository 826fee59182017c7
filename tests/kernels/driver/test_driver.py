"""The calls of the asynchronous driver: held against cuda-python's own, and what a capture forbids."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_streams import QueuedCudaDouble

from edgeosr.errors import CudaError
from edgeosr.kernels import async_driver, driver
from edgeosr.kernels.driver.async_driver import AsyncDriver

CALL = re.compile(r'_call\(\s*"(cu\w+)"((?:[^()]|\([^()]*\))*)\)')


def opened() -> tuple[QueuedCudaDouble, AsyncDriver]:
    cuda = QueuedCudaDouble()
    found = AsyncDriver(cuda)
    found.device(None)
    return cuda, found


@pytest.mark.parametrize("module", [driver, async_driver])
def test_every_driver_call_is_one_of_cuda_python_s_with_as_many_arguments(module: Any) -> None:
    from cuda.bindings import driver as genuine

    calls = CALL.findall(Path(module.__file__).read_text("utf-8"))
    assert len(calls) > 15
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
    with device.capture(stream) as capture:
        device.copy_in(room, host, 1, stream)
    device.synchronize(stream)
    assert cuda.bytes_in == 0
    for _ in range(3):
        device.launch_graph(capture.graph, stream)
    device.synchronize(stream)
    assert cuda.bytes_in == 3
    device.destroy_graph(capture.graph)
    assert cuda.graphs == {}


def test_an_allocation_in_a_capture_spoils_it_and_the_stream_goes_on() -> None:
    cuda, device = opened()
    stream = device.stream()
    words = "cuMemAlloc failed: CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
    with pytest.raises(CudaError, match=words), device.capture(stream):
        device.allocate(4)
    assert not cuda.capturing() and cuda.graphs == {}
    host, room = device.allocate_host(4), device.allocate(4)
    device.copy_in(room, host, 4, stream)
    device.synchronize(stream)
    assert cuda.bytes_in == 4


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
