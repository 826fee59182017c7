"""A list of a frozen protocol: a head on kept features, weighed and calibrated by the product's own pieces.

``edgeosr train --freeze`` and ``edgeosr export`` embed the images again for every list, to the same values:
the run's head learns from what training sees, all else is made from what the exported graph sees. A test
compares the two ways.
"""

from dataclasses import replace

import numpy as np

from edgeosr import __version__
from edgeosr.bench.open_set.kept_features import KeptFeatures
from edgeosr.bench.open_set.observed import Float32, Int64, Observed, Side
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import import_extra
from edgeosr.export.conformal import conformal_threshold
from edgeosr.export.folds import weigh_frozen
from edgeosr.export.frozen_features import FrozenFeatures, KnownFeatures
from edgeosr.export.frozen_folds import FrozenRecipe
from edgeosr.export.frozen_recipe import recipe_of_frozen
from edgeosr.export.left_out import weighed_in
from edgeosr.export.settings import ExportSettings
from edgeosr.export.weights import fit_fusion
from edgeosr.preprocessing import Preprocessing
from edgeosr.run import RunRecord
from edgeosr.scoring.fusion import unfitted_fusion
from edgeosr.scoring.parts import carried_parts, with_constants
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Head, Scorer
from edgeosr.training.open_data import open_parts
from edgeosr.training.settings import TrainSettings

# As in ``edgeosr.training.train``: stands for an epoch number in the seed of the initial weights.
INITIALISATION = 2**32 - 1
CONVERGED = 5000  # steps, which are never all needed


def observe_frozen(
    settings: TrainSettings, kept: KeptFeatures, *, linear_head: bool, threads: int | None = None
) -> Observed:
    """Train, weigh and calibrate one list.

    Args:
        settings: of the run, its known classes among them.
        kept: features of the whole set.
        linear_head: fit a cross-entropy head to the same embeddings too.
        threads: of torch while a head trains; None for one.

    Raises:
        UsageError, DataError: the images cannot be cut so, or are too few.
    """
    export = ExportSettings()
    _, parts = open_parts(settings)
    train, select = kept.of(parts.train), kept.of(parts.select)
    seen = kept.of(parts.train, trained=True), kept.of(parts.select, trained=True)
    classes, recipe = len(parts.known), _recipe(settings, threads)
    scorer = _scorer(kept.scorer, run_head(settings, *seen, classes), train, export.seed)
    decided = weigh_frozen(
        scorer,
        KnownFeatures(train=train, select=select),
        recipe,
        classes=parts.known,
        default_part="movr_loss",
        most_folds=export.most_folds,
        false_reject_rate=export.false_reject_rate,
    )
    names = scorer.fusion.parts
    fusion = fit_fusion(
        names,
        _values(scorer, select),
        None,
        default_part="movr_loss",
        known_groups=parts.select.groups[kept.readable(parts.select)],
        given=decided.given,
    )
    scorer = replace(scorer, fusion=fusion)

    def side(images: LabelledImages) -> Side:
        return _side(scorer, kept.of(images), images.groups[kept.readable(images)])

    assert parts.unknown_test is not None, "a protocol leaves classes unknown"
    calibrate = side(parts.calibrate)
    threshold = conformal_threshold(calibrate.scores, calibrate.groups, export.false_reject_rate)
    return Observed(
        head=scorer.head,
        linear_head=plain_head(train.embeddings, train.labels, classes) if linear_head else None,
        fusion=fusion,
        weighed=weighed_in(decided.record, frozen=True),
        train_embeddings=train.embeddings,
        train_labels=train.labels,
        calibrate=calibrate,
        test=side(parts.test),
        unknown=side(parts.unknown_test),
        threshold=threshold.value,
        left_out=decided.record,
    )


def run_head(settings: TrainSettings, train: FrozenFeatures, select: FrozenFeatures, classes: int) -> Head:
    """Return the head that ``edgeosr train --freeze`` trains, from the initial weights that it draws."""
    from edgeosr.model.classifier import build_classifier
    from edgeosr.training.epoch import seed_epoch
    from edgeosr.training.frozen_head import train_frozen_head

    seed_epoch(settings.seed, INITIALISATION, 0)
    drawn = build_classifier(settings.arch, settings.size, classes, "cosine", pretrained=settings.pretrained)
    found = train_frozen_head(
        settings,
        (train.embeddings, train.labels),
        (select.embeddings, select.labels),
        classes=classes,
        initial=drawn.weight.detach().numpy(),
    )
    assert settings.loss == "movr", "the recipes have cosine heads"
    return Head(
        kind="cosine",
        weight=found.weight,
        bias=found.bias,
        temperature=settings.temperature,
        margin=settings.margin,
    )


def plain_head(embeddings: Float32, labels: Int64, classes: int) -> Head:
    """Return a linear head by logistic regression, scikit-learn's defaults, until it converges.

    In our pilot detectors did better on it than on one of a few epochs of ``--loss ce``.

    Args:
        embeddings: of the train part, float32 ``[n, D]``.
        labels: int64 ``[n]``, 0 to ``classes`` - 1, each of them there.
        classes: how many, at least 3.
    """
    linear, threads = (
        import_extra(name, extra="export", purpose="the linear head")
        for name in ("sklearn.linear_model", "threadpoolctl")
    )
    with threads.threadpool_limits(1):
        found = linear.LogisticRegression(max_iter=CONVERGED).fit(embeddings, labels)
    assert found.coef_.shape[0] == classes > 2, "of two classes scikit-learn keeps one row"
    return Head(
        kind="linear",
        weight=found.coef_.astype(np.float32),
        bias=found.intercept_.astype(np.float32),
        temperature=1.0,
        margin=0.0,
    )


def _recipe(settings: TrainSettings, threads: int | None) -> FrozenRecipe:
    """Return the recipe as export reads it off the record of a run with these settings."""
    record = RunRecord(
        name="",
        created="",
        version=__version__,
        data={},
        outliers=None,
        model={},
        preprocessing=Preprocessing(height=settings.size, width=settings.size),
        training=settings.as_json(),
        result={"epochs": settings.epochs},
    )
    recipe = recipe_of_frozen(record, threads=threads)
    assert recipe is not None, "the backbone is frozen"
    return recipe


def _scorer(backbone: Scorer, head: Head, train: FrozenFeatures, seed: int) -> Scorer:
    """Return the full network's scorer, its fusion not yet fitted."""
    classes = len(head.weight)
    bare = replace(backbone, classes=classes, head=head, fusion=unfitted_fusion(()), constants={})
    scorer = with_constants(bare, train.for_parts(classes, seed))
    return replace(scorer, fusion=unfitted_fusion(carried_parts(scorer)))


def _values(scorer: Scorer, features: FrozenFeatures) -> np.ndarray:
    found = reference_scores(
        scorer, embedding=features.embeddings, jacobian_squared=features.jacobian_squared
    )
    return np.asarray(found["values"], np.float32)


def _side(scorer: Scorer, features: FrozenFeatures, groups: np.ndarray) -> Side:
    found = reference_scores(
        scorer, embedding=features.embeddings, jacobian_squared=features.jacobian_squared
    )
    return Side(
        embeddings=features.embeddings,
        labels=features.labels,
        groups=groups,
        predictions=found["label"],
        values=found["values"].astype(np.float32),
        scores=found["score"].astype(np.float32),
    )
