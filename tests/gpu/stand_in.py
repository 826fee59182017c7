"""A double of a TensorRT engine whose contexts run a classifier in torch, on the stream and at the addresses.

So the product's own EngineRunner runs whole on a card where TensorRT cannot be had. What it cannot show:
TensorRT's own contexts, plans, and what they allow in a capture.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.networks import MapNetwork, built_network, normalised
from edgeosr.bench.gpu_rung.torch_device import TorchDevice
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights
from edgeosr.kernels.selftest.cases import case_scorer
from edgeosr.runtime.backends.engine_io import EngineIo
from edgeosr.runtime.backends.engine_runner import EngineRunner
from edgeosr.runtime.rows import Rows
from edgeosr.scoring.reference import reference_scores

MOST = 16  # frames of one run
ACTIVATION_BYTES = 4096  # torch has its own memory; the runner's is only passed on


class StandInContext:
    """Behaves like an IExecutionContext: uint8 frames and a channel order in, the map out."""

    def __init__(self, device: TorchDevice, net: Any, network: MapNetwork):
        self._device, self._net, self._network = device, net, network
        self._shape: tuple[int, ...] = ()
        self._at: dict[str, int] = {}
        self._memory = (0, 0)

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0 and size >= ACTIVATION_BYTES
        self._memory = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames"
        self._shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == "map"
        network = self._network
        return (self._shape[0], network.dimension, network.size, network.size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0, "TensorRT takes aligned addresses only"
        self._at[name] = int(memory)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        if set(self._at) != {"frames", "channel_order", "map"} or not self._shape or not self._memory[0]:
            return False
        device, at, shape = self._device, dict(self._at), self._shape
        out = self.get_tensor_shape("map")

        def run() -> None:
            frames = device.tensor_at(at["frames"], shape, "|u1")
            order = device.tensor_at(at["channel_order"], (3,), "<i8")
            y = self._net(normalised(frames.index_select(3, order), device.dtype))
            device.tensor_at(at["map"], out, "<f2").copy_(y)

        device.enqueue(stream_handle, run)
        return True


class StandInContexts:
    """Makes them; see ``edgeosr.runtime.backends.contexts.Contexts``."""

    def __init__(self, device: TorchDevice, net: Any, network: MapNetwork):
        self._parts = (device, net, network)

    def make(self, *, captured: bool) -> StandInContext:
        return StandInContext(*self._parts)

    def capturable(self, context: StandInContext, stream: int) -> bool:
        return True

    def warmed(self) -> None:
        pass


@dataclass
class StandIn:
    """The runner on a stand-in engine, and what its verdicts must be."""

    network: MapNetwork
    device: TorchDevice
    net: Any
    scorer: FusedScorer
    runner: EngineRunner
    most: int

    def expected(self, frames: np.ndarray, *, bgr: bool, threshold: float) -> dict[str, np.ndarray]:
        """The float64 reference on the maps that the network gives for ``frames``, ``most`` at a time."""
        torch = self.device.torch
        rgb = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1] if bgr else frames))
        maps = []
        with torch.inference_mode():
            for first in range(0, len(rgb), self.most):
                piece = rgb[first : first + self.most].to(self.device.name)
                maps.append(self.net(normalised(piece, self.device.dtype)).half().cpu().numpy())
        scorer = replace(unpacked_weights(self.scorer.scorer, half=True), threshold=threshold)
        found: dict[str, np.ndarray] = reference_scores(scorer, map=np.concatenate(maps))
        return found

    def wrong(self, frames: np.ndarray, rows: Rows, *, bgr: bool, threshold: float, band: float) -> int:
        """How many verdicts are not the reference's; decisions within ``band`` of the limit may differ."""
        expected = self.expected(frames, bgr=bgr, threshold=threshold)
        accepted = expected["score"] <= threshold
        near = np.abs(expected["score"] - threshold) <= band
        far = np.abs(rows.score - expected["score"]) > band
        return int((far | (rows.label != expected["label"]) | ((rows.accepted != accepted) & ~near)).sum())


def stand_in(
    driver: Driver,
    device: TorchDevice,
    network: MapNetwork,
    *,
    most: int = MOST,
    scorer_type: Any = FusedScorer,
) -> StandIn:
    """Build it; ``runner.close()`` after use. More than ``most`` frames go through in pieces."""
    net = built_network(network, device)
    scorer = scorer_type(case_scorer(network.case()), half=True, driver=driver)
    side = network.side
    runner = EngineRunner(
        "stand-in",
        driver=driver,
        scorer=scorer,
        engine=None,
        activation_bytes=ACTIVATION_BYTES,
        contexts=StandInContexts(device, net, network),
        io=EngineIo({"map": "<f2"}, (1, side, side, 3), (most, side, side, 3)),
        label="torch in the engine's place",
    )
    return StandIn(network, device, net, scorer, runner, most)
