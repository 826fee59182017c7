"""Which build of the kernel a device gets: a cubin, PTX, or one compiled now and kept on disk.

In that order:

1. a cubin built ahead (``ahead.py``) whose toolkit the driver can load. A Tegra (Orin, Xavier, Thor)
   takes its exact architecture only; a desktop GPU also a lower minor version of its own major one;
2. PTX of an old version, which the driver compiles: for devices without a cubin of theirs;
   both of the installed source: a file beside them names the digest they were made from;
3. NVRTC, at most as new as the driver, for the exact architecture; kept under ``$EDGEOSR_CACHE``,
   ``$XDG_CACHE_HOME/edgeosr`` or ``~/.cache/edgeosr`` by source, architecture and compiler.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeosr.errors import DriverTooOldError, KernelBuildError
from edgeosr.kernels.build.ahead import BUILDS, CUBINS, Build, built_from
from edgeosr.kernels.build.nvrtc import FLAGS, Nvrtc, newest_nvrtc
from edgeosr.kernels.build.sources import DeviceSource, device_source
from edgeosr.kernels.driver.driver import Device

OLDEST_DRIVER = (11, 0)  # minor versions of a CUDA release load each other's cubins from here on
CLUSTERS_SINCE = (12, 1)  # of compilers: see src/cluster.cuh
CLUSTERS_FROM = (9, 0)  # where blocks can send one another words: EDGEOSR_CLUSTERS of src/cluster.cuh
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Image:
    """A build of the kernel.

    Attributes:
        data: bytes for the driver.
        origin: where they come from.
        clusters: False: compiled for an architecture that has none, whatever device runs it.
    """

    data: bytes
    origin: str
    clusters: bool = True


def suitable_builds(device: Device) -> list[Build]:
    """Return the builds that ``device`` and its driver can load, best first."""
    cubins = [build for build in BUILDS if not build.ptx and _loads_cubin(device, build)]
    cubins.sort(key=lambda build: (build.architecture, build.toolkit), reverse=True)
    # PTX knows no compatibility of minor versions: the driver must know the toolkit itself.
    ptx = [
        b for b in BUILDS if b.ptx and b.architecture <= device.architecture and b.toolkit <= device.driver
    ]
    return [*cubins, *ptx]


def image_for(
    device: Device,
    *,
    folder: Path = CUBINS,
    cache: Path | None = None,
    nvrtc: Callable[[tuple[int, int]], Nvrtc] = newest_nvrtc,
    source: DeviceSource | None = None,
) -> Image:
    """Return the kernel for ``device``.

    Args:
        device: the device.
        folder: of the builds made ahead.
        cache: folder of those made at run time; None: see the module's docstring.
        nvrtc: finds a compiler at most as new as given.
        source: of the kernel; None: the package's.

    Raises:
        DriverTooOldError: older than CUDA 11, or no compiler is old enough for it.
        KernelBuildError: nothing built ahead suits, and NVRTC is missing or fails.
    """
    if device.driver < OLDEST_DRIVER:
        raise DriverTooOldError(
            f"the fused kernel needs a driver of CUDA {_version(OLDEST_DRIVER)} or later; {device.name} has "
            f"one of CUDA {_version(device.driver)}; update the driver (Jetson: JetPack 5 or later)"
        )
    source = source or device_source()
    if built_from(folder) == source.digest:
        for build in suitable_builds(device):
            path = folder / build.file_name
            if path.is_file():
                return Image(path.read_bytes(), build.file_name, build.architecture >= CLUSTERS_FROM)
    return _compiled(device, cache or cache_folder(), nvrtc, source)


def cache_folder() -> Path:
    """Return the folder of run-time builds; it may not exist."""
    named = os.environ.get("EDGEOSR_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgeosr"


def _compiled(
    device: Device, cache: Path, nvrtc: Callable[[tuple[int, int]], Nvrtc], source: DeviceSource
) -> Image:
    target = device.target
    most = (device.driver[0], 99)  # cubins are compatible among minor versions
    try:
        compiler = nvrtc(most)
    except KernelBuildError as error:
        names = ", ".join(build.file_name for build in suitable_builds(device)) or "none fits this driver"
        raise KernelBuildError(
            f"no build of the fused kernel for {device.name} ({target}, driver of CUDA "
            f"{_version(device.driver)}) is installed (looked for: {names}), and {error}"
        ) from error
    key = hashlib.sha256(repr((source.digest, target, compiler.version, FLAGS)).encode()).hexdigest()[:32]
    path = cache / f"fused_score-{target}-nvrtc{_version(compiler.version)}-{key}.cubin"
    data = _read_cached(path)
    if data is None:
        data = compiler.compile(source, target).image
        _write_cached(path, data)
    origin = f"NVRTC {_version(compiler.version)} for {target}"
    clusters = device.architecture >= CLUSTERS_FROM and compiler.version >= CLUSTERS_SINCE
    return Image(data, origin, clusters)


def _loads_cubin(device: Device, build: Build) -> bool:
    if build.toolkit[0] > device.driver[0]:
        return False
    if device.integrated:
        return build.architecture == device.architecture
    return build.architecture[0] == device.architecture[0] and build.architecture[1] <= device.architecture[1]


def _read_cached(path: Path) -> bytes | None:
    """Return a cached build, or None if there is none or it is torn or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    data, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == digest else None


def _write_cached(path: Path, data: bytes) -> None:
    """Keep a build; a disk that cannot be written to costs the next start its compile time, no more."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data + hashlib.sha256(data).digest())
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
