"""Scorers and inputs of the selftest: random from fixed seeds, so that every device sees the same numbers."""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.activations import activate
from edgeosr.scoring.fusion import Fusion, float32_values, unfitted_fusion
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import carried_parts, with_constants
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.reference import closed_form_squared, reference_scores
from edgeosr.scoring.scorer import ClosedForm, Head, Scorer

_KNOWN = 64  # samples on which the parts and the score are standardised
_WIDTHS = (512, 256, 128, 64, 1)


@dataclass(frozen=True, kw_only=True)
class SelftestCase:
    """One launch. ``size`` 0: the tangent source with ``probes`` tangents; else a map of size times size.

    ``images``: as many, with a map only, make the constants of parts that have some of their own, rows
    included; 0: the scorer has no such part.
    """

    dimension: int
    batch: int
    size: int = 7
    activation: str = "relu"
    taps: int = 9
    probes: int = 0
    classes: int = 10
    head: str = "cosine"
    margin: float = 0.0
    half_weights: bool = True
    half_input: bool = True
    images: int = 0
    seed: int = 0

    @property
    def name(self) -> str:
        """What it is, for the report."""
        source = (
            f"map {self.activation} Q{self.size**2} taps {self.taps}" if self.size else f"z, K{self.probes}"
        )
        bits = f"{16 if self.half_weights else 32}-bit weights, {16 if self.half_input else 32}-bit input"
        head = f"{self.head} with a margin" if self.margin else self.head
        rows = f", rows of {self.images} images" if self.images else ""
        return f"{source}, D{self.dimension} B{self.batch} C{self.classes} {head}{rows}, {bits}"


TIMED_CASES = tuple(
    SelftestCase(dimension=dimension, batch=batch, half_weights=half, half_input=half)
    for dimension, batch, half in itertools.product((512, 1280), (1, 16, 64), (True, False))
)
# As many images as the bank has rows at most: more would need scikit-learn, which no device has. Of a larger
# random map all embeddings point almost the same way, and a deviation of the bank is a few hundred roundings.
ROW_CASES = tuple(
    SelftestCase(dimension=512, batch=16, size=2, images=256, half_weights=half, half_input=half)
    for half in (True, False)
)
_ODD = (1, 7, 127, 129, 509, 512, 2048)


def random_cases(count: int, seed: int) -> list[SelftestCase]:
    """Return ``count`` cases of random shapes."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        from_map, head = bool(rng.integers(2)), str(rng.choice(("cosine", "linear")))
        found.append(
            SelftestCase(
                dimension=int(rng.choice(_ODD)),
                batch=int(rng.choice((1, 3, 15, 16, 17, 64))),
                size=int(rng.choice((1, 4, 7, 8, 10))) if from_map else 0,
                activation=str(rng.choice(("relu", "leaky_relu", "clip", "silu", "hard_swish", "gelu"))),
                taps=int(rng.choice((1, 9))),
                probes=0 if from_map else int(rng.choice((0, 1, 5, 32))),
                classes=int(rng.choice((1, 6, 1000))),
                head=head,
                margin=0.3 * int(rng.integers(2)) if head == "cosine" else 0.0,
                half_weights=bool(rng.integers(2)),
                half_input=bool(rng.integers(2)),
                seed=seed + number + 1,
            )
        )
    return found


def case_scorer(case: SelftestCase) -> Scorer:
    """Return a scorer of all parts that it can carry.

    Its score has mean 0 and deviation 1 on known samples, of which it accepts 95 %.
    """
    rng = np.random.default_rng([case.seed, 1])
    weight = rng.standard_normal((case.classes, case.dimension)).astype(np.float32)
    scale = np.linalg.norm(weight, axis=1, keepdims=True) if case.head == "cosine" else case.dimension**0.5
    layers, width = [], case.dimension
    for outputs in _WIDTHS:
        matrix = rng.standard_normal((outputs, width)) * np.sqrt(2 / width)
        layers.append((matrix.astype(np.float32), rng.normal(0, 0.1, outputs).astype(np.float32)))
        width = outputs
    draft = Scorer(
        dimension=case.dimension,
        classes=case.classes,
        head=Head(
            kind=case.head,
            weight=(weight / scale).astype(np.float32),
            bias=np.zeros(case.classes, np.float32),
            temperature=16.0 if case.head == "cosine" else 1.0,
            margin=case.margin,
        ),
        fusion=unfitted_fusion(()),
        threshold=0.0,
        closed_form=_closed_form(case) if case.size else None,
        probes=Probes(K=case.probes, n=49 * case.dimension) if case.probes else None,
        layers=tuple(layers),
    )
    if case.images:
        draft = with_constants(draft, _features(draft, case))
    return _standardised(replace(draft, fusion=unfitted_fusion(carried_parts(draft))), case)


def case_inputs(case: SelftestCase, *, seed: int = 2) -> dict[str, NDArray[Any]]:
    """Return ``map``, or ``embedding`` and ``tangents``, as ``reference_scores`` takes them."""
    rng = np.random.default_rng([case.seed, seed])
    dtype = np.float16 if case.half_input else np.float32
    gain = np.exp(rng.normal(0, 0.4, (case.batch, 1)))
    shift = rng.normal(0.2, 0.3, (case.batch, 1))
    noise = rng.standard_normal((case.batch, case.dimension * max(case.size**2, 1)), np.float32)
    first = ((noise + shift) * gain).astype(dtype)
    if case.size:
        return {"map": first.reshape(case.batch, case.dimension, case.size, case.size)}
    if not case.probes:
        return {"embedding": first}
    tangents = rng.standard_normal((case.probes, case.batch, case.dimension), np.float32)
    return {"embedding": first, "tangents": tangents.astype(dtype)}


def case_filters(case: SelftestCase) -> NDArray[np.float32]:
    """Return the last convolution's random 1x1 or 3x3 filters, float32 ``[D, 2, size, size]``."""
    rng = np.random.default_rng([case.seed, 4])
    size = 1 if case.taps == 1 else 3
    return (rng.standard_normal((case.dimension, 2, size, size)) / size).astype(np.float32)


def _features(draft: Scorer, case: SelftestCase) -> TrainFeatures:
    """Return features of random train images, every class as often."""
    form = draft.closed_form
    assert form is not None, case
    y = case_inputs(replace(case, batch=case.images), seed=5)["map"].astype(np.float64)
    activated, slopes = activate(form.activation, form.parameters, y)
    return TrainFeatures(
        embeddings=activated.mean(axis=(2, 3)).astype(np.float32),
        labels=np.arange(case.images) % case.classes,
        classes=case.classes,
        seed=case.seed,
        jacobian_squared=closed_form_squared(form, slopes),
    )


def _closed_form(case: SelftestCase) -> ClosedForm:
    """Return the autocorrelation of the filters."""
    filters = case_filters(case).astype(np.float64)
    size = filters.shape[-1]
    offsets, table = [(0, 0)], [(filters**2).sum(axis=(1, 2, 3))]
    for down, right in itertools.product(range(1 - size, size), repeat=2):
        if (down, right) > (0, 0):
            here = filters[:, :, : size - down, max(-right, 0) : size - max(right, 0)]
            there = filters[:, :, down:, max(right, 0) : size + min(right, 0)]
            offsets.append((down, right))
            table.append(2 * (here * there).sum(axis=(1, 2, 3)))
    parameters = {"leaky_relu": [0.1], "clip": [0.0, 6.0]}.get(case.activation, [])
    return ClosedForm(
        activation=case.activation,
        parameters=np.array(parameters, np.float32),
        table=np.stack(table, axis=1).astype(np.float32),
        offsets=np.array(offsets, np.int32),
    )


def _standardised(draft: Scorer, case: SelftestCase) -> Scorer:
    known = case_inputs(replace(case, batch=_KNOWN), seed=3)
    values = reference_scores(draft, **known)["values"]
    spread = values.std(axis=0)
    still = spread < 1e-3  # a part that says nothing here has no weight
    stds = np.where(still, 1.0, spread)
    weights = np.where(still, 0.0, 1.0)
    weights /= max(float((((values - values.mean(axis=0)) / stds) @ weights).std()), 1e-3)
    fusion = Fusion(
        parts=draft.fusion.parts,
        means=float32_values(values.mean(axis=0)),
        stds=float32_values(stds),
        weights=float32_values(weights),
    )
    threshold = float(np.float32(np.quantile(fusion.scores(values), 0.95)))
    return replace(draft, fusion=fusion, threshold=threshold)
