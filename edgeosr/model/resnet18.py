"""ResNet-18 (He et al. 2016, arXiv 1512.03385), with a stem for small and one for large images."""

from torch import Tensor, nn

from edgeosr.model.backbone import Backbone, pooled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip; a 1x1 convolution on the skip where the shape changes."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.skip = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, width, H / stride, W / stride]``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.skip(x)
        return self.relu(y)  # type: ignore[no-any-return]  # torch types no module's call


class ResNet18(Backbone):
    """Four stages of two basic blocks with 64, 128, 256 and 512 channels; z has 512 numbers.

    Args:
        small_images: 3x3 stride-1 stem without max-pool (32 to about 112 pixels; 11,168,832 parameters),
            instead of the original's 7x7 stride-2 stem with max-pool (224 pixels; 11,176,512 parameters).
    """

    def __init__(self, *, small_images: bool) -> None:
        super().__init__()
        if small_images:
            stem: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1, bias=False)]
        else:
            stem = [nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)]
        stem += [nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        if not small_images:
            stem.append(nn.MaxPool2d(3, 2, padding=1))
        self.stem = nn.Sequential(*stem)
        blocks, channels = [], 64
        for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [BasicBlock(channels, width, stride), BasicBlock(width, width, 1)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.dimension = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return ``z [B, 512]`` for ``x [B, 3, S, S]``."""
        return pooled(self.blocks(self.stem(x)))
