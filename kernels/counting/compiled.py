"""The kernel's machine code: compiled with line numbers, disassembled, with its constants."""

import hashlib
import shutil
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.sources import FOLDER, MAIN
from edgeosr.kernels.build.toolchain import FLAGS, find_nvcc, run_tool, trimmed
from edgeosr.kernels.counting.listing import Listing, entries_of, listing_of
from edgeosr.kernels.counting.modifiers import CLUSTERED_AT
from edgeosr.kernels.counting.operands import Array
from edgeosr.kernels.counting.phases import Begins, phase_lines, phases_of

# Where a kernel's parameters begin in constant bank 0.
PARAMETERS_AT = {"sm_87": 0x160, "sm_89": 0x160, "sm_90": 0x210, "sm_110": 0x380}


@dataclass(frozen=True)
class Compiled:
    """All entries of one build.

    Attributes:
        architecture: ``sm_90``.
        text: nvdisasm's listing.
        cubin: the build; empty if no kernel of it jumps by a table.
        begins: source lines where the phases begin; none: all is one phase.
    """

    architecture: str
    text: str
    cubin: bytes
    begins: Begins

    def listing(self, entry: str) -> Listing:
        """Return one kernel."""
        return listing_of(self.text, entry)

    def phases(self, listing: Listing) -> list[int]:
        """Return the phase of each of its instructions."""
        return phases_of(listing.instructions, self.begins)

    def code_digest(self) -> str:
        """Digest of instructions and their phases: a change of the source that leaves it changes no count."""
        total = hashlib.sha256()
        for entry in entries_of(self.text):
            listing = self.listing(entry)
            phases = self.phases(listing)
            for one, phase in zip(listing.instructions, phases, strict=True):
                total.update(f"{one.guard} {one.opcode} {one.operands} {phase};".encode())
        return total.hexdigest()

    def constants(self, entry: str, parameters: bytes, *, clustered: bool = False) -> dict[int, Array]:
        """Return the constant banks of a launch: its parameters, and the entry's own table of jumps.

        Args:
            entry: the kernel's name.
            parameters: the bytes of its struct.
            clustered: whether it is launched with clusters.

        Raises:
            KernelBuildError: with clusters, for an architecture that has none.
        """
        bank = bytearray(PARAMETERS_AT[self.architecture]) + parameters
        if clustered:
            if self.architecture not in CLUSTERED_AT:
                raise KernelBuildError(
                    f"a launch with clusters must be for one of {', '.join(CLUSTERED_AT)}; got "
                    f"{self.architecture}; plan it without clusters"
                )
            struct.pack_into("<I", bank, CLUSTERED_AT[self.architecture], 1)
        table = section(self.cubin, f".nv.constant2.{entry}")
        return {0: _words(bytes(bank)), 2: _words(table)}


def compiled(architecture: str, sources: Path = FOLDER) -> Compiled:
    """Compile the kernel and disassemble it; some ten seconds.

    Raises:
        KernelBuildError: nvcc or nvdisasm is missing or fails, or the architecture is not modelled.
    """
    if architecture not in PARAMETERS_AT:
        raise KernelBuildError(
            f"the machine code of {architecture} is not modelled; count one of {', '.join(PARAMETERS_AT)}"
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "kernel.cubin"
        nvcc = find_nvcc()
        flags = (*FLAGS, "-lineinfo", f"-arch={architecture}", "-cubin")
        built = run_tool([nvcc.path, *flags, sources / MAIN, "-o", target])
        if built.returncode:
            raise KernelBuildError(
                f"nvcc {nvcc.version} could not compile {MAIN} for {architecture}:\n{trimmed(built.stderr)}"
            )
        return Compiled(architecture, disassembled(target), target.read_bytes(), phase_lines(sources))


def disassembled(cubin: Path) -> str:
    """Return nvdisasm's listing of a cubin, with source lines where it holds them.

    Raises:
        KernelBuildError: nvdisasm is missing or refuses the file.
    """
    done = run_tool([_disassembler(), "-c", "-gi", cubin])
    if done.returncode:
        raise KernelBuildError(f"nvdisasm refuses {cubin.name}:\n{trimmed(done.stderr)}")
    return done.stdout


def section(cubin: bytes, name: str) -> bytes:
    """Return the bytes of an ELF section, none if it is not there."""
    if not cubin:
        return b""
    at, size, count, names = *struct.unpack_from("<Q", cubin, 40), *struct.unpack_from("<HHH", cubin, 58)
    heads = [struct.unpack_from("<IIQQQQ", cubin, at + i * size) for i in range(count)]
    words = heads[names]
    for head in heads:
        first = words[4] + head[0]
        if cubin[first : cubin.index(b"\0", first)].decode() == name:
            return cubin[head[4] : head[4] + head[5]]
    return b""


def _words(data: bytes) -> Array:
    return np.frombuffer(data + bytes(-len(data) % 8 + 8), np.uint32)


def _disassembler() -> Path:
    wheels = (Path(root) / "nvidia" / "cu13" / "bin" / "nvdisasm" for root in sys.path)
    found = next((path for path in wheels if path.is_file()), None) or shutil.which("nvdisasm")
    if found is None:
        raise KernelBuildError("counting the machine code needs nvdisasm; run: pip install 'edgeosr[dev]'")
    return Path(found)
