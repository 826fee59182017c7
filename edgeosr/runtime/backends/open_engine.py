"""From a bundle to a running engine: preflight, the plan's bytes, TensorRT, kernel and runner."""

import contextlib
from typing import Any

import numpy as np

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import CudaError, EngineError, EngineRunError
from edgeosr.kernels.build.images import cache_folder
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.runtime.backends.contexts import Contexts, TensorRTContexts
from edgeosr.runtime.backends.device_failure import worded
from edgeosr.runtime.backends.engine_io import read_engine_io
from edgeosr.runtime.backends.engine_runner import EngineRunner
from edgeosr.runtime.backends.rtx_contexts import RtxContexts
from edgeosr.runtime.engines.build_bundle import BuildOptions, build_bundle, require_common_threshold
from edgeosr.runtime.engines.gpu import GpuProbe, probe_gpus
from edgeosr.runtime.engines.preflight import check_engines
from edgeosr.runtime.engines.request import RTX_TARGETS
from edgeosr.runtime.engines.store import read_engine
from edgeosr.runtime.engines.tensorrt_log import tensorrt_logger
from edgeosr.runtime.engines.tensorrt_module import load_tensorrt


def open_engine(
    bundle: Bundle, builder: str, *, build: str | None = None
) -> tuple[EngineRunner, EngineRecord]:
    """Open the newest engine of a bundle that can run here, and run it once on a black frame.

    Args:
        bundle: checked.
        builder: ``tensorrt`` or ``tensorrt_rtx``.
        build: ``auto``: build one if there is none.

    Returns:
        The runner, and what it runs.

    Raises:
        EngineError: there is no GPU, or no engine for it.
        MissingDependencyError: TensorRT or cuda-python is not installed.
        DeviceError: the GPU cannot be used, or TensorRT does not load or run the plan.
        BundleError: the plan is not the one that was built, or the scorer not that of the manifest.
    """
    require_common_threshold(bundle.manifest)
    if bundle.manifest.backbone is None:
        raise EngineError(
            f"{bundle.path} has no typed backbone, so there is no engine of it; export it with: edgeosr "
            "export --engine fp16; or take onnxruntime, which needs none (in Python: backend='onnxruntime')"
        )
    # The driver first, by ctypes: TensorRT may end the process where there is none.
    probe = probe_gpus()
    trt = load_tensorrt(builder, to_run=True, probe=probe)
    driver = open_driver("running an engine")
    ordinal = driver.device(None).ordinal
    record = _record(bundle, builder, build, ordinal, probe)
    plan = read_engine(bundle.path, record)
    return _opened(bundle, trt, driver, record, plan), record


def _record(bundle: Bundle, builder: str, build: str | None, device: int, probe: GpuProbe) -> EngineRecord:
    findings = check_engines(bundle.manifest, builder, device=device, probe=probe)
    usable = [finding.engine for finding in findings if finding.ok]
    if usable:
        return max(usable, key=lambda record: (record.created, record.file))
    if build is None:
        reasons = "; ".join(finding.described() for finding in findings) or "the bundle has none"
        raise EngineError(
            f"no {builder} engine of {bundle.path} can run here: {reasons}; run: edgeosr build "
            f"{bundle.path} (in Python, build='auto' does it at opening)"
        )
    targets: tuple[str, ...] = ()
    if builder == "tensorrt_rtx":
        architecture = probe.gpus[device].architecture
        if architecture not in RTX_TARGETS:
            raise EngineError(
                f"tensorrt_rtx has no engines for {probe.gpus[device].name} ({architecture}); take "
                "tensorrt or onnxruntime instead"
            )
        targets = (architecture,)
    record, _ = build_bundle(bundle.path, BuildOptions(targets=targets, device=device), probe=probe)
    if record.backbone != bundle.manifest.files[BACKBONE].sha256:
        raise EngineError(f"{bundle.path} was exported again while its engine was built; open it again")
    return record


def _opened(bundle: Bundle, trt: Any, driver: Driver, record: EngineRecord, plan: bytes) -> EngineRunner:
    backbone = bundle.manifest.backbone
    assert backbone is not None
    logger = tensorrt_logger(trt)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineRunError(
            f"{record.builder} {trt.__version__} could not load {record.file}: "
            f"{logger.last or 'it says not why'}; build it again: edgeosr build {bundle.path}"
        )
    io = read_engine_io(trt, engine, backbone)
    contexts: Contexts = TensorRTContexts(trt, engine)
    if record.builder == "tensorrt_rtx":
        cache = cache_folder() / f"tensorrt_rtx-{record.sha256[:32]}.cache"
        contexts = RtxContexts(trt, engine, cache)
    with contextlib.ExitStack() as undo:
        try:
            scorer = FusedScorer(bundle_scorer(bundle), driver=driver)
        except CudaError as error:
            raise worded(error, "the scorer is uploaded") from error
        undo.callback(scorer.close)
        runner = EngineRunner(
            record.builder,
            driver=driver,
            scorer=scorer,
            engine=(logger, runtime, engine),  # let go of from the last on
            activation_bytes=int(engine.device_memory_size_v2),
            contexts=contexts,
            io=io,
            label=record.file,
        )
        undo.pop_all()
    try:
        # What cannot run is found out here, where another backend can still be taken.
        runner.run(np.zeros(io.least, np.uint8), bgr=False, threshold=scorer.scorer.threshold)
    except BaseException:
        runner.close()
        raise
    return runner
