"""Weights of the embedding's channels in the closed form's Jacobian norm, from how steady each is in a class.

A channel that hardly varies within a class tells more when it does move:

    J_w = |diag(w)^(1/2) dz/dh|_F / |z|,    w_d = 1 / v_d,   v_d the variance of z_d within classes

pooled over the train images of all classes, and w scaled to a mean of 1. Only the table A_d of the closed
form changes (``closed_form/jacobian.py``), so it costs nothing where it is computed.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import ExportError
from edgeosr.export.frozen_features import FeatureReader
from edgeosr.export.scored_graph import ClassifierGraph, scored_graph
from edgeosr.export.settings import WITHIN_CLASS

# Least variance of a channel, as a share of the mean of all: one that is nearly always off has none to speak
# of, and would outweigh the others.
LEAST_VARIANCE = 0.01


def within_class_weights(
    embeddings: NDArray[np.floating], labels: NDArray[np.integer]
) -> NDArray[np.float64] | None:
    """Return w, float64 ``[D]`` with a mean of 1; None where no channel varies within a class.

    Args:
        embeddings: z, ``[n, D]``.
        labels: of the images, ``[n]``.
    """
    centred = embeddings.astype(np.float64)
    for label in np.unique(labels):
        own = labels == label
        centred[own] -= centred[own].mean(axis=0)
    variances = np.square(centred).mean(axis=0) if len(centred) else np.zeros(centred.shape[1])
    mean = float(variances.mean())
    if not (np.isfinite(mean) and mean > 0):
        return None
    weights = 1 / np.maximum(variances, LEAST_VARIANCE * mean)
    return np.asarray(weights / weights.mean())


def weigh_channels(
    classifier: ClassifierGraph, which: str, train: LabelledImages, *, threads: int | None = None
) -> ClassifierGraph:
    """Return the classifier with the channel weights that were asked for, read off its train images.

    Args:
        classifier: to be given a closed form.
        which: one of ``settings.CHANNEL_WEIGHTS``.
        train: images of its classes.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        DataError: more than 1 % of the images cannot be read.
        UnsupportedGraphError: the classifier has no closed form.
        ExportError: the embedding does not vary within any class.
    """
    if which != WITHIN_CLASS:
        return classifier
    reader = FeatureReader(scored_graph(classifier, "closed-form"), threads=threads)
    features = reader.read(train, "weighing the channels on the train part")
    weights = within_class_weights(features.embeddings, features.labels)
    if weights is None:
        raise ExportError(
            f"--channel-weights {WITHIN_CLASS} divides by how much the embedding varies within a class; it "
            f"does not vary on the {len(features)} train images; leave the option out, or give each class "
            "more images that differ"
        )
    return replace(classifier, channel_weights=weights)
