"""Cycles by architecture for the kernel's model of time; each entry with where it comes from.

Only the H200's are fitted, on that card itself and the kernel that ran there (``FITTED_ON``). What blocks of
a cluster wait for one another was measured on it in a micro-benchmark, and no kernel was held against that. A
module that nobody has measured has the same numbers, and its row says so. A published table for its
architecture may be far from what the fit gives.
"""

from dataclasses import dataclass

from edgeosr.bench.jetson import ASSUMED, Value
from edgeosr.errors import UsageError
from edgeosr.kernels.counting.timeline import Wait
from edgeosr.kernels.sharing import CLUSTER

FITTED = "fitted"
PUBLISHED = "published"
CARRIED = "H200's fit, carried over"
MEASURED = "measured on the H200, micro-benchmark"
MEASURED_CARRIED = "Measured on the H200, micro-benchmark, carried over"
FITTED_ON = "f9077d1"  # the commit of the phase table that sm_90's cycles were fitted on
# Waits inside a multiprocessor: their cycles are nominal ones (timeline.NOMINAL) times one fitted factor.
ON_CHIP = (Wait.ISSUE, Wait.MATH, Wait.SLOW_MATH, Wait.SHARED, Wait.NEAR, Wait.BARRIER)
SCHEDULERS = 4  # of a multiprocessor: each issues one warp's instruction a clock
RESIDENT = 2  # blocks of 512 threads with 64 registers each that a multiprocessor holds: 65,536 registers
# Multiprocessors that clusters reach with one block on each. Of an H200's 132 these are 120: 15 clusters were
# active at once in a micro-benchmark. How those of other devices are grouped is not known: whole clusters.
_CLUSTER_PLACES = {132: 120}


def cluster_places(multiprocessors: int) -> int:
    """Return how many multiprocessors of a device the blocks of clusters can have to themselves."""
    return _CLUSTER_PLACES.get(multiprocessors, max(multiprocessors // CLUSTER, 1) * CLUSTER)


@dataclass(frozen=True, kw_only=True)
class Latencies:
    """An architecture.

    Attributes:
        architecture: ``sm_90``.
        launch_us: an empty launch in a replayed graph.
        on_chip: factor on the nominal cycles of every wait in ``ON_CHIP``.
        l2: cycles of a load from L2.
        dram_us: of a load from DRAM, beyond L2.
        sync: cycles of an atomic, and of a fence.
        slot: scheduler cycles that each instruction of the busiest block takes from the others.
        mail: cycles until a block of a cluster has what another one sent it; None: it has no clusters.
        cluster: cycles of a cluster's barrier, which orders nothing; likewise.
    """

    architecture: str
    launch_us: Value
    on_chip: Value
    l2: Value
    dram_us: Value
    sync: Value
    slot: Value
    mail: Value | None = None
    cluster: Value | None = None


# sm_90: fitted on every second row of the H200's phase table (kernel_latency.fit; a test fits them anew).
# They are what the model needs to come out right, with all that it leaves out: 441 cycles of L2 where table 3
# of PMC10448217 has 200 on A100 and H100.
_H200 = Latencies(
    architecture="sm_90",
    launch_us=Value(2.69, FITTED),
    on_chip=Value(0.73, FITTED),
    l2=Value(441.0, FITTED),
    dram_us=Value(0.1, PUBLISHED),  # 200 cycles more than L2: the same table
    sync=Value(633.0, FITTED),
    slot=Value(1.08, FITTED),
    # A round in which 8 blocks of 512 threads each send 2 words a thread, and wait: 532 to 536 cycles with 16
    # blocks, 628 to 700 with 128. For a few words it is too much: flags instead of a block's barrier made
    # fence and atomic 1,470 cycles instead of 1,305, which leaves some 275.
    mail=Value(532.0, MEASURED),
    cluster=Value(147.0, MEASURED),  # 159 to 162 with 128 blocks
)


def _edge(architecture: str, *, clusters: bool) -> Latencies:
    """Return a module's row. Of Orin and Thor no table of cycles was found; A100's is H100's (see above)."""
    mail, meeting = _H200.mail, _H200.cluster
    return Latencies(
        architecture=architecture,
        launch_us=Value(5.0, ASSUMED),  # 5 to 20 on Jetson
        on_chip=Value(_H200.on_chip.value, CARRIED),
        l2=Value(_H200.l2.value, CARRIED),
        dram_us=Value(0.7, ASSUMED),  # LPDDR
        sync=Value(_H200.sync.value, CARRIED),
        slot=Value(_H200.slot.value, CARRIED),
        mail=Value(mail.value, MEASURED_CARRIED) if mail and clusters else None,
        cluster=Value(meeting.value, MEASURED_CARRIED) if meeting and clusters else None,
    )


TABLE = (_edge("sm_87", clusters=False), _H200, _edge("sm_110", clusters=True))


def latencies_of(architecture: str) -> Latencies:
    """Return the row of ``architecture``.

    Raises:
        UsageError: the table has none; the nearest is named.
    """
    for row in TABLE:
        if row.architecture == architecture:
            return row
    number = int(architecture.removeprefix("sm_")) if architecture.removeprefix("sm_").isdigit() else 0
    nearest = min(TABLE, key=lambda row: abs(int(row.architecture[3:]) - number))
    raise UsageError(
        f"the latency table must have {architecture}; it has {', '.join(row.architecture for row in TABLE)}, "
        f"the nearest is {nearest.architecture}; predict with that one and say so, or add a row to "
        "bench/latency_table.py"
    )
