"""Launches in clusters: through which call, when the device is asked for a place, and what follows if not."""

import ctypes
import inspect
import struct
from typing import Any

import numpy as np
import pytest
from cuda.bindings import driver as genuine
from cuda_double import CudaDouble, HostArray, Launch, Result
from cuda_streams import QueuedCudaDouble
from fused_cases import random_inputs, random_scorer, reference_of
from graph_double import GraphDouble
from test_loader import IMAGE, STREAM, assert_agree, case, loaded, no_driver

from edgeosr.errors import CudaError, UsageError
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights
from edgeosr.kernels.params import FusedScoreParams

CLUSTER = 8
HOPPER: dict[str, Any] = {"architecture": (9, 0), "integrated": False, "driver": 13000}
CASE = case(dimension=128)  # eight slabs


class NotedDouble(CudaDouble):
    """Notes what is launched on it."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.noted: list[Launch] = []

    def _launched(self, launch: Launch) -> Any:
        self.noted.append(launch)
        return super()._launched(launch)


def test_the_genuine_structures_say_the_grid_the_stream_and_the_cluster() -> None:
    config = Driver(genuine)._in_clusters(48, 512, 30_000, STREAM, CLUSTER)
    words = struct.unpack("<7IxxxxQQI", ctypes.string_at(config.getPtr(), 52))
    assert words[:7] == (48, 1, 1, 512, 1, 1, 30_000)
    assert words[7] == STREAM and words[9] == 1
    # CUlaunchAttribute of cuda.h: its number, padding to 8 bytes, then the value.
    number, *size = struct.unpack("<Ixxxx3I", ctypes.string_at(words[8], 20))
    assert (number, size) == (4, [CLUSTER, 1, 1])


def test_the_genuine_calls_take_what_is_given_in_that_order() -> None:
    assert list(inspect.signature(genuine.cuLaunchKernelEx).parameters) == [
        "config", "f", "kernelParams", "extra",
    ]  # fmt: skip
    assert list(inspect.signature(genuine.cuOccupancyMaxActiveClusters).parameters) == ["func", "config"]


@no_driver
def test_without_a_driver_a_launch_gets_as_far_as_the_library_and_no_cluster_has_a_place() -> None:
    bare, function = Driver(genuine), genuine.CUfunction(16)
    with pytest.raises(RuntimeError, match=r"libcuda|not found|can only be found"):
        bare.launch(function, 16, 512, 0, STREAM, ctypes.c_int(1), cluster=CLUSTER)
    assert not bare.places_clusters(function, 16, 512, 0, CLUSTER)


def test_a_plan_with_clusters_is_launched_so_and_the_device_is_asked_once() -> None:
    cuda = NotedDouble(**HOPPER)
    scorer, y = loaded(CASE, cuda), HostArray(random_inputs(CASE).map)
    room = scorer.room(3)
    assert cuda.count("cuOccupancyMaxActiveClusters") == 0
    for _ in range(3):
        scorer.score_map(y, stream=STREAM, into=room)
    assert cuda.count("cuOccupancyMaxActiveClusters") == 1
    assert cuda.count("cuLaunchKernelEx") == 3 and cuda.count("cuLaunchKernel") == 0
    assert [(launch.cluster, launch.stream) for launch in cuda.noted] == [(CLUSTER, STREAM)] * 3
    assert all(launch.blocks % CLUSTER == 0 and launch.threads == 512 for launch in cuda.noted)
    assert "no clusters" not in scorer.last_plan.why
    assert_agree(
        room.to_host(), reference_of(unpacked_weights(scorer.scorer, half=True), random_inputs(CASE))
    )
    scorer.score_map(HostArray(y.array.astype(np.float32)), stream=STREAM, into=room)  # another entry
    assert cuda.count("cuOccupancyMaxActiveClusters") == 2


def test_nothing_is_asked_where_a_plan_has_no_clusters() -> None:
    cuda = CudaDouble()
    loaded(CASE, cuda).score_map(HostArray(random_inputs(CASE).map))
    assert cuda.count("cuOccupancyMaxActiveClusters") == cuda.count("cuLaunchKernelEx") == 0


def test_an_empty_batch_asks_nothing() -> None:
    cuda = NotedDouble(**HOPPER)
    loaded(CASE, cuda).score_map(HostArray(np.zeros((0, 128, 4, 4), np.float16)))
    assert cuda.count("cuOccupancyMaxActiveClusters") == cuda.count("cuLaunchKernelEx") == 0


class OldDriver(NotedDouble):
    """cuda-python with a driver that lacks the call."""

    def _OccupancyMaxActiveClusters(self, function: str, config: Any) -> Any:
        raise RuntimeError('Function "cuOccupancyMaxActiveClusters" not found')


REFUSAL = {"cuOccupancyMaxActiveClusters": Result.CUDA_ERROR_INVALID_CLUSTER_SIZE}


@pytest.mark.parametrize("how", ["none at once", "an error", "an old driver"])
def test_a_device_without_a_place_for_a_cluster_scores_without_and_the_plan_says_so(how: str) -> None:
    cuda = (OldDriver if how == "an old driver" else NotedDouble)(**HOPPER)
    cuda.clusters = 0
    cuda.failures = REFUSAL if how == "an error" else {}
    of = case(dimension=256)  # 16 slabs without clusters: a room made before it is known serves both
    scorer, inputs = loaded(of, cuda), random_inputs(of)
    room = scorer.room(of.batch)
    for _ in range(2):
        found = scorer.score_map(HostArray(inputs.map), stream=STREAM, into=room).to_host()
        assert_agree(found, reference_of(unpacked_weights(scorer.scorer, half=True), inputs))
        words = "no clusters: Orin has no place for 8 blocks"
        assert scorer.last_plan.why.count(words) == 1 and words in scorer.last_plan.described
    assert cuda.count("cuOccupancyMaxActiveClusters") == 1
    assert cuda.count("cuLaunchKernel") == 2 and cuda.count("cuLaunchKernelEx") == 0


def test_a_build_for_devices_without_clusters_is_launched_without_on_any() -> None:
    cuda = NotedDouble(**HOPPER)
    image = Image(IMAGE.data, "fused_score-compute_75-cuda11.8.ptx", clusters=False)
    scorer = FusedScorer(random_scorer(CASE), driver=Driver(cuda), image=image)
    scorer.score_map(HostArray(random_inputs(CASE).map))
    assert cuda.count("cuOccupancyMaxActiveClusters") == cuda.count("cuLaunchKernelEx") == 0
    assert "fused_score-compute_75-cuda11.8.ptx was built without them" in scorer.last_plan.why


def test_the_context_of_another_device_is_told_and_is_not_asked() -> None:
    cuda = NotedDouble(devices=2, **HOPPER)
    scorer, y = loaded(CASE, cuda), HostArray(random_inputs(CASE).map)
    room = scorer.room(3)
    own, cuda.context = cuda.context, 2
    with pytest.raises(UsageError, match="the scorer is on device 0, but the current context is on device 1"):
        scorer.score_map(y, into=room)
    assert cuda.count("cuOccupancyMaxActiveClusters") == 0
    cuda.context = own
    scorer.score_map(y, into=room)
    assert cuda.count("cuLaunchKernelEx") == 1


def test_a_launch_that_fails_names_the_call() -> None:
    cuda = NotedDouble(failures={"cuLaunchKernelEx": Result.CUDA_ERROR_LAUNCH_FAILED}, **HOPPER)
    with pytest.raises(CudaError, match="cuLaunchKernelEx failed: CUDA_ERROR_LAUNCH_FAILED"):
        loaded(CASE, cuda).score_map(HostArray(random_inputs(CASE).map))


@pytest.mark.parametrize("kind", [GraphDouble, QueuedCudaDouble])
def test_a_captured_graph_has_its_clusters(kind: type[Any]) -> None:
    cuda = kind(**HOPPER)
    driver = Driver(cuda)
    scorer, inputs = FusedScorer(random_scorer(CASE), driver=driver, image=IMAGE), random_inputs(CASE)
    y = HostArray(inputs.map)
    address = driver.allocate(inputs.map.nbytes)
    y.__cuda_array_interface__["data"] = (address, False)
    stream, room = driver.stream(), scorer.room(3)

    def work() -> None:
        scorer.score_map(y, stream=stream, into=room)

    work()  # the device is asked, and the entry loaded
    driver.synchronize(stream)
    graph = Graph(driver, stream, work)
    assert cuda.count("cuLaunchKernelEx") == 2 and cuda.count("cuLaunchKernel") == 0
    ctypes.memmove(address, inputs.map.ctypes.data, inputs.map.nbytes)
    graph.replay()
    driver.synchronize(stream)
    # Not to_host, which copies to memory that is not page-locked: the double of streams allows no such copy.
    found = np.frombuffer(ctypes.string_at(room.address, 3 * VERDICT.itemsize), VERDICT)
    assert_agree(found, reference_of(unpacked_weights(scorer.scorer, half=True), inputs))


def test_the_double_refuses_clusters_on_an_older_device_and_of_another_size_than_the_kernel_s() -> None:
    for architecture, cluster in (((8, 9), CLUSTER), ((9, 0), 16), ((9, 0), 3)):
        driver = Driver(CudaDouble(**{**HOPPER, "architecture": architecture}))
        driver.device(None)
        function = driver.function(driver.load(IMAGE.data), "fused_score_map_mma_f16", 64)
        with pytest.raises(CudaError, match="cuLaunchKernelEx failed: CUDA_ERROR_INVALID_CLUSTER_SIZE"):
            driver.launch(function, 16, 512, 64, 0, FusedScoreParams(cluster=cluster), cluster=cluster)
    with pytest.raises(AssertionError, match="wait for words of others"):
        driver.launch(function, 16, 512, 64, 0, FusedScoreParams(cluster=8), cluster=4)
