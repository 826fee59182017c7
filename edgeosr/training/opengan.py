"""OpenGAN on features: a small discriminator that tells known embeddings from everything else.

``max_D min_G  E[log D(x)] + lambda_o E[log(1 - D(outlier))] + lambda_g E[log(1 - D(G(noise)))]``
(Kong and Ramanan, OpenGAN, ICCV 2021, eq. 2; layer sizes, optimiser and selection as in the authors' code,
aimerykong/OpenGAN). D is the probability of *known*; the generator uses the non-saturating loss. The
discriminator of the epoch with the best AUROC on the select part against an open validation set is kept:
without that selection the method is at chance (OpenOOD v1.5 lists it last of 61), with it it is useful.

Where we depart from the reference, and why:
    - **No BatchNorm in the discriminator.** The published test code scores all-known and all-unknown batches
      with the statistics of the batch, so the composition of a batch leaks into its scores; with running
      statistics a user reports that the discriminator no longer works (issue 10 there). A camera sends one
      frame at a time. Ours is Linear + LeakyReLU(0.2) only: no mode, no batch, nothing to leak.
    - Instead, features are standardised by the mean and standard deviation of the known training features,
      and that affine map is folded into the first layer, so that what ships takes the raw embedding.
    - Without BatchNorm the N(0, 0.02) initialisation starves the deeper layers; ours is Kaiming's.
    - An epoch is a fixed number of batches, not a pass: cost does not grow with the data, and small sets
      are not trained too little.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, TrainingError, UsageError, import_extra, require_choice
from edgeosr.scoring.discriminator import discriminator_logit
from edgeosr.training.opengan_settings import (
    OPEN_KINDS,
    SLOPE,
    SMALLEST_RELATIVE_STD,
    Float32,
    OpenGanEpoch,
    OpenGanSettings,
    OpenKind,
)

Layers = tuple[tuple[Float32, Float32], ...]


@dataclass(frozen=True, kw_only=True)
class Discriminator:
    """A trained discriminator: plain layers on the raw embedding.

    Attributes:
        layers: (weight float32 ``[out, in]``, bias float32 ``[out]``) pairs, LeakyReLU(``slope``) between
            them, none after the last; sizes D-512-256-128-64-1. The standardisation is inside layer 0.
        slope: LeakyReLU's slope below zero.
        history: one entry an epoch.
        best_epoch: the epoch that was kept, counted from 1.
        select_auroc: its AUROC on the select part; None if it was chosen elsewhere.
        selected_by: what chose the epoch.
        settings: as trained.
        every: the layers of each epoch, if they were to be kept; else empty.
    """

    layers: Layers
    slope: float
    history: tuple[OpenGanEpoch, ...]
    best_epoch: int
    select_auroc: float | None
    selected_by: OpenKind
    settings: OpenGanSettings
    every: tuple[Layers, ...] = ()

    def at(self, epoch: int) -> "Discriminator":
        """Return the discriminator of an epoch, counted from 1, that was chosen elsewhere (of ``every``)."""
        return replace(
            self,
            layers=self.every[epoch - 1],
            history=self.history[:epoch],
            best_epoch=epoch,
            select_auroc=None,
            every=(),
        )

    def logits(self, embeddings: Float32) -> Float32:
        """Return logit D(z); larger = more likely known.

        Args:
            embeddings: float32 ``[n, D]``, raw (not standardised, not normalised).

        Returns:
            float32 ``[n]``, accumulated in float64.
        """
        return discriminator_logit(self.layers, self.slope, embeddings).astype(np.float32)


def fold_standardisation(
    weight: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]], mean: Float32, std: Float32
) -> tuple[Float32, Float32]:
    """Return (weight', bias') with ``weight' @ z + bias' == weight @ ((z - mean) / std) + bias``.

    Args:
        weight: ``[out, D]``.
        bias: ``[out]``.
        mean: ``[D]``.
        std: ``[D]``, > 0.
    """
    scaled = np.asarray(weight, np.float64) / np.asarray(std, np.float64)
    shifted = np.asarray(bias, np.float64) - scaled @ np.asarray(mean, np.float64)
    return scaled.astype(np.float32), shifted.astype(np.float32)


def train_discriminator(
    known_train: Float32,
    known_select: Float32,
    *,
    open_train: Float32 | None = None,
    open_select: Float32 | None,
    open_select_kind: OpenKind,
    settings: OpenGanSettings | None = None,
    threads: int | None = None,
    advance: Callable[..., None] | None = None,
    each_step: Callable[[], None] | None = None,
    keep_every: bool = False,
) -> Discriminator:
    """Train D against a feature generator and, if given, outliers; keep the best epoch.

    Runs on the CPU: seconds to a minute, and the same bits for the same seed, data and thread count.
    The caller keeps the parts apart: ``open_train`` and ``open_select`` share no image, and neither holds
    any of the test unknowns.

    Args:
        known_train: embeddings of the train part, float32 ``[n, D]``, n >= 2.
        known_select: embeddings of the select part, ``[m, D]``, m >= 1.
        open_train: embeddings of real outliers, ``[k, D]``, or None (OpenGAN-0).
        open_select: open validation embeddings, ``[j, D]``, j >= 1; None to keep the last of
            ``settings.epochs``, which were chosen elsewhere (``discriminator_choice.py``).
        open_select_kind: what the choice was made on; recorded as ``selected_by``.
        settings: the defaults if None.
        threads: of torch while it trains; None for one.
        advance: of a caller's own bar, called after each epoch; torch's threads are then left as they are.
        each_step: called before each step, with ``advance`` only; what it raises ends the training.
        keep_every: keep the layers of each epoch, with ``advance`` only.

    Raises:
        DataError: shapes do not fit, a part is empty or not finite, or known embeddings are all equal.
        UsageError: nothing to train against (no outliers, and ``lambda_g`` is 0).
        TrainingError: a loss is not finite.
        MissingDependencyError: torch is not installed.
    """
    settings = settings or OpenGanSettings()
    require_choice("open_select_kind", open_select_kind, OPEN_KINDS)
    dimension = known_train.shape[-1]
    _require_features("known_train", known_train, dimension, least=2)
    _require_features("known_select", known_select, dimension, least=1)
    if open_select is not None:
        _require_features("open_select", open_select, dimension, least=1)
    outliers = open_train if settings.lambda_o > 0 else None
    if outliers is not None:
        _require_features("open_train", outliers, dimension, least=1)
    elif settings.lambda_g == 0:
        raise UsageError(
            "the discriminator needs something to tell known embeddings from: expected outliers with "
            "lambda_o above 0, or lambda_g above 0; pass --outliers or raise lambda_g"
        )
    mean, std = _standardisation(known_train)
    import_extra("torch", extra="train", purpose="training the discriminator")
    from edgeosr.training import opengan_loop

    features = (
        (known_train - mean) / std,
        (known_select - mean) / std,
        None if outliers is None else (outliers - mean) / std,
        None if open_select is None else (open_select - mean) / std,
    )
    every: list[Layers] = []
    if advance is None:
        layers, history, best = opengan_loop.train_layers(*features, settings, threads)
    else:
        layers, history, best = opengan_loop.train_layers_here(
            *features, settings, advance, each_step, every if keep_every else None
        )

    def on_raw(layers: Layers) -> Layers:
        return fold_standardisation(*layers[0], mean, std), *layers[1:]

    return Discriminator(
        layers=on_raw(layers),
        slope=SLOPE,
        history=history,
        best_epoch=best.epoch,
        select_auroc=best.select_auroc,
        selected_by=open_select_kind,
        settings=settings,
        every=tuple(on_raw(one) for one in every),
    )


def _require_features(name: str, features: Float32, dimension: int, *, least: int) -> None:
    """Raise DataError unless ``features`` is a finite float32 ``[>= least, dimension]``."""
    if features.ndim != 2 or features.shape[1] != dimension or len(features) < least:
        raise DataError(
            f"{name} must be embeddings of shape [n, {dimension}] with n >= {least}; got {features.shape}; "
            "all parts must come from the same backbone and must not be empty"
        )
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise DataError(
            f"{name} must be finite; {int((~finite).sum())} of {len(features)} embeddings are not; "
            "the backbone has diverged: train it with a smaller learning rate"
        )


def _standardisation(features: Float32) -> tuple[Float32, Float32]:
    """Return float32 (mean ``[D]``, std ``[D]``), std kept away from zero."""
    wide = features.astype(np.float64)
    std = wide.std(axis=0)
    if std.mean() == 0:
        raise TrainingError(
            "the known embeddings are all equal: the backbone has collapsed; "
            "train it longer or with less weight decay"
        )
    std = np.maximum(std, SMALLEST_RELATIVE_STD * std.mean())
    return wide.mean(axis=0).astype(np.float32), std.astype(np.float32)
