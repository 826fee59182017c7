"""One launch laid out in the machine's memory and run: which blocks, how often each stands for others."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.counting.compiled import PARAMETERS_AT, Compiled
from edgeosr.kernels.counting.counts import LaunchCounts, counted
from edgeosr.kernels.counting.decode import Grid
from edgeosr.kernels.counting.machine import Machine
from edgeosr.kernels.counting.memory import Memory, MemoryFault
from edgeosr.kernels.counting.modifiers import SYSTEM
from edgeosr.kernels.counting.operands import Array, NotModelledError


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What the host passes.

    Attributes:
        entry: the kernel's name.
        blocks: of the grid; ``slabs`` of them in a row are one tile.
        threads: of a block.
        shared_bytes: dynamic shared memory of a block.
        parameters: the bytes of its struct.
        pointers: array name to the offset of its pointer there.
        arrays: by name; ``verdicts`` too.
        tile: samples of a tile, at most; for people.
        cluster: blocks of a cluster, of which a tile has whole ones; 1: launched without clusters.
    """

    entry: str
    blocks: int
    slabs: int
    threads: int
    shared_bytes: int
    parameters: bytes
    pointers: Mapping[str, int]
    arrays: Mapping[str, Array]
    tile: int = 0
    cluster: int = 1


@dataclass(frozen=True)
class Outcome:
    """Counts, and the bytes of the verdicts (zeros for tiles that were not run)."""

    counts: LaunchCounts
    verdicts: Array


def run_launch(build: Compiled, launch: Launch, *, every_tile: bool = False) -> Outcome:
    """Run a launch's machine code and count it.

    Tiles do the same but for the first, which fetches weights ahead, and the last, which may hold fewer
    samples: the first, the second and the last are run, the second counts for those between.

    Args:
        build: the machine code.
        launch: the launch.
        every_tile: run them all.

    Raises:
        KernelBuildError: the machine code holds what the interpreter does not know, or leaves its arrays; or
            a tile has no whole clusters.
    """
    if launch.slabs % launch.cluster:
        raise KernelBuildError(
            f"a tile's blocks must be whole clusters of {launch.cluster}; got {launch.slabs} blocks; plan "
            "the launch with another number of slabs, or without clusters"
        )
    tiles = launch.blocks // launch.slabs
    chosen = list(range(tiles)) if every_tile else sorted({0, min(1, tiles - 1), tiles - 1})
    weights = [tiles - len(chosen) + 1 if tile == 1 and not every_tile else 1 for tile in chosen]
    blocks = [tile * launch.slabs + slab for tile in chosen for slab in range(launch.slabs)]
    memory = Memory(launch.arrays, len(blocks), launch.threads, launch.shared_bytes)
    parameters = bytearray(launch.parameters)
    for name, offset in launch.pointers.items():
        struct.pack_into("<Q", parameters, offset, memory.addresses[name])
    listing = build.listing(launch.entry)
    machine = Machine(
        listing,
        Grid(
            tuple(blocks),
            launch.threads,
            PARAMETERS_AT[build.architecture],
            SYSTEM[build.architecture],
            launch.cluster,
        ),
        memory,
        build.constants(launch.entry, bytes(parameters), clustered=launch.cluster > 1),
        build.phases(listing),
    )
    try:
        machine.run()
    except (NotModelledError, MemoryFault) as error:
        raise KernelBuildError(
            f"the machine code of {launch.entry} for {build.architecture} must be what kernels/counting "
            f"models; got {error}; add the instruction there, or look at the kernel if it left its arrays"
        ) from error
    return Outcome(
        counted(machine.record, listing, np.repeat(weights, launch.slabs)),
        memory.array("verdicts", launch.arrays["verdicts"].nbytes),
    )
