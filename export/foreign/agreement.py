"""The exported graph beside the deployed model on known images, whose input is made in Pillow and NumPy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import LOGITS
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.export.foreign.known_sample import read_frames
from edgeosr.export.foreign.own_model import OwnModel
from edgeosr.export.foreign.recipe import BILINEAR, NO_ANTIALIAS, fitted
from edgeosr.export.foreign.stated import Stated
from edgeosr.export.measure import GraphRunner
from edgeosr.export.scored_graph import ClassifierGraph, scored_graph

# Images that are compared; and those for which other filters are tried too.
COMPARED, OTHER_FILTERS = 100, 48
# Fewer equal labels are worth a warning; fewer than LEAST_ALIKE, with the same filter, are another model.
LEAST_EQUAL, LEAST_ALIKE = 0.98, 0.9


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The exported graph, its own front end included, beside the model itself.

    Attributes:
        images: how many were compared.
        largest_difference, median_difference: of a logit; the median is of each image's largest.
        spread: standard deviation of the model's own logits, to see what a difference is worth.
        equal_labels: share of images with the same first class, 0 to 1.
        resampling: the filter of the recipe.
        other_filters: share of equal labels had the model been deployed with another filter, by its name;
            those that change no pixel are left out.
        of_the_file: the file itself was run; False: the graph that was made of it.
    """

    images: int
    largest_difference: float
    median_difference: float
    spread: float
    equal_labels: float
    resampling: str
    other_filters: dict[str, float]
    of_the_file: bool

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))

    def described(self) -> list[str]:
        """Return lines for the report."""
        whose = "the model itself" if self.of_the_file else "the graph that was made of the model"
        lines = [
            f"against {whose} on {self.images} known images preprocessed by Pillow and NumPy "
            f"({self.resampling}):",
            f"{self.equal_labels:.1%} equal labels, largest logit difference {self.largest_difference:.2g} "
            f"(median {self.median_difference:.2g}; the logits' own spread is {self.spread:.2g})",
        ]
        if self.other_filters:
            others = ", ".join(f"{share:.1%} with {name}" for name, share in self.other_filters.items())
            lines.append(f"had it been deployed with another filter, equal labels: {others}")
        return lines

    @property
    def another_model(self) -> bool:
        """True if no difference of filters explains how much the two differ."""
        return self.resampling == BILINEAR and self.equal_labels < LEAST_ALIKE

    def warnings(self) -> list[str]:
        """Return a warning if the two differ more than they should."""
        if self.equal_labels >= LEAST_EQUAL:
            return []
        advice = (
            "check --fit, --resize and the size of the images"
            if self.resampling == BILINEAR
            else "train or fine-tune it with bilinear resizing, or check that this accuracy is enough"
        )
        return [
            f"the bundle names {1 - self.equal_labels:.1%} of {self.images} known images otherwise than "
            f"the model itself, preprocessed as stated with {self.resampling} resizing; {advice}"
        ]


def measure_agreement(
    own: OwnModel,
    classifier: ClassifierGraph,
    images: LabelledImages,
    stated: Stated,
    threads: int | None = None,
) -> Agreement:
    """Compare logits and labels on known images.

    Args:
        own: the model itself.
        classifier: what is exported.
        images: known images that can be read; at most ``COMPARED`` are taken.
        stated: the preprocessing.
        threads: of onnxruntime; None for what suits the graph.
    """
    graph = scored_graph(classifier, "none").model(expose=(LOGITS,))
    runner = GraphRunner(graph, extra_outputs=(LOGITS,), threads=threads)
    chosen = np.linspace(0, len(images) - 1, min(COMPARED, len(images))).round().astype(np.int64)
    exported, pixels = [], []
    filters = [name for name in (BILINEAR, "bicubic", NO_ANTIALIAS) if name != stated.resampling]
    others: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in filters}
    for _, frame in read_frames(images, chosen, "comparing with the model itself"):
        exported.append(runner.run(frame[None])[-1].reshape(1, -1))
        pixels.append(fitted(frame, stated.preprocessing, stated.resampling))
        if len(pixels) <= OTHER_FILTERS:
            for name, fittings in others.items():
                fittings.append(fitted(frame, stated.preprocessing, name))
    ours = np.concatenate(exported)
    theirs = own.logits_of(pixels, stated.preprocessing)
    labels, differences = ours.argmax(axis=1), np.abs(ours - theirs).max(axis=1)
    shares = {}
    for name, fittings in others.items():
        if not all(np.array_equal(one, other) for one, other in zip(fittings, pixels, strict=False)):
            answers = own.logits_of(fittings, stated.preprocessing).argmax(axis=1)
            shares[name] = float((answers == labels[: len(answers)]).mean())
    return Agreement(
        images=len(ours),
        largest_difference=float(differences.max()),
        median_difference=float(np.median(differences)),
        spread=float(theirs.std()),
        equal_labels=float((labels == theirs.argmax(axis=1)).mean()),
        resampling=stated.resampling,
        other_filters=shares,
        of_the_file=own.is_the_file,
    )
