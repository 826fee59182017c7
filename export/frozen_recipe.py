"""How a frozen run trained its head, so that folds of its classes train theirs alike."""

from dataclasses import replace

import numpy as np

from edgeosr.export.frozen_features import FrozenFeatures
from edgeosr.export.frozen_folds import FrozenRecipe
from edgeosr.run import RunRecord
from edgeosr.scoring.scorer import Head


def recipe_of_frozen(record: RunRecord, *, threads: int | None = None) -> FrozenRecipe | None:
    """Return the recipe of a run's head; None if its backbone was trained too.

    Args:
        record: of the run.
        threads: of torch while a head trains; None for one.

    Raises:
        DataError: the record's settings are another version's.
    """
    if not record.training["freeze"]:
        return None
    from edgeosr.training.frozen_head import train_frozen_head
    from edgeosr.training.settings import settings_from_json

    asked = settings_from_json(record.training, threads=threads)
    # A run that was stopped by its clock annealed over the epochs that it had.
    settings = replace(asked, epochs=int(record.result["epochs"]))

    def train_head(train: FrozenFeatures, select: FrozenFeatures, classes: int) -> Head:
        found = train_frozen_head(
            settings,
            (train.embeddings, train.labels),
            (select.embeddings, select.labels),
            classes=classes,
        )
        cosine = settings.loss == "movr"
        return Head(
            kind="cosine" if cosine else "linear",
            weight=found.weight,
            bias=found.bias.astype(np.float32),
            temperature=settings.temperature if cosine else 1.0,
            margin=settings.margin if cosine else 0.0,
        )

    return FrozenRecipe(train_head=train_head, epochs=settings.epochs, seed=settings.seed)
