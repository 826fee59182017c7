"""What ``edgeosr export`` can be asked for, checked when made."""

from dataclasses import dataclass
from pathlib import Path

from edgeosr.errors import UsageError, require_choice
from edgeosr.preprocessing import COLORS, FITS, Color, Fit

ENGINES = ("onnx",)
JACOBIANS = ("closed-form", "none")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Options of one export.

    Attributes:
        engine: ``onnx``, the portable graph.
        jacobian: ``closed-form`` (the norm at the last convolution) or ``none``.
        fit: how frames are fitted to the network's input. None: as trained, or ``crop`` for a classifier
            that edgeosr did not train. A run cannot be exported with another fit than it was trained with.
        false_reject_rate: share of known images that may be rejected, above 0 and below 0.5.
        frame: (height, width) in pixels of a camera whose size never changes, or None for any size.
        data_root: where named data sets are looked for.
        out: the bundle to write, ``NAME.edgeosr``; None: beside the run, or beside the ONNX file.
        data, known, outliers, embedding, mean, std, color, seed: for a foreign classifier only: its known
            images, the class names in the order of its outputs (None: the folder names, sorted), real
            unknown images for the fusion, the tensor that is its embedding, its normalisation (of values
            in 0..1) and channel order, and the seed of the parts.
    """

    engine: str = "onnx"
    jacobian: str = "closed-form"
    fit: Fit | None = None
    false_reject_rate: float = 0.05
    frame: tuple[int, int] | None = None
    data_root: Path | None = None
    out: Path | None = None
    data: str | None = None
    known: tuple[str, ...] | None = None
    outliers: str | None = None
    embedding: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    color: Color = "rgb"
    seed: int = 0

    def __post_init__(self) -> None:
        require_choice("--engine", self.engine, ENGINES)
        require_choice("--jacobian", self.jacobian, JACOBIANS)
        require_choice("--color", self.color, COLORS)
        if self.fit is not None:
            require_choice("--fit", self.fit, FITS)
        if not 0 < self.false_reject_rate < 0.5:
            raise UsageError(
                f"--false-reject-rate must be above 0 and below 0.5; got {self.false_reject_rate!r}; "
                "0.05 rejects at most 5 % of known images"
            )
        if self.frame is not None and not all(1 <= side <= 16384 for side in self.frame):
            raise UsageError(f"--frame must be HEIGHTxWIDTH, each from 1 to 16384; got {self.frame!r}")
        if self.out is not None and self.out.suffix != ".edgeosr":
            raise UsageError(f"--out must end in .edgeosr; got {self.out}; try {self.out}.edgeosr")
