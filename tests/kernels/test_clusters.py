"""Launches in clusters: through which call, when the device is asked for a place, and what follows if not."""

import ctypes
import inspect
import struct
from dataclasses import replace
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
from edgeosr.kernels import fused_score
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights
from edgeosr.kernels.plan import LaunchPlan, plan_launch

CLUSTER = 8
HOPPER: dict[str, Any] = {"architecture": (9, 0), "integrated": False, "driver": 13000}


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans have clusters wherever they may, even those that are too small for them."""

    def plan(*arguments: Any, clusters: bool = True, **settings: Any) -> LaunchPlan:
        found = plan_launch(*arguments, **{**settings, "architecture": "sm_87"})
        size = CLUSTER if clusters else 1
        found = replace(found, blocks=size * found.blocks)
        object.__setattr__(found, "cluster", size)
        found.params.cluster = size
        return found

    monkeypatch.setattr(fused_score, "plan_launch", plan)


class Noted:
    """What is launched is noted and not run: no emulation has clusters of plans that were made up."""

    noted: list[Launch]

    def execute(self, launch: Launch) -> None:
        self.__dict__.setdefault("noted", []).append(launch)
        if launch.cluster == 1:
            super().execute(launch)  # type: ignore[misc]  # a double's


class NotedDouble(Noted, CudaDouble):
    pass


class NotedGraphs(Noted, GraphDouble):
    pass


class NotedQueue(Noted, QueuedCudaDouble):
    pass


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


def test_a_plan_with_clusters_is_launched_so_and_the_device_is_asked_once(planned: None) -> None:
    cuda = NotedDouble(**HOPPER)
    scorer, y = loaded(case(), cuda), HostArray(random_inputs(case()).map)
    room = scorer.room(3)
    assert cuda.count("cuOccupancyMaxActiveClusters") == 0
    for _ in range(3):
        scorer.score_map(y, stream=STREAM, into=room)
    assert cuda.count("cuOccupancyMaxActiveClusters") == 1
    assert cuda.count("cuLaunchKernelEx") == 3 and cuda.count("cuLaunchKernel") == 0
    assert [(launch.cluster, launch.stream) for launch in cuda.noted] == [(CLUSTER, STREAM)] * 3
    assert all(launch.blocks % CLUSTER == 0 and launch.threads == 512 for launch in cuda.noted)
    assert "no clusters" not in scorer.last_plan.why
    scorer.score_map(HostArray(y.array.astype(np.float32)), stream=STREAM, into=room)  # another entry
    assert cuda.count("cuOccupancyMaxActiveClusters") == 2


def test_nothing_is_asked_where_a_plan_has_no_clusters() -> None:
    cuda = CudaDouble()
    loaded(case(), cuda).score_map(HostArray(random_inputs(case()).map))
    assert cuda.count("cuOccupancyMaxActiveClusters") == cuda.count("cuLaunchKernelEx") == 0


def test_an_empty_batch_asks_nothing(planned: None) -> None:
    cuda = NotedDouble(**HOPPER)
    loaded(case(), cuda).score_map(HostArray(np.zeros((0, 37, 4, 4), np.float16)))
    assert cuda.count("cuOccupancyMaxActiveClusters") == cuda.count("cuLaunchKernelEx") == 0


class OldDriver(NotedDouble):
    """cuda-python with a driver that lacks the call."""

    def _OccupancyMaxActiveClusters(self, function: str, config: Any) -> Any:
        raise RuntimeError('Function "cuOccupancyMaxActiveClusters" not found')


REFUSAL = {"cuOccupancyMaxActiveClusters": Result.CUDA_ERROR_INVALID_CLUSTER_SIZE}


@pytest.mark.parametrize("how", ["none at once", "an error", "an old driver"])
def test_a_device_without_a_place_for_a_cluster_scores_without_and_the_plan_says_so(
    planned: None, how: str
) -> None:
    cuda = (OldDriver if how == "an old driver" else NotedDouble)(**HOPPER)
    cuda.clusters = 0
    cuda.failures = REFUSAL if how == "an error" else {}
    of = case()
    scorer, inputs = loaded(of, cuda), random_inputs(of)
    for _ in range(2):
        found = scorer.score_map(HostArray(inputs.map), stream=STREAM).to_host()
        assert_agree(found, reference_of(unpacked_weights(scorer.scorer, half=True), inputs))
        words = "no clusters: Orin has no place for 8 blocks"
        assert scorer.last_plan.why.count(words) == 1 and words in scorer.last_plan.described
    assert cuda.count("cuOccupancyMaxActiveClusters") == 1
    assert cuda.count("cuLaunchKernel") == 2 and cuda.count("cuLaunchKernelEx") == 0


def test_a_build_for_devices_without_clusters_is_launched_without_on_any(planned: None) -> None:
    cuda = NotedDouble(**HOPPER)
    image = Image(IMAGE.data, "fused_score-compute_75-cuda11.8.ptx", clusters=False)
    scorer = FusedScorer(random_scorer(case()), driver=Driver(cuda), image=image)
    scorer.score_map(HostArray(random_inputs(case()).map))
    assert cuda.count("cuOccupancyMaxActiveClusters") == cuda.count("cuLaunchKernelEx") == 0
    assert "fused_score-compute_75-cuda11.8.ptx was compiled for devices before sm_90" in scorer.last_plan.why


def test_the_context_of_another_device_is_told_and_is_not_asked(planned: None) -> None:
    cuda = NotedDouble(devices=2, **HOPPER)
    scorer, y = loaded(case(), cuda), HostArray(random_inputs(case()).map)
    room = scorer.room(3)
    own, cuda.context = cuda.context, 2
    with pytest.raises(UsageError, match="the scorer is on device 0, but the current context is on device 1"):
        scorer.score_map(y, into=room)
    assert cuda.count("cuOccupancyMaxActiveClusters") == 0
    cuda.context = own
    scorer.score_map(y, into=room)
    assert cuda.count("cuLaunchKernelEx") == 1


def test_a_launch_that_fails_names_the_call(planned: None) -> None:
    cuda = NotedDouble(failures={"cuLaunchKernelEx": Result.CUDA_ERROR_LAUNCH_FAILED}, **HOPPER)
    with pytest.raises(CudaError, match="cuLaunchKernelEx failed: CUDA_ERROR_LAUNCH_FAILED"):
        loaded(case(), cuda).score_map(HostArray(random_inputs(case()).map))


@pytest.mark.parametrize("kind", [NotedGraphs, NotedQueue])
def test_a_graph_replays_the_clusters_that_were_captured(planned: None, kind: type[Any]) -> None:
    cuda = kind(**HOPPER)
    driver = Driver(cuda)
    scorer = FusedScorer(random_scorer(case()), driver=driver, image=IMAGE)
    array = random_inputs(case()).map.astype(np.float16)
    address = driver.allocate(array.nbytes)
    ctypes.memmove(address, array.ctypes.data, array.nbytes)
    y = HostArray(array)
    y.__cuda_array_interface__["data"] = (address, False)
    stream, room = driver.stream(), scorer.room(3)
    work = lambda: scorer.score_map(y, stream=stream, into=room)  # noqa: E731  # as Graph takes it
    work()
    graph = Graph(driver, stream, work)
    driver.synchronize(stream)
    assert len(cuda.noted) == 1
    for _ in range(2):
        graph.replay()
    driver.synchronize(stream)
    assert [launch.cluster for launch in cuda.noted] == [CLUSTER] * 3


def test_the_double_refuses_clusters_where_there_are_none_and_words_from_another_size(planned: None) -> None:
    scorer = loaded(case(), NotedDouble())  # an Orin that a plan takes for a Hopper
    scorer.score_map(HostArray(random_inputs(case()).map))
    assert "no clusters" in scorer.last_plan.why
    driver = Driver(NotedDouble())
    driver.device(None)
    function = driver.function(driver.load(b"\x7fELF"), "fused_score_map_mma_f16", 64)
    params = scorer.last_plan.params
    with pytest.raises(CudaError, match="cuLaunchKernelEx failed: CUDA_ERROR_INVALID_CLUSTER_SIZE"):
        driver.launch(function, 16, 512, 64, 0, params, cluster=CLUSTER)
