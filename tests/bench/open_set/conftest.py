"""A network that was never trained: embeddings around class directions, unknown ones around another."""

from collections.abc import Callable

import numpy as np
import pytest

from edgeosr.bench.open_set.observed import Observed, Side
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.scorer import Head

CLASSES, DIMENSION = 3, 12
PARTS = ("bank", "movr_loss", "noise")


def side(random: np.random.Generator, count: int, *, known: bool) -> Side:
    labels = np.arange(count) % CLASSES
    centres = 3 * np.eye(DIMENSION)[labels if known else np.full(count, CLASSES)]
    z = (centres + random.normal(0, 0.5, (count, DIMENSION))).astype(np.float32)
    cosines = (z @ np.eye(CLASSES, DIMENSION).T) / np.linalg.norm(z, axis=1, keepdims=True)
    noise = random.normal(0, 1, count)
    values = np.stack([-cosines.max(axis=1), 1 - cosines.max(axis=1), noise], axis=1).astype(np.float32)
    return Side(
        embeddings=z,
        labels=labels,
        groups=np.arange(count),
        predictions=cosines.argmax(axis=1),
        values=values,
        scores=values[:, 0] + 0.1 * values[:, 2],
    )


def network(*, kind: str = "cosine", weighed: tuple[str, ...] = PARTS, seed: int = 0) -> Observed:
    random = np.random.default_rng(seed)
    train = side(random, 120, known=True)
    calibrate = side(random, 60, known=True)
    weight = np.eye(CLASSES, DIMENSION, dtype=np.float32)
    bias = np.zeros(CLASSES, np.float32)
    head = Head(kind="cosine", weight=weight, bias=bias, temperature=32.0, margin=0.5)
    linear = Head(kind="linear", weight=2 * weight, bias=bias + 0.5, temperature=1.0)
    return Observed(
        head=head if kind == "cosine" else linear,
        linear_head=linear if kind == "cosine" else None,
        fusion=Fusion(parts=PARTS, means=(-0.9, 0.1, 0.0), stds=(0.1, 0.1, 1.0), weights=(1.0, 0.0, 0.0)),
        weighed=weighed,
        train_embeddings=train.embeddings,
        train_labels=train.labels,
        calibrate=calibrate,
        test=side(random, 90, known=True),
        unknown=side(random, 70, known=False),
        threshold=float(np.quantile(calibrate.scores, 0.95)),
    )


@pytest.fixture
def make_network() -> Callable[..., Observed]:
    return network
