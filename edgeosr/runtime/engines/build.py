"""Build one plan in this process, with the API that TensorRT 10.3 to 11.x and TensorRT-RTX have in common.

Precision is in the graph: the network is strongly typed, and no precision flag is set (11.x has none).
``child.py`` calls this in a process of its own, because the parsers of some versions end the process.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from edgeosr.bundle.tensors import FRAMES, LOGITS
from edgeosr.errors import EngineError
from edgeosr.runtime.engines.request import BuildRequest
from edgeosr.runtime.engines.tensorrt_log import tensorrt_logger

# (finished steps, all steps known so far, what is being done); False stops the build.
Advance = Callable[[int, int, str], bool]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BuiltPlan:
    """``plan``: its bytes; ``version``: of the builder; ``timing_cache``: bytes, None for tensorrt_rtx."""

    plan: bytes
    version: str
    timing_cache: bytes | None


def build_plan(
    trt: ModuleType,
    backbone: bytes,
    request: BuildRequest,
    *,
    outputs: Sequence[str],
    dtype: str,
    timing_cache: bytes | None,
    advance: Advance,
) -> BuiltPlan:
    """Build a plan.

    Args:
        trt: ``tensorrt`` or ``tensorrt_rtx``.
        backbone: ``backbone.onnx``.
        request: what is asked for.
        outputs: names that the network must have as outputs, in order.
        dtype: ``float16`` or ``float32``, of the outputs, logits apart.
        timing_cache: of an earlier build with the same GPU and version, or None.
        advance: told of the progress; may stop the build.

    Raises:
        EngineError: the graph cannot be parsed or built; names the node and operator where it is known.
    """
    logger = tensorrt_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(backbone):
        raise EngineError(_refusal(parser))
    _check_outputs(trt, network, outputs, dtype)
    config = builder.create_builder_config()
    if request.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace << 20)
    profile = builder.create_optimization_profile()
    shapes = [(batch, *request.frame, 3) for batch in request.batch]
    profile.set_shape(FRAMES, *shapes)
    config.add_optimization_profile(profile)
    config.progress_monitor = _monitor(trt, advance)
    cache = None
    if request.builder == "tensorrt":
        cache = _set_timing_cache(config, timing_cache)
    else:
        _set_targets(trt, config, request.targets)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{request.builder} {trt.__version__} could not build the engine: "
            f"{logger.last or 'it says not why'}; a smaller --batch or more --workspace may help"
        )
    return BuiltPlan(
        plan=bytes(plan),
        version=str(trt.__version__),
        timing_cache=None if cache is None else bytes(cache.serialize()),
    )


def _refusal(parser: Any) -> str:
    errors = [parser.get_error(i) for i in range(parser.num_errors)]
    lines = [
        f"node {error.node_name() or error.node()!r} ({error.node_operator() or 'operator unknown'}): "
        f"{error.desc()}"
        for error in errors
    ]
    return (
        "TensorRT does not take the graph: "
        + ("; ".join(lines) or "its parser says not why")
        + ". Export with "
        "--engine onnx for onnxruntime, or change this node in the classifier"
    )


def _check_outputs(trt: ModuleType, network: Any, outputs: Sequence[str], dtype: str) -> None:
    """The kernel reads these addresses as they are: linear, and of the type that the manifest says."""
    found = [network.get_output(i) for i in range(network.num_outputs)]
    names = [tensor.name for tensor in found]
    if names != list(outputs):
        raise EngineError(f"the backbone must have the outputs {', '.join(outputs)}; got {', '.join(names)}")
    for tensor in found:
        half = dtype == "float16" and tensor.name != LOGITS
        wanted = trt.DataType.HALF if half else trt.DataType.FLOAT
        if tensor.dtype != wanted:
            raise EngineError(
                f"the backbone's output {tensor.name} must be {wanted}; got {tensor.dtype}; export it again"
            )
        tensor.allowed_formats = 1 << int(trt.TensorFormat.LINEAR)


def _set_timing_cache(config: Any, data: bytes | None) -> Any:
    """Return the cache in use: the old one, or a new one if that is of another GPU or version."""
    if data:
        cache = config.create_timing_cache(data)
        if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
            return cache
        _log.info("the timing cache is of another GPU or TensorRT version; a new one is begun")
    cache = config.create_timing_cache(b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _set_targets(trt: ModuleType, config: Any, targets: Sequence[str]) -> None:
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        capability = getattr(trt.ComputeCapability, target.replace("sm_", "SM"))
        if not config.set_compute_capability(capability, index):
            raise EngineError(
                f"tensorrt_rtx {trt.__version__} does not build for {target}; leave it out of --target"
            )


def _monitor(trt: ModuleType, advance: Advance) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # trt may be missing here
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.total, self.done = 0, 0

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self.total += num_steps
            advance(self.done, self.total, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.done += 1
            return advance(self.done, self.total, phase_name)

        def phase_finish(self, phase_name: str) -> None:
            advance(self.done, self.total, phase_name)

    return Monitor()
