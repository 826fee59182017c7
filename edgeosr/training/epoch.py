"""One epoch of training, one pass of evaluation, and the embeddings of many images."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeosr.errors import TrainingError
from edgeosr.model.classifier import Classifier
from edgeosr.progress import progress
from edgeosr.training.augmentation import Augmentation, Normalise
from edgeosr.training.objective import Objective

CHECK_EVERY = 20  # steps between looks at the loss: each look waits for the processor
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Examples:
    """Images, or embeddings of a frozen backbone, with labels.

    Attributes:
        inputs: uint8 ``[n, S, S, 3]`` or float32 ``[n, D]``.
        labels: int64 ``[n]``.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def to_examples(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Examples:
    """Wrap decoded images without a copy."""
    return Examples(torch.from_numpy(pixels), torch.from_numpy(labels))


class Feed:
    """Brings batches of examples to the processor as network inputs."""

    def __init__(self, normalise: Normalise, augment: Augmentation) -> None:
        self.normalise, self.augment = normalise, augment

    def __call__(self, examples: Examples, index: Tensor, *, augment: bool) -> tuple[Tensor, Tensor]:
        """Return (inputs, labels) of the examples at ``index`` on the processor."""
        inputs, labels = examples.inputs[index], examples.labels[index].to(self.normalise.device)
        if inputs.dim() == 2:
            return inputs.to(self.normalise.device), labels
        return self.normalise(inputs, self.augment if augment else None), labels


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seed torch for one epoch of one process: augmentation and dropout repeat after a resume."""
    # Shifted as a Python number: NumPy 1 turns uint64 >> int into a float, and refuses.
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0]) >> 1)


def epoch_order(seed: int, epoch: int, images: int) -> NDArray[np.int64]:
    """Return the order of all images in this epoch, the same in every process."""
    return np.random.default_rng([seed, epoch]).permutation(images)


def train_epoch(
    fabric: Any,
    objective: Any,
    optimizer: Any,
    examples: Examples,
    feed: Feed,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    set_learning_rate: Callable[[float], None],
    description: str,
) -> dict[str, float]:
    """Train one epoch.

    Args:
        fabric: the launched Fabric.
        objective: as returned by ``fabric.setup``.
        optimizer: as returned by ``fabric.setup``.
        examples: the train part.
        feed: makes network inputs.
        batch_size: images a step over all processes.
        seed: of the run; with ``epoch`` it gives the order, the augmentation and the dropout.
        epoch: 0-based.
        set_learning_rate: called before each step with the share of this epoch, 0..1, at the step's middle.
        description: text of the progress bar.

    Returns:
        mean ``loss`` and ``accuracy`` over the epoch's augmented images, and ``images`` and ``seconds``.

    Raises:
        TrainingError: the loss is not finite (in all processes alike).
    """
    started = time.monotonic()
    world, rank = fabric.world_size, fabric.global_rank
    seed_epoch(seed, epoch, rank)
    order = torch.from_numpy(epoch_order(seed, epoch, len(examples)))
    batch = min(batch_size, len(examples))
    steps = len(examples) // batch
    totals = torch.zeros(2, dtype=torch.float64, device=fabric.device)  # loss, correct
    images = 0
    objective.train()
    with _bar(description, steps, rank == 0) as advance:
        for step in range(steps):
            index = order[step * batch : (step + 1) * batch][rank::world]
            inputs, labels = feed(examples, index, augment=True)
            set_learning_rate((step + 0.5) / steps)
            loss, correct = objective(inputs, labels)
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            totals += torch.stack([loss.detach().double() * len(index), correct.double()])
            images += len(index)
            note = ""
            if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
                mean_loss, accuracy = _shared(fabric, totals, images)
                _require_finite(mean_loss, epoch)
                note = f"loss {mean_loss:.3f} accuracy {accuracy:.3f}"
            advance(1, note)
    mean_loss, accuracy = _shared(fabric, totals, images)
    return {
        "loss": mean_loss,
        "accuracy": accuracy,
        "images": float(steps * batch),
        "seconds": time.monotonic() - started,
    }


@torch.no_grad()
def evaluate(fabric: Any, objective: Objective, examples: Examples, feed: Feed) -> dict[str, float]:
    """Return mean ``loss`` (margin off) and ``accuracy`` of the examples, shared among the processes."""
    objective.eval()
    totals = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    mine = torch.arange(fabric.global_rank, len(examples), fabric.world_size)
    for index in torch.split(mine, EVALUATION_BATCH):
        inputs, labels = feed(examples, index, augment=False)
        with fabric.autocast():
            z = inputs if inputs.dim() == 2 else objective.classifier.backbone(inputs)
        logits = objective.classifier.logits(z.float())
        loss = objective.losses(logits, labels, training=False)
        totals += torch.stack([loss.double().sum(), (logits.argmax(dim=1) == labels).double().sum()])
    loss_mean, accuracy = _shared(fabric, totals, len(mine))
    return {"loss": loss_mean, "accuracy": accuracy}


@torch.no_grad()
def embed(
    classifier: Classifier, pixels: NDArray[np.uint8], normalise: Normalise, description: str
) -> NDArray[np.float32]:
    """Return the embeddings z, float32 ``[n, D]``, of uint8 ``[n, S, S, 3]`` (eval mode, float32)."""
    classifier.eval()
    result = np.empty((len(pixels), classifier.dimension), np.float32)
    with progress(description, len(pixels)) as advance:
        for start in range(0, len(pixels), EVALUATION_BATCH):
            batch = torch.from_numpy(pixels[start : start + EVALUATION_BATCH])
            z = classifier.backbone(normalise(batch))
            result[start : start + len(batch)] = z.float().cpu().numpy()
            advance(len(batch))
    return result


def _shared(fabric: Any, totals: Tensor, count: int) -> tuple[float, float]:
    """Return (mean loss, accuracy) over all processes."""
    sums = torch.cat([totals, totals.new_tensor([count])])
    if fabric.world_size > 1:
        sums = fabric.all_reduce(sums, reduce_op="sum")
    loss, correct, images = sums.tolist()
    return loss / max(images, 1), correct / max(images, 1)


def _require_finite(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in epoch {epoch + 1}; the last finished epoch is kept; "
            "try a smaller lr (a third of it), precision 32-true, or a smaller margin"
        )


@contextlib.contextmanager
def _bar(description: str, steps: int, shown: bool) -> Iterator[Callable[..., None]]:
    if not shown:
        yield lambda steps=1, note="": None
        return
    with progress(description, steps) as advance:
        yield advance
