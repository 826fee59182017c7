"""Before a plan is touched: can it load here, and if not, why and what to do."""

from dataclasses import dataclass
from importlib import metadata

from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE, Manifest
from edgeosr.errors import EdgeosrError
from edgeosr.runtime.engines.gpu import GpuProbe, available_memory, probe_gpus
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt

_BUILD = "build one here: edgeosr build BUNDLE"
# A plan is read, then copied to the device beside its activations.
_MEMORY_FACTOR = 3
_TOOLKITS = (14, 13, 12, 11)  # CUDA major versions that NVIDIA's wheels are or may be named after


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether an engine can load here.

    Attributes:
        engine: which.
        reason: why it cannot, a sentence without a full stop; empty if it can.
        advice: what to do then.
    """

    engine: EngineRecord
    reason: str = ""
    advice: str = ""

    @property
    def ok(self) -> bool:
        """It can load."""
        return not self.reason

    def described(self) -> str:
        """Return one line."""
        return f"{self.engine.file}: " + ("can run here" if self.ok else f"{self.reason}; {self.advice}")


def check_engines(
    manifest: Manifest, builder: str, *, device: int = 0, probe: GpuProbe | None = None
) -> list[Finding]:
    """Check the engines of one builder, without loading any.

    Args:
        manifest: of the bundle.
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        device: ordinal of the GPU.
        probe: what the driver said; None: ask it.
    """
    found = probe_gpus() if probe is None else probe
    records = [record for record in manifest.engines if record.builder == builder]
    return [_check(record, manifest, device, found) for record in records]


def _check(record: EngineRecord, manifest: Manifest, device: int, probe: GpuProbe) -> Finding:
    def no(reason: str, advice: str = _BUILD) -> Finding:
        return Finding(engine=record, reason=reason, advice=advice)

    if manifest.backbone is None or record.backbone != manifest.files[BACKBONE].sha256:
        return no("it was built from another backbone than the bundle holds")
    if not probe.gpus:
        return no(probe.reason, "run it on the device it was built for")
    if device >= len(probe.gpus):
        return no(f"there is no GPU number {device}", f"there are {len(probe.gpus)}, counted from 0")
    gpu = probe.gpus[device]
    if gpu.architecture not in record.targets:
        return no(f"it is for {', '.join(record.targets)}, and {gpu.name} is {gpu.architecture}")
    if record.device and record.device != gpu.name:
        return no(f"it was built on {record.device}, and this is {gpu.name}")
    memory = available_memory(gpu)
    if record.bytes * _MEMORY_FACTOR > memory:
        return no(
            f"it has {record.bytes >> 20} MiB and {gpu.name} {memory >> 20} MiB of memory left",
            "end other programs, or export a smaller network",
        )
    toolkit = toolkit_of(record.builder)
    if toolkit is not None and probe.driver[0] < toolkit:
        return no(
            f"the installed {record.builder} is made for CUDA {toolkit}, and the driver for CUDA "
            f"{probe.driver[0]}.{probe.driver[1]}",
            f"update the driver, or install a {record.builder} made for CUDA {probe.driver[0]}",
        )
    try:
        module = load_tensorrt(record.builder, to_run=True, probe=probe)
    except EdgeosrError as error:
        return no(str(error), "the engine needs it")
    if str(module.__version__) != record.version:
        return no(f"it was built by {record.builder} {record.version}, and here is {module.__version__}")
    return Finding(engine=record)


def toolkit_of(builder: str) -> int | None:
    """Return the CUDA major version of the installed libraries; None if unknown (JetPack's do not say)."""
    for major in _TOOLKITS:
        try:
            metadata.version(f"{builder}-cu{major}-libs")
        except metadata.PackageNotFoundError:
            continue
        return major
    return None


def installed_version(builder: str) -> str | None:
    """Return the version of the installed package without importing it; None if there is none."""
    for name in (builder, builder.replace("_", "-")):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None
