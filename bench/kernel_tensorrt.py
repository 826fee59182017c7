"""model.onnx's scoring part as one TensorRT engine: the true rival of the fused kernel's selftest."""

import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.kernel_scoring_onnx import scoring_onnx
from edgeosr.bundle.tensors import MAP, SCORE
from edgeosr.errors import MissingDependencyError, UsageError
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.driver.graphs import Graph
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs
from edgeosr.kernels.selftest.device_copy import DeviceCopy


class TensorRTScoring:
    """The engine, its buffers, and its run captured in one CUDA graph (TensorRT 8.5 and later)."""

    def __init__(self, case: SelftestCase, driver: Driver, stream: int):
        """Build, run once and capture; building takes up to minutes.

        Raises:
            MissingDependencyError: TensorRT or the export extra is not installed.
            UsageError: TensorRT refuses the graph.
        """
        try:
            tensorrt: Any = importlib.import_module("tensorrt")
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                "the package tensorrt is not installed; it comes with JetPack, else: pip install tensorrt"
            ) from error
        data = scoring_onnx(case)
        logger = tensorrt.Logger(tensorrt.Logger.ERROR)
        # TensorRT 11 has no mixed precision by flag: there the fp32 graph runs as it is.
        half = case.half_weights and hasattr(tensorrt.BuilderFlag, "FP16")
        engine = _engine(tensorrt, logger, data, half=half)
        self._driver, self._stream = driver, stream
        self._addresses: list[int] = []
        self._scores = np.zeros(case.batch, np.float32)
        context = engine.create_execution_context()
        self._keep = (logger, engine, context)
        for number in range(engine.num_io_tensors):
            name = engine.get_tensor_name(number)
            dtype = np.dtype(tensorrt.nptype(engine.get_tensor_dtype(name)))
            shape = tuple(engine.get_tensor_shape(name))
            if name == MAP:
                address = DeviceCopy(driver, case_inputs(case)["map"].astype(dtype)).address
            else:
                address = driver.allocate(math.prod(shape) * dtype.itemsize)
            if name == SCORE:
                self._score_at, self._scores = address, np.zeros(shape, dtype)
            self._addresses.append(address)
            context.set_tensor_address(name, address)

        def work() -> None:
            if not context.execute_async_v3(stream):
                raise UsageError("TensorRT could not enqueue the scoring part; its log says why")

        work()
        driver.synchronize(stream)
        self._graph = Graph(driver, stream, work)
        precision = "fp16 allowed, fp16 map" if half else "fp32"
        self.conditions = f"TensorRT {tensorrt.__version__}, one engine in one CUDA graph, {precision}"

    def launch(self) -> None:
        """See ``Contender``."""
        self._graph.replay()

    def scores(self) -> NDArray[np.float32]:
        """See ``Contender``."""
        self._driver.read(self._score_at, self._scores.view(np.uint8).data, self._stream)
        return self._scores.astype(np.float32)

    def close(self) -> None:
        """See ``Contender``."""
        self._graph.close()
        for address in self._addresses:
            self._driver.free(address)
        del self._keep


def _engine(tensorrt: Any, logger: Any, data: bytes, *, half: bool) -> Any:
    builder = tensorrt.Builder(logger)
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    # The flag is needed up to TensorRT 9 and does nothing after it.
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(data):
        words = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise UsageError(f"TensorRT {tensorrt.__version__} cannot parse the scoring part: {words}")
    config = builder.create_builder_config()
    if half:
        config.set_flag(tensorrt.BuilderFlag.FP16)
        network.get_input(0).dtype = tensorrt.float16
    plan = builder.build_serialized_network(network, config)
    engine = None if plan is None else tensorrt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise UsageError(
            f"TensorRT {tensorrt.__version__} built no engine of the scoring part; its log says why"
        )
    return engine
