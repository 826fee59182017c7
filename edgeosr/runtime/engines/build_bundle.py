"""``edgeosr build``: an engine of a bundle, for the GPU here or for RTX targets, put into the bundle."""

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.made_of import export_again
from edgeosr.bundle.manifest import BACKBONE, Manifest
from edgeosr.errors import EngineError, UsageError
from edgeosr.files import sha256_of
from edgeosr.runtime.engines.gpu import GpuProbe, probe_gpus
from edgeosr.runtime.engines.isolated import build_isolated
from edgeosr.runtime.engines.request import BuildRequest, plan_name
from edgeosr.runtime.engines.store import add_engine, engine_lock, read_timing_cache, write_timing_cache
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt

DEFAULT_BATCH = (1, 1, 8)


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What ``edgeosr build`` can be asked for; see ``BuildRequest``.

    Attributes:
        targets: architectures for tensorrt_rtx; empty: an engine by tensorrt for the GPU here.
        batch, workspace, device: see there.
        frame: None: the bundle's own frame size, or else the network's input size.
    """

    targets: tuple[str, ...] = ()
    batch: tuple[int, int, int] = DEFAULT_BATCH
    frame: tuple[int, int] | None = None
    workspace: int | None = None
    device: int = 0


def require_common_threshold(manifest: Manifest) -> None:
    """Raise EngineError for a bundle with a threshold a class: the fused kernel compares with one."""
    own = None if manifest.backbone is None else manifest.backbone.threshold
    if manifest.threshold.by_class or (own is not None and own.by_class):
        raise EngineError(
            f"the bundle {manifest.name} has a threshold a class, and engines compare with one for all; run "
            "it on onnxruntime, or export it with: "
            + export_again(manifest, "--threshold-rule common --engine fp16")
        )


def request_for(manifest: Manifest, options: BuildOptions) -> BuildRequest:
    """Return the build that the options mean for a bundle.

    Raises:
        EngineError: the bundle has no typed backbone, or a threshold a class.
        UsageError: the options contradict each other or the bundle.
    """
    require_common_threshold(manifest)
    if manifest.backbone is None:
        raise EngineError(
            f"the bundle {manifest.name} has no typed backbone to build an engine from; export it "
            f"with: {export_again(manifest, '--engine fp16')}"
        )
    if manifest.frame is not None and options.frame not in (None, manifest.frame):
        raise UsageError(
            f"the bundle takes frames of {manifest.frame[0]}x{manifest.frame[1]} only; got --frame "
            f"{options.frame[0]}x{options.frame[1]}; leave --frame out, or export without one"
            if options.frame
            else ""
        )
    preprocessing = manifest.preprocessing
    return BuildRequest(
        builder="tensorrt_rtx" if options.targets else "tensorrt",
        targets=options.targets,
        batch=options.batch,
        frame=options.frame or manifest.frame or (preprocessing.height, preprocessing.width),
        workspace=options.workspace,
        device=options.device,
    )


def build_bundle(
    path: Path, options: BuildOptions, *, probe: GpuProbe | None = None
) -> tuple[EngineRecord, Manifest]:
    """Build an engine and put it into the bundle.

    Args:
        path: the bundle.
        options: what to build.
        probe: what the driver said; None: ask it.

    Returns:
        The engine's record and the bundle's new manifest.

    Raises:
        EngineError, MissingDependencyError: it cannot be built here; says why and what to do.
        BundleError, UsageError, StorageError: see the message. The bundle stays as it was.
    """
    bundle = read_bundle(path)
    request = request_for(bundle.manifest, options)
    backbone = bundle.manifest.backbone
    assert backbone is not None
    name, targets = "", request.targets
    if request.builder == "tensorrt":
        found = probe_gpus() if probe is None else probe
        if not found.gpus:
            raise EngineError(
                f"edgeosr build makes an engine for the NVIDIA GPU here: {found.reason}; run this on the "
                "device; for a desktop GPU an engine can be built anywhere: edgeosr build --target sm_86"
            )
        load_tensorrt("tensorrt", to_run=True, probe=found)  # before the lock, and before minutes of work
        if request.device >= len(found.gpus):
            raise UsageError(f"--device must be below {len(found.gpus)}; got {request.device}")
        name, targets = found.gpus[request.device].name, (found.gpus[request.device].architecture,)
    else:
        load_tensorrt("tensorrt_rtx", to_run=False)
    cache = f"timing-{'-'.join(targets)}.cache"
    with engine_lock(path):
        started = time.monotonic()
        built = build_isolated(
            bundle.files[BACKBONE],
            request,
            outputs=backbone.outputs,
            dtype=backbone.dtype,
            timing_cache=read_timing_cache(path, cache) if request.builder == "tensorrt" else None,
        )
        record = EngineRecord(
            file=plan_name(request, version=built.version, device=name, precision=backbone.precision),
            sha256=sha256_of(built.plan),
            bytes=len(built.plan),
            builder=request.builder,
            version=built.version,
            device=name,
            targets=targets,
            precision=backbone.precision,
            batch=request.batch,
            frame=request.frame,
            backbone=bundle.manifest.files[BACKBONE].sha256,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 2),
        )
        manifest = add_engine(path, record, built.plan)
        if built.timing_cache is not None:
            write_timing_cache(path, cache, built.timing_cache)
    return record, manifest
