"""classifier32, the small network of the open-set literature (Neal et al. 2018; ARPL; Vaze et al. 2022)."""

from torch import Tensor, nn

from edgeosr.model.backbone import Backbone, pooled

# (output channels, stride) of the nine convolutions; "drop" marks Dropout2d(0.2).
_LAYERS: tuple[tuple[int, int] | str, ...] = (
    "drop", (64, 1), (64, 1), (128, 2),
    "drop", (128, 1), (128, 1), (128, 2),
    "drop", (128, 1), (128, 1), (128, 2),
)  # fmt: skip


class Classifier32(Backbone):
    """Nine 3x3 convolutions without bias, each with BatchNorm and LeakyReLU(0.2); z has 128 numbers.

    Dropout2d(0.2) stands before convolutions 1, 4 and 7 (the first on the image itself). Initialisation:
    convolutions N(0, 0.05), BatchNorm weights N(1, 0.02). 999,104 parameters without the head.
    Source: ARPL ``models/models.py``, class classifier32 (its unused tenth BatchNorm is left out).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for layer in _LAYERS:
            if isinstance(layer, str):
                layers.append(nn.Dropout2d(0.2))
                continue
            width, stride = layer
            layers += [
                nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.LeakyReLU(0.2),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.dimension = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.05)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``z [B, 128]`` for ``x [B, 3, S, S]``."""
        return pooled(self.layers(x))
