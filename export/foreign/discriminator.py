"""An OpenGAN discriminator for a classifier that exists as an ONNX graph only."""

import importlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.array_images import images_from_array
from edgeosr.data.decode import decode_images
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.parts import Parts
from edgeosr.export.measure import GraphRunner
from edgeosr.export.scored_graph import ClassifierGraph, scored_graph
from edgeosr.training.synthetic_outliers import make_synthetic_outliers

if TYPE_CHECKING:
    from edgeosr.training.opengan import Discriminator


def torch_is_there() -> bool:
    """Return True if torch can be imported: without it a foreign classifier gets no discriminator."""
    try:
        importlib.import_module("torch")
    except ImportError:
        return False
    return True


def discriminator_for(
    classifier: ClassifierGraph,
    parts: Parts,
    train: NDArray[np.float32],
    open_train: LabelledImages | None,
    open_select: LabelledImages | None,
    threads: int | None = None,
) -> "Discriminator":
    """Train a discriminator on the embeddings that the exported graph itself computes.

    Args:
        classifier: without discriminator.
        parts: its known images; only select is read.
        train: embeddings of the train part.
        open_train: one half of real outliers, or None.
        open_select: the other half, or None: synthetic outliers made from the select part then choose the
            epoch.
        threads: of onnxruntime and torch; None for what suits the work.
    """
    from edgeosr.training import discriminator_choice as choice
    from edgeosr.training.open_tasks import SYNTHETIC_PER_KIND
    from edgeosr.training.opengan_settings import OpenGanSettings

    model = scored_graph(classifier, "none").model(expose=(EMBEDDING,))
    runner = GraphRunner(model, extra_outputs=(EMBEDDING,), threads=threads)

    def embeddings(images: LabelledImages, what: str) -> NDArray[np.float32]:
        _, (embedding,) = runner.measure_with_extras(images, f"embedding {what} images")
        return np.asarray(embedding, np.float32)

    _, (select,) = runner.measure_with_extras(parts.select, "embedding select images")
    if open_select is None:
        decoded = decode_images(parts.select, classifier.preprocessing, description="reading select images")
        synthetic = make_synthetic_outliers(decoded.pixels, parts.seed, SYNTHETIC_PER_KIND)
        nothing = np.zeros(len(synthetic), np.int64)
        open_select = images_from_array(synthetic, nothing, ("synthetic",), name="synthetic outliers")
        lambdas: tuple[float, ...] = choice.LAMBDAS_ALONE
    else:
        lambdas = choice.LAMBDAS_WITH_OUTLIERS
    task = choice.OpenTask(
        known_train=train,
        known_select=np.asarray(select, np.float32),
        open_train=None if open_train is None else embeddings(open_train, "outlier"),
        open_select=embeddings(open_select, "open validation"),
        kind="synthetic" if open_train is None else "real",
    )
    return choice.train_best(task, lambdas, OpenGanSettings(seed=parts.seed), threads)[0]
