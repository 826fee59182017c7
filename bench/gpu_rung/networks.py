"""Classifiers up to the map that the fused kernel takes, in torch, with random weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeosr.kernels.selftest.cases import SelftestCase

if TYPE_CHECKING:
    from edgeosr.bench.gpu_rung.torch_device import TorchDevice

CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class MapNetwork:
    """A network and the kernel's case behind it.

    Attributes:
        name: with its input's side.
        arch: of ``edgeosr.model.catalogue``.
        side: pixels of its square input.
        dimension: D of the map.
        size: side of the map.
        taps: offsets that the closed form's table has, 9 for a 3x3 last convolution, 1 for 1x1.
        activation: the last one.
    """

    name: str
    arch: str
    side: int
    dimension: int
    size: int
    taps: int
    activation: str

    def case(self, batch: int = 1) -> SelftestCase:
        """Return the case: fp16 weights and input."""
        return SelftestCase(
            dimension=self.dimension,
            batch=batch,
            size=self.size,
            taps=self.taps,
            activation=self.activation,
            classes=CLASSES,
        )


RESNET = MapNetwork(
    name="resnet18, 112 px",
    arch="resnet18-32",
    side=112,
    dimension=512,
    size=14,
    taps=9,
    activation="relu",
)
EFFICIENTNET = MapNetwork(
    name="efficientnet-lite0, 224 px",
    arch="efficientnet-lite0",
    side=224,
    dimension=1280,
    size=7,
    taps=1,
    activation="clip",
)
NETWORKS = (RESNET, EFFICIENTNET)
# For a run without a card: the same networks on stamps.
SMALL_NETWORKS = (
    MapNetwork(
        name="resnet18, 16 px",
        arch="resnet18-32",
        side=16,
        dimension=512,
        size=2,
        taps=9,
        activation="relu",
    ),
    MapNetwork(
        name="efficientnet-lite0, 64 px",
        arch="efficientnet-lite0",
        side=64,
        dimension=1280,
        size=2,
        taps=1,
        activation="clip",
    ),
)


def built_network(network: MapNetwork, device: "TorchDevice", *, seed: int = 0) -> Any:
    """Return the module, from normalised images ``[B, 3, S, S]`` to the map ``[B, D, H, W]``.

    It is in evaluation mode and channels last on the device. BatchNorm has statistics of noise, so that the
    map is of the order of one, as a trained network's is.
    """
    torch = device.torch
    from edgeosr.model.catalogue import build_backbone

    torch.manual_seed(seed)
    net = _map_of(build_backbone(network.arch, network.side)).to(device.name)
    net = net.to(dtype=device.dtype).to(memory_format=torch.channels_last)
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain average over what follows
    with torch.no_grad():
        for _ in range(2):
            noise = torch.randn(16, 3, network.side, network.side, device=device.name, dtype=device.dtype)
            net(noise.contiguous(memory_format=torch.channels_last))
    return net.eval()


def normalised(frames: Any, dtype: Any) -> Any:
    """Return uint8 frames ``[B, S, S, 3]`` as the network takes them, about -2 to 2."""
    return frames.permute(0, 3, 1, 2).to(dtype).div_(64).sub_(2)


def _map_of(backbone: Any) -> Any:
    from torch import Tensor, nn

    class MapOf(nn.Module):
        """A backbone without its last activation and its pooling."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, x: Tensor) -> Tensor:
            """Return the map before its last activation."""
            net = self.backbone
            x = net.stem(x)
            if hasattr(net, "last"):  # EfficientNet: 1x1 convolution, BatchNorm, ReLU6
                y: Tensor = net.last[:-1](net.blocks(x))
                return y
            x = net.blocks[:-1](x)
            block = net.blocks[-1]
            inner = block.relu(block.bn1(block.conv1(x)))
            y = block.bn2(block.conv2(inner)) + block.skip(x)
            return y

    return MapOf()
