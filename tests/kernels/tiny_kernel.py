"""A few lines of machine code as a kernel, run for one block."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.kernels.counting.decode import Grid
from edgeosr.kernels.counting.listing import parsed
from edgeosr.kernels.counting.machine import Machine
from edgeosr.kernels.counting.memory import SHARED_AT, Memory
from edgeosr.kernels.counting.timeline import Wait

DATA, OUT = "data", "out"
Array = NDArray[Any]


def machine_of(
    lines: str,
    data: Array | None = None,
    *,
    threads: int = 32,
    shared_bytes: int = 256,
    blocks: int = 1,
    cluster: int = 1,
) -> Machine:
    """A kernel ready to run. c[0x0][0x0] holds the address of ``data``, c[0x0][0x8] that of 4 KiB to write.

    ``lines``: an instruction or a label each, without addresses.
    """
    arrays = {DATA: np.zeros(1024, np.uint32) if data is None else data, OUT: np.zeros(1024, np.uint32)}
    memory = Memory(arrays, blocks, threads, shared_bytes)
    bank = np.zeros(8, np.uint32)
    bank[0], bank[2], bank[4] = memory.addresses[DATA], memory.addresses[OUT], SHARED_AT
    grid = Grid(tuple(range(blocks)), threads, cluster=cluster)
    return Machine(listed(lines.splitlines()), grid, memory, {0: bank})


def listed(lines: Sequence[str]) -> Any:
    """The lines as a listing."""
    text, at = [], 0
    for line in (line.strip() for line in lines):
        if line.endswith(":"):
            text.append(line)
        elif line:
            text.append(f"        /*{at:04x}*/ {line} ;")
            at += 16
    return parsed("tiny", text)


def ran(lines: str, data: Array | None = None, **shape: int) -> Machine:
    """The same, run to its end."""
    machine = machine_of(lines, data, **shape)
    machine.run()
    return machine


def out_of(machine: Machine) -> Array:
    """What it wrote."""
    return machine.state.memory.array(OUT, 4096).view(np.uint32)


def waits_of(machine: Machine) -> dict[str, int]:
    """The longest chain at the end of the kernel, by kind of wait."""
    latest = int(np.argmax(machine.record.ends[0]))
    return {
        wait.name.lower(): int(n) for wait, n in zip(Wait, machine.record.paths[0, latest], strict=True) if n
    }
