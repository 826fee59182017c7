"""What the open set costs in the whole run: frames up, network, scoring, verdicts down, one CUDA graph each.

The base is the plain classifier with an argmax. Beside the fused kernel stand the same scoring in unfused
torch and as ``torch.compile`` makes it. All are replayed in turn, the order reversed every round, and a ratio
is the median over rounds.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.networks import NETWORKS, SMALL_NETWORKS, MapNetwork, built_network, normalised
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.gpu_rung.torch_device import Replayed, TorchDevice, open_torch
from edgeosr.bench.kernel_torch import TorchChain
from edgeosr.kernels.device_verdicts import VERDICT, WRITTEN
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import case_scorer

BATCHES = (1, 8, 64)
TRAIN = 10  # replays between two events
PLAIN, KERNEL, UNFUSED = "plain classifier", "fused kernel", "unfused torch"


def measure_overhead(report: StepReport, options: argparse.Namespace) -> None:
    """Measure every network and batch."""
    rounds, warm_up, train = (2, 0, 1) if options.small else (100, 10, TRAIN)
    driver = open_driver()
    driver.device(None)
    device = open_torch(driver)
    device.torch.backends.cudnn.benchmark = True
    report.put(
        "how",
        f"uint8 frames up, network in {str(device.dtype).removeprefix('torch.')}, scoring, verdicts down; "
        f"one CUDA graph each; {rounds} rounds after {warm_up}, {train} replays between two events; ratio: "
        f"median over rounds to the {PLAIN} with argmax",
    )
    rows: list[dict[str, Any]] = []
    for network in SMALL_NETWORKS if options.small else NETWORKS:
        net = built_network(network, device)
        for batch in (1, 2) if options.small else BATCHES:
            found = _measured(device, network, net, batch, (rounds, warm_up, train))
            rows.append({"network": network.name, "B": batch, **found})
            report.put("rows", rows)
            if KERNEL in found["not_timed"]:
                why = found["not_timed"][KERNEL]
                report.fail(f"{network.name}, B = {batch}: the fused kernel was not timed: {why}")
            # fp16 may turn a near tie; more than that, and something else was timed.
            if (found["labels_that_differ"] or 0) > 1 + batch // 16:
                report.fail(
                    f"{network.name}, B = {batch}: {found['labels_that_differ']} labels of the fused kernel "
                    "are not those of unfused torch"
                )


def _measured(
    device: TorchDevice, network: MapNetwork, net: Any, batch: int, turns: tuple[int, int, int]
) -> dict[str, Any]:
    driver, not_timed = device.driver, {}
    with driver.own_stream() as own, FusedScorer(case_scorer(network.case()), driver=driver) as fused:
        room = fused.room(batch)
        graphs: dict[str, Replayed] = {}
        ends = _Ends(device, batch)
        for name, work in _contenders(device, network, net, batch, fused, room, own, ends).items():
            try:
                graphs[name] = device.graph(own, work)
            except Exception as error:  # whatever a library raises: the others are still timed
                driver.synchronize(own)
                not_timed[name] = f"{type(error).__name__}: {str(error)[-300:]}"
        differ = _labels_that_differ(driver, graphs, ends, own)
        times = _samples(device, graphs, own, *turns)
        driver.synchronize(own)
        del graphs
        room.close()
    base = times.get(PLAIN)
    return {
        "us": {name: round(float(np.median(found)), 2) for name, found in times.items()},
        "ratio": {}
        if base is None
        else {name: round(float(np.median(found / base)), 4) for name, found in times.items()},
        "labels_that_differ": differ,
        "not_timed": not_timed,
    }


class _Ends:
    """Where verdicts and labels arrive on the host."""

    def __init__(self, device: TorchDevice, batch: int):
        self.labels = device.pinned((batch,), device.torch.int64)
        self.verdicts = device.pinned((batch * VERDICT.itemsize,), device.torch.uint8)


def _labels_that_differ(driver: Driver, graphs: dict[str, Replayed], ends: _Ends, own: int) -> int | None:
    """Return how many labels of the fused kernel are not those of unfused torch; None: one is missing."""
    if not {KERNEL, UNFUSED} <= set(graphs):
        return None
    for name in (KERNEL, UNFUSED):
        for _ in range(2):
            graphs[name].replay()
            driver.synchronize(own)
    found = ends.verdicts.numpy().view(VERDICT)
    return int((found["label"] != ends.labels.numpy()).sum() + (found["flags"] & WRITTEN == 0).sum())


def _contenders(
    device: TorchDevice,
    network: MapNetwork,
    net: Any,
    batch: int,
    fused: FusedScorer,
    room: Any,
    own: int,
    ends: _Ends,
) -> dict[str, Callable[[], None]]:
    torch, case = device.torch, network.case(batch)
    shape = (batch, network.side, network.side, 3)
    host = device.pinned(shape, torch.uint8)
    host.copy_(torch.randint(0, 256, shape, dtype=torch.uint8))
    frames = torch.empty(shape, dtype=torch.uint8, device=device.name)
    labels, verdicts = ends.labels, ends.verdicts
    head = torch.randn(case.classes, case.dimension, device=device.name).to(device.dtype)
    written = device.tensor_at(room.address, (batch * VERDICT.itemsize,), "|u1")
    chain = TorchChain(torch, fused.scorer, half=device.dtype == torch.float16, device=device.name)
    compiled = torch.compile(chain.__call__, dynamic=False, backend=device.compiler)

    def network_map() -> Any:
        frames.copy_(host, non_blocking=True)
        return net(normalised(frames, device.dtype))

    def plain() -> None:
        y = network_map()
        z = (torch.relu(y) if network.activation == "relu" else y.clamp(0, 6)).mean(dim=(2, 3))
        labels.copy_(torch.nn.functional.linear(z, head).argmax(1), non_blocking=True)

    def kernel() -> None:
        y = device.for_kernel(network_map())
        fused.score_map(y, stream=own, into=room)
        verdicts.copy_(written, non_blocking=True)

    def scored_by(scoring: Callable[[Any], Any]) -> Callable[[], None]:
        def work() -> None:
            _, label, _ = scoring(network_map())
            labels.copy_(label, non_blocking=True)

        return work

    return {
        PLAIN: plain,
        KERNEL: kernel,
        UNFUSED: scored_by(chain),
        "torch.compile": scored_by(compiled),
    }


def _samples(
    device: TorchDevice, graphs: dict[str, Replayed], own: int, rounds: int, warm_up: int, train: int
) -> dict[str, Any]:
    driver = device.driver
    start, end = driver.timed_event(), driver.timed_event()
    found: dict[str, list[float]] = {name: [] for name in graphs}
    with device.on(own):
        for turn in range(warm_up + rounds):
            for name in list(graphs) if turn % 2 else list(graphs)[::-1]:
                driver.record(start, own)
                for _ in range(train):
                    graphs[name].replay()
                driver.record(end, own)
                elapsed = driver.elapsed_ms(start, end)
                if turn >= warm_up:
                    found[name].append(1000 * elapsed / train)
    driver.destroy_event(start)
    driver.destroy_event(end)
    return {name: np.array(times) for name, times in found.items()}


if __name__ == "__main__":
    sys.exit(step_main("What the open set costs in the whole run.", measure_overhead))
