"""Which backbones there are, by name; nothing heavy is imported until one is built."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeosr.errors import UsageError, require_choice

if TYPE_CHECKING:
    from edgeosr.model.backbone import Backbone

TIMM_PREFIX = "timm:"


@dataclass(frozen=True)
class Architecture:
    """One backbone edgeosr knows by name.

    Attributes:
        name: as in ``--arch``.
        input_size: default side of the square input, pixels.
        smallest: smallest side it accepts, pixels.
        pretrained: True if ImageNet weights can be had.
        about: one line for ``--help``.
    """

    name: str
    input_size: int
    smallest: int
    pretrained: bool
    about: str


ARCHITECTURES: dict[str, Architecture] = {
    entry.name: entry
    for entry in (
        Architecture(
            "classifier32", 32, 16, False, "nine 3x3 convolutions, 1 M parameters, for 32-pixel images"
        ),
        Architecture(
            "resnet18-32", 32, 16, False, "ResNet-18, 3x3 stride-1 stem without max-pool, small images"
        ),
        Architecture("resnet18", 224, 32, False, "ResNet-18, 7x7 stride-2 stem with max-pool"),
        Architecture(
            "efficientnet-lite0", 224, 32, True, "EfficientNet-Lite0, 4.7 M parameters, ImageNet weights"
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Return what is known about an architecture.

    Raises:
        UsageError: no such name; near ones are suggested. ``timm:NAME`` is always accepted here and checked
            when it is built.
    """
    if name.startswith(TIMM_PREFIX):
        if len(name) == len(TIMM_PREFIX):
            raise UsageError("arch timm:NAME needs a model name, for example timm:mobilenetv3_small_100")
        return Architecture(name, 224, 16, True, "a model of the timm library")
    if name not in ARCHITECTURES:
        require_choice("arch", name, (*ARCHITECTURES, f"{TIMM_PREFIX}NAME"))
    return ARCHITECTURES[name]


def build_backbone(arch: str, input_size: int, pretrained: bool = False) -> "Backbone":
    """Build a backbone; weights are random (drawn from torch's global generator) unless pretrained.

    Args:
        arch: a name of ``ARCHITECTURES``, or ``timm:NAME``.
        input_size: side of the square input, pixels.
        pretrained: load ImageNet weights.

    Raises:
        UsageError: unknown name, input too small, or no pretrained weights for it.
        MissingDependencyError: the package that brings the network or its weights is not installed.
    """
    known = architecture(arch)
    if input_size < known.smallest:
        raise UsageError(f"{arch} needs an input of at least {known.smallest} pixels; got {input_size}")
    if pretrained and not known.pretrained:
        able = ", ".join(entry.name for entry in ARCHITECTURES.values() if entry.pretrained)
        raise UsageError(f"there are no pretrained weights for {arch}; choose {able} or timm:NAME")
    if arch.startswith(TIMM_PREFIX):
        from edgeosr.model.timm_backbone import TimmBackbone

        return TimmBackbone(arch[len(TIMM_PREFIX) :], input_size, pretrained=pretrained)
    if arch == "classifier32":
        from edgeosr.model.classifier32 import Classifier32

        return Classifier32()
    if arch in ("resnet18", "resnet18-32"):
        from edgeosr.model.resnet18 import ResNet18

        return ResNet18(small_images=arch == "resnet18-32")
    from edgeosr.model.efficientnet_lite0 import EfficientNetLite0

    return EfficientNetLite0(input_size, pretrained=pretrained)
