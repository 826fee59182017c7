"""Numbers of launches: verdicts in device memory are told apart without clearing them before each launch."""

import ctypes
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble, HostArray, Launch
from fused_cases import random_inputs
from test_loader import case, loaded

from edgeosr.errors import DeviceError
from edgeosr.kernels.device_verdicts import ACCEPTED, NUMBER_FROM, VERDICT, WRITTEN, DeviceVerdicts

HOPPER: dict[str, Any] = {"architecture": (9, 0), "integrated": False, "driver": 13000}
CASE = case(dimension=128)
Y = HostArray(random_inputs(CASE).map)


class Losing(CudaDouble):
    """A device on which launches may end before they wrote the last verdicts."""

    lost = 0

    def _launched(self, launch: Launch) -> Any:
        kept = in_room(launch.params.verdicts).copy()
        made = super()._launched(launch)
        first = CASE.batch - self.lost
        in_room(launch.params.verdicts)[first:] = kept[first:]
        return made


def in_room(address: int) -> np.ndarray:
    """Verdicts as they lie on the device, writable."""
    size = CASE.batch * VERDICT.itemsize
    return np.frombuffer((ctypes.c_uint8 * size).from_address(address), VERDICT)


def numbers(room: DeviceVerdicts) -> set[int]:
    return set((in_room(room.address)["flags"] >> NUMBER_FROM).tolist())


@pytest.fixture(params=[{}, HOPPER], ids=["alone", "in clusters"])
def cuda(request: pytest.FixtureRequest) -> Losing:
    return Losing(**request.param)


def test_launches_into_one_room_are_numbered_and_who_reads_them_sees_no_number(cuda: Losing) -> None:
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    found = set()
    for number in (1, 2, 3):
        flags = scorer.score_map(Y, into=room).to_host()["flags"]
        assert numbers(room) == {number} and not (flags >> NUMBER_FROM).any() and (flags & WRITTEN).all()
        found.add(flags.tobytes())
    assert len(found) == 1
    assert cuda.count("cuMemsetD32Async") == 1  # when the room was made
    assert scorer.last_plan is not None and (scorer.last_plan.cluster > 1) == (cuda.architecture >= (9, 0))


def test_after_the_last_number_comes_0(cuda: Losing) -> None:
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    right = scorer.score_map(Y, into=room).to_host()
    in_room(room.address)["flags"] |= 0xFFFFFE << NUMBER_FROM  # as after 2^24 - 1 launches
    assert numbers(room) == {0xFFFFFF}
    for number in (0, 1):
        assert scorer.score_map(Y, into=room).to_host().tobytes() == right.tobytes()
        assert numbers(room) == {number}


def test_a_launch_that_never_ran_leaves_an_old_number_which_is_refused(cuda: Losing) -> None:
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    right = scorer.score_map(Y, into=room).to_host()
    cuda.executes = False
    with pytest.raises(DeviceError, match="3 of 3 verdicts were not written since they were last read"):
        scorer.score_map(Y, into=room).to_host()
    assert not in_room(room.address)["flags"].any()
    with pytest.raises(DeviceError, match="3 of 3 verdicts were not written: the launch did not run"):
        scorer.score_map(Y, into=room).to_host()
    cuda.executes = True
    assert scorer.score_map(Y, into=room).to_host().tobytes() == right.tobytes()
    with pytest.raises(DeviceError, match="read them once a launch"):
        room.to_host()


@pytest.mark.parametrize("unread", [0, 2])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_launch_that_wrote_some_verdicts_is_refused_and_the_room_is_as_new(
    cuda: Losing, lost: int, unread: int
) -> None:
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    right = scorer.score_map(Y, into=room).to_host()
    for _ in range(unread):
        scorer.score_map(Y, into=room)
    cuda.lost = lost
    with pytest.raises(DeviceError, match=f"{lost} of 3 verdicts were not written: the launch did not run"):
        scorer.score_map(Y, into=room).to_host()
    cuda.lost = 0
    assert scorer.score_map(Y, into=room).to_host().tobytes() == right.tobytes()
    assert numbers(room) == {1}


def test_counters_that_a_failed_launch_left_are_cleared() -> None:
    cuda = Losing()
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    right = scorer.score_map(Y, into=room).to_host()
    counters = np.frombuffer((ctypes.c_uint8 * room.counter_bytes).from_address(room.workspace), np.uint8)
    counters[:] = 1
    cuda.executes = False
    with pytest.raises(DeviceError):
        scorer.score_map(Y, into=room).to_host()
    assert not counters.any()
    cuda.executes = True
    assert scorer.score_map(Y, into=room).to_host().tobytes() == right.tobytes()


def test_launches_that_nobody_read_do_not_matter(cuda: Losing) -> None:
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    for _ in range(3):
        scorer.score_map(Y, into=room)
    assert (room.to_host()["flags"] & WRITTEN).all() and numbers(room) == {3}


def test_a_new_threshold_leaves_no_old_flag(cuda: Losing) -> None:
    scorer = loaded(CASE, cuda)
    room = scorer.room(CASE.batch)
    for threshold, accepted in ((1e9, True), (-1e9, False), (1e9, True)):
        scorer.set_threshold(threshold)
        flags = scorer.score_map(Y, into=room).to_host()["flags"]
        assert ((flags & ACCEPTED > 0) == accepted).all()


def test_verdicts_in_host_memory_have_no_number_and_no_old_flags_are_read(cuda: Losing) -> None:
    seen = []

    class Noting(Losing):
        def _launched(self, launch: Launch) -> Any:
            seen.append(launch.params.numbered)
            return super()._launched(launch)

    noting = Noting(architecture=cuda.architecture, integrated=cuda.integrated, driver=cuda.version)
    scorer = loaded(CASE, noting)
    memory = np.zeros(CASE.batch * VERDICT.itemsize + 16, np.uint8)
    host = HostRoom(memory)
    room = scorer.room(CASE.batch, host=host)  # type: ignore[arg-type]
    for _ in range(2):
        room.expect()
        flags = scorer.score_map(Y, into=room).to_host()["flags"]
        assert (flags & WRITTEN).all() and not (in_room(room.address)["flags"] >> NUMBER_FROM).any()
    assert seen == [0, 0]


class HostRoom:
    """Mapped host memory."""

    def __init__(self, memory: np.ndarray):
        start = -memory.ctypes.data % 16
        self._bytes = memory[start:]
        self.device_address = self._bytes.ctypes.data

    def bytes(self) -> np.ndarray:
        return self._bytes


def test_a_room_that_a_launch_makes_is_cleared_in_its_stream_and_nobody_waits() -> None:
    cuda, stream = Losing(), 0x5EED
    scorer = loaded(CASE, cuda)
    waits = cuda.count("cuStreamSynchronize")
    room = scorer.score_map(Y, stream=stream)
    (clear,) = [call for call in cuda.calls if call[0] == "cuMemsetD32Async"]
    assert clear[-1] == stream and cuda.count("cuStreamSynchronize") == waits
    assert (room.to_host()["flags"] & WRITTEN).all()


def test_an_empty_batch_has_nothing_to_clear_and_can_be_read_again() -> None:
    cuda = Losing()
    scorer = loaded(CASE, cuda)
    room = scorer.score_map(HostArray(np.zeros((0, 128, 4, 4), np.float16)))
    assert len(room.to_host()) == len(room.to_host()) == 0
    assert cuda.count("cuMemsetD32Async") == 0
