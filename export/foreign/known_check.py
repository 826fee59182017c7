"""A deployed model, checked on its known images before it is wrapped: preprocessing and order of classes.

    its own answers, its input made as stated      own_model.py, recipe.py
    the exported graph's answers beside them       agreement.py
    the usual other preprocessings                 alternatives.py
    another order of the names, weak classes       class_order.py

A wrong preprocessing can look like a wrong order of the classes and the other way round, so both are asked,
and the one that puts more images right is named first.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.data.parts import Parts
from edgeosr.errors import DataError
from edgeosr.export.foreign.agreement import Agreement, measure_agreement
from edgeosr.export.foreign.alternatives import Found, best_alternative, value_alternatives
from edgeosr.export.foreign.class_order import (
    ClassOrder,
    above_chance,
    answer_counts,
    other_order,
    weak_classes,
)
from edgeosr.export.foreign.known_sample import known_sample, read_frames
from edgeosr.export.foreign.own_model import OwnModel, top_classes
from edgeosr.export.foreign.recipe import fitted, normalised
from edgeosr.export.foreign.stated import Stated
from edgeosr.export.scored_graph import ClassifierGraph
from edgeosr.export.settings import ExportSettings
from edgeosr.preprocessing import Preprocessing

# Alternatives are compared on at most so many images, and on as many as fit into so many bytes.
_COMPARED, _KEPT_BYTES = 300, 2**28
_ACCEPT = "--accept-weak-classes exports it all the same"
_NAMED = 6

Places = NDArray[np.int64]


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


class _Answers:
    """The model's own answers on a sample, for any preprocessing."""

    def __init__(self, own: OwnModel, sample: LabelledImages, stated: Stated) -> None:
        self._own, self._sample, self._stated = own, sample, stated
        given: list[int] = []
        kept: list[int] = []
        labels: list[int] = []
        pixels: dict[int, NDArray[np.uint8]] = {}
        size = stated.preprocessing
        most = max(1, min(_COMPARED, _KEPT_BYTES // (size.height * size.width * 3)))
        wanted = set(np.linspace(0, len(sample) - 1, min(most, len(sample))).round().astype(int).tolist())
        for index, frame in read_frames(sample, np.arange(len(sample)), "checking on known images"):
            one = fitted(frame, size, stated.resampling)
            given.append(int(own.logits(normalised(one[None], size))[0].argmax()))
            labels.append(int(sample.labels[index]))
            if index in wanted:
                pixels[len(kept)] = one
            kept.append(index)
        if not kept:
            raise DataError(
                "none of the known images that the model is checked on can be read; repair or remove these "
                "files"
            )
        self.indices = np.array(kept, np.int64)
        self.labels, self.answers = np.array(labels, np.int64), np.array(given, np.int64)
        # Where the compared images lie among those that were read.
        self.compared = np.array(sorted(pixels), np.int64)
        self._pixels = [pixels[place] for place in self.compared.tolist()]

    def __call__(self, preprocessing: Preprocessing, places: Places) -> NDArray[np.int64]:
        """Return the answers on the compared images at ``places``."""
        stated = self._stated.preprocessing
        cut = ("fit", "crop_fraction", "resize_to")
        if all(getattr(preprocessing, name) == getattr(stated, name) for name in cut):
            images = [self._pixels[place] for place in places.tolist()]
        else:
            chosen = self.indices[self.compared[places]]
            frames = read_frames(self._sample, chosen, "trying another cut")
            images = [fitted(frame, preprocessing, self._stated.resampling) for _, frame in frames]
        inputs = normalised(np.stack(images), preprocessing)
        return top_classes(self._own.logits(inputs))


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
    """
    sample = known_sample(parts)
    own = OwnModel(path, classifier, settings.threads)
    answers = _Answers(own, sample, stated)
    problem, warning, found = _judged(answers, classifier.classes, stated.preprocessing, settings)
    warnings = [] if warning is None else [warning]
    if problem is not None:
        if not settings.accept_weak_classes:
            raise DataError(f"{problem}; {_ACCEPT}")
        warnings.append(problem)
    agreement = measure_agreement(own, classifier, sample.subset(answers.indices), stated, settings.threads)
    warnings += agreement.warnings()
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr, flush=True)
    better = None
    if found is not None:
        better = (found.alternative.title, found.alternative.options, float(found.right.mean()))
    return KnownCheck(
        stated=stated.described(),
        images=len(answers.indices),
        accuracy=float((answers.answers == answers.labels).mean()),
        agreement=agreement,
        better=better,
        warnings=tuple(warnings),
    )


def _judged(
    answers: _Answers, names: tuple[str, ...], stated: Preprocessing, settings: ExportSettings
) -> tuple[str | None, str | None, Found | None]:
    """Return what speaks against the export, what is worth a warning, and the better preprocessing."""
    labels, given, compared = answers.labels, answers.answers, answers.compared
    counts = answer_counts(labels, given, len(names))
    weak, chance = weak_classes(counts), not above_chance(counts)
    order = other_order(names, labels, given)
    found = best_alternative(stated, labels[compared], given[compared], answers)
    if found is not None and not _sound(found, labels[compared], given[compared], len(names)):
        found = None
    accuracy = float((given == labels).mean())
    start = f"the model names only {accuracy:.1%} of {len(labels)} known images correctly"
    if found is not None:
        alike = f" (as good: {', '.join(found.as_good)})" if found.as_good else ""
        ordered = 0.0 if order is None else float(order.right[compared].mean())
        better = (
            f"{start} as it is preprocessed now, and {found.right.mean():.1%} with another preprocessing, "
            f"{found.alternative.title}; write {found.alternative.options}{_in_place(settings)}"
            f"{alike}"
        )
        if found.right.mean() >= ordered:
            if order is not None and ordered >= found.right.mean() - 0.05:
                better += f"; another order of the classes explains nearly as many: {known_line(order)}"
            return (better, None, found) if order or weak or chance else (None, better, found)
    if order is not None:
        return f"{start}, {_ordered(order)}{_and_then(answers, order, stated, names, settings)}", None, None
    if (weak or chance) and (both := _both(answers, names, stated)) is not None:
        return f"{start}, {both}", None, None
    if chance:
        advice = "check the class order (--known, or the sorted folder names) and the preprocessing"
        return f"{start}, hardly more than by chance with {len(names)} classes; {advice}", None, None
    if weak:
        return _weak(weak, counts, names), None, None
    return None, None, None


def _sound(found: Found, labels: NDArray[np.int64], before: NDArray[np.int64], classes: int) -> bool:
    """Tell a better preprocessing from one with a single answer, which can beat answers turned round."""
    after = answer_counts(labels, found.answers, classes)
    weak = weak_classes(answer_counts(labels, before, classes))
    return above_chance(after) and len(weak_classes(after)) <= len(weak)


def _ordered(order: ClassOrder) -> str:
    called = f" ({order.called})" if order.called else ""
    return (
        f"because the class names stand in another order than the model's outputs: with {order.moved} "
        f"names moved{called} it names {order.right.mean():.1%} correctly; write {known_line(order)}"
    )


def _and_then(
    answers: _Answers,
    order: ClassOrder,
    stated: Preprocessing,
    names: tuple[str, ...],
    settings: ExportSettings,
) -> str:
    """Say which preprocessing helps beside the other order, if one does."""
    labels = np.array([order.names.index(name) for name in names])[answers.labels[answers.compared]]
    found = best_alternative(stated, labels, answers.answers[answers.compared], answers)
    if found is None or not _sound(found, labels, answers.answers[answers.compared], len(names)):
        return ""
    return (
        f"; and with {found.alternative.title} even {found.right.mean():.1%}: add {found.alternative.options}"
        f"{_in_place(settings)}"
    )


def _both(answers: _Answers, names: tuple[str, ...], stated: Preprocessing) -> str | None:
    """Look for a preprocessing under which another order of the names becomes clear."""
    labels, best, share = answers.labels[answers.compared], None, 0.0
    for one in value_alternatives(stated):
        order = other_order(names, labels, answers(one.preprocessing, np.arange(len(labels))))
        if order is not None and order.right.mean() > share:
            best, share = (one, order), float(order.right.mean())
    if best is None or share <= 2 * float((answers.answers == answers.labels).mean()):
        return None
    one, order = best
    return (
        f"and {share:.1%} with another preprocessing and another order of the class names; write "
        f"{one.options} {known_line(order)}"
    )


def _weak(weak: list[int], counts: NDArray[np.int64], names: tuple[str, ...]) -> str:
    shown = []
    for label in weak[:_NAMED]:
        right, images = int(counts[label, label]), int(counts[label].sum())
        shown.append(f"{names[label]!r} ({right} of {images} images)")
    more = f" and {len(weak) - _NAMED} more" if len(weak) > _NAMED else ""
    return (
        f"the model does not name {len(weak)} of {len(names)} classes clearly more often than by chance: "
        f"{', '.join(shown)}{more}; check that these folders hold what the model calls so (--known), and the "
        "preprocessing"
    )


def known_line(order: ClassOrder) -> str:
    """Return the option that states this order, to be copied into a shell."""
    if any("," in name or name != name.strip() for name in order.names):
        listed = " ".join(quote(name) for name in order.names)
        return f"--known-file classes.txt after printf '%s\\n' {listed} > classes.txt"
    return f"--known {quote(','.join(order.names))}"


def _in_place(settings: ExportSettings) -> str:
    names = ("preprocessing", "mean", "std", "color", "fit", "resize", "crop_fraction")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(settings, name) is not None]
    return f" in place of {', '.join(given)}" if given else ""
