"""What ``edgeosr export`` can be asked for, checked when made."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from shlex import quote
from typing import Literal

from edgeosr.arguments import keep_paths, require_truth
from edgeosr.bundle.backbone import PRECISIONS
from edgeosr.bundle.body import BODY_PRECISIONS
from edgeosr.bundle.left_out import MOST_FOLDS
from edgeosr.errors import (
    UsageError,
    require_choice,
    require_names,
    require_number,
    require_numbers,
    require_seed,
    require_text,
    require_threads,
    require_whole,
)
from edgeosr.export.foreign.recipe import RESAMPLINGS
from edgeosr.export.foreign.units import of_one
from edgeosr.preprocessing import COLORS, FITS, LARGEST_FRAME, LARGEST_SIDE, LONGEST_RESIZED, Color, Fit
from edgeosr.printed import brief
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.probes import PROBE_FAMILIES
from edgeosr.scoring.thresholds import COMMON, PER_CLASS, RULES

# The settings of ``export_model`` alone.
FOREIGN = (
    *("data", "known", "known_file", "groups", "outliers", "embedding", "logits", "preprocessing", "mean"),
    *("std", "color", "resize", "crop_fraction", "resampling", "accept_weak_classes", "unknown_outputs"),
)
JACOBIANS = ("closed-form", "probes", "none")
# Of --channel-weights, see ``channel_weights.py``.
EQUAL, WITHIN_CLASS = CHANNEL_WEIGHTS = ("equal", "within-class")
# Of --parts, see ``used_parts.py``.
REPORTED_PARTS, USED_PARTS, ALL_PARTS = PARTS = ("reported", "used", "all")

# Folds of left-out classes of a frozen run, one a class up to here.
DEFAULT_FOLDS = 10


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Options of one export.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``int8``: with a backbone in this precision too, for engines; None:
            the portable graph alone.
        openvino: ``bf16`` or ``int8``: with a body in this precision too, for OpenVINO on x86 processors.
        min_agreement: share of validation images that a typed graph must decide like the portable one,
            0 to 1.
        recalibrate: fit fusion and threshold of a typed graph on that graph.
        jacobian: ``closed-form`` (J_z at the last convolution), ``probes`` (J_u at any cut) or ``none``.
        channel_weights: of the closed form's norm: ``equal``, or ``within-class``, each channel by 1 / its
            variance within classes (J_w).
        probes, cut, probe_family: for ``probes`` only. How many, from 1, or ``auto`` (None: ``auto``); where
            they start: ``input``, ``last-stage``, ``last-conv`` or a tensor's name (None: ``input``); and
            ``random``, ``dct`` or ``principal`` (None: ``random``).
        parts: which score parts of weight 0 the bundle has: ``reported`` (all that bring no constants of
            their own), ``used`` (none) or ``all``.
        fit: how frames are fitted to the network's input. None: as trained, or ``crop`` for a classifier
            that edgeosr did not train. A run cannot be exported with another fit than it was trained with.
        false_reject_rate: share of known images that may be rejected, above 0 and below 0.5.
        threshold_rule: ``common``, one threshold, or ``per-class``, one for the images predicted as each
            class with enough calibration images (``conformal.py``); engines do not take it yet.
        frame: (height, width) in pixels of a camera whose size never changes, or None for any size.
        data_root: where named data sets are looked for. Paths may be given as texts.
        out: the bundle to write, ``NAME.edgeosr``; None: beside the run, or beside the ONNX file.
        folds: most folds of left-out classes that weigh the score parts, for a run with a frozen backbone:
            one a class, or groups of classes; 0 for none, None for ``DEFAULT_FOLDS``.
        seed: of the probes and, for a foreign classifier, of the parts.
        threads: processor threads of onnxruntime and torch; None: what suits the size of the work.
        data, known, groups, outliers, embedding: for a foreign classifier only, like all that follow: its
            known images, the class names in the order of its outputs (None: the folder names, sorted), which
            images belong together (``edgeosr.data.given_groups``; None: copies and bursts), real unknown
            images for the fusion, the tensor that is its embedding.
        known_file, logits: a file of class names in the order of its outputs, one a line, instead of
            ``known``; and the tensor that is its class scores (None: an output).
        unknown_outputs: names of outputs that are no known class, such as a background: what the model itself
            names so is unknown; ``("rest",)`` for all without images. Engines do not take it.
        preprocessing: a name of ``PRESETS`` of ``foreign/presets.py``, or the path of a JSON file that states
            the model's preprocessing; None: ImageNet's normalisation. What is given beside it comes first.
        mean, std: its normalisation, in the order in which the model takes its channels: with color ``bgr``
            blue comes first. Of values in 0..1, or both of values in 0..255. None: of ``preprocessing``.
        color: the order in which the model takes its channels. None: of ``preprocessing``, or ``rgb``.
        resize: pixels that the shorter side of a frame (both sides with fit ``stretch``) is resized to before
            the model's size is cut out of the middle. None: nothing is cut off but what does not fit.
        crop_fraction: the same as a share, the model's side divided by ``resize``: timm's crop_pct.
        resampling: the filter that the model was deployed with, of ``RESAMPLINGS`` of ``foreign/recipe.py``.
            edgeosr always resizes with an antialiased bilinear filter; what that changes is measured.
        accept_weak_classes: export a classifier that is not clearly above chance in every class, seems to
            have another order of classes or another preprocessing, or whose exported graph answers otherwise
            than it does, with a warning.
    """

    precision: str | None = None
    openvino: str | None = None
    min_agreement: float = 0.995
    recalibrate: bool = False
    jacobian: str = "closed-form"
    channel_weights: str = EQUAL
    probes: int | Literal["auto"] | None = None
    cut: str | None = None
    probe_family: str | None = None
    parts: str = REPORTED_PARTS
    fit: Fit | None = None
    false_reject_rate: float = 0.05
    threshold_rule: str = COMMON
    frame: tuple[int, int] | None = None
    data_root: Path | None = None
    out: Path | None = None
    data: str | None = None
    known: tuple[str, ...] | None = None
    groups: str | None = None
    known_file: Path | None = None
    outliers: str | None = None
    embedding: str | None = None
    logits: str | None = None
    preprocessing: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    color: Color | None = None
    resize: int | None = None
    crop_fraction: float | None = None
    resampling: str | None = None
    accept_weak_classes: bool = False
    unknown_outputs: tuple[str, ...] | None = None
    folds: int | None = None
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        self._check_types()
        if self.precision is not None:
            require_choice("--engine", self.precision, PRECISIONS)
        if self.openvino is not None:
            require_choice("--precision for openvino", self.openvino, BODY_PRECISIONS)
        require_choice("--jacobian", self.jacobian, JACOBIANS)
        require_choice("--channel-weights", self.channel_weights, CHANNEL_WEIGHTS)
        if self.channel_weights != EQUAL and self.jacobian != "closed-form":
            raise UsageError(
                f"--channel-weights {self.channel_weights} changes the closed form's table; got --jacobian "
                f"{self.jacobian}, which has none; leave one of them out"
            )
        require_choice("--parts", self.parts, PARTS)
        require_seed("--seed", self.seed)
        require_threads("--threads", self.threads)
        self._check_preprocessing()
        whole = isinstance(self.folds, int) and not isinstance(self.folds, bool)
        if self.folds is not None and not (whole and (self.folds == 0 or 2 <= self.folds <= MOST_FOLDS)):
            raise UsageError(
                f"--folds must be 0 (none) or from 2 to {MOST_FOLDS}; got {brief(self.folds)}; leave it "
                f"out for one a known class, up to {DEFAULT_FOLDS}"
            )
        self._check_probes()
        if not 0 <= self.min_agreement <= 1:
            raise UsageError(
                f"--min-agreement must be from 0 to 1; got {brief(self.min_agreement)}; 0.995 lets 5 of 1000 "
                "validation images be decided differently"
            )
        if self.recalibrate and self.precision is None and self.openvino is None:
            raise UsageError(
                "--recalibrate fits the threshold on a typed graph; got --engine onnx, which has none; add "
                "--engine fp16 or --precision bf16 --for openvino, or leave --recalibrate out"
            )
        if self.fit is not None:
            require_choice("--fit", self.fit, FITS)
        if not 0 < self.false_reject_rate < 0.5:
            raise UsageError(
                f"--false-reject-rate must be above 0 and below 0.5; got {brief(self.false_reject_rate)}; "
                "0.05 rejects at most 5 % of known images"
            )
        require_choice("--threshold-rule", self.threshold_rule, RULES)
        if self.threshold_rule == PER_CLASS and self.typed_options:
            raise UsageError(
                "--threshold-rule per-class is for model.onnx alone, for typed graphs compare with one "
                f"threshold; got {self.typed_options}; write --threshold-rule common, or leave it out"
            )
        self._check_frame()
        if self.out is not None and self.out.suffix != ".edgeosr":
            raise UsageError(f"--out must end in .edgeosr; got {self.out}; try {self.out}.edgeosr")

    @property
    def typed_options(self) -> str:
        """The options that ask for a typed graph, as they are typed; empty without one."""
        engine = [] if self.precision is None else [f"--engine {self.precision}"]
        body = [] if self.openvino is None else [f"--precision {self.openvino} --for openvino"]
        return " ".join(engine + body)

    def _check_types(self) -> None:
        for name in ("data", "groups", "outliers", "embedding", "logits", "cut", "preprocessing"):
            require_text(f"--{name}", getattr(self, name))
        require_names("known", self.known)
        require_names("unknown_outputs", self.unknown_outputs)
        if self.unknown_outputs and self.typed_options:
            raise UsageError(
                "--unknown-outputs is decided in model.onnx, of which typed graphs are the network only; got "
                f"{self.typed_options}; leave one of them out"
            )
        keep_paths(self, "out", "known_file", "data_root")
        if self.known is not None and self.known_file is not None:
            raise UsageError("--known and --known-file both name the classes; leave one of them out")
        require_truth("--recalibrate", self.recalibrate)
        require_truth("--accept-weak-classes", self.accept_weak_classes)
        require_number("--min-agreement", self.min_agreement)
        require_number("--false-reject-rate", self.false_reject_rate)
        for name in ("mean", "std"):
            if getattr(self, name) is not None:
                require_numbers(f"--{name}", getattr(self, name), 3)
        # How many is checked where it is told what each costs; here only that it is a number at all.
        automatic = self.probes is None or (isinstance(self.probes, str) and self.probes == "auto")
        if not automatic and type(self.probes) is not int:
            require_whole("--probes", self.probes, 1)

    def _check_preprocessing(self) -> None:
        if self.color is not None:
            require_choice("--color", self.color, COLORS)
        if self.resampling is not None:
            require_choice("--resampling", self.resampling, RESAMPLINGS)
        if self.resize is not None:
            require_whole("--resize", self.resize, 1, LONGEST_RESIZED)
        if self.crop_fraction is not None:
            require_number("--crop-fraction", self.crop_fraction)
            if not 0 < self.crop_fraction <= 1:
                raise UsageError(
                    f"--crop-fraction must be above 0 and at most 1; got {brief(self.crop_fraction)}; 224 "
                    "pixels cut out of 256 are 0.875"
                )
        if self.resize is not None and self.crop_fraction is not None:
            raise UsageError(
                f"--resize and --crop-fraction must not be given together, because they say the same; got "
                f"{self.resize} and {self.crop_fraction:g}; leave one out"
            )
        if self.std is not None and min(self.std) <= 0:
            raise UsageError(
                f"--std must be above 0; got {brief(self.std)}; where nothing is divided by, write 1 1 1"
            )
        of_one(self.mean, self.std, beside_preset=self.preprocessing is not None)

    def _check_frame(self) -> None:
        if self.frame is None:
            return
        sides = self.frame if isinstance(self.frame, tuple | list) else ()
        whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
        if len(sides) != 2 or not whole or not all(1 <= side <= LARGEST_SIDE for side in sides):
            raise UsageError(
                f"--frame must be HEIGHTxWIDTH, each from 1 to {LARGEST_SIDE}; got {brief(self.frame)}; "
                "in Python give (480, 640)"
            )
        if math.prod(sides) > LARGEST_FRAME:
            raise UsageError(
                f"--frame must be of at most {LARGEST_FRAME} pixels; got {brief(self.frame)}; leave it out, "
                "and frames of any size are taken"
            )

    def foreign_given(self) -> tuple[str, ...]:
        """Return the options of FOREIGN that differ from their defaults, as they are typed: ``--known``."""
        defaults = {field.name: field.default for field in fields(self)}
        given = (name for name in FOREIGN if getattr(self, name) != defaults[name])
        return tuple(f"--{name.replace('_', '-')}" for name in given)

    @property
    def known_order_given(self) -> bool:
        """Whether the user named the classes by the outputs."""
        return self.known is not None or self.known_file is not None

    @property
    def most_folds(self) -> int:
        """Most folds of left-out classes; 0 for none."""
        return DEFAULT_FOLDS if self.folds is None else self.folds

    def _check_probes(self) -> None:
        given = {"--probes": self.probes, "--cut": self.cut, "--probe-family": self.probe_family}
        named = [option for option, value in given.items() if value is not None]
        if named and self.jacobian != "probes":
            raise UsageError(
                f"{' and '.join(named)} only mean something with --jacobian probes; got --jacobian "
                f"{self.jacobian}; add --jacobian probes, or leave {' and '.join(named)} out"
            )
        if self.probe_family is not None:
            require_choice("--probe-family", self.probe_family, PROBE_FAMILIES)
        if isinstance(self.probes, int) and not 1 <= self.probes <= FILE_LIMITS.probes:
            raise UsageError(
                f"--probes must be from 1 to {FILE_LIMITS.probes}, or auto; got {self.probes}; each costs "
                "about as much as the network between the cut and the embedding once more"
            )
        if self.cut == "":
            raise UsageError("--cut must be input, last-stage, last-conv or a tensor's name; got nothing")


def require_frozen(origin: Path, settings: ExportSettings, *, frozen: bool) -> None:
    """Refuse folds that would be ignored; 0 asks for none."""
    if settings.folds and not frozen:
        advice = "leave it out"
        if origin.is_dir():
            advice = (
                f"a trained backbone's folds are trained: edgeosr train --resume {quote(str(origin))} --folds"
            )
            advice += f" {settings.folds}; then export without --folds"
        raise UsageError(
            f"--folds is only for a run with a frozen backbone (edgeosr train --freeze); got {origin}; "
            f"{advice}"
        )
