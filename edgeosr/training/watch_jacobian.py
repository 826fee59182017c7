"""The Jacobian norm of the embedding while a network trains: observed, never acted upon.

``J_u = |du/dx|_F`` with u = z / |z| the unit embedding and x the normalised network input, in eval mode and
float32. It is estimated from K fixed orthonormal directions v_k of the input space of n = 3 * S * S
numbers, ``J_u^2 = (n / K) sum_k |(du/dx) v_k|^2``: unbiased for J_u^2, exact for K = n. The difference of its
means, unknown minus known (JND), is what the Jacobian-norm paper follows over training (Park et al.,
arXiv 2209.11436, eq. 1).

The known images come from the select part. The unknown ones may be the test images of the classes that are
not known: they are looked at here only, and nothing of the training, the choice of the epoch included,
depends on what is seen. No random number is drawn and no running statistic changes: the weights of a run
are the same bits with and without the watch.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.decode import decode_images
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import Parts, evaluation_images
from edgeosr.errors import DataError, UsageError
from edgeosr.metrics import auroc
from edgeosr.model.backbone import Backbone
from edgeosr.preprocessing import Preprocessing
from edgeosr.training.augmentation import Normalise
from edgeosr.training.jacobian_plot import PICTURE, draw_jacobian
from edgeosr.verdict import FLOOR

BATCH = 32  # images whose K tangents are carried at once: K times the memory of an evaluation
_DRAW, _PROBES = 101, 102  # second words of the seeds: apart from all other draws of the run's seed


@dataclass(frozen=True)
class WatchedImages:
    """What is looked at after every epoch.

    Attributes:
        known: uint8 ``[N, S, S, 3]``, of the select part.
        unknown: uint8 ``[M, S, S, 3]``.
    """

    known: NDArray[np.uint8]
    unknown: NDArray[np.uint8]


def watched_images(
    parts: Parts,
    image_set: ImageSet,
    select: NDArray[np.uint8],
    preprocessing: Preprocessing,
    *,
    images: int,
    unknown_source: str | None,
    data_root: Path | None,
) -> WatchedImages:
    """Draw the images by the seed of the parts; fewer than ``images`` where there are fewer.

    Args:
        parts: of the known data.
        image_set: the set they were cut from.
        select: uint8 ``[n, S, S, 3]``, the decoded select part.
        preprocessing: gives size and fit.
        images: N, of each kind.
        unknown_source: path or name of another set of unknown images; None: the classes not known.
        data_root: where named sets are looked for.

    Raises:
        UsageError: there are no unknown images.
        DataError: ``unknown_source`` holds known classes, or cannot be opened.
    """
    unknown = _unknown(parts, image_set, unknown_source, data_root)
    drawn = decode_images(
        unknown.subset(_drawn(len(unknown), images, parts.seed)),
        preprocessing,
        description="reading watched unknown images",
    )
    return WatchedImages(select[_drawn(len(select), images, parts.seed)], drawn.pixels)


class JacobianWatch:
    """Measures J_u of the watched images, and draws it.

    Args:
        images: to look at.
        normalise: as the training's.
        probes: K.
        seed: of the directions.
        conditions: the picture's caption, given the last line of the log.
    """

    def __init__(
        self,
        images: WatchedImages,
        normalise: Normalise,
        *,
        probes: int,
        seed: int,
        conditions: Callable[[dict[str, Any]], str],
    ) -> None:
        size = images.known.shape[1]
        self.images, self.normalise, self.conditions = images, normalise, conditions
        self.directions = probe_directions(probes, size, seed).to(normalise.device)

    def measure(self, backbone: Backbone) -> dict[str, Any]:
        """Return the epoch's record; the backbone is left in the mode it was in.

        Keys: ``known`` and ``unknown``, each with ``images``, ``mean``, ``std`` and ``median`` of J_u;
        ``difference`` of the means (JND: unknown - known); ``auroc`` of J_u as an unknown score; ``seconds``.
        """
        started = time.monotonic()
        training = backbone.training
        backbone.eval()
        try:
            known, unknown = (
                self._norms(backbone, part) for part in (self.images.known, self.images.unknown)
            )
        finally:
            backbone.train(training)
        return {
            "known": _summary(known),
            "unknown": _summary(unknown),
            "difference": float(unknown.mean() - known.mean()),
            "auroc": auroc(known, unknown),
            "seconds": round(time.monotonic() - started, 3),
        }

    def draw(self, directory: Path, history: Sequence[dict[str, Any]]) -> None:
        """Write the picture of all epochs so far into the run directory, atomically."""
        caption = self.conditions(history[-1])
        title = "Jacobian norm of the embedding over training"
        draw_jacobian(directory / PICTURE, [("", history)], title=title, caption=caption)

    def _norms(self, backbone: Backbone, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        batches = torch.split(torch.from_numpy(pixels), BATCH)
        # forward, not a call: a backbone compiled for training (--compile) is not differentiated forward.
        network = backbone.forward
        norms = [jacobian_norms(network, self.normalise(batch), self.directions) for batch in batches]
        return torch.cat(norms).double().cpu().numpy()


@torch.no_grad()
def jacobian_norms(backbone: Callable[[Tensor], Tensor], inputs: Tensor, directions: Tensor) -> Tensor:
    """Return J_u ``[B]`` of each image, estimated in the given directions.

    Args:
        backbone: in eval mode; ``[B, 3, S, S]`` -> z ``[B, D]``, each image for itself.
        inputs: normalised ``[B, 3, S, S]``.
        directions: orthonormal ``[K, 3, S, S]``; K = 3 * S * S gives the exact norm.
    """

    def unit(images: Tensor) -> Tensor:
        z = backbone(images)
        u: Tensor = z / torch.linalg.vector_norm(z, dim=1, keepdim=True).clamp_min(FLOOR)
        return u

    def squared(direction: Tensor) -> Tensor:
        # Every image has its own row of the Jacobian, so one direction serves the whole batch at once.
        tangent: Tensor = torch.func.jvp(unit, (inputs,), (direction.expand_as(inputs),))[1]
        return tangent.square().sum(dim=1)

    with warnings.catch_warnings():
        # Pooling of channels-last features is looped over by vmap: said once a process, of no weight here.
        warnings.filterwarnings("ignore", message="There is a performance drop")
        # torch compiles its own forward-mode formulas with what it has deprecated itself.
        warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
        total = torch.vmap(squared)(directions).sum(dim=0)
    return (total * (directions[0].numel() / len(directions))).sqrt()


def probe_directions(probes: int, size: int, seed: int) -> Tensor:
    """Return random orthonormal directions, float32 ``[probes, 3, size, size]``, fixed by the seed.

    Raises:
        UsageError: more probes than the input has numbers.
    """
    n = 3 * size * size
    if probes > n:
        raise UsageError(f"watch_probes must be at most {n}, the numbers of a {size} px input; got {probes}")
    gaussian = np.random.default_rng([seed, _PROBES]).standard_normal((n, probes))
    orthonormal = np.linalg.qr(gaussian)[0].T
    return torch.from_numpy(np.ascontiguousarray(orthonormal, np.float32).reshape(probes, 3, size, size))


def _summary(norms: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "images": len(norms),
        "mean": float(norms.mean()),
        "std": float(norms.std()),
        "median": float(np.median(norms)),
    }


def _drawn(available: int, wanted: int, seed: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng([seed, _DRAW]).permutation(available)[:wanted])


def _unknown(parts: Parts, image_set: ImageSet, source: str | None, data_root: Path | None) -> LabelledImages:
    if source is None:
        if parts.unknown_test is None:
            raise UsageError(
                f"watch_jacobian compares known with unknown images, but every class of {image_set.title} is "
                "known; name the known classes (--known A,B,...) or give other images with --watch-unknown"
            )
        return parts.unknown_test
    other = open_image_set(source, data_root)
    same = source.partition(":")[0] == image_set.source.partition(":")[0]
    shared = sorted(set(other.train.class_names) & set(parts.known)) if same else []
    if shared:
        raise DataError(
            f"the watched unknown images {source} hold the known classes {', '.join(shared)}; name other "
            f"classes ({image_set.source}:{','.join(parts.unknown[:2]) or 'CLASS'}) or another set"
        )
    images = evaluation_images(other)
    if not len(images):
        raise UsageError(f"{source} holds no images; give --watch-unknown a set with images")
    return images
