"""A short, sharp check of the fused kernel: what every wrong kernel must fail and the right one passes."""

from dataclasses import replace

import largest_row
import numpy as np
from fused_cases import Case, Inputs, random_inputs, random_scorer, reference_of
from fused_run import Launch, prepared
from fused_values import wrong_part
from simt_run import SCHEDULES, Library, SimtError

from edgeosr.kernels.device_verdicts import ACCEPTED, NOT_FINITE, NUMBER_FROM, WRITTEN
from edgeosr.kernels.packing import (
    CONSTANTS_BYTES,
    PackedScorer,
    constants_bytes,
    pack_scorer,
    unpacked_weights,
)
from edgeosr.scoring.scorer import Scorer

# Three rounds of staging, masks of four words, two tiles of which one is ragged, rows that start unaligned.
# No margin: with one the loss of sample 0, whose cosine is 1, is all rounding.
MAP_CASE = Case(
    dimension=530,
    batch=9,
    classes=7,
    head="cosine",
    discriminator="wide",
    half_weights=True,
    half_input=True,
    positions=100,
    filter=3,
    activation="relu",
    seed=24,
)
# Masks of two words, a warp has two chunks of a stage; warps share a sample's classes; layers of which
# a warp has several units.
SMALL_MAP_CASE = replace(
    MAP_CASE, dimension=300, batch=7, positions=49, classes=70, discriminator="wide", seed=23
)
TANGENT_CASE = Case(
    dimension=130,
    batch=6,
    classes=600,
    head="linear",
    discriminator="four",
    half_weights=False,
    half_input=False,
    probes=5,
    seed=22,
)
# Logits from outside, few classes: a warp has a sample's classes alone.
EXTERNAL_CASE = replace(TANGENT_CASE, classes=20, head="external", discriminator="two", seed=25)


# The same of clusters, which have fp16 weights; layers that only some of the blocks have rows of.
CLUSTER_CASES = (
    MAP_CASE,
    SMALL_MAP_CASE,
    # Whose last one is too large for a block, and one of which warps have several stripes.
    replace(TANGENT_CASE, half_weights=True, discriminator="widest"),
    # Lanes have two classes each, and some only one.
    replace(EXTERNAL_CASE, half_weights=True, discriminator="ragged", classes=40),
)


def problem(library: Library, architecture: str = "") -> str | None:
    """What is wrong with the kernel of ``library``, if anything.

    It has the entries map_mma_f16 and tangents_fma_f32, or of sm_90 map_cluster_f16 and tangents_cluster_f32;
    and the function of ``largest_row.py``.
    """
    with largest_row.known():
        return _problem(library, architecture)


def _problem(library: Library, architecture: str) -> str | None:
    cases = CLUSTER_CASES if architecture else (MAP_CASE, SMALL_MAP_CASE, TANGENT_CASE, EXTERNAL_CASE)
    for case in cases:
        scorer, inputs = special_scorer(case), special_inputs(case)
        expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
        # float64 may round two equal sums differently: the lower of the equal classes is the right one.
        expected["label"][expected["label"] == case.classes - 1] = 3
        packed = pack_scorer(scorer, half=case.half_weights)
        launch = prepared(case, packed, inputs, shift=3, architecture=architecture)
        assert launch.plan.cluster == (8 if architecture else 1)
        bits = set()
        for seed, schedule in enumerate([*SCHEDULES, "shuffled"]):
            try:
                verdicts = launch.run(library, schedule=schedule, seed=seed + 1)
            except (SimtError, AssertionError) as error:
                return f"{schedule}: {error}"
            bits.add(verdicts.tobytes())
            wrong = difference(case, scorer, verdicts, expected)
            if wrong:
                return f"{schedule}: {wrong}"
        if len(bits) > 1:
            return "the bits depend on the order of threads and blocks"
        wrong = wrong_numbers(library, launch, verdicts)
        if wrong:
            return wrong
        wrong = follows_a_new_threshold(library, launch, scorer, expected)
        if wrong:
            return wrong
        try:
            alone = prepared(case, packed, last_of(inputs), architecture=architecture).run(library)
        except (SimtError, AssertionError) as error:
            return f"alone: {error}"
        if alone.tobytes() != verdicts[-1:].tobytes():
            return "the bits depend on the batch"
        wrong = depends_on_the_device(library, case, packed, inputs, verdicts, architecture)
        if wrong:
            return wrong
    return None


def depends_on_the_device(
    library: Library,
    case: Case,
    packed: PackedScorer,
    inputs: Inputs,
    verdicts: np.ndarray,
    architecture: str,
) -> str | None:
    """The same batch in tiles of 1, 2 and 4 samples, where few classes have warps of their own."""
    seen = set()
    for multiprocessors in (1000, 60, 36):
        launch = prepared(case, packed, inputs, multiprocessors=multiprocessors, architecture=architecture)
        seen.add(launch.plan.tile)
        try:
            for seed in (1, 2, multiprocessors):
                found = launch.run(library, seed=seed)
                if found.tobytes() != verdicts.tobytes():
                    return f"the bits depend on a tile's samples, here {launch.plan.tile}"
        except (SimtError, AssertionError) as error:
            return f"tiles of {launch.plan.tile}: {error}"
    assert len(seen) > 1, seen
    return None


def difference(case: Case, scorer: Scorer, verdicts: np.ndarray, expected: dict) -> str | None:
    """Compare with the reference; NaN scores are "not finite" and nothing else."""
    flags, finite = verdicts["flags"], np.isfinite(expected["score"])
    if (flags >> NUMBER_FROM).any():
        return "a number that nobody asked for"
    tolerance = 1e-2 if case.half_weights else 2e-5
    if not (flags & WRITTEN).all():
        return "a verdict was not written"
    if not ((flags & NOT_FINITE == 0) == finite).all():
        return "not finite"
    if not (np.isnan(verdicts["score"]) == ~finite).all() or (flags[~finite] & ACCEPTED).any():
        return "a sample that is not finite has a score"
    if not (verdicts["label"] == expected["label"])[finite].all():
        return "label"
    wrong = wrong_part(case, scorer.fusion.parts, verdicts[finite], expected["values"][finite], 3.0)
    if wrong:
        return wrong
    if not np.abs(verdicts["score"] - expected["score"])[finite].max() <= tolerance:
        return "score"
    far = finite & (np.abs(expected["score"] - scorer.threshold) > tolerance)
    if not ((flags & ACCEPTED != 0) == expected["accepted"])[far].all():
        return "accepted"
    return None


def wrong_numbers(library: Library, launch: Launch, verdicts: np.ndarray) -> str | None:
    """Launches with numbers: one more than each slot had, modulo 2^24, and of old flags nothing is left."""
    numbers = (np.arange(len(verdicts)) * 5 + 0xFFFFFD) & 0xFFFFFF  # no two are the same
    launch.flags_before = (numbers << NUMBER_FROM | WRITTEN | ACCEPTED | NOT_FINITE).astype(np.uint32)
    try:
        found = launch.run(library)
    except (SimtError, AssertionError) as error:
        return f"with numbers: {error}"
    finally:
        launch.flags_before = None
    if not (found["flags"] >> NUMBER_FROM == numbers + 1 & 0xFFFFFF).all():
        return "the number is not the next one of its slot"
    found["flags"] &= (1 << NUMBER_FROM) - 1
    return None if found.tobytes() == verdicts.tobytes() else "the bits depend on the number"


def follows_a_new_threshold(library: Library, launch: Launch, scorer: Scorer, expected: dict) -> str | None:
    """Change the threshold in device memory, as a captured graph would see it; a NaN accepts nothing.

    A threshold of 0 is a word of zeros in shared memory: whoever takes another word for it sees it.
    """
    constants = launch.arrays["scorer"][:CONSTANTS_BYTES]
    finite = np.isfinite(expected["score"])
    near = np.abs(expected["score"]) <= 1e-2
    for threshold in (-1e30, 1e30, 0.0, float("nan")):
        constants[:] = np.frombuffer(constants_bytes(replace(scorer, threshold=threshold)), np.uint8)
        for schedule in SCHEDULES:
            try:
                accepted = launch.run(library, schedule=schedule)["flags"] & ACCEPTED != 0
            except (SimtError, AssertionError) as error:
                return f"threshold {threshold}, {schedule}: {error}"
            wanted = finite & (np.nan_to_num(expected["score"], nan=1e31) <= threshold)
            if not (accepted == wanted)[~near | (threshold != 0)].all():
                return "the threshold is not the one in device memory"
            if threshold != 0.0:
                break
    return None


def special_scorer(case: Case) -> Scorer:
    """The case's scorer with two equal classes, of which the lower must win; or such logits from outside."""
    scorer = random_scorer(case, largest_row.random_constants(case.dimension))
    if case.head == "external":
        return scorer
    weight, bias = scorer.head.weight.copy(), scorer.head.bias.copy()
    inputs = special_inputs(case)
    z = inputs.embedding if inputs.map is None else np.maximum(inputs.map, 0).mean(axis=(2, 3))
    assert z is not None
    weight[3] = z[0].astype(np.float32) / np.linalg.norm(z[0].astype(np.float64))  # sample 0's class
    weight[-1], bias[-1] = weight[3], bias[3]
    return replace(scorer, head=replace(scorer.head, weight=weight, bias=bias))


def special_inputs(case: Case) -> Inputs:
    """Random samples; some with y at the kink, a NaN where ReLU hides it, an infinity, only zeros."""
    inputs = random_inputs(case)
    if inputs.logits is not None:
        logits = inputs.logits.copy()
        logits[0, 3] = logits[0].max() + 1
        logits[:, -1] = logits[:, 3]
        inputs = replace(inputs, logits=logits)
    if inputs.map is not None:
        y = inputs.map.copy()
        y[1].reshape(-1)[::3] = 0
        y[4, 77, 2, 3] = np.nan
        y[5, -1, 6, 6] = -np.inf
        y[6] = 0
        return replace(inputs, map=y)
    assert inputs.embedding is not None and inputs.tangents is not None
    z, t = inputs.embedding.copy(), inputs.tangents.copy()
    z[1, 129] = np.nan
    t[2, 2, 64] = np.inf
    t[:, 3] = 0
    return replace(inputs, embedding=z, tangents=t)


def last_of(inputs: Inputs) -> Inputs:
    """A batch of the last sample only."""

    def cut(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else array[-1:]

    tangents = None if inputs.tangents is None else inputs.tangents[:, -1:]
    return Inputs(cut(inputs.map), cut(inputs.embedding), tangents, cut(inputs.logits))
