"""Rooms for verdicts: counters are clear at every launch, whatever became of the one before."""

from typing import Any

import pytest
from cuda_double import CudaDouble, HostArray
from cuda_streams import QueuedCudaDouble
from fused_cases import Case, random_inputs, random_scorer

from edgeosr.errors import DeviceError, UsageError
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.sharing import Tiling

BATCH = 3


def a_case(dimension: int = 64) -> Case:
    return Case(
        dimension=dimension,
        batch=BATCH,
        classes=6,
        head="cosine",
        discriminator="two",
        half_weights=True,
        half_input=True,
        positions=16,
        filter=3,
    )


def test_a_first_launch_that_was_captured_and_never_replayed_leaves_clear_counters_in_host_rooms() -> None:
    cuda = QueuedCudaDouble()
    driver = Driver(cuda)
    scorer = FusedScorer(random_scorer(a_case()), driver=driver, image=Image(b"\x7fELF", "test"))
    array = random_inputs(a_case()).map
    assert array is not None
    address = driver.allocate(array.nbytes)
    driver.write(address, array.tobytes(), 0)
    driver.synchronize(0)

    class OnDevice:
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            assert array is not None
            about = {"shape": array.shape, "typestr": array.dtype.str, "data": (address, False)}
            return {**about, "strides": None, "version": 3, "stream": None}

    stream = driver.stream()

    def launched(room: Any) -> None:
        scorer.score_map(OnDevice(), stream=stream, into=room)

    # The entry is loaded by a launch into other room.
    first = scorer.room(BATCH, host=driver.allocate_host(BATCH * 80, mapped=True))
    first.expect()
    launched(first)
    right = first.to_host().copy()
    room = scorer.room(BATCH, host=driver.allocate_host(BATCH * 80, mapped=True))
    Graph(driver, stream, lambda: launched(room))
    for _ in range(3):
        room.expect()
        launched(room)
        assert room.to_host().tobytes() == right.tobytes()
    # After a launch that did not get to its end, the next one is right again.
    room.expect()
    with pytest.raises(DeviceError, match="3 of 3 verdicts were not written"):
        room.to_host()
    room.expect()
    launched(room)
    assert room.to_host().tobytes() == right.tobytes()


def test_room_serves_whatever_plan_and_each_gives_the_same_bits() -> None:
    driver, found = Driver(CudaDouble()), []
    array, scorer = random_inputs(a_case()).map, random_scorer(a_case())
    assert array is not None
    room = FusedScorer(scorer, driver=driver, image=Image(b"\x7fELF", "test")).room(BATCH)
    for samples in (1, 2, 4):
        table = PlanTable(tried=Tiling(origin="tried", samples=samples, class_warps=0))
        fused = FusedScorer(scorer, driver=driver, image=Image(b"\x7fELF", "test"), table=table)
        found.append(fused.score_map(HostArray(array), into=room).to_host().tobytes())
        assert fused.last_plan is not None and fused.last_plan.tile == samples
        assert fused.last_plan.described == f"tiles of {samples}: tried"
    assert len(set(found)) == 1


def test_the_double_refuses_host_memory_that_is_too_small_for_its_verdicts() -> None:
    """32 bytes a verdict were enough for it when a verdict had 80."""
    driver = Driver(QueuedCudaDouble())
    array = random_inputs(a_case()).map
    assert array is not None
    scorer = FusedScorer(random_scorer(a_case()), driver=driver, image=Image(b"\x7fELF", "test"))
    address = driver.allocate(array.nbytes)
    array_there = HostArray(array)
    array_there.__cuda_array_interface__["data"] = (address, False)
    small = scorer.room(BATCH, host=driver.allocate_host(BATCH * VERDICT.itemsize - 1, mapped=True))
    with pytest.raises(AssertionError, match="room for fewer verdicts"):
        scorer.score_map(array_there, into=small)


def test_the_room_of_another_scorer_is_refused() -> None:
    driver = Driver(QueuedCudaDouble())
    scorers = [
        FusedScorer(random_scorer(a_case(dimension)), driver=driver, image=Image(b"\x7fELF", "test"))
        for dimension in (64, 256)
    ]
    array = random_inputs(a_case()).map
    assert array is not None
    with pytest.raises(UsageError, match="into must be open room for 3 verdicts of this scorer"):
        scorers[0].score_map(HostArray(array), into=scorers[1].room(BATCH))
