"""What started this process: a launcher of several processes, told by its variables, or a user."""

import os

# With these Lightning Fabric would take a fold for one process of the run that asked for it.
_LAUNCHERS = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR",
    "MASTER_PORT",
)  # fmt: skip
_LAUNCHERS_BEGIN = (
    "TORCHELASTIC_", "SLURM_", "OMPI_", "PMI_", "PMIX_", "PRTE_", "MV2_", "LSB_", "JSM_", "LT_"
)  # fmt: skip
# Set in each process by the mpirun of Open MPI, by those of MPICH and Intel, by PRRTE's, by MVAPICH's. Not
# any OMPI_ or PMIX_: settings of an MPI stand in many a container where nothing was started by one.
_OF_MPIRUN = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MV2_COMM_WORLD_SIZE")


def started_by_mpirun() -> bool:
    """Return whether an mpirun started this process.

    The variables are those that Python found at its start: what a library's MPI_Init puts into the
    environment later is not among them.
    """
    return any(name in os.environ for name in _OF_MPIRUN)


def own_environment() -> dict[str, str]:
    """Return this process's environment without what a launcher of several processes put there."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _LAUNCHERS and not name.startswith(_LAUNCHERS_BEGIN)
    }
