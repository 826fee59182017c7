"""Builds of the kernel that stop after a phase: timed one beside the other they say where its time goes.

A folder holds one sub-folder a phase, ``stop1`` to ``stop4``, each like ``cubins/``: files of ``BUILDS`` and
the digest of their source. The whole kernel is the ordinary build. Their verdicts are never written.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.ahead import BUILDS, Build, build_ahead, built_from
from edgeosr.kernels.build.images import CLUSTERS_FROM, Image, suitable_builds
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.driver.driver import Device

MACRO = "EDGEOSR_STOP_AFTER"  # of src/block.cuh
# The phases, one after the other: in a phase table and in the counts of the machine code too.
NAMES = (
    "pooling, norms",
    "layer 1, head",
    "fence, counter",
    "sums over slabs, top, losses",
    "hidden, verdict",
)
# The last phase that the kernel has done when it stops, by the macro's value.
PHASES = dict(enumerate(NAMES[:-1], 1))
WHOLE = NAMES[-1]


def build_phases(folder: Path, builds: Sequence[Build] = BUILDS) -> Iterator[Path]:
    """Make the builds of every phase below ``folder``; yield the file of each. PTX is left out.

    Raises:
        KernelBuildError: a compiler is missing, of another version, or fails.
        OSError: the folder cannot be written.
    """
    for stop in PHASES:
        cubins = [build for build in builds if not build.ptx]
        yield from build_ahead(folder / f"stop{stop}", cubins, defines=(f"{MACRO}={stop}",))


def phase_image(device: Device, folder: Path, stop: int) -> Image:
    """Return the build that stops after ``stop`` for ``device``.

    Raises:
        KernelBuildError: there is none, or it was made from another source than the installed one.
    """
    place = folder / f"stop{stop}"
    found, installed = built_from(place), device_source().digest
    if found != installed:
        what = "no builds" if found is None else f"builds of the source {found[:12]}"
        raise KernelBuildError(
            f"{place} must hold phase builds of the installed kernel source {installed[:12]}; it holds "
            f"{what}; make the archive again: make gpu-pack"
        )
    for build in suitable_builds(device):
        path = place / build.file_name
        if path.is_file():
            origin = f"{build.file_name}, stops after phase {stop}"
            return Image(path.read_bytes(), origin, build.architecture >= CLUSTERS_FROM)
    architecture = device.target
    raise KernelBuildError(
        f"{place} has no phase build for {device.name} ({architecture}); "
        "make the archive again with the flag for its kind: make gpu-pack, on a Jetson GPU_PACK=--jetson"
    )
