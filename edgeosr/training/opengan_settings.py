"""How the OpenGAN discriminator is trained, and what one epoch of it was; see ``opengan.py``."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UsageError, require_seed, require_whole

Float32 = NDArray[np.float32]
OpenKind = Literal["real", "synthetic", "left-out classes"]
OPEN_KINDS: tuple[OpenKind, ...] = ("real", "synthetic", "left-out classes")
HIDDEN_SIZES = (512, 256, 128, 64)
SLOPE = 0.2
# A channel that hardly moves on known images is scaled as if it moved by this share of the average channel.
# Divided by its own (almost zero) deviation, it would be the largest input of all as soon as an unknown image
# moves it, through weights that known features never trained: on raw digits, a share of 0.01 gave AUROCs down
# to 0.40 where 0.3 gave 0.67 and more.
SMALLEST_RELATIVE_STD = 0.3


@dataclass(frozen=True, kw_only=True)
class OpenGanSettings:
    """How the discriminator is trained.

    Attributes:
        lambda_g: weight of the generated features' loss, >= 0; 0 trains without a generator (then real
            outliers are needed). The authors use 1 without outliers and 0.2 with them.
        lambda_o: weight of the outliers' loss, >= 0; without effect if there are no outliers.
        lr_g, lr_d: Adam's learning rates, > 0. Adam's betas are (0.5, 0.999).
        batch: features of each kind (known, outlier, generated) a step, >= 2.
        epochs: number of selections, >= 1; one epoch's discriminator is kept.
        steps: steps an epoch, >= 1.
        noise: length of the generator's input, >= 1.
        seed: everything random follows from it, >= 0.
    """

    lambda_g: float = 1.0
    lambda_o: float = 1.0
    lr_g: float = 1e-4
    lr_d: float = 1e-4 / 1.5
    batch: int = 128
    epochs: int = 30
    steps: int = 50
    noise: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch", 2), ("epochs", 1), ("steps", 1), ("noise", 1)):
            require_whole(f"OpenGAN {name}", getattr(self, name), least)
        require_seed("OpenGAN seed", self.seed)
        for name in ("lambda_g", "lambda_o"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"OpenGAN {name} must be a finite number of at least 0; got {value!r}")
        for name in ("lr_g", "lr_d"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"OpenGAN {name} must be a finite number above 0; got {value!r}")


@dataclass(frozen=True, kw_only=True)
class OpenGanEpoch:
    """One epoch: losses are means over its steps, in nats; None where a kind takes no part.

    Attributes:
        epoch: counted from 1.
        loss_known: -log D(x) over known features.
        loss_outliers: -log(1 - D(outlier)).
        loss_generated: -log(1 - D(G(noise))).
        loss_generator: -log D(G(noise)), what the generator minimises.
        select_auroc: of D on the select part against the open validation set; None without one.
        diversity: mean distance between pairs of generated features over the mean distance between pairs
            of known ones (standardised features). About 1 is healthy; near 0 the generator has collapsed
            to a point.
    """

    epoch: int
    loss_known: float
    loss_outliers: float | None
    loss_generated: float | None
    loss_generator: float | None
    select_auroc: float | None
    diversity: float | None

    def as_json(self) -> dict[str, Any]:
        """Return plain values for a log line."""
        return asdict(self)
