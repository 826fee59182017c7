"""Whatever plan a row of the plan table may hold, the verdicts have the same bits; executed on the CPU."""

import itertools
from dataclasses import replace

import pytest
from fused_cases import Case, random_inputs, random_scorer
from fused_run import SOURCE, prepared
from simt_build import built
from simt_run import Library

from edgeosr.kernels.packing import pack_scorer
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.sharing import Tiling

CASE = Case(
    dimension=70,
    batch=9,
    classes=10,
    head="cosine",
    discriminator="four",
    half_weights=True,
    half_input=True,
    positions=49,
    filter=3,
    activation="relu",
    seed=31,
)


@pytest.mark.parametrize(
    "case",
    [
        CASE,
        replace(CASE, head="external", half_input=False),
        replace(CASE, half_weights=False),
        replace(CASE, positions=0, probes=5, head="linear"),
    ],
    ids=str,
)
@pytest.mark.parametrize("architecture", ["", "sm_90"], ids=["one block", "a cluster"])
def test_no_plan_that_a_row_may_hold_changes_a_bit(case: Case, architecture: str) -> None:
    defines = ("EDGEOSR_SIMT_ARCH=900",) if architecture else ()
    library, inputs = Library(built(SOURCE, defines=defines)), random_inputs(case)
    packed = pack_scorer(random_scorer(case), half=case.half_weights)
    seen, plans = set(), set()
    for samples, warps in itertools.product((1, 2, 4, 8) if case.half_weights else (1, 2, 4), (0, 4)):
        if warps and not case.half_weights:
            continue  # a row that holds them does not fit
        table = PlanTable(tried=Tiling(origin="tried", samples=samples, class_warps=warps))
        launch = prepared(case, packed, inputs, architecture=architecture, table=table)
        assert launch.plan.cluster == (8 if architecture and case.half_weights else 1)
        plans.add((launch.plan.tile, launch.plan.params.class_warps))
        seen.add(launch.run(library, seed=samples).tobytes())
    assert len(plans) == (8 if case.half_weights else 3)
    assert len(seen) == 1
