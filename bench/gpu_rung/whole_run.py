"""The whole run, case by case: frames up, network, scoring, verdicts down, one CUDA graph each.

This is what ``overhead`` runs in a process of its own. A capture that fails may leave torch and the stream
unusable, and an error in a destructor of torch's ends the process; so what is going on stands in the report
(``at``) before it begins, and what was measured before anything is freed.
"""

import argparse
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.clocks import clocks_meanwhile, pci_id
from edgeosr.bench.gpu_rung.networks import (
    CLASSES,
    NETWORKS,
    SMALL_NETWORKS,
    MapNetwork,
    built_network,
    normalised,
)
from edgeosr.bench.gpu_rung.step_report import StepReport
from edgeosr.bench.gpu_rung.torch_device import CaptureFailedError, Replayed, TorchDevice, open_torch
from edgeosr.bench.kernel_torch import TorchChain
from edgeosr.errors import CudaError
from edgeosr.kernels.device_verdicts import NUMBER_FROM, VERDICT, WRITTEN
from edgeosr.kernels.driver.driver import open_driver
from edgeosr.kernels.driver.interleaved import TRAIN, how, interleaved_us
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest.cases import case_scorer

BATCHES = (1, 8, 64)
PLAIN, KERNEL, UNFUSED, COMPILED = "plain classifier", "fused kernel", "unfused torch", "torch.compile"
TIMING, CLOSING = "timing", "closing"  # what a process is at, beside a way that it captures
_WORDS = 600  # letters of an error


class LostError(Exception):
    """This process can measure nothing more; another one can."""


@dataclass(frozen=True)
class Case:
    """A network and how many frames it gets at a time."""

    network: MapNetwork
    batch: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.network.name}, B = {self.batch}"


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        begin: number of its first case.
        without: by a case's number the ways that ended earlier processes.
    """

    begin: int = 0
    without: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return it as ``order_from_json`` takes it."""
        return json.dumps({"begin": self.begin, "without": {str(n): w for n, w in self.without.items()}})


def order_from_json(text: str) -> Order:
    """Return the order in a text of ``Order.as_json``."""
    found = json.loads(text)
    return Order(int(found["begin"]), {int(n): tuple(ways) for n, ways in found["without"].items()})


def every_case(*, small: bool) -> tuple[Case, ...]:
    """Return the cases in their order."""
    networks, batches = (SMALL_NETWORKS, (1, 2)) if small else (NETWORKS, BATCHES)
    return tuple(Case(network, batch) for network in networks for batch in batches)


def ways(*, compiled: bool) -> tuple[str, ...]:
    """Return what is timed beside one another."""
    return (PLAIN, KERNEL, COMPILED) if compiled else (PLAIN, KERNEL, UNFUSED)


def measure_cases(report: StepReport, options: argparse.Namespace, order: Order) -> None:
    """Measure from ``order.begin`` on; ``done`` is told once every case was.

    What goes wrong with one case or way is kept in its row, and the others go on. Where the process is of no
    more use, ``why`` is told and it ends.
    """
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
    with clocks_meanwhile(card) as clocks, contextlib.suppress(LostError):
        _measure_all(report, options, device, order, turns)
    report.put("clocks", clocks)


def _measure_all(
    report: StepReport,
    options: argparse.Namespace,
    device: TorchDevice,
    order: Order,
    turns: tuple[int, int, int],
) -> None:
    rows: dict[str, Any] = {}
    net: Any = None
    built: MapNetwork | None = None
    for number, case in list(enumerate(every_case(small=options.small)))[order.begin :]:
        left_out = order.without.get(number, ())
        names = tuple(name for name in ways(compiled=options.compiled) if name not in left_out)
        measured = _Measured(report, rows, number)
        try:
            if built is not case.network:
                measured.at("building the network")
                net, built = built_network(case.network, device), case.network
            _measure(device, case, net, names, turns, measured)
        except LostError:
            raise
        except Exception as error:  # whatever a library raises: the other cases are still measured
            if "why" in report.figures:  # what is freed on a lost device fails as well
                raise LostError from error
            measured.keep({"failed": first_words(error)})
            measured.require_alive(device, 0, error)
    report.put("done", True)


class _Measured:
    """Where one case's row, and what is going on, is kept at once."""

    def __init__(self, report: StepReport, rows: dict[str, Any], number: int):
        self._report, self._rows, self._number = report, rows, str(number)

    def at(self, stage: str) -> None:
        self._report.put("at", [int(self._number), stage])

    def keep(self, found: Mapping[str, Any]) -> None:
        self._rows[self._number] = {**self._rows.get(self._number, {}), **found}
        self._report.put("rows", self._rows)

    def require_alive(self, device: TorchDevice, stream: int, error: BaseException) -> None:
        """Raise LostError, and keep why, where the stream is of no more use after ``error``."""
        try:
            device.driver.synchronize(stream)
        except CudaError as lost:
            self._report.put("why", f"{first_words(error)}; then {lost}")
            raise LostError from error
        if isinstance(error, CaptureFailedError):  # torch's memory may take the stream for captured still
            self._report.put("why", first_words(error))
            raise LostError from error


def first_words(error: BaseException) -> str:
    """Return an error's type and its first lines; a backtrace of C++ may follow them."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("frame #")]
    return f"{type(error).__name__}: {' '.join(lines[:6])}"[:_WORDS]


def _measure(
    device: TorchDevice,
    case: Case,
    net: Any,
    names: tuple[str, ...],
    turns: tuple[int, int, int],
    measured: _Measured,
) -> None:
    driver, own, not_timed = device.driver, device.stream(), dict[str, str]()
    with FusedScorer(case_scorer(case.network.case()), driver=driver) as fused:
        room = fused.room(case.batch)
        graphs: dict[str, Replayed] = {}
        ends = Ends(device, case.batch)
        contenders = _contenders(device, case, net, fused, room, own, ends)
        for name in names:
            measured.at(name)
            try:
                graphs[name] = device.graph(own, contenders[name]())
            except Exception as error:  # whatever a library raises: the others are still timed
                not_timed[name] = first_words(error)
                measured.keep({"not_timed": not_timed})
                measured.require_alive(device, own, error)
        measured.at(TIMING)
        differ = labels_that_differ(device, graphs, COMPILED if COMPILED in names else UNFUSED, ends, own)
        launches = {name: graph.replay for name, graph in graphs.items()}
        rounds, warm_up, train = turns
        with device.on(own):
            times = interleaved_us(driver, own, launches, rounds=rounds, warm_up=warm_up, train=train)
        driver.synchronize(own)
        base = times.get(PLAIN)
        measured.keep(
            {
                "us": {name: round(float(np.median(found)), 2) for name, found in times.items()},
                "ratio": {}
                if base is None
                else {name: round(float(np.median(found / base)), 4) for name, found in times.items()},
                "labels_that_differ": differ,
                "not_timed": not_timed,
            }
        )
        measured.at(CLOSING)
        del graphs, launches
        room.close()


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
    found = ends.verdicts.numpy().view(VERDICT)
    for name in (other, KERNEL):
        for _ in range(2):
            before = found["flags"] >> NUMBER_FROM
            with device.on(own):
                graphs[name].replay()
            device.driver.synchronize(own)
    old = found["flags"] >> NUMBER_FROM == before  # a graph whose kernel does not run brings these
    missing = old | (found["flags"] & WRITTEN == 0) | (ends.labels.numpy() < 0)
    return int((missing | (found["label"] != ends.labels.numpy())).sum())


def _contenders(
    device: TorchDevice,
    case: Case,
    net: Any,
    fused: FusedScorer,
    room: Any,
    own: int,
    ends: Ends,
) -> dict[str, Callable[[], Callable[[], None]]]:
    """Return what makes each contender's work: only what is timed is compiled."""
    torch, network, batch = device.torch, case.network, case.batch
    shape = (batch, network.side, network.side, 3)
    host = device.pinned(shape, torch.uint8)
    host.copy_(torch.randint(0, 256, shape, dtype=torch.uint8))
    frames = torch.empty(shape, dtype=torch.uint8, device=device.name)
    labels, verdicts = ends.labels, ends.verdicts
    head = torch.randn(CLASSES, network.dimension, device=device.name).to(device.dtype)
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
