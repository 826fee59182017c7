"""Count the shared-memory wavefronts of the performance model's rows; run as a program it writes them.

    python tests/kernels/count_wavefronts.py

The kernel's own source is executed on the CPU (counting build of the emulation) with the sizes of each row of
one tile, without clusters and in one; inputs are random: which positions a mask holds changes no address.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from fused_run import SOURCE, Launch, placed
from simt_build import COUNTING, built
from simt_run import Library

from edgeosr.bench.kernel_model import WORKLOADS, Workload, planned
from edgeosr.bench.kernel_wavefronts import FILE
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.device_verdicts import VERDICT

COUNTED = tuple(workload for workload in WORKLOADS if workload.batch == 1)
ROWS = {"rows": "", "rows_in_clusters": "sm_90"}  # of the file: for which device
MULTIPROCESSORS = 16  # as many as slabs, or more: a launch of one sample has a tile of one


def counted(workload: Workload, architecture: str = "") -> dict[str, int]:
    """Execute one launch and return its wavefronts; ``architecture``: of a device with clusters, or empty."""
    packed, plan = planned(workload, MULTIPROCESSORS, architecture)
    rng = np.random.default_rng(0)
    dtype = np.float16 if workload.half else np.float32
    batch, dimension = workload.batch, workload.dimension
    size = batch * dimension * max(workload.positions, 1)
    arrays: dict[str, Any] = {"input": placed(rng.standard_normal(size).astype(dtype))}
    if workload.probes:
        arrays["tangents"] = placed(rng.standard_normal(workload.probes * batch * dimension).astype(dtype))
    arrays["scorer"] = placed(np.frombuffer(packed.data, np.uint8))
    arrays["workspace"] = placed(np.zeros(plan.workspace_bytes // 4, np.uint32))
    room = placed(np.zeros(batch * VERDICT.itemsize + 64, np.uint8))
    arrays["verdicts"] = room[: batch * VERDICT.itemsize]
    defines = (f"EDGEOSR_SIMT_ARCH={architecture.removeprefix('sm_')}0",) if architecture else ()
    found = Launch(plan, arrays, room).counted(Library(built(SOURCE, COUNTING, defines=defines)))
    return {
        "requests": found.shared_requests,
        "wavefronts": found.shared_wavefronts,
        "compulsory": found.shared_compulsory,
    }


if __name__ == "__main__":
    kept = {
        name: {workload.name: counted(workload, architecture) for workload in COUNTED}
        for name, architecture in ROWS.items()
    }
    FILE.write_text(json.dumps({"source": device_source().digest, **kept}, indent=2) + "\n")
    print(kept)
