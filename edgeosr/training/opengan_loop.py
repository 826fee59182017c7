"""The generator, the discriminator and their training loop; the only part of OpenGAN that needs torch.

Everything here works on standardised features; ``opengan.py`` folds the standardisation in afterwards.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from edgeosr.errors import TrainingError
from edgeosr.metrics import auroc
from edgeosr.progress import progress
from edgeosr.training.opengan_settings import HIDDEN_SIZES, SLOPE, Float32, OpenGanEpoch, OpenGanSettings
from edgeosr.training.processors import limited_threads

Layers = tuple[tuple[Float32, Float32], ...]
ADAM_BETAS = (0.5, 0.999)
GENERATOR_SIZES = (512, 256, 128, 256)
DIVERSITY_SAMPLES = 512


def make_discriminator(dimension: int, random: torch.Generator) -> nn.Sequential:
    """Return D: ``[n, dimension]`` -> ``[n, 1]``, the logit of "known"; no normalisation layer in it."""
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((dimension, *HIDDEN_SIZES, 1)):
        linear = _linear(inputs, outputs)
        nn.init.kaiming_normal_(linear.weight, a=SLOPE, generator=random)
        nn.init.zeros_(linear.bias)
        modules += [linear, nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*modules[:-1])


def make_generator(noise: int, dimension: int, random: torch.Generator) -> nn.Sequential:
    """Return G: ``[n, noise]`` -> ``[n, dimension]``, as in the reference (BatchNorm over the batch, ReLU).

    It is used in batches during training only and never ships, so BatchNorm does no harm in it.
    """
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise((noise, *GENERATOR_SIZES)):
        linear = _linear(inputs, outputs, bias=False)
        nn.init.normal_(linear.weight, 0.0, 0.02, generator=random)
        norm = nn.BatchNorm1d(outputs, track_running_stats=False)
        nn.init.normal_(norm.weight, 1.0, 0.02, generator=random)
        modules += [linear, norm, nn.ReLU()]
    last = _linear(GENERATOR_SIZES[-1], dimension)
    nn.init.normal_(last.weight, 0.0, 0.02, generator=random)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*modules, last)


def _linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a layer with uninitialised values: the constructor's own would draw from the global state."""
    return nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")


def train_layers(
    known: Float32,
    known_select: Float32,
    outliers: Float32 | None,
    open_select: Float32 | None,
    settings: OpenGanSettings,
    threads: int | None = None,
) -> tuple[Layers, tuple[OpenGanEpoch, ...], OpenGanEpoch]:
    """Train on standardised features (see ``opengan.train_discriminator`` for the arguments).

    On one thread if not told otherwise: layers this small are over before threads have shared them out.

    Returns:
        (layers of the best epoch's discriminator, history, the best epoch's entry). Of equal epochs the
        first is best; without open validation features the last one is.

    Raises:
        TrainingError: a loss is not finite.
    """
    with (
        limited_threads(threads or 1),
        progress("training the discriminator", settings.epochs) as advance,
    ):
        return train_layers_here(known, known_select, outliers, open_select, settings, advance)


def train_layers_here(
    known: Float32,
    known_select: Float32,
    outliers: Float32 | None,
    open_select: Float32 | None,
    settings: OpenGanSettings,
    advance: Callable[..., None],
    each_step: Callable[[], None] | None = None,
    every: list[Layers] | None = None,
) -> tuple[Layers, tuple[OpenGanEpoch, ...], OpenGanEpoch]:
    """As ``train_layers``, on torch's threads as they are, under a caller's own bar.

    ``each_step`` is called before every step; what it raises ends the training. ``every`` takes the layers of
    each epoch.
    """
    # Our own generator everywhere: the global random state is neither read nor changed.
    random = torch.Generator().manual_seed(settings.seed)
    trainer = _Trainer(torch.from_numpy(known), outliers, settings, random)
    selection = torch.from_numpy(known_select), None if open_select is None else torch.from_numpy(open_select)
    history: list[OpenGanEpoch] = []
    best: OpenGanEpoch | None = None
    layers: Layers = ()
    for number in range(1, settings.epochs + 1):
        losses = []
        for _ in range(settings.steps):
            if each_step is not None:
                each_step()
            losses.append(trainer.step())
        epoch = _summary(number, losses, trainer, selection)
        history.append(epoch)
        if every is not None:
            every.append(_arrays(trainer.discriminator))
        if _better(epoch, best):
            best, layers = epoch, _arrays(trainer.discriminator)
        advance(note="" if epoch.select_auroc is None else f"AUROC {epoch.select_auroc:.3f}")
    assert best is not None
    return layers, tuple(history), best


def _better(epoch: OpenGanEpoch, best: OpenGanEpoch | None) -> bool:
    if best is None or epoch.select_auroc is None or best.select_auroc is None:
        return True
    return epoch.select_auroc > best.select_auroc


class _Trainer:
    """Networks, optimisers and batches; ``step`` does one D step and one G step."""

    def __init__(
        self, known: Tensor, outliers: Float32 | None, settings: OpenGanSettings, random: torch.Generator
    ) -> None:
        self.settings, self.random = settings, random
        self.dimension = known.shape[1]
        self.discriminator = make_discriminator(self.dimension, random)
        self.optimiser_d = torch.optim.Adam(
            self.discriminator.parameters(), settings.lr_d, betas=ADAM_BETAS, fused=True
        )
        self.known_batches = _batches(known, settings.batch, random)
        self.outlier_batches = (
            None if outliers is None else _batches(torch.from_numpy(outliers), settings.batch, random)
        )
        self.generator: nn.Sequential | None = None
        if settings.lambda_g > 0:
            self.generator = make_generator(settings.noise, self.dimension, random)
            self.optimiser_g = torch.optim.Adam(
                self.generator.parameters(), settings.lr_g, betas=ADAM_BETAS, fused=True
            )
        sample = torch.randperm(len(known), generator=random)[:DIVERSITY_SAMPLES]
        self.known_distance = float(torch.pdist(known[sample]).mean())

    def step(self) -> tuple[float, float, float, float]:
        """Return the losses (known, outliers, generated, generator); 0 where a kind takes no part."""
        kinds = [next(self.known_batches)]
        if self.outlier_batches is not None:
            kinds.append(next(self.outlier_batches))
        fake = None if self.generator is None else self.generator(self._noise(self.settings.batch))
        if fake is not None:
            kinds.append(fake.detach())
        # No batch statistics in D: one pass over all kinds equals one pass for each.
        logits = list(self.discriminator(torch.cat(kinds)).squeeze(1).split([len(kind) for kind in kinds]))
        zero = torch.zeros(())
        loss_known = softplus(-logits.pop(0)).mean()
        loss_outliers = softplus(logits.pop(0)).mean() if self.outlier_batches is not None else zero
        loss_generated = softplus(logits.pop(0)).mean() if fake is not None else zero
        loss = loss_known + self.settings.lambda_o * loss_outliers + self.settings.lambda_g * loss_generated
        _descend(loss, self.discriminator, self.optimiser_d)
        loss_generator = zero if fake is None else self._generator_step(fake)
        values = torch.stack([loss_known, loss_outliers, loss_generated, loss_generator]).tolist()
        if not all(math.isfinite(value) for value in values):
            raise TrainingError(
                f"a loss of the discriminator is not finite (known, outliers, generated, generator: "
                f"{', '.join(f'{value:.3g}' for value in values)}); lower lr_d "
                f"(now {self.settings.lr_d:.2g}) and lr_g (now {self.settings.lr_g:.2g})"
            )
        return values[0], values[1], values[2], values[3]

    def diversity(self) -> float | None:
        """Return the generated features' mean pairwise distance over that of known ones."""
        if self.generator is None:
            return None
        with torch.no_grad():
            fake = self.generator(self._noise(DIVERSITY_SAMPLES))
        return float(torch.pdist(fake).mean()) / max(self.known_distance, 1e-12)

    def _generator_step(self, fake: Tensor) -> Tensor:
        """Move G so that D takes its features for known (the non-saturating loss)."""
        assert self.generator is not None
        loss = softplus(-self.discriminator(fake)).mean()
        _descend(loss, self.generator, self.optimiser_g)
        return loss.detach()

    def _noise(self, count: int) -> Tensor:
        return torch.randn(count, self.settings.noise, generator=self.random)


def _descend(loss: Tensor, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Take one step of ``network``; gradients of other networks the loss went through are not computed."""
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimiser.step()


def _batches(features: Tensor, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of exactly ``size`` rows for ever: one permutation after the other, cut in pieces."""
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < size:
            order = torch.cat([order, torch.randperm(len(features), generator=random)])
        yield features[order[:size]]
        order = order[size:]


def _summary(
    number: int,
    losses: list[tuple[float, float, float, float]],
    trainer: _Trainer,
    selection: tuple[Tensor, Tensor | None],
) -> OpenGanEpoch:
    known, outliers, generated, generator = (float(mean) for mean in np.mean(losses, axis=0))
    select_auroc = None
    if selection[1] is not None:
        with torch.no_grad():
            scores = [-trainer.discriminator(part).squeeze(1).numpy() for part in selection]
        select_auroc = auroc(scores[0], scores[1])
    return OpenGanEpoch(
        epoch=number,
        loss_known=known,
        loss_outliers=None if trainer.outlier_batches is None else outliers,
        loss_generated=None if trainer.generator is None else generated,
        loss_generator=None if trainer.generator is None else generator,
        select_auroc=select_auroc,
        diversity=trainer.diversity(),
    )


def _arrays(discriminator: nn.Sequential) -> Layers:
    """Return copies of the layers as float32 (weight, bias) pairs."""
    return tuple(
        (module.weight.detach().numpy().copy(), module.bias.detach().numpy().copy())
        for module in discriminator
        if isinstance(module, nn.Linear)
    )
