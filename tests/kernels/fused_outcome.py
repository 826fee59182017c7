"""One case of the covering set, in every schedule: the reference's answer and the kernel's."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from fused_cases import Case, Inputs, random_inputs, random_scorer, reference_of
from fused_run import SOURCE, prepared
from numpy.typing import NDArray
from simt_build import built
from simt_run import Library

from edgeosr.kernels.packing import pack_scorer, unpacked_weights

_MOST_FOR_ALL_SCHEDULES = 20_000  # channels times samples: above, each case runs in two of the three


@dataclass(frozen=True)
class Outcome:
    """One case: the reference's answer, the kernel's, and the kernel's bytes by schedule."""

    expected: dict[str, NDArray[Any]]
    verdicts: NDArray[Any]
    bits: dict[str, bytes]
    threshold: float
    parts: tuple[str, ...]
    condition: NDArray[np.float64]


def outcome(case: Case) -> Outcome:
    """Run ``case``."""
    scorer = random_scorer(case)
    inputs = random_inputs(case)
    reference = unpacked_weights(scorer, half=case.half_weights)
    launch = prepared(case, pack_scorer(scorer, half=case.half_weights), inputs, shift=case.seed % 8)
    schedules = ["shuffled", "forward", "reverse"]
    if case.batch * case.dimension > _MOST_FOR_ALL_SCHEDULES:
        schedules = ["shuffled", schedules[1 + case.seed % 2]]
    verdicts, bits = None, {}
    for schedule in schedules:  # in one workspace: the counters wrap by themselves
        verdicts = launch.run(_library(), schedule=schedule, seed=case.seed + 1)
        bits[schedule] = verdicts.tobytes()
    return Outcome(
        expected=reference_of(reference, inputs),
        verdicts=verdicts,
        bits=bits,
        threshold=scorer.threshold,
        parts=scorer.fusion.parts,
        condition=condition(inputs),
    )


def condition(inputs: Inputs) -> NDArray[np.float64]:
    """How much |t|^2 - (u . t)^2 amplifies rounding, ``[B]``; 1 for the closed form."""
    if inputs.tangents is None:
        return np.ones(1)
    t, z = inputs.tangents.astype(np.float64), inputs.embedding.astype(np.float64)
    whole = (t * t).sum(axis=(0, 2))
    along = ((t * (z / np.linalg.norm(z, axis=1, keepdims=True))).sum(axis=2) ** 2).sum(axis=0)
    return whole / np.maximum(whole - along, 1e-6 * whole)


@functools.cache
def _library() -> Library:
    return Library(built(SOURCE))
