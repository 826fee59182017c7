"""What the open set costs in the whole run: frames up, network, scoring, verdicts down, one CUDA graph each.

The base is the plain classifier with an argmax. Beside the fused kernel stands the same scoring in unfused
torch; with ``--compiled`` as ``torch.compile`` makes it, which is a step of its own: its compiler may take
minutes. All are replayed in turn (``interleaved_us``), and a ratio is the median over rounds.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.clocks import clocks_meanwhile, pci_id
from edgeosr.bench.gpu_rung.networks import NETWORKS, SMALL_NETWORKS, MapNetwork, built_network, normalised
from edgeosr.bench.gpu_rung.step_report import StepReport, step_main
from edgeosr.bench.gpu_rung.torch_device import Replayed, TorchDevice, open_torch
from edgeosr.bench.kernel_torch import TorchChain
from edgeosr.kernels.device_verdicts import VERDICT, WRITTEN
from edgeosr.kernels.driver.driver import open_driver
from edgeosr.kernels.driver.interleaved import TRAIN, how, interleaved_us
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import case_scorer

BATCHES = (1, 8, 64)
PLAIN, KERNEL, UNFUSED, COMPILED = "plain classifier", "fused kernel", "unfused torch", "torch.compile"


def measure_overhead(report: StepReport, options: argparse.Namespace) -> None:
    """Measure every network and batch."""
    turns = (2, 0, 1) if options.small else (100, 10, TRAIN)
    driver = open_driver()
    card = pci_id(driver, driver.device(None))
    device = open_torch(driver)
    device.torch.backends.cudnn.benchmark = True
    report.put(
        "how",
        f"uint8 frames up, network in {str(device.dtype).removeprefix('torch.')}, scoring, verdicts down; "
        f"one CUDA graph each; {how(*turns)}; ratio: median over rounds to the {PLAIN} with argmax",
    )
    with clocks_meanwhile(card) as clocks:
        _measure_all(report, options, device, turns)
    report.put("clocks", clocks)


def _measure_all(
    report: StepReport, options: argparse.Namespace, device: TorchDevice, turns: tuple[int, int, int]
) -> None:
    names = (PLAIN, KERNEL, COMPILED) if options.compiled else (PLAIN, KERNEL, UNFUSED)
    rows: list[dict[str, Any]] = []
    for network in SMALL_NETWORKS if options.small else NETWORKS:
        net = built_network(network, device)
        for batch in (1, 2) if options.small else BATCHES:
            found = _measured(device, network, net, batch, names, turns)
            rows.append({"network": network.name, "B": batch, **found})
            report.put("rows", rows)
            where = f"{network.name}, B = {batch}"
            if KERNEL in found["not_timed"]:
                report.fail(f"{where}: the fused kernel was not timed: {found['not_timed'][KERNEL]}")
            # fp16 may turn a near tie; more than that, and something else was timed.
            if (found["labels_that_differ"] or 0) > 1 + batch // 16:
                report.fail(
                    f"{where}: {found['labels_that_differ']} labels of the fused kernel are not those of "
                    f"{names[-1]}"
                )


def _measured(
    device: TorchDevice,
    network: MapNetwork,
    net: Any,
    batch: int,
    names: tuple[str, ...],
    turns: tuple[int, int, int],
) -> dict[str, Any]:
    driver, own, not_timed = device.driver, device.stream(), {}
    with FusedScorer(case_scorer(network.case()), driver=driver) as fused:
        room = fused.room(batch)
        graphs: dict[str, Replayed] = {}
        ends = Ends(device, batch)
        contenders = _contenders(device, network, net, batch, fused, room, own, ends)
        for name in names:
            try:
                graphs[name] = device.graph(own, contenders[name]())
            except Exception as error:  # whatever a library raises: the others are still timed
                driver.synchronize(own)
                not_timed[name] = f"{type(error).__name__}: {str(error)[-300:]}"
        differ = labels_that_differ(device, graphs, names[-1], ends, own)
        launches = {name: graph.replay for name, graph in graphs.items()}
        rounds, warm_up, train = turns
        with device.on(own):
            times = interleaved_us(driver, own, launches, rounds=rounds, warm_up=warm_up, train=train)
        driver.synchronize(own)
        del graphs, launches
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


class Ends:
    """Where verdicts and labels arrive on the host."""

    def __init__(self, device: TorchDevice, batch: int):
        self.labels = device.pinned((batch,), device.torch.int64)
        self.verdicts = device.pinned((batch * VERDICT.itemsize,), device.torch.uint8)

    def spoil(self) -> None:
        """Put there what no graph writes: what a graph does not write again is seen to be wrong."""
        self.labels.fill_(-1)
        self.verdicts.fill_(0)


def labels_that_differ(
    device: TorchDevice, graphs: dict[str, Replayed], other: str, ends: Ends, own: int
) -> int | None:
    """Return how many verdicts of the fused kernel are missing, or have another label than ``other`` gives.

    The graphs are replayed on ``own`` for it, as they are when they are timed. None: one of them is missing.
    """
    if not {KERNEL, other} <= set(graphs):
        return None
    ends.spoil()
    for name in (KERNEL, other):
        for _ in range(2):
            with device.on(own):
                graphs[name].replay()
            device.driver.synchronize(own)
    found = ends.verdicts.numpy().view(VERDICT)
    missing = (found["flags"] & WRITTEN == 0) | (ends.labels.numpy() < 0)
    return int((missing | (found["label"] != ends.labels.numpy())).sum())


def _contenders(
    device: TorchDevice,
    network: MapNetwork,
    net: Any,
    batch: int,
    fused: FusedScorer,
    room: Any,
    own: int,
    ends: Ends,
) -> dict[str, Callable[[], Callable[[], None]]]:
    """Return what makes each contender's work: only what is timed is compiled."""
    torch, case = device.torch, network.case(batch)
    shape = (batch, network.side, network.side, 3)
    host = device.pinned(shape, torch.uint8)
    host.copy_(torch.randint(0, 256, shape, dtype=torch.uint8))
    frames = torch.empty(shape, dtype=torch.uint8, device=device.name)
    labels, verdicts = ends.labels, ends.verdicts
    head = torch.randn(case.classes, case.dimension, device=device.name).to(device.dtype)
    written = device.tensor_at(room.address, (batch * VERDICT.itemsize,), "|u1")
    chain = TorchChain(torch, fused.scorer, half=device.dtype == torch.float16, device=device.name)

    def compiled() -> Any:
        return torch.compile(chain.__call__, dynamic=False, backend=device.compiler)

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
        PLAIN: lambda: plain,
        KERNEL: lambda: kernel,
        UNFUSED: lambda: scored_by(chain),
        COMPILED: lambda: scored_by(compiled()),
    }


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compiled", action="store_true", help="beside torch.compile, not unfused torch")


if __name__ == "__main__":
    sys.exit(step_main("What the open set costs in the whole run.", measure_overhead, more=_more))
