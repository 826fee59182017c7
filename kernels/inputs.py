"""What a launch reads: arrays of other libraries on the device, looked at and put into the plan's terms."""

from dataclasses import dataclass, replace
from typing import Any

from edgeosr.errors import UsageError
from edgeosr.kernels.driver.arrays import DeviceArray, device_array, rows_stride
from edgeosr.kernels.packing import HEAD_CODES, PackedScorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import MapShape, TangentShape


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A batch on the device.

    Attributes:
        batch: B.
        shape: what the plan must know of it.
        arrays: by the pointer's name in ``FusedScoreParams``.
    """

    batch: int
    shape: MapShape | TangentShape
    arrays: dict[str, DeviceArray]


def map_inputs(packed: PackedScorer, y: Any, layout: str, stream: int) -> Inputs:
    """Look at a map; see ``FusedScorer.score_map``.

    Raises:
        UsageError: its shape, dtype or strides cannot be taken.
    """
    array = device_array("y", y, stream)
    batch, shape = _map_shape(packed.dimension, array, layout)
    return Inputs(batch=batch, shape=shape, arrays={"input": array})


def tangent_inputs(packed: PackedScorer, z: Any, t: Any, stream: int) -> Inputs:
    """Look at embeddings and their tangents; see ``FusedScorer.score``.

    Raises:
        UsageError: a shape, dtype or stride cannot be taken, or the tangents are not those of the scorer.
    """
    embedding = device_array("z", z, stream)
    _require_shape("z", embedding, ("B", packed.dimension))
    batch, probes = embedding.shape[0], packed.probes
    arrays = {"input": embedding}
    strides = (0, 0)
    if (t is None) != (probes == 0):
        raise UsageError(f"the scorer has K = {probes} probes; got t {'missing' if t is None else 'given'}")
    if t is not None:
        tangents = device_array("t", t, stream)
        _require_shape("t", tangents, (probes, batch, packed.dimension))
        if tangents.half != embedding.half:
            raise UsageError("z and t must have one dtype; got float16 and float32")
        if 0 not in tangents.shape:
            rows = replace(tangents, shape=tangents.shape[1:], strides=tangents.strides[1:])
            strides = (rows_stride("t", rows, 0, (1,)), tangents.strides[0] if probes > 1 else 0)
        arrays["tangents"] = tangents
    shape = TangentShape(
        probes=probes,
        half=embedding.half,
        sample_stride=rows_stride("z", embedding, 0, (1,)) if batch else 0,
        tangent_sample_stride=strides[0],
        probe_stride=strides[1],
    )
    return Inputs(batch=batch, shape=shape, arrays=arrays)


def with_logits(
    packed: PackedScorer, params: FusedScoreParams, inputs: Inputs, logits: Any, stream: int
) -> Inputs:
    """Add the logits of an external head, and say in ``params`` how they lie.

    Raises:
        UsageError: they are missing, or the head is the scorer's own; or their shape cannot be taken.
    """
    external = packed.head == HEAD_CODES["external"]
    if (logits is None) == external:
        raise UsageError(
            "the scorer's head is external: pass logits [B, C] of the engine's graph"
            if external
            else "the scorer has its own head: logits must not be given"
        )
    if logits is None:
        return inputs
    array = device_array("logits", logits, stream)
    _require_shape("logits", array, (params.batch, packed.classes))
    params.logits_half = array.half
    if params.batch:
        params.logits_stride = rows_stride("logits", array, 0, (1,)) or packed.classes
    return replace(inputs, arrays={**inputs.arrays, "logits": array})


def require_one_device(inputs: Inputs, scorer: int, current: int) -> None:
    """Raise UsageError unless a scorer's device is the current context's and that of every array."""
    first = "y" if isinstance(inputs.shape, MapShape) else "z"
    words = {"input": first, "tangents": "t", "logits": "logits"}
    arrays = [(array.device, words[name]) for name, array in inputs.arrays.items()]
    for device, what in [(current, "the current context"), *arrays]:
        if device is not None and device != scorer:
            where = f"on device {device}" if device >= 0 else "not set on this thread"
            raise UsageError(f"the scorer is on device {scorer}, but {what} is {where}")


def other_stream(stream: int, array: DeviceArray) -> int | None:
    """Return the stream that ``stream`` must be ordered behind for ``array``; None: no other one."""
    if array.stream is None or max(array.stream, 1) == max(stream, 1):  # the default stream is 0 and also 1
        return None
    return array.stream


def _map_shape(dimension: int, y: DeviceArray, layout: str) -> tuple[int, MapShape]:
    if layout == "nchw":
        _require_shape("y", y, ("B", dimension, "H", "W"))
        batch, _, height, width = y.shape
    elif layout == "nhwc":
        _require_shape("y", y, ("B", "H", "W", dimension))
        batch, height, width, _ = y.shape
        order = (0, 3, 1, 2)
        y = replace(y, shape=(batch, dimension, height, width), strides=tuple(y.strides[i] for i in order))
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


def _require_shape(name: str, array: DeviceArray, expected: tuple[int | str, ...]) -> None:
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
