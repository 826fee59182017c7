"""Reads the preprocessing that a model was published with: a JSON of timm, of Hugging Face or of Ultralytics.

    timm           config.json, what is under pretrained_cfg
    Hugging Face   preprocessor_config.json
    Ultralytics    the metadata of an exported classifier

What is read is what edgeosr can do; whatever it cannot (another way to pad, a tile of several crops) is
refused by name, never left out.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edgeosr.bundle.checked_json import JsonNode, parse_json
from edgeosr.errors import UsageError
from edgeosr.export.foreign.presets import ZERO_TO_ONE, Given, Triple
from edgeosr.export.foreign.recipe import BILINEAR, RESAMPLINGS
from edgeosr.files import storage_errors

_LARGEST_FILE = 2**20
_LARGEST_SIDE = 8192
# Pillow's numbers of its filters, which Hugging Face writes.
_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
_TIMM_CROP = 0.875
_HUGGING_FACE = ("image_mean", "image_std", "image_processor_type", "feature_extractor_type", "do_normalize")
# An int as size means both sides for the first processors, and the shorter side for these.
_SHORTER_SIDE = (
    "CLIP",
    "ConvNext",
    "LevIt",
    "Levit",
    "MobileNet",
    "MobileViT",
    "EfficientFormer",
    "Poolformer",
)
# Hugging Face's ConvNeXT cuts nothing off from this size on.
_CONVNEXT_WHOLE = 384


class _Resized(NamedTuple):
    """What an image is resized to: its shorter side, or both sides."""

    shorter: bool
    height: int
    width: int


def given_from_json(path: Path, height: int, width: int) -> Given:
    """Read the preprocessing of a file, for a model of this input size.

    A model exported at another size than the file is for keeps the share that is cut off.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is not JSON, none of the three, or asks for what edgeosr does not do.
    """
    with storage_errors("read", path):
        size = path.stat().st_size
        data = path.read_bytes() if size <= _LARGEST_FILE else b""
    if size > _LARGEST_FILE:
        raise UsageError(
            f"--preprocessing must be a JSON file of at most {_LARGEST_FILE} bytes; got {path} of {size}"
        )
    # Some editors begin a file with a byte order mark.
    root = parse_json(data.removeprefix(b"\xef\xbb\xbf"), str(path), UsageError)
    entries = root.entries()
    if "pretrained_cfg" in entries or {"mean", "std"} <= set(entries):
        return _timm(entries.get("pretrained_cfg", root), height, width)
    if any(name in entries for name in _HUGGING_FACE):
        return _hugging_face(entries, height, width)
    if "task" in entries and "imgsz" in entries:
        return _ultralytics(entries, height, width)
    raise UsageError(
        "--preprocessing must be timm's config.json (with pretrained_cfg), Hugging Face's "
        "preprocessor_config.json (with image_mean) or Ultralytics' metadata (with task and imgsz); got "
        f"{path} with {', '.join(list(entries)[:8]) or 'nothing in it'}; a config.json of transformers has "
        "its preprocessing in the preprocessor_config.json beside it"
    )


def _timm(node: JsonNode, height: int, width: int) -> Given:
    field = {name: one for name, one in node.entries().items() if not one.is_null}
    for name in ("mean", "std"):
        if name not in field:
            node.fail(f"an object with mean, std, input_size and crop_pct ({name} is missing)")
    sides, fraction = _timm_size(field, "input_size"), _timm_fraction(field, "crop_pct") or _TIMM_CROP
    tested = _timm_size(field, "test_input_size")
    if tested == (height, width) and tested != sides:
        sides, fraction = tested, _timm_fraction(field, "test_crop_pct") or fraction
    mode = field["crop_mode"].choice(("center", "squash", "border")) if "crop_mode" in field else "center"
    if mode == "border":
        raise UsageError(
            f"{node.path}.crop_mode must be center or squash; got border, which pads with the mean colour; "
            "write --fit letterbox, which pads with black, and --mean and --std by hand"
        )
    resampling = BILINEAR
    if "interpolation" in field:
        name = field["interpolation"].text()
        resampling = BILINEAR if name == "random" else _known_filter(field["interpolation"], name)
    return Given(
        mean=_triple(field["mean"]),
        std=_triple(field["std"], above_zero=True),
        color="rgb",
        fit="stretch" if mode == "squash" else "crop",
        crop_fraction=fraction,
        resampling=resampling,
        note=_other_size(sides, height, width),
    )


def _timm_size(field: dict[str, JsonNode], name: str) -> tuple[int, int] | None:
    if name not in field:
        return None
    channels, height, width = (item.integer(1, _LARGEST_SIDE) for item in field[name].items(3, 3))
    if channels != 3:
        field[name].fail("a list of 3 channels, height and width")
    return height, width


def _timm_fraction(field: dict[str, JsonNode], name: str) -> float | None:
    if name not in field:
        return None
    fraction = field[name].number(0, 1)
    if fraction == 0:
        field[name].fail("a share above 0")
    return fraction


def _hugging_face(field: dict[str, JsonNode], height: int, width: int) -> Given:
    field = {name: one for name, one in field.items() if not one.is_null}
    if _truth(field, "do_pad", default=False):
        field["do_pad"].fail("false: edgeosr pads with --fit letterbox only, in black")
    mean, std = _values(field)
    kind = next((field[name].text() for name in _HUGGING_FACE[2:4] if name in field), "")
    given = Given(
        mean=mean,
        std=std,
        color="bgr" if _truth(field, "do_flip_channel_order", default="MobileViT" in kind) else "rgb",
        resampling=_hugging_face_filter(field),
    )
    if given.color == "bgr":  # it lists its numbers by the model's channels
        given = replace(given, mean=_turned(mean), std=_turned(std))
    resized, cut = _hugging_face_sides(field, kind)
    if resized is None:
        return replace(given, fit="crop", note=_other_size(cut, height, width))
    if cut is None:
        return replace(given, fit="stretch", note=_other_size(resized[1:], height, width))
    if max(cut) > min(resized[1:]):
        raise UsageError(
            f"size must be at least crop_size in a preprocessor_config.json; got {min(resized[1:])} pixels "
            f"to cut {cut[0]}x{cut[1]} from; write --fit, --resize, --mean and --std by hand"
        )
    side = resized.height
    if cut != (height, width):  # the same share
        side = max(height, width, side * max(height, width) // max(cut))
    fit = "crop" if resized.shorter else "stretch"
    return replace(given, fit=fit, resize_to=side, note=_other_size(cut, height, width))


def _values(field: dict[str, JsonNode]) -> tuple[Triple, Triple]:
    """Return mean and std of values in 0..1, of rescaling and normalising in one."""
    factor = field["rescale_factor"].above_zero() if "rescale_factor" in field else 1 / 255
    if not _truth(field, "do_rescale", default=True):
        factor = 1.0
    # A processor that maps to -1..1 takes 1 off before it normalises.
    offset = 1.0 if _truth(field, "rescale_offset", default=False) else 0.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if _truth(field, "do_normalize", default="image_mean" in field):
        for name in ("image_mean", "image_std"):
            if name not in field:
                raise UsageError(
                    f"{name} must be in a preprocessor_config.json that normalises; got none; write --mean "
                    "and --std by hand"
                )
        mean, std = _triple(field["image_mean"]), _triple(field["image_std"], above_zero=True)
    scale = 255 * factor
    means = tuple((value + offset) / scale for value in mean)
    stds = tuple(value / scale for value in std)
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def _hugging_face_sides(
    field: dict[str, JsonNode], kind: str
) -> tuple[_Resized | None, tuple[int, int] | None]:
    """Return what is resized to, and what is cut out of it; None where nothing is."""
    crops = _truth(field, "do_center_crop", default="crop_size" in field)
    cut = _height_width(field["crop_size"]) if crops and "crop_size" in field else None
    if not _truth(field, "do_resize", default="size" in field):
        return None, cut
    if "size" not in field:
        raise UsageError(
            "size must be in a preprocessor_config.json that resizes; got none; write --fit or --resize by "
            "hand"
        )
    node = field["size"]
    if not isinstance(node.value, dict):
        shorter = any(name in kind for name in _SHORTER_SIDE)
    else:
        shorter = "shortest_edge" in node.value and "longest_edge" not in node.value
    height, width = _height_width(node)
    if "ConvNext" in kind and shorter:
        if height >= _CONVNEXT_WHOLE:
            return _Resized(shorter=False, height=height, width=width), None
        share = field["crop_pct"].number(0.01, 1) if "crop_pct" in field else 224 / 256
        side = int(height / share)
        return _Resized(shorter=True, height=side, width=side), (height, width)
    if cut is None and (shorter or crops):
        cut = (height, width)
    if cut is not None and height != width:
        node.fail("one side, or equal height and width, where something is cut out")
    return _Resized(shorter=shorter, height=height, width=width), cut


def _height_width(node: JsonNode) -> tuple[int, int]:
    if not isinstance(node.value, dict):
        side = node.integer(1, _LARGEST_SIDE)
        return side, side
    if "shortest_edge" in node.value:
        side = node.field("shortest_edge").integer(1, _LARGEST_SIDE)
        return side, side
    sides = [node.field(name).integer(1, _LARGEST_SIDE) for name in ("height", "width")]
    return sides[0], sides[1]


def _hugging_face_filter(field: dict[str, JsonNode]) -> str:
    if "resample" not in field:
        return BILINEAR
    return _PILLOW[field["resample"].integer(0, len(_PILLOW) - 1)]


def _ultralytics(field: dict[str, JsonNode], height: int, width: int) -> Given:
    task = field["task"].text()
    if task != "classify":
        field["task"].fail("classify: edgeosr wraps classifiers")
    size = field["imgsz"]
    if isinstance(size.value, list):
        sides = [item.integer(1, _LARGEST_SIDE) for item in size.items(2, 2)]
    else:
        sides = [size.integer(1, _LARGEST_SIDE)] * 2
    # Its classifiers are tested on the whole shorter side.
    return Given(
        mean=ZERO_TO_ONE.mean,
        std=ZERO_TO_ONE.std,
        color="rgb",
        fit="crop",
        crop_fraction=1.0,
        resampling=BILINEAR,
        note=_other_size((sides[0], sides[1]), height, width),
    )


def _triple(node: JsonNode, *, above_zero: bool = False) -> Triple:
    """Return three numbers; one number alone stands for all channels."""
    items = node.items(3, 3) if isinstance(node.value, list) else [node] * 3
    values = [item.above_zero() if above_zero else item.number() for item in items]
    return values[0], values[1], values[2]


def _truth(field: dict[str, JsonNode], name: str, *, default: bool) -> bool:
    return field[name].truth() if name in field else default


def _known_filter(node: JsonNode, name: str) -> str:
    if name not in RESAMPLINGS:
        node.fail(f"one of {', '.join(RESAMPLINGS)}")
    return name


def _turned(values: Triple) -> Triple:
    return values[2], values[1], values[0]


def _other_size(sides: tuple[int, int] | None, height: int, width: int) -> str:
    if sides is None or sides == (height, width):
        return ""
    return (
        f"the preprocessing file is for inputs of {sides[0]}x{sides[1]}, and the model takes "
        f"{height}x{width}: the same share of a frame is cut off"
    )
