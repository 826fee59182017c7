"""Whether a launch in clusters is marked as one on the device: plain, and when a tool has patched it.

The compiled kernel takes the cluster's barrier only where ``%is_explicit_cluster`` says so; else it is one
block's, and blocks read what others have not sent. This asks the device itself, by a few lines of PTX.
"""

import argparse
import sys
from typing import Any

import numpy as np

from edgeosr.bench.gpu_rung.step_report import NotRunHereError, StepReport, step_main
from edgeosr.kernels.build.images import CLUSTERS_FROM
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.sharing import CLUSTER

ENTRY = "cluster_mark"
WORDS = ("marked", "blocks", "rank")  # of each block
PTX = f""".version 7.8
.target sm_90
.address_size 64
.visible .entry {ENTRY}(.param .align 8 .b8 params[{{size}}]) {{{{
    .reg .pred %marked;
    .reg .b32 %word<4>;
    .reg .b64 %out, %at;
    ld.param.u64 %out, [params+{{verdicts}}];
    cvta.to.global.u64 %out, %out;
    mov.u32 %word0, %ctaid.x;
    mul.wide.u32 %at, %word0, {4 * len(WORDS)};
    add.u64 %out, %out, %at;
    mov.pred %marked, %is_explicit_cluster;
    selp.u32 %word1, 1, 0, %marked;
    mov.u32 %word2, %cluster_nctarank;
    mov.u32 %word3, %cluster_ctarank;
    st.global.u32 [%out], %word1;
    st.global.u32 [%out+4], %word2;
    st.global.u32 [%out+8], %word3;
    ret;
}}}}
"""


def ptx() -> bytes:
    """Return the text; its parameter is the kernel's, of which it uses ``verdicts`` alone."""
    offset = FusedScoreParams.verdicts.offset
    size = -(-(offset + 8) // 8) * 8
    return PTX.format(size=size, verdicts=offset).encode()


def look_at_marks(report: StepReport, options: argparse.Namespace) -> None:
    """Launch with and without clusters; a mark that is missing, or is there without, is a failure."""
    driver = open_driver()
    device = driver.device(None)
    if device.architecture < CLUSTERS_FROM:
        raise NotRunHereError(f"{device.target} has no clusters")
    function = driver.function(driver.load(ptx()), ENTRY, 0)
    for what, cluster in (("in clusters", CLUSTER), ("without clusters", 1)):
        found = _launched(driver, function, cluster)
        report.put(what, found)
        wanted = {"marked": [int(cluster > 1)], "blocks": [cluster], "rank": list(range(cluster))}
        if found != wanted:
            report.fail(f"{what} the device says {found}; it must be {wanted}")


def _launched(driver: Driver, function: Any, cluster: int) -> dict[str, list[int]]:
    found = np.zeros((2 * CLUSTER, len(WORDS)), np.uint32)
    room = driver.allocate(found.nbytes)
    try:
        params = FusedScoreParams()
        params.verdicts = room
        driver.launch(function, len(found), 32, 0, 0, params, cluster=cluster)
        driver.read(room, found.view(np.uint8).data, 0)
    finally:
        driver.free(room)
    return {name: np.unique(found[:, at]).tolist() for at, name in enumerate(WORDS)}


if __name__ == "__main__":
    sys.exit(step_main("Is a launch in clusters marked as one on the device?", look_at_marks))
