"""The preprocessing that the options, a preset and a file state together, for a model of one input size."""

import math
from dataclasses import dataclass
from pathlib import Path

from edgeosr.errors import UsageError, require_choice
from edgeosr.export.foreign.preprocessing_file import given_from_json
from edgeosr.export.foreign.presets import IMAGENET, PRESETS, Given, Triple
from edgeosr.export.foreign.recipe import BILINEAR
from edgeosr.export.foreign.units import of_one
from edgeosr.export.settings import ExportSettings
from edgeosr.preprocessing import FITS, Color, Fit, Preprocessing

# Lets 0.877 stand for 64 of 73 pixels: shares are typed with three digits.
_TYPED_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the user says of the model's preprocessing.

    Attributes:
        preprocessing: as edgeosr does it.
        resampling: the filter that the model was deployed with; edgeosr's own is ``bilinear``.
        notes: what was understood, in words, where it is not plain from the options.
    """

    preprocessing: Preprocessing
    resampling: str = BILINEAR
    notes: tuple[str, ...] = ()

    def described(self) -> str:
        """Return the preprocessing in words, mean and std in the model's own channel order."""
        one = self.preprocessing
        size, way = f"{one.height}x{one.width}", str(one.fit)
        if one.resize_to is not None:
            sides = "both sides" if one.fit == "stretch" else "the shorter side"
            way = f"resize {sides} to {one.resize_to}, then crop"
        elif one.crop_fraction < 1:
            way = f"{one.fit} {one.crop_fraction:g}"
        mean, std = _in_rgb_order(one.mean, one.color), _in_rgb_order(one.std, one.color)
        numbers = f"mean {_words(mean)}, std {_words(std)} of values in 0..1"
        return f"{way} to {size}, {numbers}, {one.color.upper()}"


def stated_preprocessing(settings: ExportSettings, height: int, width: int) -> Stated:
    """Put options over preset or file, and those over the defaults.

    Args:
        settings: ``preprocessing``, ``mean``, ``std``, ``color``, ``fit``, ``resize``, ``crop_fraction`` and
            ``resampling`` of them.
        height: of the model's input.
        width: of the model's input.

    Raises:
        UsageError: they do not fit together, or the file is none of those that are read.
        StorageError: the file cannot be read.
    """
    base = _base(settings.preprocessing, height, width)
    color: Color = settings.color or base.color or "rgb"
    typed = of_one(settings.mean, settings.std, beside_preset=settings.preprocessing is not None)
    mean, std = base.mean or IMAGENET.mean, base.std or IMAGENET.std
    if typed.mean is not None:
        mean = _in_rgb_order(typed.mean, color)
    if typed.std is not None:
        std = _in_rgb_order(typed.std, color)
    fit, resize_to, fraction = _cut(settings, base, height, width)
    preprocessing = Preprocessing(
        height=height,
        width=width,
        fit=fit,
        crop_fraction=fraction,
        resize_to=resize_to,
        mean=mean,
        std=std,
        color=color,
    )
    return Stated(
        preprocessing=preprocessing,
        resampling=settings.resampling or base.resampling or BILINEAR,
        notes=tuple(note for note in (typed.note, base.note) if note),
    )


def _base(text: str | None, height: int, width: int) -> Given:
    if text is None:
        return Given()
    preset = PRESETS.get(text.lower())
    if preset is not None:
        return Given(mean=preset.mean, std=preset.std, color=preset.color)
    path = Path(text)
    if path.suffix.lower() == ".json" or path.is_file():
        return given_from_json(path, height, width)
    require_choice("--preprocessing must be a FILE.json, or", text, PRESETS)
    raise AssertionError(text)


def _in_rgb_order(values: Triple, color: Color) -> Triple:
    """Mean and std are typed in the order in which the model takes its channels; and back again."""
    return values if color == "rgb" else (values[2], values[1], values[0])


def _words(values: Triple) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _cut(settings: ExportSettings, base: Given, height: int, width: int) -> tuple[Fit, int | None, float]:
    """Return fit, resize_to and crop_fraction."""
    fit = next(fit for fit in FITS if fit == (settings.fit or base.fit or "crop"))
    resize_to, fraction = settings.resize, settings.crop_fraction
    if resize_to is None and fraction is None and fit == (base.fit or "crop"):
        resize_to, fraction = base.resize_to, base.crop_fraction
    if fraction is not None:
        if fit == "letterbox":
            raise UsageError(
                f"--crop-fraction must stand beside --fit crop or stretch; got {fraction:g} with --fit "
                "letterbox, which shows the whole frame"
            )
        if height == width:
            return fit, resized_side(height, fraction), 1.0
        if fit == "stretch":
            raise UsageError(
                f"--crop-fraction beside --fit stretch must be for a square input; got {height}x{width}; "
                "write --resize with the side in pixels"
            )
        return fit, None, fraction
    longer = max(height, width)
    if resize_to is not None and (resize_to < longer or fit == "letterbox"):
        raise UsageError(
            f"--resize must be at least {longer}, the longer side of the model's {height}x{width} input, "
            f"with --fit crop or stretch; got {resize_to} with --fit {fit}; leave it out if nothing is cut "
            "off"
        )
    return fit, resize_to, 1.0


def resized_side(side: int, fraction: float) -> int:
    """Return the side in pixels before the cut keeps ``side`` of it: the whole number below, as timm's.

    A share typed with few digits may mean the next one: 0.877 is 64 of 73.
    """
    return max(side, math.floor(side / fraction + _TYPED_SHARE))
