"""``FusedScorer``: verdicts from a backbone's last tensor by one CUDA launch.

    scorer = FusedScorer(read_scorer(path.read_bytes()))
    verdicts = scorer.score_map(y, stream=stream)     # y: CuPy, torch, PyCUDA, ...; nothing waits
    verdicts.to_host()["score"]                       # waits for the stream

Capturing a CUDA graph: make the room first (``room = scorer.room(batch)``), pass it as ``into``, and call
once before the capture, so that the entry is loaded; a new ``set_threshold`` reaches captured graphs.
"""

from dataclasses import replace
from typing import Any

from edgeosr.errors import UsageError
from edgeosr.kernels.build.images import Image, image_for
from edgeosr.kernels.device_verdicts import DeviceVerdicts
from edgeosr.kernels.driver.arrays import DeviceArray, device_array, rows_stride, stream_handle
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.driver.memory import HostMemory
from edgeosr.kernels.packing import constants_bytes, pack_scorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import LaunchPlan, MapShape, TangentShape, plan_launch
from edgeosr.scoring.scorer import Scorer

_TENSOR_CORES = (7, 5)  # sm_72 multiplies with FMAs and fp32 weights


class FusedScorer:
    """A scorer's weights on a device, and the kernel that applies them. Not thread-safe.

    Attributes:
        device: where it lives.
        origin: which build of the kernel was taken.
        packed: the weights' layout.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        half: bool | None = None,
        device: int | None = None,
        driver: Driver | None = None,
        image: Image | None = None,
    ):
        """Load the kernel and upload the weights.

        Args:
            scorer: the constants, e.g. ``read_scorer`` of a bundle's ``scorer.npz``.
            half: fp16 weights on tensor cores; None: where the device has them, else fp32.
            device: ordinal; None: the current context's, or 0.
            driver: None: through cuda-python.
            image: build of the kernel; None: what suits the device (``build/images.py``).

        Raises:
            UsageError: the scorer exceeds a limit of the kernel, or fp16 weights were asked of a device
                without tensor cores.
            DeviceError: its subclasses: no driver, no device, a too old driver, no build.
            MissingDependencyError: cuda-python is not installed.
        """
        self.driver = driver or open_driver()
        self.device = self.driver.device(device)
        tensor_cores = self.device.architecture >= _TENSOR_CORES
        if half and not tensor_cores:
            raise UsageError(
                f"fp16 weights need tensor cores (sm_75 or later); {self.device.name} is "
                f"sm_{self.device.architecture[0]}{self.device.architecture[1]}; pass half=False"
            )
        self.scorer = scorer
        self.packed = pack_scorer(scorer, half=tensor_cores if half is None else half)
        image = image or image_for(self.device)
        self.origin = image.origin
        self._module = self.driver.load(image.data)
        self._functions: dict[tuple[str, int], Any] = {}
        self._weights = self.driver.allocate(len(self.packed.data))
        self.driver.write(self._weights, self.packed.data, 0)
        self.driver.synchronize(0)  # streams that do not wait for the default one may use them at once

    def room(self, batch: int, *, host: HostMemory | None = None) -> DeviceVerdicts:
        """Return room for the verdicts of ``batch`` samples, to be passed as ``into``; close it after use.

        Args:
            batch: B.
            host: mapped memory that takes the verdicts without a copy; None: device memory.

        Raises:
            UsageError: the batch is not 0 to 1024.
        """
        shape: MapShape | TangentShape
        if self.packed.closed_form:
            shape = MapShape(height=1, width=1)
        else:
            shape = TangentShape(probes=self.packed.probes)
        # Neither size depends on the map's shape or the inputs' dtype.
        plan = plan_launch(self.packed, shape, batch)
        return DeviceVerdicts(self.driver, batch, plan.workspace_bytes, plan.counter_bytes, host=host)

    def score_map(
        self,
        y: Any,
        *,
        layout: str = "nchw",
        logits: Any = None,
        stream: Any = None,
        into: DeviceVerdicts | None = None,
    ) -> DeviceVerdicts:
        """Score a map before its last activation, for a scorer with a closed form.

        Args:
            y: ``[B, D, H, W]`` (layout ``nchw``; in memory channels may also come last) or ``[B, H, W, D]``
                (``nhwc``, positions may be padded: slice the channels off); fp16 or fp32.
            layout: order of y's axes.
            logits: ``[B, C]``, for an external head only.
            stream: see ``stream_handle``; None is the default stream.
            into: room for the verdicts; None makes it (not while a graph is captured).

        Returns:
            Verdicts, written once the stream gets there.

        Raises:
            UsageError: shape, dtype, strides, device or alignment cannot be taken; said before the launch.
            CudaError: a driver call failed.
        """
        handle = stream_handle(stream)
        array = device_array("y", y, handle)
        batch, shape = self._map_shape(array, layout)
        plan = plan_launch(self.packed, shape, batch)
        return self._launch(plan, [("input", "y", array)], logits, handle, into)

    def score(
        self,
        z: Any,
        t: Any = None,
        *,
        logits: Any = None,
        stream: Any = None,
        into: DeviceVerdicts | None = None,
    ) -> DeviceVerdicts:
        """Score embeddings, with their tangents if the scorer has probes.

        Args:
            z: ``[B, D]``, fp16 or fp32.
            t: ``[K, B, D]`` of the same dtype; None if K = 0.
            logits: see ``score_map``, as are ``stream``, ``into``, the result and the errors.
            stream: see there.
            into: see there.
        """
        handle = stream_handle(stream)
        embedding = device_array("z", z, handle)
        self._require_shape("z", embedding, ("B", self.packed.dimension))
        batch = embedding.shape[0]
        arrays = [("input", "z", embedding)]
        strides = (0, 0)
        probes = self.packed.probes
        if (t is None) != (probes == 0):
            raise UsageError(
                f"the scorer has K = {probes} probes; got t {'missing' if t is None else 'given'}"
            )
        if t is not None:
            tangents = device_array("t", t, handle)
            self._require_shape("t", tangents, (probes, batch, self.packed.dimension))
            if tangents.half != embedding.half:
                raise UsageError("z and t must have one dtype; got float16 and float32")
            if 0 not in tangents.shape:
                strides = (
                    rows_stride(
                        "t",
                        replace(tangents, shape=tangents.shape[1:], strides=tangents.strides[1:]),
                        0,
                        (1,),
                    ),
                    tangents.strides[0] if probes > 1 else 0,
                )
            arrays.append(("tangents", "t", tangents))
        shape = TangentShape(
            probes=probes,
            half=embedding.half,
            sample_stride=rows_stride("z", embedding, 0, (1,)) if batch else 0,
            tangent_sample_stride=strides[0],
            probe_stride=strides[1],
        )
        return self._launch(plan_launch(self.packed, shape, batch), arrays, logits, handle, into)

    def set_threshold(self, threshold: float, *, stream: Any = None) -> None:
        """Use another threshold in the stream's order; captured graphs follow. NaN accepts nothing."""
        self.scorer = replace(self.scorer, threshold=threshold)
        self.driver.write(self._weights, constants_bytes(self.scorer), stream_handle(stream))

    def close(self) -> None:
        """Free the weights; launches must be over."""
        if self._weights:
            self.driver.free(self._weights)
            self._weights = 0

    def __enter__(self) -> "FusedScorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _map_shape(self, y: DeviceArray, layout: str) -> tuple[int, MapShape]:
        dimension = self.packed.dimension
        if layout == "nchw":
            self._require_shape("y", y, ("B", dimension, "H", "W"))
            batch, _, height, width = y.shape
        elif layout == "nhwc":
            self._require_shape("y", y, ("B", "H", "W", dimension))
            batch, height, width, _ = y.shape
            order = (0, 3, 1, 2)
            y = replace(
                y, shape=(batch, dimension, height, width), strides=tuple(y.strides[i] for i in order)
            )
        else:
            raise UsageError(f"layout must be nchw or nhwc; got {layout!r}")
        if batch == 0 or height * width == 0:
            return batch, MapShape(height=height, width=width, half=y.half)
        if layout == "nchw" and _fits(y, (height * width, width, 1)):
            stride = rows_stride("y", y, 0, (height * width, width, 1))
            return batch, MapShape(height=height, width=width, half=y.half, sample_stride=stride)
        positions = y.strides[3] if width > 1 else y.strides[2] if height > 1 else dimension
        if positions < dimension:
            raise UsageError(
                f"y must be contiguous, channels first or last; got shape {y.shape} with strides {y.strides} "
                "(elements, in the order B D H W); make it contiguous"
            )
        stride = rows_stride("y", y, 0, (1, width * positions, positions))
        return batch, MapShape(
            height=height,
            width=width,
            layout="nhwc",
            half=y.half,
            position_stride=positions,
            sample_stride=stride,
        )

    def _launch(
        self,
        plan: LaunchPlan,
        arrays: list[tuple[str, str, DeviceArray]],
        logits: Any,
        stream: int,
        into: DeviceVerdicts | None,
    ) -> DeviceVerdicts:
        if not self._weights:
            raise UsageError("this FusedScorer was closed; make a new one")
        params = plan.params
        self._add_logits(params, arrays, logits, stream)
        current = self.driver.current_device()
        for device, what in [(current, "the current context"), *((a.device, name) for _, name, a in arrays)]:
            if device is not None and device != self.device.ordinal:
                where = f"on device {device}" if device >= 0 else "not set on this thread"
                raise UsageError(f"the scorer is on device {self.device.ordinal}, but {what} is {where}")
        room = into or self.room(params.batch)
        if room.batch != params.batch or room.workspace_bytes < plan.workspace_bytes or not room.address:
            raise UsageError(
                f"into must be open room for {params.batch} verdicts of this scorer; got one for "
                f"{room.batch}; make it with room({params.batch})"
            )
        if params.batch == 0:
            return room
        function = self._function(plan)
        for field, _, array in arrays:
            setattr(params, field, array.pointer)
            if array.stream is not None and _one_name(array.stream) != _one_name(stream):
                self.driver.follow(stream, array.stream)
        params.scorer, params.workspace, params.verdicts = self._weights, room.workspace, room.address
        room.begin(stream)
        self.driver.launch(function, plan.blocks, plan.threads, plan.shared_bytes, stream, params)
        room.end(stream)
        return room

    def _add_logits(
        self, params: FusedScoreParams, arrays: list[tuple[str, str, DeviceArray]], logits: Any, stream: int
    ) -> None:
        external = self.packed.head == 2
        if (logits is None) == external:
            raise UsageError(
                "the scorer's head is external: pass logits [B, C] of the engine's graph"
                if external
                else "the scorer has its own head: logits must not be given"
            )
        if logits is None:
            return
        array = device_array("logits", logits, stream)
        self._require_shape("logits", array, (params.batch, self.packed.classes))
        params.logits_half = array.half
        if params.batch:
            params.logits_stride = rows_stride("logits", array, 0, (1,)) or self.packed.classes
        arrays.append(("logits", "logits", array))

    def _function(self, plan: LaunchPlan) -> Any:
        key = (plan.entry, plan.shared_bytes)
        if key not in self._functions:
            # The attribute is the function's own: the largest asked for stays.
            largest = max([plan.shared_bytes, *(s for name, s in self._functions if name == plan.entry)])
            self._functions[key] = self.driver.function(self._module, plan.entry, largest)
        return self._functions[key]

    def _require_shape(self, name: str, array: DeviceArray, expected: tuple[int | str, ...]) -> None:
        if len(array.shape) != len(expected) or any(
            isinstance(want, int) and want != got for want, got in zip(expected, array.shape, strict=False)
        ):
            words = ", ".join(map(str, expected))
            raise UsageError(f"{name} must be [{words}]; got {list(array.shape)}")


def _fits(array: DeviceArray, inner: tuple[int, ...]) -> bool:
    return all(
        size <= 1 or have == want
        for size, have, want in zip(array.shape[1:], array.strides[1:], inner, strict=True)
    )


def _one_name(stream: int) -> int:
    """The legacy default stream is 0 for the driver and 1 for the array interfaces."""
    return 0 if stream == 1 else stream
