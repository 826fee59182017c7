"""A double of TensorRT's engine: it computes what ``backbone.onnx`` says, when the stream gets there.

Bytes are read and written at the addresses that were set, in the memory of the driver's double, so a run with
a stale address, a missing one, a shape that was never set or no activation memory fails as on a device.
"""

import functools
from enum import Enum
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
from cuda_streams import QueuedCudaDouble, bytes_at


@functools.lru_cache
def _session(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


class Logger:
    """ILogger."""

    Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


class TrtDouble:
    """The names of the module that the runner uses; a module with engines is made by ``trt_module``."""

    ILogger = Logger
    DataType = Enum("DataType", "FLOAT HALF INT8 INT32 INT64 BOOL UINT8")
    TensorIOMode = Enum("TensorIOMode", "NONE INPUT OUTPUT")
    TensorLocation = Enum("TensorLocation", "DEVICE HOST")
    TensorFormat = Enum("TensorFormat", "LINEAR CHW2 HWC8")
    ExecutionContextAllocationStrategy = Enum(
        "ExecutionContextAllocationStrategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED"
    )
    DynamicShapesKernelSpecializationStrategy = Enum("Specialization", "LAZY EAGER NONE")
    CudaGraphStrategy = Enum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE")


class EngineDouble:
    """ICudaEngine over ``backbone.onnx``.

    ``fails`` names context methods that report failure; ``log`` lists what contexts did.
    """

    def __init__(
        self,
        cuda: QueuedCudaDouble,
        backbone: bytes,
        *,
        least: tuple[int, ...] = (1, 20, 30, 3),
        most: tuple[int, ...] = (4, 20, 30, 3),
        activation_bytes: int = 1000,
    ):
        self.cuda, self.least, self.most = cuda, least, most
        self.session = _session(backbone)
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = {node.name: node for node in self.session.get_outputs()}
        self.device_memory_size_v2 = activation_bytes
        self.fails: set[str] = set()
        self.types: dict[str, Any] = {}
        self.capturable = True
        self.log: list[tuple[Any, ...]] = []
        self.contexts: list[ContextDouble] = []
        self.configs: list[ConfigDouble] = []
        self.running = 0

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_dtype(self, name: str) -> Any:
        types = TrtDouble.DataType
        if name in self.types:
            return self.types[name]
        if name in self.inputs:
            return types.UINT8 if name == "frames" else types.INT64
        return types.HALF if self.outputs[name].type == "tensor(float16)" else types.FLOAT

    def get_tensor_mode(self, name: str) -> Any:
        return TrtDouble.TensorIOMode.INPUT if name in self.inputs else TrtDouble.TensorIOMode.OUTPUT

    def get_tensor_location(self, name: str) -> Any:
        return TrtDouble.TensorLocation.DEVICE

    def get_tensor_format(self, name: str) -> Any:
        return TrtDouble.TensorFormat.LINEAR

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert (name, profile_index) == ("frames", 0)
        return [self.least, self.least, self.most]

    def create_execution_context(self, how: Any) -> "ContextDouble | None":
        managed = TrtDouble.ExecutionContextAllocationStrategy.USER_MANAGED
        assert how is managed or how.allocation is managed
        if "create_execution_context" in self.fails:
            return None
        self.contexts.append(ContextDouble(self, None if how is managed else how))
        return self.contexts[-1]

    def create_runtime_config(self) -> "ConfigDouble":
        self.configs.append(ConfigDouble(self))
        return self.configs[-1]


class ContextDouble:
    """IExecutionContext."""

    def __init__(self, engine: EngineDouble, config: "ConfigDouble | None"):
        self.engine, self.config = engine, config
        self.shape: tuple[int, ...] | None = None
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.warm = False

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0 and size >= self.engine.device_memory_size_v2
        assert self.engine.cuda.on_device(memory, size)
        self.memory = (memory, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "frames" and isinstance(shape, tuple)
        if "set_input_shape" in self.engine.fails:
            return False
        sizes = zip(self.engine.least, shape, self.engine.most, strict=True)
        if not all(least <= size <= most for least, size, most in sizes):
            return False
        self.shape, self.warm = shape, False
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self.shape is not None
        feed = {"frames": np.zeros(self.shape, np.uint8), "channel_order": np.arange(3)}
        return tuple(self.engine.session.run([name], feed)[0].shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0, "TensorRT takes aligned addresses only"
        if "set_tensor_address" in self.engine.fails:
            return False
        self.addresses[name] = memory
        return True

    def is_stream_capturable(self, stream: int) -> bool:
        return self.engine.capturable

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self.engine
        engine.log.append(("execute", self.shape, engine.cuda.capturing()))
        names = {*engine.inputs, *engine.outputs}
        if "execute_async_v3" in engine.fails or self.shape is None or set(self.addresses) != names:
            return False
        if self.memory is None or (engine.cuda.capturing() and not self.warm):
            return False
        self.warm = True
        addresses, shape = dict(self.addresses), self.shape

        def run() -> None:
            size = int(np.prod(shape))
            order = bytes_at(addresses["channel_order"], 24).view(np.int64)
            frames = bytes_at(addresses["frames"], size).reshape(shape)
            results = engine.session.run(
                list(engine.outputs), {"frames": frames, "channel_order": order.copy()}
            )
            for name, result in zip(engine.outputs, results, strict=True):
                assert engine.cuda.on_device(addresses[name], result.nbytes)
                bytes_at(addresses[name], result.nbytes)[:] = (
                    np.ascontiguousarray(result).reshape(-1).view(np.uint8)
                )

        engine.cuda.put(stream_handle, "engine", run)
        return True


class CacheDouble:
    """IRuntimeCache."""

    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, blob: bytes) -> bool:
        self.content = bytes(blob) if blob.startswith(b"compiled") else self.content
        return blob.startswith(b"compiled")

    def serialize(self) -> bytes:
        return self.content or b"compiled"


class ConfigDouble:
    """IRuntimeConfig of TensorRT-RTX."""

    def __init__(self, engine: EngineDouble):
        self.engine = engine
        self.allocation: Any = None
        self.cache: CacheDouble | None = None
        self.cuda_graph_strategy: Any = TrtDouble.CudaGraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy: Any = None

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.allocation = strategy

    def create_runtime_cache(self) -> CacheDouble:
        return CacheDouble()

    def set_runtime_cache(self, cache: CacheDouble) -> bool:
        self.cache = cache
        return True


def trt_module(name: str, version: str, engines: dict[bytes, EngineDouble]) -> ModuleType:
    """A module ``tensorrt`` or ``tensorrt_rtx`` that loads the plans of ``engines``, and no other."""
    module = ModuleType(name)
    vars(module).update({key: value for key, value in vars(TrtDouble).items() if key[0] != "_"})
    module.__version__ = version
    module.deserialized = []

    class Runtime:
        def __init__(self, logger: Any):
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> EngineDouble | None:
            module.deserialized.append(plan)
            if plan not in engines:
                self.logger.log(Logger.Severity.ERROR, "magic tag does not match")
            return engines.get(plan)

    module.Runtime = Runtime
    return module
