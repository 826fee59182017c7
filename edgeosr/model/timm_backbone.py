"""Any image model of the timm library as a backbone; timm is imported only when one is built."""

import importlib
from typing import Any

import torch
from torch import Tensor

from edgeosr.errors import MissingDependencyError, UsageError, suggestion
from edgeosr.model.backbone import Backbone


class TimmBackbone(Backbone):
    """A timm model without its classifier: z is its pooled feature, before any dropout or logits.

    The closed-form Jacobian norm needs a model that ends in convolution, activation and average pool; for
    others (transformers, MobileNetV3's extra head layer) export with ``--jacobian probes`` or ``none``.

    Args:
        name: timm's model name, for example ``mobilenetv2_100``.
        input_size: side of the square input, pixels.
        pretrained: load timm's weights (downloaded by timm on first use), and use their normalisation.

    Raises:
        MissingDependencyError: timm is not installed.
        UsageError: timm has no such model, or it cannot take this input size.
    """

    def __init__(self, name: str, input_size: int, *, pretrained: bool) -> None:
        super().__init__()
        timm = _timm(name)
        if not timm.is_model(name):
            raise UsageError(f"timm has no model {name!r}{suggestion(name, timm.list_models())}")
        self.net = timm.create_model(name, pretrained=pretrained, num_classes=0, drop_rate=0.0)
        self.dimension = self._dimension(name, input_size)
        if pretrained:
            config = self.net.pretrained_cfg
            self.mean, self.std = tuple(config["mean"]), tuple(config["std"])

    def _dimension(self, name: str, input_size: int) -> int:
        # timm's num_features is the map's width, not always the pooled feature's: one pass tells for sure.
        was_training = self.net.training
        try:
            with torch.no_grad():
                z = self.net.eval()(torch.zeros(1, 3, input_size, input_size))
        except (RuntimeError, AssertionError) as error:
            raise UsageError(
                f"timm:{name} does not take images of {input_size} pixels ({str(error).splitlines()[0]}); "
                "choose another input size"
            ) from error
        finally:
            self.net.train(was_training)
        if z.dim() != 2:
            raise UsageError(f"timm:{name} gives features of shape {tuple(z.shape)}, expected [1, D]")
        return int(z.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return ``z [B, D]`` for ``x [B, 3, S, S]``."""
        return self.net(x)  # type: ignore[no-any-return]  # torch types no module's call


def _timm(name: str) -> Any:
    # Not one of our extras: timm brings torchvision, which must be built for the torch that is there.
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise MissingDependencyError(
            f"the architecture timm:{name} needs the package timm and a torchvision that fits the installed "
            f"torch ({error}); run: pip install timm, or take --arch efficientnet-lite0"
        ) from error
