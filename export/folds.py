"""Where an export's folds of left-out classes come from, and what they decide."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from edgeosr.data.class_folds import FEWEST_CLASSES, planned_folds
from edgeosr.errors import require_extra
from edgeosr.export import frozen_folds, trained_folds
from edgeosr.export.calibrate import SelectScores
from edgeosr.export.frozen_features import KnownFeatures
from edgeosr.export.frozen_folds import FrozenRecipe
from edgeosr.export.frozen_recipe import recipe_of_frozen
from edgeosr.export.left_out import Decided, candidates_for, decide_weights
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.scored_graph import ScoredGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.printed import say
from edgeosr.run import RunRecord, fold_runs
from edgeosr.scoring.scorer import Scorer
from edgeosr.training.fold_plan import read_plan


@dataclass(frozen=True, kw_only=True)
class Folds:
    """Where folds come from.

    Attributes:
        recipe: of a frozen run's heads; None for any other classifier.
        runs: of a trained run: its folds, whole runs beside it.
        why_none: why there are none, in words; empty where ``recipe`` makes them.
        unfinished: that some of the planned ones are not trained, in words; empty if all are.
    """

    recipe: FrozenRecipe | None = None
    runs: tuple[Path, ...] = ()
    why_none: str = ""
    unfinished: str = ""


def folds_of(run: Path, record: RunRecord, settings: ExportSettings) -> Folds:
    """Return where a run's folds come from.

    Raises:
        DataError: the record's settings are another version's, or the plan of its folds is damaged.
        MissingDependencyError: what their estimate is drawn with is not installed.
    """
    recipe = recipe_of_frozen(record, threads=settings.threads)
    if settings.folds == 0:
        return Folds(recipe=recipe, why_none="no folds were asked for")
    if len(record.data["known"]) < FEWEST_CLASSES:
        return Folds(recipe=recipe, why_none=f"fewer than {FEWEST_CLASSES} known classes")
    runs = () if recipe is not None else tuple(fold_runs(run))
    if recipe is not None or runs:
        # Better said now than after an hour.
        require_extra("matplotlib", extra="export", purpose="drawing plots")
    if recipe is not None:
        return Folds(recipe=recipe)
    # A note ships, and names no path of this machine.
    plan = read_plan(run, tuple(record.data["known"]))
    if plan is None or len(runs) >= len(plan.folds):
        none = "the run has no folds; edgeosr train --resume RUN --folds 3 trains them"
        return Folds(runs=runs, why_none=none)
    count = f"{len(runs)} of {len(plan.folds)} folds {'is' if len(runs) == 1 else 'are'} trained"
    unfinished = f"{count}; edgeosr train --resume RUN trains the rest"
    say(unfinished.replace("RUN", quote(str(run))))
    return Folds(runs=runs, why_none=unfinished, unfinished=unfinished if runs else "")


def weigh(
    graph: ScoredGraph,
    scores: SelectScores,
    kept: KnownFeatures | None,
    folds: Folds,
    parts: CalibrationParts,
    settings: ExportSettings,
) -> Decided:
    """Make and measure the folds, and weigh the parts on what they say.

    Args:
        graph: of the full network.
        scores: of that graph, on select and open validation images.
        kept: features of a frozen backbone; None for a trained one.
        folds: where they come from.
        parts: the images.
        settings: of the export.

    Raises:
        DataError, StorageError: a fold or its images cannot be read.
        TrainingError: a fold's head does not train.
    """
    classes, default_part = graph.classifier.classes, graph.classifier.default_part
    rate = settings.false_reject_rate
    if folds.recipe is not None and kept is not None:
        most = 0 if folds.why_none else settings.most_folds
        return weigh_frozen(
            graph.scorer, kept, folds.recipe, classes=classes, default_part=default_part, most_folds=most,
            false_reject_rate=rate, why_none=folds.why_none,
        )  # fmt: skip
    measured = trained_folds.trained_folds(
        folds.runs, graph.classifier, parts.train, parts.select, jacobian=settings.jacobian,
        seed=settings.seed, channel_weights=settings.channel_weights, threads=settings.threads,
    )  # fmt: skip
    decided = decide_weights(
        measured,
        trained_folds.full_as_fold(scores.known, scores.unknown, graph.parts, len(classes)),
        candidates_for(default_part, frozen=False),
        classes=classes,
        why_none=folds.why_none,
        false_reject_rate=rate,
    )
    if decided.given is None or not folds.unfinished:
        return decided
    given = replace(decided.given, note=f"{decided.given.note}; {folds.unfinished}")
    return replace(decided, given=given)


def weigh_frozen(
    scorer: Scorer,
    kept: KnownFeatures,
    recipe: FrozenRecipe,
    *,
    classes: Sequence[str],
    default_part: str,
    most_folds: int,
    false_reject_rate: float,
    why_none: str = "",
) -> Decided:
    """Make the folds of a frozen backbone and weigh the parts on them.

    Args:
        scorer: of the full network, with the constants of its parts.
        kept: features of its parts.
        recipe: of the run's head.
        classes: names of the known classes.
        default_part: the loss of the head.
        most_folds: as ``--folds``; 0 for none.
        false_reject_rate: at which false accepts are estimated too.
        why_none: why there are none, in words.

    Raises:
        TrainingError: a fold's head does not train.
    """
    planned = planned_folds(len(classes), most_folds, recipe.seed)
    return decide_weights(
        frozen_folds.frozen_folds(scorer, kept, recipe, planned),
        frozen_folds.full_as_fold(scorer, kept),
        candidates_for(default_part, frozen=True),
        classes=classes,
        why_none=why_none,
        false_reject_rate=false_reject_rate,
    )
