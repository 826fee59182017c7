"""``FusedScorer``: verdicts from a backbone's last tensor by one CUDA launch.

    scorer = FusedScorer(read_scorer(path.read_bytes()))
    verdicts = scorer.score_map(y, stream=stream)     # y: CuPy, torch, PyCUDA, ...; nothing waits
    verdicts.to_host()["score"]                       # waits for the stream; once a launch

Capturing a CUDA graph: make the room first (``room = scorer.room(batch)``), pass it as ``into``, and call
once before the capture, so that the entry is loaded; a new ``set_threshold`` reaches captured graphs.
"""

import contextlib
from dataclasses import replace
from typing import Any

from edgeosr.errors import CudaError, UsageError
from edgeosr.kernels.build.images import CLUSTERS_FROM, Image, image_for
from edgeosr.kernels.device_verdicts import DeviceVerdicts
from edgeosr.kernels.driver.arrays import stream_handle
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.driver.memory import HostMemory
from edgeosr.kernels.inputs import (
    Inputs,
    map_inputs,
    other_stream,
    require_one_device,
    tangent_inputs,
    with_logits,
)
from edgeosr.kernels.packing import constants_bytes, pack_scorer, require_supported
from edgeosr.kernels.plan import LaunchPlan, MapShape, TangentShape, plan_launch
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.scoring.scorer import Scorer

_TENSOR_CORES = (7, 5)  # sm_72 multiplies with FMAs and fp32 weights


class FusedScorer:
    """A scorer's weights on a device, and the kernel that applies them. Not thread-safe.

    Attributes:
        device: where it lives.
        origin: which build of the kernel was taken.
        packed: the weights' layout.
        last_plan: of the last launch, which says where its tiles come from, and in ``why`` where it could not
            have the clusters that its architecture has; None before the first.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        half: bool | None = None,
        device: int | None = None,
        driver: Driver | None = None,
        image: Image | None = None,
        table: PlanTable | None = None,
    ):
        """Load the kernel and upload the weights.

        Args:
            scorer: the constants, e.g. ``read_scorer`` of a bundle's ``scorer.npz``.
            half: fp16 weights on tensor cores; None: where the device has them, else fp32.
            device: ordinal; None: the current context's, or 0.
            driver: None: through cuda-python.
            image: build of the kernel; None: what suits the device (``build/images.py``).
            table: of plans; None: the one that ships with the kernel. No verdict depends on it.

        Raises:
            UsageError: the scorer exceeds a limit of the kernel, or fp16 weights were asked of a device
                without tensor cores.
            DeviceError: its subclasses: no driver, no device, a too old driver, no build.
            MissingDependencyError: cuda-python is not installed.
        """
        require_supported(scorer)
        self.driver = driver or open_driver()
        self.device = self.driver.device(device)
        tensor_cores = self.device.architecture >= _TENSOR_CORES
        if half and not tensor_cores:
            raise UsageError(
                f"fp16 weights need tensor cores (sm_75 or later); {self.device.name} is "
                f"{self.device.target}; pass half=False"
            )
        self.scorer = scorer
        self.packed = pack_scorer(scorer, half=tensor_cores if half is None else half)
        image = image or image_for(self.device)
        self.origin = image.origin
        self._module = self.driver.load(image.data)
        self.last_plan: LaunchPlan | None = None
        self._table = table
        self._functions: dict[tuple[str, int], Any] = {}
        self._without_clusters = ""  # why
        if self.device.architecture >= CLUSTERS_FROM and not image.clusters:
            self._without_clusters = f"no clusters: {image.origin} was built without them"
        self._placed: set[tuple[str, int, int]] = set()
        self._weights = self.driver.allocate(len(self.packed.data))
        try:
            self.driver.write(self._weights, self.packed.data, 0)
            self.driver.synchronize(0)  # streams that do not wait for the default one may use them at once
        except BaseException:
            with contextlib.suppress(
                CudaError
            ):  # of a lost device: the error that lost it is the one to report
                self.driver.free(self._weights)
            raise

    def room(self, batch: int, *, host: HostMemory | None = None) -> DeviceVerdicts:
        """Return room for the verdicts of ``batch`` samples, to be passed as ``into``; close it after use.

        Args:
            batch: B.
            host: mapped memory that takes the verdicts without a copy; None: device memory.

        Raises:
            UsageError: the batch is not 0 to 1024.
        """
        return self._room(batch, host, None)

    def _room(self, batch: int, host: HostMemory | None, stream: int | None) -> DeviceVerdicts:
        shape: MapShape | TangentShape = TangentShape(probes=self.packed.probes)
        if self.packed.closed_form:
            shape = MapShape(height=1, width=1)
        # Neither size depends on the map's shape, the inputs' dtype or the tiles.
        plan = self._plan(shape, batch)
        return DeviceVerdicts(
            self.driver,
            batch,
            plan.workspace_bytes,
            plan.counter_bytes,
            parts=len(self.packed.parts),
            host=host,
            stream=stream,
        )

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
        return self._launch(map_inputs(self.packed, y, layout, handle), logits, handle, into)

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
        return self._launch(tangent_inputs(self.packed, z, t, handle), logits, handle, into)

    def set_threshold(self, threshold: float, *, stream: Any = None) -> None:
        """Use another threshold in the stream's order; captured graphs follow. NaN accepts nothing.

        Raises:
            UsageError: the scorer was closed.
        """
        self._require_open()
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

    def _launch(
        self, inputs: Inputs, logits: Any, stream: int, into: DeviceVerdicts | None
    ) -> DeviceVerdicts:
        self._require_open()
        plan = self._plan(inputs.shape, inputs.batch)
        if not self._has_place(plan):
            words = f"no clusters: {self.device.name} has no place for {plan.cluster} blocks"
            self._without_clusters = words
            plan = self._plan(inputs.shape, inputs.batch)
        params = plan.params
        inputs = with_logits(self.packed, params, inputs, logits, stream)
        require_one_device(inputs, self.device.ordinal, self.driver.current_device())
        self.last_plan = plan
        room = into or self._room(params.batch, None, stream)
        room.require(params.batch, plan.workspace_bytes, plan.counter_bytes)
        if params.batch == 0:
            return room
        function = self._function(plan)
        for name, array in inputs.arrays.items():
            setattr(params, name, array.pointer)
            if (other := other_stream(stream, array)) is not None:
                self.driver.follow(stream, other)
        params.scorer, params.workspace, params.verdicts = self._weights, room.workspace, room.address
        params.numbered = room.numbered
        room.begin(stream)
        size = (plan.blocks, plan.threads, plan.shared_bytes)
        self.driver.launch(function, *size, stream, params, cluster=plan.cluster)
        room.end(stream)
        return room

    def _plan(self, shape: MapShape | TangentShape, batch: int) -> LaunchPlan:
        plan = plan_launch(
            self.packed,
            shape,
            batch,
            multiprocessors=self.device.multiprocessors,
            architecture=self.device.target,
            table=self._table,
            clusters=not self._without_clusters,
        )
        why = "; ".join(words for words in (plan.why, self._without_clusters) if words)
        return replace(plan, why=why) if self._without_clusters else plan

    def _has_place(self, plan: LaunchPlan) -> bool:
        """Ask the device once for each kind of launch with clusters; a refusal holds for all of them."""
        key = (plan.entry, plan.shared_bytes, plan.cluster)
        if plan.cluster == 1 or plan.blocks == 0 or key in self._placed:
            return True
        if self.driver.current_device() != self.device.ordinal:
            return True  # another device would answer; the launch is refused in words
        size = (plan.blocks, plan.threads, plan.shared_bytes)
        if not self.driver.places_clusters(self._function(plan), *size, plan.cluster):
            return False
        self._placed.add(key)
        return True

    def _require_open(self) -> None:
        if not self._weights:
            raise UsageError("this FusedScorer was closed; make a new one")

    def _function(self, plan: LaunchPlan) -> Any:
        key = (plan.entry, plan.shared_bytes)
        if key not in self._functions:
            # The attribute is the function's own: the largest asked for stays.
            largest = max([plan.shared_bytes, *(s for name, s in self._functions if name == plan.entry)])
            self._functions[key] = self.driver.function(self._module, plan.entry, largest)
        return self._functions[key]
