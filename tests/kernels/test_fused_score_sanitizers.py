"""The fused kernel's source under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from fused_cases import Case, covering_cases, random_inputs, random_scorer, reference_of
from fused_run import SOURCE, prepared
from largest_row import DEFINE, HEADER, known, random_constants
from simt_build import ADDRESS, CACHE, DEVICE, THREAD, built
from simt_run import run_case, write_case

from edgeosr.kernels.device_verdicts import NUMBER_FROM, VERDICT
from edgeosr.kernels.packing import pack_scorer, unpacked_weights

_SMALL = 4_000  # numbers of an input


def small_cases():
    """Of the covering set what is small enough for a slow build; every entry of the kernel is among it."""
    cases = []
    for case in covering_cases():
        numbers = case.dimension * case.batch * max(case.positions, 1 + case.probes)
        if numbers <= _SMALL and case.classes * case.dimension <= 60_000:
            cases.append(case)
    return cases


def racing_cases():
    """B <= 4, two slabs or more, several rounds of staging; each entry once, with other shapes each time."""
    cases = []
    for number, (half_weights, half_input) in enumerate(
        [(True, True), (True, False), (False, True), (False, False)]
    ):
        common = {
            "batch": 1 + number,
            "classes": 6,
            "head": ("cosine", "linear")[number % 2],
            "discriminator": ("four", "two")[number % 2],
            "half_weights": half_weights,
            "half_input": half_input,
            "seed": 70 + number,
        }
        cases.append(
            Case(
                dimension=(40, 33, 48, 290)[number],
                positions=(49, 16, 100, 16)[number],
                filter=(3, 5, 1, 3)[number],
                activation=("relu", "silu", "clip", "gelu")[number],
                channels_last=number % 2 == 1,
                **common,
            )
        )
        cases.append(Case(dimension=(40, 33, 48, 130)[number], probes=(0, 1, 5, 8)[number], **common))
    return [*cases, *classes_that_warps_share()]


def classes_that_warps_share():
    """Up to 64 classes with warps of their own beside many layers; more, 4 to 16 warps a sample."""
    common = {"dimension": 40, "probes": 1, "half_input": True, "seed": 81}  # odd: two losses
    return [
        Case(batch=4, classes=64, head="cosine", discriminator="deep", half_weights=True, **common),
        Case(batch=3, classes=70, head="cosine", discriminator="four", half_weights=True, **common),
        Case(batch=3, classes=300, head="external", discriminator="two", half_weights=True, **common),
        Case(batch=3, classes=300, head="linear", discriminator="none", half_weights=False, **common),
    ]


def test_the_racing_cases_hold_both_ways_of_sharing_classes_out():
    found = set()
    for case in classes_that_warps_share():
        launch = prepared(case, pack_scorer(random_scorer(case), half=case.half_weights), random_inputs(case))
        found.add((launch.plan.params.class_warps, case.classes > 64))
    assert found == {(4, False), (0, True)}


def clusters():
    """In clusters, by AddressSanitizer; ThreadSanitizer takes long for 8 x 512 threads: the first two."""
    common = {"half_weights": True, "half_input": True, "seed": 91}
    shared = {**common, "dimension": 40, "batch": 3, "positions": 49, "filter": 3}
    return [
        Case(classes=70, head="cosine", discriminator="ragged", **shared),
        Case(dimension=33, batch=2, classes=6, head="external", discriminator="deep", probes=1, **common),
        Case(dimension=130, batch=9, classes=64, head="linear", discriminator="four", probes=5, **common),
        Case(classes=1, head="external", discriminator="none", **{**shared, "half_input": False}),
        Case(dimension=16, batch=1, classes=10, head="cosine", discriminator="widest", probes=0, **common),
    ]


def run(program, case, folder, schedule="shuffled", architecture=""):
    scorer = random_scorer(case, random_constants(case.dimension, 33))  # one more than the lanes of a warp
    inputs = random_inputs(case)
    packed = pack_scorer(scorer, half=case.half_weights)
    launch = prepared(case, packed, inputs, architecture=architecture)
    assert launch.plan.cluster == (8 if architecture else 1)
    numbers = np.arange(len(launch.verdicts), dtype=np.uint32)
    launch.flags_before = numbers << NUMBER_FROM
    launch.clear()
    path = folder / "case"
    write_case(
        path,
        launch.plan.entry,
        launch.parameters(addresses=False),
        launch.shape,
        launch.pointers(),
        schedule=schedule,
        seed=case.seed + 1,
    )
    code, out, said = run_case(program, path)
    assert code == 0, f"{case}: {said[:3000]}"
    verdicts = np.frombuffer(out, VERDICT)
    assert (verdicts["flags"] >> NUMBER_FROM == numbers + 1).all()
    expected = reference_of(unpacked_weights(scorer, half=case.half_weights), inputs)
    assert np.abs(verdicts["score"] - expected["score"]).max() <= (1e-2 if case.half_weights else 2e-5)


@pytest.fixture(scope="module", autouse=True)
def part():
    with known():
        yield


def compiled(build, device=DEVICE, architecture=870):
    defines = (DEFINE, f"EDGEOSR_SIMT_ARCH={architecture}")
    return built(SOURCE, build, device=device, defines=defines, headers=(HEADER,))


def entry(case):
    return bool(case.positions), case.half_weights, case.half_input


def test_every_entry_is_among_the_small_cases():
    assert len({entry(case) for case in small_cases()}) == len({entry(case) for case in racing_cases()}) == 8


@pytest.fixture(scope="module")
def said(part, tmp_path_factory):
    """What the sanitizers had against each case, or None; two programs run at a time."""

    def attempt(job):
        program, case = job
        try:
            run(program, case, tmp_path_factory.mktemp("case"))
        except AssertionError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        address, thread = pool.map(compiled, (ADDRESS, THREAD))
        jobs = [(address, case) for case in small_cases()] + [(thread, case) for case in racing_cases()]
        return dict(zip([case for _, case in jobs], pool.map(attempt, jobs), strict=True))


@pytest.mark.parametrize("case", clusters(), ids=str)
def test_no_access_of_a_cluster_is_out_of_bounds_misaligned_or_undefined(case, tmp_path):
    run(compiled(ADDRESS, architecture=900), case, tmp_path, architecture="sm_90")


@pytest.mark.parametrize("case", clusters()[:2], ids=str)
def test_no_two_threads_of_a_cluster_race(case, tmp_path):
    run(compiled(THREAD, architecture=900), case, tmp_path, architecture="sm_90")


@pytest.mark.parametrize("case", small_cases(), ids=str)
def test_no_access_is_out_of_bounds_misaligned_or_undefined(case, said):
    # Each array is an allocation of its own, aligned no better than the kernel may expect.
    assert said[case] is None


@pytest.mark.parametrize("case", racing_cases(), ids=str)
def test_no_two_threads_race(case, said):
    assert said[case] is None


OWN_LAYERS = "own_layers.cuh"
DEEP = replace(racing_cases()[0], batch=2, discriminator="deep")


@pytest.mark.parametrize(
    ("file", "before", "case"),
    [
        ("pooling.cuh", r"copy_async_wait<0>\(\);\s+\}\s+block_sync\(\);", DEEP),
        ("verdict.cuh", r"turn \+ 2, asked\);\s+block_sync\(\);", DEEP),
        ("classes.cuh", r"if \(!alone<kOwn>\(p\)\) sync_classes<kOwn>\(\);", classes_that_warps_share()[1]),
        (OWN_LAYERS, r"warp_sync\(\);  // all lanes have read the layer before", clusters()[0]),
    ],
    ids=["the map", "layers", "sums over classes", "a cluster's layers"],
)
def test_the_thread_sanitizer_sees_a_barrier_that_is_missing(file, before, case, tmp_path):
    in_cluster = file == OWN_LAYERS
    folder = CACHE / "mutants" / f"race-{file.removesuffix('.cuh')}"
    folder.mkdir(parents=True, exist_ok=True)
    for path in DEVICE.glob("*.cu*"):
        text = path.read_text("utf-8")
        if path.name == file:
            found = re.findall(before, text)
            assert len(found) == 1
            text = text.replace(found[0], re.sub(r"\w*sync\w*(<\w+>)?\(\);", "{}", found[0]))
        (folder / path.name).write_text(text)
    with pytest.raises(AssertionError, match="data race"):
        program = compiled(THREAD, folder, architecture=900 if in_cluster else 870)
        run(program, case, tmp_path, architecture="sm_90" if in_cluster else "")
