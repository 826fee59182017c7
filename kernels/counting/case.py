"""A case of the selftest as a launch: its own random scorer and inputs, packed and planned by the product."""

import numpy as np

from edgeosr.kernels.counting.launch import Launch
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.packing import pack_scorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import MapShape, TangentShape, plan_launch
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer

NOT_A_NUMBER = 0xFFFFFFFF
# Multiprocessors of the devices that the project looks at first: H100 and H200, Orin Nano and NX, Thor T5000.
# Of sm_89 there is none: 0, tiles are full.
USUAL_MULTIPROCESSORS = {"sm_87": 8, "sm_89": 0, "sm_90": 132, "sm_110": 20}


def case_launch(
    case: SelftestCase,
    *,
    multiprocessors: int = 0,
    architecture: str = "",
    table: PlanTable | None = None,
) -> Launch:
    """Return the launch of ``case``; the workspace holds not-a-numbers but for its counters.

    Args:
        case: the case.
        multiprocessors: of the device, as ``plan_launch`` takes them; 0: not known, tiles are full.
        architecture: of the device, ``sm_90``, which decides on clusters; empty: not known, there are none.
        table: of plans; None: the plan is the rule's.

    Raises:
        UsageError: the case, or the number of multiprocessors, is beyond a limit.
    """
    packed = pack_scorer(case_scorer(case), half=case.half_weights)
    inputs = case_inputs(case)
    shape: MapShape | TangentShape = TangentShape(probes=case.probes, half=case.half_input)
    if case.size:
        shape = MapShape(height=case.size, width=case.size, half=case.half_input)
    plan = plan_launch(
        packed,
        shape,
        case.batch,
        multiprocessors=multiprocessors,
        architecture=architecture,
        table=table or PlanTable(),
    )
    plan.params.numbered = 1  # as FusedScorer launches into device memory
    workspace = np.full(plan.workspace_bytes // 4, NOT_A_NUMBER, np.uint32)
    workspace[: plan.counter_bytes // 4] = 0
    arrays = {
        "input": inputs["map" if case.size else "embedding"],
        "scorer": np.frombuffer(packed.data, np.uint8),
        "workspace": workspace,
        "verdicts": np.zeros(case.batch * VERDICT.itemsize, np.uint8),
    }
    if "tangents" in inputs:
        arrays["tangents"] = inputs["tangents"]
    return Launch(
        entry=plan.entry,
        blocks=plan.blocks,
        slabs=plan.params.slabs,
        threads=plan.threads,
        shared_bytes=plan.shared_bytes,
        parameters=bytes(plan.params),
        pointers={name: getattr(FusedScoreParams, name).offset for name in arrays},
        arrays=arrays,
        tile=plan.tile,
        cluster=plan.cluster,
    )
