"""How far each part of a verdict may be from the float64 reference: what its formats lose, and no more.

Every bound begins with ``ROUNDING``, to which J was held from the first: a sum in float32 is right to that
share of its terms. What is made of such sums is as wrong as its derivatives make it. fp16 has a share of its
own only where numbers are kept in it: between hidden layers. z is split into two halves, so products with
fp16 weights are held as those with fp32 ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.activations import activate
from edgeosr.scoring.parts.movr_loss import with_margin
from edgeosr.scoring.scorer import Scorer
from edgeosr.verdict import FLOOR

ROUNDING = 1e-6
HALF = 2.0**-11  # of fp16, rounded to nearest
_FUNCTION = 2.0**-23  # of expf and log1pf
_DEVIATIONS = 3.0  # of errors of many hidden values, which do not all point the same way

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Exact:
    """One batch in float64, with what its errors depend on.

    Attributes:
        scorer: with the weights that the kernel multiplies with.
        half: hidden values are kept in fp16.
        z: ``[B, D]``.
        terms: mean over positions of |act(y)|, ``[B, D]``: where it is more than |z|, z has lost digits.
        norm: |z|, not below FLOOR.
        label: of the reference.
        logits: of the reference, ``[B, C]``.
        lengths: sum of |t|^2 over the tangents, times their scale; None without tangents.
    """

    scorer: Scorer
    half: bool
    z: Float64
    terms: Float64
    norm: Float64
    label: NDArray[np.int64]
    logits: Float64
    lengths: Float64 | None

    @property
    def lost(self) -> Float64:
        """How much an error of z's terms is larger relative to |z|, ``[B]``, at least 1."""
        return np.asarray(np.linalg.norm(self.terms, axis=1) / self.norm)


def exact_batch(
    scorer: Scorer, inputs: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]], *, half: bool
) -> Exact:
    """Return what the bounds need, from the arguments and the result of ``reference_scores``."""
    if "map" in inputs:
        form = scorer.closed_form
        assert form is not None
        activated, _ = activate(form.activation, form.parameters, inputs["map"].astype(np.float64))
        z, terms = activated.mean(axis=(2, 3)), np.abs(activated).mean(axis=(2, 3))
    else:
        z = inputs["embedding"].astype(np.float64)
        terms = np.abs(z)
    lengths = None
    if "tangents" in inputs and scorer.probes is not None:
        lengths = scorer.probes.scale * (inputs["tangents"].astype(np.float64) ** 2).sum(axis=(0, 2))
    norm = np.maximum(np.linalg.norm(z, axis=1), FLOOR)
    return Exact(scorer, half, z, terms, norm, reference["label"], reference["logits"], lengths)


def logit_errors(exact: Exact) -> Float64:
    """Return how far each logit may be off, ``[B, C]``."""
    head = exact.scorer.head
    terms = _lengths(exact.terms) * _lengths(head.weight).T
    if head.kind == "cosine":
        return np.asarray(ROUNDING * terms / exact.norm[:, None])
    return np.asarray(ROUNDING * (terms + np.abs(head.bias)))


def near_labels(exact: Exact) -> NDArray[np.bool_]:
    """Return in which samples, ``[B]``, another class may come first: its logit may be as large.

    One with the same weights has the same logit, so that the lower class comes first whatever is rounded.
    """
    errors, row, head = logit_errors(exact), np.arange(len(exact.z)), exact.scorer.head
    kinds = np.unique(np.column_stack([head.weight, head.bias]), axis=0, return_inverse=True)[1].reshape(-1)
    top, own = exact.logits[row, exact.label], errors[row, exact.label]
    near = exact.logits + errors >= (top - own)[:, None]
    return np.asarray((near & (kinds != kinds[exact.label][:, None])).any(axis=1))


def allowed_errors(exact: Exact, values: Float64) -> Float64:
    """Return the largest error of each part of each sample, as ``values``, the reference's."""
    found = np.empty(values.shape)
    for column, name in enumerate(exact.scorer.fusion.parts):
        found[:, column] = RULES[name](exact, values[:, column]) + _spacing(values[:, column])
    return found


def _log_jacobian(exact: Exact, value: Float64) -> Float64:
    if exact.lengths is None:
        return ROUNDING * exact.lost
    # |t|^2 - (u . t)^2: what is left of the lengths is as wrong as they are, down to nothing left.
    square, error = np.exp(2 * value), 2 * ROUNDING * exact.lengths / exact.norm**2
    least = np.maximum(square - error, FLOOR**2)
    return np.asarray(np.maximum(np.log1p(error / square), np.log(square / least)) / 2)


def _log_norm(exact: Exact, value: Float64) -> Float64:
    return ROUNDING * exact.lost


def _raw_jacobian(exact: Exact, value: Float64) -> Float64:
    return np.full(value.shape, ROUNDING)


def _class_jacobian(exact: Exact, value: Float64) -> Float64:
    numbers = exact.scorer.constants["class_jacobian"].numbers.astype(np.float64)
    means, deviations = numbers.reshape(2, -1)[:, exact.label]
    return np.asarray((ROUNDING + _spacing(value * deviations + means)) / deviations)


def _max_logit(exact: Exact, value: Float64) -> Float64:
    return np.asarray(logit_errors(exact)[np.arange(len(value)), exact.label])


def _ovr_loss(exact: Exact, value: Float64) -> Float64:
    return _loss(exact, lambda logits: logits)


def _movr_loss(exact: Exact, value: Float64) -> Float64:
    margin = exact.scorer.head.margin
    return _loss(exact, lambda logits: with_margin(logits, margin) if margin else logits)


def _loss(exact: Exact, shifted: Callable[[Float64], Float64]) -> Float64:
    """Each class's term moves with its own logit's error; with |z| all move together."""
    logits, errors = exact.logits, logit_errors(exact)
    turned = np.where(np.arange(logits.shape[1]) == exact.label[:, None], -1.0, 1.0)
    turned *= exact.scorer.head.temperature

    def terms(of: Float64) -> Float64:
        return np.asarray(np.logaddexp(0.0, turned * shifted(of)))

    here = terms(logits)
    own = np.maximum(np.abs(terms(logits + errors) - here), np.abs(terms(logits - errors) - here))
    alike = [terms(logits * (1 + way)).sum(axis=1) - here.sum(axis=1) for way in (ROUNDING, -ROUNDING)]
    return np.asarray(np.linalg.norm(own + _FUNCTION * here, axis=1) + np.abs(alike).max(axis=0))


def _discriminator(exact: Exact, value: Float64) -> Float64:
    """Each hidden value is as wrong as its sum and as the format that keeps it; the logit as all of them."""
    layers = [(weight.astype(np.float64), bias.astype(np.float64)) for weight, bias in exact.scorer.layers]
    slope, into = exact.scorer.slope, [exact.z]
    sums: list[Float64] = []
    for number, (weight, bias) in enumerate(layers):
        if number:
            into.append(np.where(sums[-1] > 0, sums[-1], slope * sums[-1]))
        sums.append(np.asarray(into[-1] @ weight.T + bias))
    squares, gradient = np.zeros(len(value)), np.ones((len(value), 1))
    for number in reversed(range(len(layers))):
        weight, bias = layers[number]
        terms = into[number] if number else exact.terms
        own = ROUNDING * (np.sqrt(terms**2 @ weight.T**2 + bias**2) + np.abs(sums[number]))
        squares += ((gradient * own) ** 2).sum(axis=1)
        gradient = gradient @ weight
        if number:
            if exact.half:
                squares += ((gradient * HALF * into[number]) ** 2).sum(axis=1)
            gradient = gradient * np.where(sums[number - 1] > 0, 1.0, slope)
    return np.asarray(_DEVIATIONS * np.sqrt(squares))


def _bank(exact: Exact, value: Float64) -> Float64:
    own = exact.scorer.constants["bank"]
    terms = _lengths(exact.terms) * _lengths(own.rows).T + np.abs(own.biases)
    return np.asarray(ROUNDING * terms.max(axis=1) / exact.norm)


def _relative_mahalanobis(exact: Exact, value: Float64) -> Float64:
    own = exact.scorer.constants["relative_mahalanobis"]
    rows, biases = own.rows.astype(np.float64), own.biases.astype(np.float64)
    terms = np.sqrt(exact.terms**2 @ rows.T**2 + biases**2) + np.abs(exact.z @ rows.T + biases)
    return np.asarray(ROUNDING * abs(float(own.numbers[0])) * terms.max(axis=1))


RULES: dict[str, Callable[[Exact, Float64], Float64]] = {
    "log_jacobian": _log_jacobian,
    "discriminator": _discriminator,
    "movr_loss": _movr_loss,
    "max_logit": _max_logit,
    "log_norm": _log_norm,
    "ovr_loss": _ovr_loss,
    "raw_jacobian": _raw_jacobian,
    "bank": _bank,
    "relative_mahalanobis": _relative_mahalanobis,
    "class_jacobian": _class_jacobian,
}


def _lengths(rows: NDArray[Any]) -> Float64:
    return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True))


def _spacing(value: Float64) -> Float64:
    """Return what a float32 of this size is rounded by at most twice: a logarithm's last bit too."""
    return np.spacing(np.abs(value).astype(np.float32)).astype(np.float64)
