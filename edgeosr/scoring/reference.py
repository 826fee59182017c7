"""The scorer in float64 NumPy: what the ONNX scoring graph and the CUDA kernel are checked against.

Rules at the edges, which every implementation shares:

- label: the largest logit; among equal ones the lowest index.
- accepted: the score is at most the threshold; with one a class, that of the label.
- |z| and J are not taken below ``FLOOR`` before a division or a logarithm, so |z| = 0 and J = 0 give finite
  scores.
- anything not finite, in the map, the embedding, the tangents, the logits or a part, and an embedding whose
  squared norm, or tangents whose |dz/dh|_F^2, leaves float32's range, makes the score NaN. NaN is never
  accepted; the label is then any class.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UsageError
from edgeosr.scoring.activations import activate
from edgeosr.scoring.discriminator import discriminator_logit
from edgeosr.scoring.part import Batch
from edgeosr.scoring.parts import part
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Scorer
from edgeosr.scoring.thresholds import limits_of
from edgeosr.verdict import FLOOR

Float64 = NDArray[np.float64]
_LARGEST = float(np.finfo(np.float32).max)


def reference_scores(
    scorer: Scorer,
    *,
    map: NDArray[np.floating[Any]] | None = None,
    embedding: NDArray[np.floating[Any]] | None = None,
    logits: NDArray[np.floating[Any]] | None = None,
    tangents: NDArray[np.floating[Any]] | None = None,
    jacobian_squared: NDArray[np.floating[Any]] | None = None,
) -> dict[str, NDArray[Any]]:
    """Score a batch.

    Args:
        scorer: the constants.
        map: ``[B, D, H, W]``, y before the last activation; needed for the closed form.
        embedding: ``[B, D]``, z; None: the mean over positions of act(map).
        logits: ``[B, C]``, for an external head only.
        tangents: ``[K, B, D]``, t_k = (dz/dh) v_k, for a scorer with probes.
        jacobian_squared: ``[B]``, |dz/dh|_F^2 (without its radial part for probes) from elsewhere; None: by
            the closed form, or from the tangents.

    Returns:
        ``label`` int64 ``[B]``, ``score`` float64 ``[B]``, ``values`` float64 ``[B, parts]``, the parts that
        the scorer's fusion lists, in its order, ``accepted`` bool ``[B]`` and ``logits`` float64 ``[B, C]``.

    Raises:
        UsageError: an array is missing or has the wrong shape.
    """
    y = None if map is None else np.asarray(map, np.float64)
    if y is not None and (y.ndim != 4 or y.shape[1] != scorer.dimension):
        raise UsageError(f"map must be [batch, {scorer.dimension}, height, width]; got {y.shape}")
    slopes: Float64 | None = None
    if y is not None and scorer.closed_form is not None:
        activated, slopes = activate(scorer.closed_form.activation, scorer.closed_form.parameters, y)
    if embedding is not None:
        z = np.asarray(embedding, np.float64)
    elif slopes is not None:
        z = activated.mean(axis=(2, 3))
    else:
        raise UsageError("reference_scores needs the embedding, or the map of a scorer with a closed form")
    if z.ndim != 2 or z.shape[1] != scorer.dimension:
        raise UsageError(f"embedding must be [batch, {scorer.dimension}]; got {z.shape}")
    with np.errstate(all="ignore"):
        squared = (z * z).sum(axis=1)
        norm = np.maximum(np.sqrt(squared), FLOOR)
        scores = _logits(scorer, z, norm, logits)
        label = scores.argmax(axis=1)
        top = scores[np.arange(len(z)), label]
        known = discriminator_logit(scorer.layers, scorer.slope, z)
        jacobian, in_range = np.ones(len(z)), np.ones(len(z), bool)
        if scorer.closed_form is not None or scorer.probes is not None:
            square = _jacobian_squared(scorer, z, norm, slopes, tangents, jacobian_squared)
            jacobian = np.sqrt(np.maximum(square, 0.0)) / norm
            in_range = np.abs(square) <= _LARGEST
        batch = Batch(z=z, norm=norm, logits=scores, label=label, top=top, jacobian=jacobian, known=known)
        fusion = scorer.fusion
        values = np.stack([part(name).value(batch, scorer) for name in fusion.parts], axis=1)
        score = ((values - fusion.means) / fusion.stds) @ np.asarray(fusion.weights)
    finite = (
        np.isfinite(values).all(axis=1) & np.isfinite(scores).all(axis=1) & (squared <= _LARGEST) & in_range
    )
    if y is not None:
        finite &= np.isfinite(y).all(axis=(1, 2, 3))
    score = np.where(finite, score, np.nan)
    accepted = score <= limits_of(scorer.limit, label)
    return {
        "label": label.astype(np.int64),
        "score": score,
        "values": values,
        "accepted": accepted,
        "logits": scores,
    }


def closed_form_squared(closed_form: ClosedForm, slopes: Float64) -> Float64:
    """Return |dz/dh|_F^2, ``[B]``, from the activation's derivatives at the map (docs/design.md).

    Args:
        closed_form: table and offsets.
        slopes: act'(y), ``[B, D, H, W]``.
    """
    batch, _, height, width = slopes.shape
    table = closed_form.table.astype(np.float64)
    total: Float64 = np.zeros(batch)
    for tap, (down, right) in enumerate(closed_form.offsets.tolist()):
        if abs(down) >= height or abs(right) >= width:
            continue
        here = slopes[:, :, max(-down, 0) : height - max(down, 0), max(-right, 0) : width - max(right, 0)]
        there = slopes[:, :, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
        total += np.einsum("bdhw,bdhw,d->b", here, there, table[:, tap])
    return np.asarray(total / (height * width) ** 2)


def probes_squared(probes: Probes, unit: Float64, tangents: Float64) -> Float64:
    """Return scale * sum_k max(0, |t_k|^2 - (u . t_k)^2), ``[B]``; see ``Probes``.

    Args:
        probes: K and n.
        unit: u, ``[B, D]``.
        tangents: ``[K, B, D]``.
    """
    lengths = (tangents * tangents).sum(axis=2)
    radial = np.einsum("kbd,bd->kb", tangents, unit)
    total: Float64 = np.maximum(lengths - radial * radial, 0.0).sum(axis=0)
    return np.asarray(probes.scale * total)


def _jacobian_squared(
    scorer: Scorer,
    z: Float64,
    norm: Float64,
    slopes: Float64 | None,
    tangents: NDArray[np.floating[Any]] | None,
    given: NDArray[np.floating[Any]] | None,
) -> Float64:
    """Return the squared Jacobian norm before its division by |z|^2, ``[B]``, from whatever there is."""
    if given is not None:
        return np.asarray(given, np.float64)
    if scorer.probes is not None:
        shape = (scorer.probes.K, len(z), scorer.dimension)
        if tangents is None or np.shape(tangents) != shape:
            got = "none" if tangents is None else f"{np.shape(tangents)}"
            raise UsageError(f"probes need tangents [K, batch, D] = {shape}; got {got}")
        return probes_squared(scorer.probes, z / norm[:, None], np.asarray(tangents, np.float64))
    if scorer.closed_form is None or slopes is None:
        raise UsageError("the closed form needs the map; pass map= or jacobian_squared=")
    return closed_form_squared(scorer.closed_form, slopes)


def _logits(scorer: Scorer, z: Float64, norm: Float64, logits: NDArray[np.floating[Any]] | None) -> Float64:
    if (logits is not None) != (scorer.head.kind == "external"):
        raise UsageError(f"the head is {scorer.head.kind!r}; logits are passed for an external head only")
    if logits is not None:
        given = np.asarray(logits, np.float64)
        if given.shape != (len(z), scorer.classes):
            raise UsageError(f"logits must be {(len(z), scorer.classes)}; got {given.shape}")
        return given
    weight = scorer.head.weight.astype(np.float64).T
    if scorer.head.kind == "cosine":
        return np.asarray((z / norm[:, None]) @ weight)
    return np.asarray(z @ weight + scorer.head.bias)
