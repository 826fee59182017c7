"""Inputs and outputs of a loaded engine, held against what the bundle says its backbone has."""

from dataclasses import dataclass
from typing import Any

from edgeosr.bundle.backbone import BackboneRecord
from edgeosr.bundle.tensors import CHANNEL_ORDER, FRAMES, LOGITS
from edgeosr.errors import EngineRunError, FrameError

_AGAIN = "it is no plan of this bundle; build it again: edgeosr build BUNDLE"


@dataclass(frozen=True)
class EngineIo:
    """What the engine takes and gives.

    Attributes:
        outputs: their names and NumPy type strings, ``{"map": "<f2"}``.
        least, most: smallest and largest ``[batch, height, width, 3]`` of the profile.
    """

    outputs: dict[str, str]
    least: tuple[int, ...]
    most: tuple[int, ...]

    @property
    def largest_batch(self) -> int:
        """Frames of one run."""
        return self.most[0]

    def require_frames(self, shape: tuple[int, ...]) -> None:
        """Raise a FrameError unless the profile has ``[batch, height, width, 3]``."""
        for axis, what in ((1, "height"), (2, "width")):
            if not self.least[axis] <= shape[axis] <= self.most[axis]:
                least, most = (f"{s[1]}x{s[2]}" for s in (self.least, self.most))
                takes = least if least == most else f"{least} to {most}"
                raise FrameError(
                    f"this engine takes frames of {takes} (height x width); got {what} {shape[axis]}: build "
                    f"one for them, edgeosr build BUNDLE --frame {shape[1]}x{shape[2]}, or use "
                    "backend='onnxruntime'"
                )
        if shape[0] < self.least[0]:
            raise FrameError(
                f"this engine takes batches from {self.least[0]} to {self.most[0]} frames; got {shape[0]}: "
                f"build one for it, edgeosr build BUNDLE --batch 1,1,{self.most[0]}"
            )


def read_engine_io(trt: Any, engine: Any, backbone: BackboneRecord) -> EngineIo:
    """Look at an engine.

    Args:
        trt: the module ``tensorrt`` or ``tensorrt_rtx``.
        engine: an ICudaEngine.
        backbone: what its tensors must be.

    Raises:
        EngineRunError: a tensor is missing, unknown, or of another type, place or format.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    expected = {FRAMES, CHANNEL_ORDER, *backbone.outputs}
    if set(names) != expected:
        raise EngineRunError(
            f"the engine's tensors must be {', '.join(sorted(expected))}; got {', '.join(sorted(names))}: "
            + _AGAIN
        )
    half = backbone.dtype == "float16"
    types = {FRAMES: trt.DataType.UINT8, CHANNEL_ORDER: trt.DataType.INT64, LOGITS: trt.DataType.FLOAT}
    for name in names:
        wanted = types.get(name, trt.DataType.HALF if half else trt.DataType.FLOAT)
        _require(name, "type", engine.get_tensor_dtype(name), wanted)
        mode = trt.TensorIOMode.INPUT if name in (FRAMES, CHANNEL_ORDER) else trt.TensorIOMode.OUTPUT
        _require(name, "mode", engine.get_tensor_mode(name), mode)
        _require(name, "location", engine.get_tensor_location(name), trt.TensorLocation.DEVICE)
        _require(name, "format", engine.get_tensor_format(name), trt.TensorFormat.LINEAR)
    least, _, most = (tuple(shape) for shape in engine.get_tensor_profile_shape(FRAMES, 0))
    if len(least) != 4 or least[3] != 3 or most[3] != 3:
        raise EngineRunError(f"frames must be [batch, height, width, 3]; got {least} to {most}: {_AGAIN}")
    outputs = {name: "<f4" if name == LOGITS or not half else "<f2" for name in backbone.outputs}
    return EngineIo(outputs, least, most)


def _require(name: str, what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise EngineRunError(f"the engine's {name} must have the {what} {wanted}; got {got}: {_AGAIN}")
