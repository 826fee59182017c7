"""A deployed model, checked on its known images before it is wrapped: preprocessing and order of classes.

    its own answers, its input made as stated      known_answers.py, own_model.py, recipe.py
    the exported graph's answers beside them       agreement.py
    the usual other preprocessings                 alternatives.py
    another order of the names, weak classes       class_order.py
    both at once                                   joint.py

A wrong preprocessing can look like a wrong order of the classes and the other way round, so both are asked,
alone and together, and what puts more images right is named. Where the images do not settle it, more are
looked at.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.parts import Parts
from edgeosr.errors import DataError
from edgeosr.export.foreign import known_refusals as refusals
from edgeosr.export.foreign import not_finite
from edgeosr.export.foreign.advice import advice_for
from edgeosr.export.foreign.agreement import Agreement, measure_agreement
from edgeosr.export.foreign.alternatives import Found, best_alternative, value_alternatives
from edgeosr.export.foreign.class_names import whence
from edgeosr.export.foreign.class_order import (
    ClassOrder,
    above_chance,
    answer_counts,
    names_in_doubt,
    other_order,
    weak_classes,
)
from edgeosr.export.foreign.joint import alternatives_with_order
from edgeosr.export.foreign.known_answers import KnownAnswers
from edgeosr.export.foreign.known_sample import MOST_IN_DOUBT, known_sample
from edgeosr.export.foreign.own_model import OwnModel
from edgeosr.export.foreign.recipe import normalised
from edgeosr.export.foreign.stated import Stated
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.preprocessing import Preprocessing
from edgeosr.printed import say

# Another order of the classes that explains nearly as much as a better preprocessing is told beside it.
_CLOSE = 0.05


@dataclass(frozen=True, kw_only=True)
class KnownCheck:
    """What a deployed model's known images say of its wrapping.

    Attributes:
        stated: the preprocessing that the bundle has, in words.
        images: how many were looked at.
        accuracy: share that the model itself names correctly, its input made as stated.
        agreement: of the exported graph with the model itself.
        better: (title, options, accuracy) of a clearly better preprocessing on the images that were compared;
            None if there is none.
        warnings: what was accepted on request, or is worth a look.
    """

    stated: str
    images: int
    accuracy: float
    agreement: Agreement
    better: tuple[str, str, float] | None
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        better = None
        if self.better is not None:
            title, options, accuracy = self.better
            better = {"preprocessing": title, "options": options, "accuracy": accuracy}
        return {
            "stated": self.stated,
            "images": self.images,
            "accuracy": self.accuracy,
            "agreement": self.agreement.as_json(),
            "better_preprocessing": better,
            "warnings": list(self.warnings),
        }

    def described(self) -> list[str]:
        """Return lines for the report."""
        lines = [self.stated, *self.agreement.described()]
        if self.better is None:
            lines.append("no usual other preprocessing is clearly more accurate")
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]


def check_on_known_images(
    path: Path, classifier: ClassifierGraph, stated: Stated, parts: Parts, settings: ExportSettings
) -> KnownCheck:
    """Hold a deployed model against its known images.

    Args:
        path: its ONNX file.
        classifier: as read, with its preprocessing.
        stated: that preprocessing, as the user states it.
        parts: its known images; select and train are read.
        settings: ``accept_weak_classes`` turns refusals into warnings.

    Raises:
        DataError: the classes stand in another order than the outputs, another preprocessing is clearly
            right, or a class is not named clearly more often than by chance; the message says what to type.
        ExportError: the exported graph answers like another model, or the model's scores are not finite.
    """
    sample, own = known_sample(parts), OwnModel(path, classifier, settings.threads)
    answers = KnownAnswers(own, sample, stated)
    overflows = _not_finite(answers, own, stated, settings)
    names = classifier.classes
    named = whence(path, settings, names)
    judged = _judged(answers, names, stated.preprocessing, settings, named)
    if judged.unclear:
        more = known_sample(parts, most=MOST_IN_DOUBT, of_all_parts=True)
        if len(more) > len(sample):
            sample, answers = more, KnownAnswers(own, more, stated, compared=MOST_IN_DOUBT)
            overflows = _not_finite(answers, own, stated, settings)
            judged = _judged(answers, names, stated.preprocessing, settings, named)
    warnings = [text for text in (overflows, judged.warning) if text is not None]
    if judged.problem is not None:
        if not settings.accept_weak_classes:
            raise judged.problem
        warnings.append(refusals.accepted(judged.problem))
    agreement = measure_agreement(own, classifier, sample.subset(answers.indices), stated, settings.threads)
    if agreement.another_model:
        other = refusals.another_model(agreement)
        if not settings.accept_weak_classes:
            raise other
        warnings.append(refusals.accepted(other))
    else:
        warnings += agreement.warnings()
    for text in warnings:
        say(f"warning: {text}")
    better = None
    if (found := judged.found) is not None:
        options = advice_for(found.alternative, settings).options
        better = (found.alternative.title, options, float(found.right.mean()))
    return KnownCheck(
        stated=stated.described(),
        images=len(answers.indices),
        accuracy=float((answers.answers == answers.labels).mean()),
        agreement=agreement,
        better=better,
        warnings=tuple(warnings),
    )


def _not_finite(answers: KnownAnswers, own: OwnModel, stated: Stated, settings: ExportSettings) -> str | None:
    """Refuse scores that are not finite on more images than may be rejected; on fewer, return a warning."""
    if answers.first_not_finite is None:
        return None
    inputs = normalised(answers.first_not_finite[None], stated.preprocessing)
    images = len(answers.indices)
    sentence = not_finite.told(answers.not_finite, images, own, inputs)
    if answers.not_finite > settings.false_reject_rate * images:
        raise not_finite.refused(sentence)
    return f"{sentence}; such an image is rejected"


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """What speaks against an export, what is worth a warning, and a better preprocessing."""

    problem: DataError | None = None
    warning: str | None = None
    found: Found | None = None
    # More images could show otherwise.
    unclear: bool = False


def _judged(
    answers: KnownAnswers, names: tuple[str, ...], stated: Preprocessing, settings: ExportSettings, named: str
) -> _Judged:
    labels, given, compared = answers.labels, answers.answers, answers.compared
    counts = answer_counts(labels, given, len(names))
    weak, chance = weak_classes(counts), not above_chance(counts)
    order = other_order(names, labels, given)
    doubt = names_in_doubt(names, labels, given) if order is None else None
    doubted = doubt is not None and not doubt.open
    found = best_alternative(stated, labels[compared], given[compared], answers, grey=answers.grey)
    if found is not None and not _sound(found, labels[compared], given[compared], len(names)):
        found = None
    reordered = order or (doubt if doubted else None)
    ordered = (given == labels)[compared] if reordered is None else reordered.right[compared]
    alone = max(ordered, ordered if found is None else found.right, key=np.mean)
    tried = value_alternatives(stated, grey=answers.grey)
    joint = alternatives_with_order(tried, names, labels[compared], alone, answers, found)
    start = f"the model names only {(given == labels).mean():.1%} of {len(labels)} known images correctly"
    both = None if joint is None else refusals.both_wrong(start, joint, settings)
    if joint is not None and joint.clear:
        return _Judged(problem=both)
    unclear = joint is not None

    def refused(problem: DataError, *, sure: bool = False) -> _Judged:
        problem = refusals.with_open(problem, joint, settings)
        return _Judged(problem=problem, unclear=unclear or not sure)

    if found is not None and (reordered is None or found.right.mean() >= ordered.mean()):
        close = ""
        if reordered is not None and ordered.mean() >= found.right.mean() - _CLOSE:
            line = refusals.known_line(reordered.names)
            close = f" (another order of the classes explains nearly as many: {line})"
        problem = refusals.with_open(
            refusals.wrong_preprocessing(start, found, settings, close), joint, settings
        )
        if reordered is not None or weak or chance:
            return _Judged(problem=problem, found=found, unclear=unclear)
        return _Judged(warning=refusals.accepted(problem), found=found, unclear=unclear)
    if order is not None:
        then = _and_then(answers, order, stated, names, settings)
        return refused(refusals.wrong_order(start, order, then, named), sure=True)
    if doubt is not None and doubted:
        return refused(refusals.in_doubt(start, doubt, names))
    if chance:
        return refused(refusals.by_chance(start, len(names), named, answers.grey))
    if weak:
        return refused(refusals.weak(weak, counts, names, doubt))
    if both is not None:
        return _Judged(warning=refusals.accepted(both), unclear=True)
    if doubt is not None:
        return _Judged(warning=refusals.accepted(refusals.in_doubt(start, doubt, names)), unclear=True)
    return _Judged()


def _sound(found: Found, labels: NDArray[np.int64], before: NDArray[np.int64], classes: int) -> bool:
    """Tell a better preprocessing from one with a single answer, which can beat answers turned round."""
    after = answer_counts(labels, found.answers, classes)
    weak = weak_classes(answer_counts(labels, before, classes))
    return above_chance(after) and len(weak_classes(after)) <= len(weak)


def _and_then(
    answers: KnownAnswers,
    order: ClassOrder,
    stated: Preprocessing,
    names: tuple[str, ...],
    settings: ExportSettings,
) -> str:
    """Say which preprocessing helps beside the other order, if one does."""
    labels = np.array([order.names.index(name) for name in names])[answers.labels[answers.compared]]
    found = best_alternative(stated, labels, answers.answers[answers.compared], answers, grey=answers.grey)
    if found is None or not _sound(found, labels, answers.answers[answers.compared], len(names)):
        return ""
    return (
        f" and with {found.alternative.title} even {found.right.mean():.1%}: add "
        f"{advice_for(found.alternative, settings)}"
    )
