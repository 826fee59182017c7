"""Cases of the fused kernel: a pairwise covering set of its shapes; random scorers and inputs for them."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.scoring.fusion import Fusion, float32_values, unfitted_fusion
from edgeosr.scoring.parts import carried_parts
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import ClosedForm, Head, PartConstants, Scorer

SIZES = {1: (1, 1), 16: (4, 4), 49: (7, 7), 64: (8, 8), 100: (10, 10), 256: (16, 16)}
PARAMETERS = {"leaky_relu": [0.1], "clip": [0.0, 6.0]}
DISCRIMINATORS = {
    "none": (),
    "one": (1,),
    "two": (33, 1),
    "four": (64, 40, 16, 1),
    "deep": (96, 128, 64, 32, 16, 1),
    "wide": (512, 256, 128, 64, 1),
}
# Of clusters: rows that only some of 8 blocks have, that some have fewer of, weights beyond shared memory.
CLUSTER_DISCRIMINATORS = {
    "narrow": (16, 1),
    "ragged": (48, 144, 144, 20, 1),
    "widest": (1024, 1024, 144, 1),
}
MAP_AXES: dict[str, tuple[Any, ...]] = {
    "dimension": (1, 7, 127, 128, 129, 509, 512, 1280, 2048),
    "positions": (1, 16, 49, 64, 100, 256),
    "filter": (1, 3, 5),
    "activation": ("identity", "relu", "leaky_relu", "clip", "hard_swish", "silu", "gelu", "gelu_tanh"),
    "batch": (1, 3, 15, 16, 17, 64),
    "classes": (1, 6, 1000),
    "head": ("cosine", "linear", "external"),
    "discriminator": tuple(DISCRIMINATORS),
    "half_weights": (True, False),
    "half_input": (True, False),
    "channels_last": (False, True),
}
TANGENT_AXES: dict[str, tuple[Any, ...]] = {
    "dimension": MAP_AXES["dimension"],
    "probes": (0, 1, 5, 8, 32),
    "batch": MAP_AXES["batch"],
    "classes": MAP_AXES["classes"],
    "head": MAP_AXES["head"],
    "discriminator": MAP_AXES["discriminator"],
    "half_weights": (True, False),
    "half_input": (True, False),
}
CLUSTER_AXES: dict[str, tuple[Any, ...]] = {
    "dimension": (1, 16, 100, 128, 360, 512, 1280),
    "batch": (1, 3, 8, 9, 64),
    "tile": (1, 2, 4, 8),
    "classes": (1, 10, 64, 65, 100, 1000),
    "head": MAP_AXES["head"],
    "discriminator": ("none", "one", "two", "four", "wide", *CLUSTER_DISCRIMINATORS),
    "positions": (0, 16, 49, 100),  # 0: the tangent source
    "half_input": (True, False),
}
TANGENT_PROBES = (0, 1, 5, 8)  # of clusters, in turn
_MOST_ELEMENTS = 1_100_000  # of an input: every pair fits, and the emulation stays in seconds
_MOST_IN_CLUSTERS = 100_000  # the same, where 8 blocks run at once
_KNOWN_ELEMENTS = 500_000  # of the samples that the score is standardised on: 8 to 32


@dataclass(frozen=True, kw_only=True)
class Case:
    """One launch; ``positions`` 0: the tangent source."""

    dimension: int
    batch: int
    classes: int
    head: str
    discriminator: str
    half_weights: bool
    half_input: bool
    positions: int = 0
    filter: int = 1
    activation: str = "relu"
    channels_last: bool = False
    probes: int = 0
    seed: int = 0

    def __str__(self) -> str:
        dtypes = f"{'w16' if self.half_weights else 'w32'}-{'x16' if self.half_input else 'x32'}"
        if self.positions:
            layout = "nhwc" if self.channels_last else "nchw"
            source = f"{self.activation}-Q{self.positions}-{self.filter}x{self.filter}-{layout}"
        else:
            source = f"K{self.probes}"
        shape = f"D{self.dimension}-B{self.batch}-C{self.classes}"
        return f"{source}-{shape}-{self.head}-{self.discriminator}-{dtypes}"


@dataclass(frozen=True)
class Inputs:
    """Arrays: ``map`` ``[B, D, H, W]``, or ``embedding`` ``[B, D]`` and ``tangents`` ``[K, B, D]``."""

    map: NDArray[Any] | None = None
    embedding: NDArray[Any] | None = None
    tangents: NDArray[Any] | None = None
    logits: NDArray[Any] | None = None


def covering_cases() -> list[Case]:
    """Every pair of values of two axes, of either source, in some case."""
    maps = [Case(**row) for row in pairwise(MAP_AXES)]
    tangents = [Case(**row) for row in pairwise(TANGENT_AXES)]
    return [replace(case, seed=number) for number, case in enumerate([*maps, *tangents])]


@functools.cache
def cluster_cases() -> dict[Case, int]:
    """Every pair of values of two axes of clusters, in some case; and the samples of its tiles."""
    cases = {}
    for number, row in enumerate(pairwise(CLUSTER_AXES, _MOST_IN_CLUSTERS)):
        tile = row.pop("tile")
        maps = {"filter": 1 + 2 * (number % 2), "activation": ("relu", "silu")[number // 2 % 2]}
        tangents = {"probes": TANGENT_PROBES[number % len(TANGENT_PROBES)]}
        more = {**maps, "channels_last": number % 3 == 0} if row["positions"] else tangents
        cases[Case(**row, **more, half_weights=True, seed=number)] = tile
    return cases


def random_scorer(case: Case, constants: Mapping[str, PartConstants] | None = None) -> Scorer:
    """A scorer of the case's shape whose score has mean 0 and deviation 1 on known samples.

    It lists every part that it can carry, in any order: both losses where there is a margin.
    """
    rng = np.random.default_rng([case.seed, 1])
    dimension, classes = case.dimension, case.classes
    weight = rng.standard_normal((classes, dimension)).astype(np.float32)
    bias = np.zeros(classes, np.float32)
    if case.head == "cosine":
        weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    else:
        weight /= np.float32(np.sqrt(dimension))
        bias = rng.standard_normal(classes).astype(np.float32)
    if case.head == "external":
        weight, bias = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    cosine = case.head == "cosine"
    layers = []
    width = dimension
    for outputs in {**DISCRIMINATORS, **CLUSTER_DISCRIMINATORS}[case.discriminator]:
        matrix = rng.standard_normal((outputs, width)) * np.sqrt(2 / width)
        layers.append((matrix.astype(np.float32), rng.normal(0, 0.1, outputs).astype(np.float32)))
        width = outputs
    draft = Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(
            kind=case.head,
            weight=weight,
            bias=bias,
            temperature=16.0 if cosine else 1.0,
            margin=0.3 if cosine and case.seed % 2 else 0.0,
        ),
        fusion=unfitted_fusion(()),
        threshold=0.0,
        closed_form=_closed_form(case, rng) if case.positions else None,
        probes=Probes(K=case.probes, n=49 * dimension) if case.probes else None,
        layers=tuple(layers),
        constants=constants or {},
    )
    parts = [str(name) for name in rng.permutation(carried_parts(draft))]
    return _standardised(replace(draft, fusion=unfitted_fusion(parts)), case, rng)


def random_inputs(case: Case, batch: int | None = None, *, seed: int = 2) -> Inputs:
    """Inputs of ``batch`` samples (None: the case's) with gains and shifts of their own, as images have."""
    rng = np.random.default_rng([case.seed, seed])
    batch = case.batch if batch is None else batch
    dtype = np.float16 if case.half_input else np.float32
    gain = np.exp(rng.normal(0, 0.4, (batch, 1)))
    shift = rng.normal(0.2, 0.3, (batch, 1))
    logits = None
    if case.head == "external":
        logits = (rng.standard_normal((batch, case.classes)) * gain * 3).astype(dtype)
    if case.positions:
        noise = rng.standard_normal((batch, case.dimension * case.positions), np.float32)
        y = ((noise + shift) * gain).astype(dtype).reshape(batch, case.dimension, *SIZES[case.positions])
        return Inputs(map=y, logits=logits)
    z = ((rng.standard_normal((batch, case.dimension)) + shift) * gain).astype(dtype)
    tangents = None
    if case.probes:
        t = rng.standard_normal((case.probes, batch, case.dimension), np.float32)
        tangents = (t * np.exp(rng.normal(0, 0.4, (1, batch, 1)))).astype(dtype)
    return Inputs(embedding=z, tangents=tangents, logits=logits)


def reference_of(scorer: Scorer, inputs: Inputs) -> dict[str, NDArray[Any]]:
    """The float64 reference's answer."""
    return reference_scores(
        scorer,
        map=inputs.map,
        embedding=inputs.embedding,
        logits=inputs.logits,
        tangents=inputs.tangents,
    )


def _closed_form(case: Case, rng: np.random.Generator) -> ClosedForm:
    """The autocorrelation of random filters, ``[D, inputs, size, size]``, at all offsets of half a plane."""
    size = case.filter
    filters = rng.standard_normal((case.dimension, 2, size, size)) / size
    offsets, table = [], []
    for down, right in itertools.product(range(1 - size, size), repeat=2):
        if (down, right) < (0, 0):
            continue
        here = filters[:, :, max(-down, 0) : size - max(down, 0), max(-right, 0) : size - max(right, 0)]
        there = filters[:, :, max(down, 0) : size + min(down, 0), max(right, 0) : size + min(right, 0)]
        offsets.append((down, right))
        table.append((here * there).sum(axis=(1, 2, 3)) * (1 if down == right == 0 else 2))
    order = sorted(range(len(offsets)), key=lambda i: offsets[i] != (0, 0))
    return ClosedForm(
        activation=case.activation,
        parameters=np.array(PARAMETERS.get(case.activation, []), np.float32),
        table=np.stack([table[i] for i in order], axis=1).astype(np.float32),
        offsets=np.array([offsets[i] for i in order], np.int32),
    )


def _standardised(draft: Scorer, case: Case, rng: np.random.Generator) -> Scorer:
    count = min(max(_KNOWN_ELEMENTS // (case.dimension * max(case.positions, 1)), 8), 32)
    values = reference_of(draft, random_inputs(case, count, seed=3))["values"]
    spread = values.std(axis=0)
    still = spread < 1e-3  # a part that says nothing (J of one channel) has no weight
    stds = np.where(still, 1.0, spread)
    weights = np.where(still, 0.0, rng.uniform(0.5, 1.5, len(spread)))
    weights /= max((((values - values.mean(axis=0)) / stds) @ weights).std(), 1e-3)
    fusion = Fusion(
        parts=draft.fusion.parts,
        means=float32_values(values.mean(axis=0)),
        stds=float32_values(stds),
        weights=float32_values(weights),
    )
    threshold = float(np.float32(np.quantile(fusion.scores(values), 0.6)))
    return replace(draft, fusion=fusion, threshold=threshold)


def pairwise(axes: Mapping[str, Sequence[Any]], most: int = _MOST_ELEMENTS) -> list[dict[str, Any]]:
    """Return rows that hold every pair of values of two axes, with inputs of about ``most`` elements or less.

    Greedy: each row starts from a pair that is still missing, and takes the values that add most pairs.
    """
    rng = np.random.default_rng(11)
    names = list(axes)
    missing = {(a, x, b, y) for a, b in itertools.combinations(names, 2) for x in axes[a] for y in axes[b]}
    order = sorted(missing, key=repr)
    rows = []
    for pair in order:
        if pair not in missing:
            continue
        row = {pair[0]: pair[1], pair[2]: pair[3]}
        for name in sorted(names, key=lambda n: -len(axes[n])):
            if name in row:
                continue
            gains = []
            for value in axes[name]:
                trial = {**row, name: value}
                new = sum(_key(names, name, value, other, row[other]) in missing for other in row)
                gains.append((_fits(trial, most), new, rng.random(), value))
            row[name] = max(gains, key=lambda gain: gain[:3])[3]
        rows.append({name: row[name] for name in names})
        for a, b in itertools.combinations(names, 2):
            missing.discard((a, row[a], b, row[b]))
    return rows


def _key(names: list[str], a: str, x: Any, b: str, y: Any) -> tuple[str, Any, str, Any]:
    return (a, x, b, y) if names.index(a) < names.index(b) else (b, y, a, x)


def _fits(row: Mapping[str, Any], most: int) -> bool:
    elements = row.get("batch", 1) * row.get("dimension", 1)
    return bool(elements * row.get("positions", 1) * (1 + row.get("probes", 0)) <= most)
