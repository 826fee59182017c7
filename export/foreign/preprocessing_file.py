"""Reads the preprocessing that a model was published with: a JSON of timm, of Hugging Face or of Ultralytics.

    timm           config.json, what is under pretrained_cfg
    Hugging Face   preprocessor_config.json, or processor_config.json of newer versions
    Ultralytics    the metadata of an exported classifier

What is read is what edgeosr can do; whatever it cannot (another way to pad, a tile of several crops) is
refused by name, never left out.
"""

from pathlib import Path

from edgeosr.bundle.checked_json import JsonNode, parse_json
from edgeosr.errors import UsageError
from edgeosr.export.foreign.file_values import LARGEST_SIDE, other_size, triple
from edgeosr.export.foreign.hugging_face import given_from_hugging_face, is_hugging_face
from edgeosr.export.foreign.presets import ZERO_TO_ONE, Given
from edgeosr.export.foreign.recipe import BILINEAR, RESAMPLINGS
from edgeosr.files import storage_errors

_LARGEST_FILE = 2**20
_TIMM_CROP = 0.875


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
    then = "take the file that came with the model, or give --mean and --std in its place"
    root = parse_json(data.removeprefix(b"\xef\xbb\xbf"), str(path), UsageError, then=then)
    entries = root.entries()
    if "pretrained_cfg" in entries or {"mean", "std"} <= set(entries):
        return _timm(entries.get("pretrained_cfg", root), height, width)
    if is_hugging_face(entries):
        return given_from_hugging_face(entries, height, width)
    if "task" in entries and "imgsz" in entries:
        return _ultralytics(entries, height, width)
    raise UsageError(
        "--preprocessing must be timm's config.json (with pretrained_cfg), Hugging Face's "
        "preprocessor_config.json (with image_mean) or processor_config.json (with image_processor), or "
        "Ultralytics' metadata (with task and imgsz); got "
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
        mean=triple(field["mean"]),
        std=triple(field["std"], above_zero=True),
        color="rgb",
        fit="stretch" if mode == "squash" else "crop",
        crop_fraction=fraction,
        resampling=resampling,
        note=other_size(sides, height, width),
    )


def _timm_size(field: dict[str, JsonNode], name: str) -> tuple[int, int] | None:
    if name not in field:
        return None
    channels, height, width = (item.integer(1, LARGEST_SIDE) for item in field[name].items(3, 3))
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


def _ultralytics(field: dict[str, JsonNode], height: int, width: int) -> Given:
    task = field["task"].text()
    if task != "classify":
        field["task"].fail("classify: edgeosr wraps classifiers")
    size = field["imgsz"]
    if isinstance(size.value, list):
        sides = [item.integer(1, LARGEST_SIDE) for item in size.items(2, 2)]
    else:
        sides = [size.integer(1, LARGEST_SIDE)] * 2
    # Its classifiers are tested on the whole shorter side.
    return Given(
        mean=ZERO_TO_ONE.mean,
        std=ZERO_TO_ONE.std,
        color="rgb",
        fit="crop",
        crop_fraction=1.0,
        resampling=BILINEAR,
        note=other_size((sides[0], sides[1]), height, width),
    )


def _known_filter(node: JsonNode, name: str) -> str:
    if name not in RESAMPLINGS:
        node.fail(f"one of {', '.join(RESAMPLINGS)}")
    return name
