"""Folds of a trained backbone: whole runs that ``edgeosr train`` made beside the full one.

Each is exported as far as its scoring graph and measured there, as the full network is: with constants of its
own train images, on select images of the classes that it knows, and on all images that the full run learnt
from of the classes that it does not.
"""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import numpy as np

from edgeosr.data.class_folds import named_classes
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.parts import digest
from edgeosr.errors import DataError
from edgeosr.export.channel_weights import weigh_channels
from edgeosr.export.fold import NOTHING, Fold, PartValues, accuracy_among
from edgeosr.export.frozen_features import FeatureReader, FrozenFeatures
from edgeosr.export.measure import GraphRunner, Measured
from edgeosr.export.scored_graph import ClassifierGraph, scored_graph
from edgeosr.export.settings import EQUAL
from edgeosr.export.train_features import train_features
from edgeosr.export.trained import classifier_from_run
from edgeosr.printed import counted, say
from edgeosr.run import read_run
from edgeosr.scoring.parts import with_constants
from edgeosr.scoring.scorer import Scorer


def trained_folds(
    runs: Sequence[Path],
    full: ClassifierGraph,
    train: LabelledImages,
    select: LabelledImages,
    *,
    jacobian: str,
    seed: int,
    channel_weights: str = EQUAL,
    threads: int | None = None,
) -> list[Fold]:
    """Measure the parts of every fold's own network.

    Args:
        runs: the folds' run directories.
        full: the full run's network, which each fold is held against.
        train: part of the full run.
        select: likewise.
        jacobian: of the full export; folds have no probes, whose parts are not weighed.
        seed: of the constants of parts.
        channel_weights: of the full export; each fold's are its own.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        DataError: a fold is not one of this run or was cut another way, or more than 1 % of its images cannot
            be read.
        StorageError: a fold cannot be read.
    """
    if runs:
        say(
            f"weighing the score parts on left-out classes: {counted(len(runs), 'network')} of edgeosr train "
            f"{'scores' if len(runs) == 1 else 'score'} them; --folds 0 for none"
        )
    if not runs:
        return []
    jacobian = "none" if jacobian == "probes" else jacobian
    bare = scored_graph(full, "none")
    features = FeatureReader(bare, threads=threads).read(select, "embedding the select part")
    held = bare.scorer, features
    return [_fold(run, held, train, select, jacobian, seed, channel_weights, threads) for run in runs]


def full_as_fold(known: Measured, unknown: Measured | None, parts: Sequence[str], classes: int) -> Fold:
    """Return the full network as it was measured: its select images, and real outliers if there are any."""
    return Fold(
        left_out=(),
        classes=classes,
        known=_values(known, parts),
        unknown=NOTHING if unknown is None else _values(unknown, parts),
    )


def _fold(
    run: Path,
    full: tuple[Scorer, FrozenFeatures],
    train: LabelledImages,
    select: LabelledImages,
    jacobian: str,
    seed: int,
    channel_weights: str,
    threads: int | None,
) -> Fold:
    classes, data = select.class_names, read_run(run).data
    kept = tuple(str(name) for name in data["known"])
    again = f"remove {quote(str(run.parent))}, then {_resume(run)} --folds 3 trains its folds again"
    foreign = [name for name in kept if name not in classes]
    left = [name for name in classes if name not in kept]
    if foreign or not left:
        raise DataError(
            f"{run} is not a fold of this run: expected a network without some of its {len(classes)} "
            f"classes, got one that knows {', '.join(kept[:5])}{', ...' if len(kept) > 5 else ''}; {again}"
        )
    for part, images in (("train", train), ("select", select)):
        # Else it may have learnt from what it is measured on.
        if digest(images.of_classes(kept)) != data["digests"][part]:
            raise DataError(
                f"{run} was not trained on this run's images: expected the run's {part} images without "
                f"{named_classes(left)}, got another cut (another seed or folder); {again}"
            )
    own = train.of_classes(kept)
    classifier = weigh_channels(classifier_from_run(run), channel_weights, own, threads=threads)
    draft = scored_graph(classifier, jacobian)
    features = train_features(draft, own, seed=seed, threads=threads)
    graph = scored_graph(classifier, jacobian, constants=with_constants(draft.scorer, features).constants)
    runner = GraphRunner(graph.model(), threads=threads)
    name = f"fold {run.name}"
    known = runner.measure(select.of_classes(kept), f"{name}: scoring what it knows")
    sides = [
        runner.measure(side.of_classes(left), f"{name}: scoring what it never saw")
        for side in (train, select)
    ]
    never_seen = [_values(side, graph.parts) for side in sides]
    return Fold(
        left_out=tuple(classes.index(name) for name in left),
        classes=len(kept),
        known=_values(known, graph.parts),
        unknown=PartValues(
            correct=np.zeros(sum(map(len, never_seen)), np.bool_),
            by_part={
                part: np.concatenate([side.by_part[part] for side in never_seen]) for part in graph.parts
            },
            groups=np.concatenate([side.groups for side in sides]),
        ),
        full_accuracy=accuracy_among(*full, np.array([classes.index(name) for name in kept])),
    )


def _resume(fold: Path) -> str:
    return f"edgeosr train --resume {quote(str(fold.parent.parent))}"


def _values(measured: Measured, parts: Sequence[str]) -> PartValues:
    columns = dict(zip(parts, measured.values.T.astype(np.float64), strict=True))
    return PartValues(
        correct=measured.predictions == measured.labels, by_part=columns, groups=measured.groups
    )
