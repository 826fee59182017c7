"""Reads Hugging Face's ``preprocessor_config.json`` or ``processor_config.json``, as each type does it.

What changes a pixel and is not followed here is refused by name: a recipe that is read wrongly would be
compared with itself, and agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from edgeosr.bundle.checked_json import JsonNode
from edgeosr.errors import UsageError
from edgeosr.export.foreign.file_values import LARGEST_SIDE, other_size, triple, truth
from edgeosr.export.foreign.image_processors import (
    COMMON,
    PROCESSORS,
    UNFIT,
    UNNAMED,
    WITHOUT_EFFECT,
    Processor,
    named,
)
from edgeosr.export.foreign.presets import Given, Triple

# Pillow's numbers of its filters, which Hugging Face writes.
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_TYPES = ("image_processor_type", "feature_extractor_type")
_KEYS = (*_TYPES, "image_mean", "image_std", "do_normalize")
# Newer versions keep all that makes a model's inputs in one file; what makes images is under one of these.
_NESTED = ("image_processor", "feature_extractor")
# Of ConvNeXT: the share that is kept, and the size from which on nothing is cut off.
_CONVNEXT_SHARE, _CONVNEXT_WHOLE = 224 / 256, 384
_POOLFORMER_SHARE = 0.9
_PPLCNET_SHORT = 256
_NO_TYPE = (
    "the preprocessing file names no image_processor_type: it is taken at its word, and some types do more"
)
_NOT_RESIZED = "the preprocessing file resizes nothing; here a frame of another size is cropped and resized"
_Fields = Mapping[str, JsonNode]
_Size = tuple[int, int]


@dataclass(frozen=True)
class _Sides:
    """What an image is resized to, as (height, width), and what is cut out of it.

    Attributes:
        resized: both sides.
        shorter: True if it is the shorter side alone, and both are equal.
        cut: of the middle; None if nothing is cut off.
        share: what is kept of the largest square, before anything is resized.
    """

    resized: _Size
    shorter: bool = False
    cut: _Size | None = None
    share: float = 1.0


def is_hugging_face(entries: _Fields) -> bool:
    """Tell whether a JSON file is one of Hugging Face's for images."""
    part = _of_images(entries)
    return any(name in part for name in _KEYS)


def given_from_hugging_face(entries: _Fields, height: int, width: int) -> Given:
    """Read a processor's file, for a model of this input size.

    Raises:
        UsageError: a type, a key or a value is not understood, or asks for what edgeosr does not do.
    """
    part = _of_images(entries)
    kind, processor = _processor(part)
    if kind == "poolformer" and "crop_pct" in part and part["crop_pct"].is_null:
        part["crop_pct"].fail("a share, for versions of transformers differ without one")
    field = {name: node for name, node in part.items() if not node.is_null}
    _require_understood(field, kind, processor)
    mean, std = _values(field, processor)
    given = Given(
        mean=mean,
        std=std,
        color="bgr" if truth(field, "do_flip_channel_order", default=processor.bgr) else "rgb",
        resampling=_PILLOW[field["resample"].integer(0, len(_PILLOW) - 1)]
        if "resample" in field
        else processor.resampling,
    )
    sides = _sides(field, kind, processor)
    given = replace(given, fit="crop") if sides is None else _with_sides(given, sides, height, width)
    notes = (given.note, "" if kind else _NO_TYPE, _NOT_RESIZED if sides is None else "")
    return replace(given, note="; ".join(note for note in notes if note))


def _of_images(entries: _Fields) -> _Fields:
    for name in _NESTED:
        if name in entries and isinstance(entries[name].value, dict):
            return entries[name].entries()
    return entries


def _processor(part: _Fields) -> tuple[str, Processor]:
    """Return the short name of the type, empty if the file names none, and what is known of it."""
    typed = next((part[name] for name in _TYPES if name in part and not part[name].is_null), None)
    if typed is None:
        return "", UNNAMED
    name, processor = named(typed.text())
    if name in UNFIT:
        _by_hand(f"the type {typed.value}, which {UNFIT[name]}")
    if processor is None:
        _by_hand(f"the type {typed.value}, which is none of {', '.join(PROCESSORS)}")
    return name, processor


def _require_understood(field: _Fields, kind: str, processor: Processor) -> None:
    """Refuse keys that nobody knows, or that the type does not read; a switch that is off does nothing."""
    known = {*COMMON, *WITHOUT_EFFECT, *processor.own}
    for name, node in field.items():
        if name not in known and node.value is not False:
            _by_hand(
                f"the key {name!r} of {f'the type {kind}' if kind else 'a file that names no type'} "
                "(if it changes no pixel, take it out of a copy of the file)"
            )
    if truth(field, "do_pad", default=False):
        field["do_pad"].fail("false: edgeosr pads with --fit letterbox only, in black")
    if "size_divisor" in field and field["size_divisor"].value != 1:
        field["size_divisor"].fail("1: edgeosr rounds no side up")


def _by_hand(what: str) -> NoReturn:
    raise UsageError(
        f"--preprocessing cannot follow {what}; look up what the model's own code does, and write --fit, "
        "--resize, --mean, --std and --color by hand"
    )


def _values(field: _Fields, processor: Processor) -> tuple[Triple, Triple]:
    """Return mean and std of values in 0..1, of rescaling and normalising in one, in RGB order."""
    factor, offset = 1.0, 0.0
    if truth(field, "do_rescale", default=True):
        factor = field["rescale_factor"].above_zero() if "rescale_factor" in field else 1 / 255
        # EfficientNet maps to -1..1 by taking 1 off before it normalises.
        offset = 1.0 if truth(field, "rescale_offset", default=False) else 0.0
    mean, std, again = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)
    default = processor.values is not None or "image_mean" in field
    if processor.normalises and truth(field, "do_normalize", default=default):
        mean, std = _stated(field, "image_mean", processor), _stated(field, "image_std", processor)
    # EfficientNet divides by the deviation once more, unless it is told not to.
    if "include_top" in processor.own and truth(field, "include_top", default=True):
        again = _stated(field, "image_std", processor)
    scale = 255 * factor
    means = [(value + offset) / scale for value in mean]
    stds = [first * second / scale for first, second in zip(std, again, strict=True)]
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def _stated(field: _Fields, name: str, processor: Processor) -> Triple:
    if name in field:
        return triple(field[name], above_zero=name == "image_std")
    if processor.values is None:
        raise UsageError(
            f"{name} must be in a preprocessor_config.json that normalises; got none; write --mean and --std "
            "by hand"
        )
    return processor.values.mean if name == "image_mean" else processor.values.std


def _sides(field: _Fields, kind: str, processor: Processor) -> _Sides | None:
    """Return what is resized to, and what is cut out of it; None if nothing is resized."""
    resizes, crops = _switches(field, kind, processor)
    if not resizes:
        if crops:
            _by_hand("do_resize false beside do_center_crop: it cuts without resizing, and edgeosr resizes")
        return None
    size, shorter = _size(field, processor, crops=crops)
    cut = _cut_out(field, processor, size) if crops else None
    if processor.crops == "never":
        if cut not in (None, size):
            field["do_center_crop"].fail("false: this type cuts in some versions of transformers alone")
        cut = None
    square = cut is not None or shorter or processor.way == "poolformer"
    if square and size[0] != size[1]:
        field["size"].fail("one side, or equal height and width, where something is cut out")
    side = size[0]
    if processor.way == "perceiver" and cut is not None:
        if cut[0] != cut[1] or cut[0] < side:
            field["crop_size"].fail(f"equal height and width, at least {side} as size")
        return _Sides(size, share=side / cut[0])
    if processor.way == "convnext" and shorter:
        if side >= _CONVNEXT_WHOLE:
            return _Sides(size)
        cut, side = size, int(side / _share(field, _CONVNEXT_SHARE))
    elif processor.way == "levit" and shorter:
        side = int(256 / 224 * side)
    elif processor.way == "poolformer":
        side, shorter = int(side / _share(field, _POOLFORMER_SHARE)), True
    if cut is None and not shorter:
        return _Sides(size)
    return _Sides((side, side), shorter, cut or (side, side))


def _switches(field: _Fields, kind: str, processor: Processor) -> tuple[bool, bool]:
    """Return whether it resizes, and whether it cuts something out."""
    both = truth(field, "do_resize_and_center_crop", default=True)  # PoolFormer's first files
    resizes = truth(field, "do_resize", default=both and ("size" in field or processor is not UNNAMED))
    if processor.crops == "stated" and "do_center_crop" not in field:
        _by_hand(f"the type {kind} without do_center_crop, for versions of transformers differ in it")
    default = processor.crops == "yes" or (processor.crops == "with size" and "crop_size" in field)
    return resizes, truth(field, "do_center_crop", default=default and both)


def _size(field: _Fields, processor: Processor, *, crops: bool) -> tuple[_Size, bool]:
    """Return (height, width), and whether they are the shorter side alone."""
    if processor.way == "short":  # its size is not read
        side = _PPLCNET_SHORT
        if "resize_short" in field:
            side = field["resize_short"].integer(1, LARGEST_SIDE)
        return (side, side), True
    if "size" not in field:
        if processor.side is None:
            raise UsageError(
                "size must be in a preprocessor_config.json that resizes; got none; write --fit or --resize "
                "by hand"
            )
        return (processor.side, processor.side), processor.shorter
    node = field["size"]
    if isinstance(node.value, dict):
        return _height_width(node), "shortest_edge" in node.value
    if processor is UNNAMED and crops:
        node.fail("height and width, or shortest_edge, where no image_processor_type says which a number is")
    told = field.get("default_to_square")
    if told is not None and told.truth() == processor.shorter:
        told.fail("what the type does, or size as an object")
    return _height_width(node), processor.shorter


def _cut_out(field: _Fields, processor: Processor, size: _Size) -> _Size:
    if "crop_size" in field:
        return _height_width(field["crop_size"])
    return size if processor.cut is None else (processor.cut, processor.cut)


def _height_width(node: JsonNode) -> _Size:
    """Return both sides of one number, of two equal ones, or of an object of either form."""
    if isinstance(node.value, list):
        first, second = (item.integer(1, LARGEST_SIDE) for item in node.items(2, 2))
        if first != second:  # Pillow's order is the other one
            node.fail("height and width by their names")
        return first, second
    if not isinstance(node.value, dict):
        side = node.integer(1, LARGEST_SIDE)
        return side, side
    sides = {name: item for name, item in node.entries().items() if not item.is_null}
    if set(sides) == {"shortest_edge"}:
        side = sides["shortest_edge"].integer(1, LARGEST_SIDE)
        return side, side
    if set(sides) != {"height", "width"}:
        node.fail("height and width, or shortest_edge alone")
    return sides["height"].integer(1, LARGEST_SIDE), sides["width"].integer(1, LARGEST_SIDE)


def _share(field: _Fields, default: float) -> float:
    return field["crop_pct"].number(0.01, 1) if "crop_pct" in field else default


def _with_sides(given: Given, sides: _Sides, height: int, width: int) -> Given:
    """Put fit, size and note in; a model of another size keeps the share that is cut off."""
    cut = sides.cut
    if cut is None:
        note = other_size(sides.resized, height, width)
        if sides.share < 1:
            return replace(given, fit="crop", crop_fraction=sides.share, note=note)
        return replace(given, fit="stretch", note=note)
    if max(cut) > min(sides.resized):
        raise UsageError(
            f"size must be at least crop_size in a preprocessor_config.json; got {min(sides.resized)} pixels "
            f"to cut {cut[0]}x{cut[1]} from; write --fit, --resize, --mean and --std by hand"
        )
    side = sides.resized[0]
    if cut != (height, width):  # the same share
        side = max(height, width, side * max(height, width) // max(cut))
    fit = "crop" if sides.shorter else "stretch"
    return replace(given, fit=fit, resize_to=side, note=other_size(cut, height, width))
