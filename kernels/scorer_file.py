"""``scorer.npz``: a scorer as a file, without pickles, the same bytes for the same scorer.

A zip of ``.npy`` entries. ``format`` holds the oldest version that can say what the scorer is, so that older
readers keep reading what they know: 1, 2 with probes, 3 with probes that have a gain. The entries of a part
that a scorer does not have (closed form, probes, discriminator) are missing. Names are stored as uint8 UTF-8,
because NumPy's text arrays would be four bytes a character.
"""

import io
import struct
import zipfile
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import BundleError
from edgeosr.kernels.scorer import (
    ACTIVATIONS,
    FORMAT_VERSION,
    HEADS,
    ClosedForm,
    Float32,
    Fusion,
    Head,
    Probes,
    Scorer,
)
from edgeosr.verdict import PART_NAMES

# A zip cannot hold a year before 1980; every entry has this time, so that bytes depend on values alone.
_EPOCH = (1980, 1, 1, 0, 0, 0)
LARGEST_BYTES = 1 << 30
LARGEST_DIMENSION = 1 << 16
LARGEST_MARGIN = 1.5708  # radians, pi / 2 rounded up for float32
LARGEST_CLASSES = 1 << 20
MOST_LAYERS = 64
MOST_TAPS = 1 << 14
MOST_PROBES = 1 << 12
LARGEST_SPACE = 1 << 31
PROBES_SINCE = 2  # format version
GAIN_SINCE = 3
# What zipfile and NumPy raise for bytes that are damaged or made to harm (an array header that asks for more
# memory than there is, an encrypted entry).
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
)
PARAMETERS = {"leaky_relu": 1, "elu": 1, "clip": 2}


def write_scorer(scorer: Scorer) -> bytes:
    """Return the file's bytes; equal for equal scorers.

    Raises:
        BundleError: the scorer is not valid (shapes, dtypes, values that are not finite).
    """
    require_valid(scorer)
    entries: dict[str, NDArray[Any]] = {
        "format": np.array(_format(scorer), np.int64),
        "dimension": np.array(scorer.dimension, np.int64),
        "classes": np.array(scorer.classes, np.int64),
        "threshold": np.array(scorer.threshold, np.float32),
        "head_kind": _text(scorer.head.kind),
        "head_weight": scorer.head.weight,
        "head_bias": scorer.head.bias,
        "head_temperature": np.array(scorer.head.temperature, np.float32),
        "head_margin": np.array(scorer.head.margin, np.float32),
        "fusion_means": scorer.fusion.means,
        "fusion_stds": scorer.fusion.stds,
        "fusion_weights": scorer.fusion.weights,
    }
    if scorer.closed_form is not None:
        entries["activation"] = _text(scorer.closed_form.activation)
        entries["activation_parameters"] = scorer.closed_form.parameters
        entries["table"] = scorer.closed_form.table
        entries["offsets"] = scorer.closed_form.offsets
    if scorer.probes is not None:
        entries["probes_K"] = np.array(scorer.probes.K, np.int64)
        entries["probes_n"] = np.array(scorer.probes.n, np.int64)
        if scorer.probes.gain != 1.0:
            entries["probes_gain"] = np.array(scorer.probes.gain, np.float32)
    if scorer.layers:
        entries["slope"] = np.array(scorer.slope, np.float32)
    for number, (weight, bias) in enumerate(scorer.layers):
        entries[f"layer_{number}_weight"] = weight
        entries[f"layer_{number}_bias"] = bias
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            info.create_system = 3  # else the bytes would say which system wrote them
            info.external_attr = 0o644 << 16
            archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def read_scorer(data: bytes) -> Scorer:
    """Parse ``scorer.npz``.

    Args:
        data: the file's bytes, already checked against the manifest's hash.

    Raises:
        BundleError: not such a file, made by a newer edgeosr, or with a field that is missing, unknown, of
            the wrong type or shape, or not finite; the message names the field.
    """
    entries = _entries(data)
    version = _whole(entries, "format", FORMAT_VERSION, "the format version")
    dimension = _whole(entries, "dimension", LARGEST_DIMENSION, "the embedding's length")
    classes = _whole(entries, "classes", LARGEST_CLASSES, "the number of classes")
    closed_form = None
    if "activation" in entries:
        closed_form = ClosedForm(
            activation=_read_text(entries, "activation"),
            parameters=_take(entries, "activation_parameters"),
            table=_take(entries, "table"),
            offsets=_take(entries, "offsets"),
        )
    probes = None
    if version >= PROBES_SINCE and "probes_K" in entries:
        probes = Probes(
            K=_whole(entries, "probes_K", MOST_PROBES, "the number of probes"),
            n=_whole(entries, "probes_n", LARGEST_SPACE, "the size of the space they are in"),
            gain=_real(entries, "probes_gain") if version >= GAIN_SINCE else 1.0,
        )
    layers: list[tuple[Float32, Float32]] = []
    while f"layer_{len(layers)}_weight" in entries and len(layers) < MOST_LAYERS:
        number = len(layers)
        layers.append((_take(entries, f"layer_{number}_weight"), _take(entries, f"layer_{number}_bias")))
    scorer = Scorer(
        dimension=dimension,
        classes=classes,
        head=Head(
            kind=_read_text(entries, "head_kind"),
            weight=_take(entries, "head_weight"),
            bias=_take(entries, "head_bias"),
            temperature=_real(entries, "head_temperature"),
            margin=_real(entries, "head_margin"),
        ),
        fusion=Fusion(
            means=_take(entries, "fusion_means"),
            stds=_take(entries, "fusion_stds"),
            weights=_take(entries, "fusion_weights"),
        ),
        threshold=_real(entries, "threshold"),
        closed_form=closed_form,
        probes=probes,
        layers=tuple(layers),
        slope=_real(entries, "slope") if layers else Scorer.slope,
    )
    if entries:
        _refuse(f"it has entries that edgeosr does not know: {', '.join(sorted(entries)[:5])}")
    require_valid(scorer)
    return scorer


def require_valid(scorer: Scorer) -> None:
    """Check every field of ``scorer`` against its contract; raises BundleError that names the field."""
    dimension, classes, head = scorer.dimension, scorer.classes, scorer.head
    if not 1 <= dimension <= LARGEST_DIMENSION:
        _refuse(f"dimension must be from 1 to {LARGEST_DIMENSION}; got {dimension}")
    if not 1 <= classes <= LARGEST_CLASSES:
        _refuse(f"classes must be from 1 to {LARGEST_CLASSES}; got {classes}")
    if head.kind not in HEADS:
        _refuse(f"head_kind must be one of {', '.join(HEADS)}; got {head.kind!r}")
    external = head.kind == "external"
    _require_array("head_weight", head.weight, (0, 0) if external else (classes, dimension))
    _require_array("head_bias", head.bias, (0,) if external else (classes,))
    if not (np.isfinite(head.temperature) and head.temperature > 0):
        _refuse(f"head_temperature must be finite and above 0; got {head.temperature!r}")
    largest = LARGEST_MARGIN if head.kind == "cosine" else 0.0
    if not 0 <= head.margin <= largest:
        _refuse(f"head_margin must be from 0 to {largest:.4f} for a {head.kind} head; got {head.margin!r}")
    for name in ("means", "stds", "weights"):
        _require_array(f"fusion_{name}", getattr(scorer.fusion, name), (len(PART_NAMES),))
    if not bool((scorer.fusion.stds > 0).all()):
        _refuse(f"fusion_stds must be above 0; got {scorer.fusion.stds.tolist()}")
    if not np.isfinite(scorer.threshold):
        _refuse(f"threshold must be finite; got {scorer.threshold!r}")
    if scorer.closed_form is not None:
        _require_closed_form(scorer.closed_form, dimension)
    if scorer.probes is not None:
        _require_probes(scorer.probes, scorer.closed_form)
    _require_layers(scorer)


def _require_closed_form(closed_form: ClosedForm, dimension: int) -> None:
    activation, table = closed_form.activation, closed_form.table
    if activation not in ACTIVATIONS:
        _refuse(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    parameters = closed_form.parameters
    lengths = (1, dimension) if activation == "prelu" else (PARAMETERS.get(activation, 0),)
    if parameters.shape not in [(length,) for length in lengths]:
        _refuse(
            f"activation_parameters of {activation} must have the length {lengths}; got {parameters.shape}"
        )
    _require_array("activation_parameters", parameters, parameters.shape)
    taps = table.shape[1] if table.ndim == 2 else 0
    if not 1 <= taps <= MOST_TAPS:
        _refuse(f"table must be [{dimension}, taps] with 1 to {MOST_TAPS} taps; got {table.shape}")
    _require_array("table", table, (dimension, taps))
    offsets = closed_form.offsets
    if offsets.dtype != np.int32 or offsets.shape != (taps, 2):
        _refuse(f"offsets must be int32 {(taps, 2)}; got {offsets.dtype} {offsets.shape}")
    if offsets[0].any():
        _refuse(f"the first of the offsets must be (0, 0); got {offsets[0].tolist()}")


def _require_probes(probes: Probes, closed_form: ClosedForm | None) -> None:
    if closed_form is not None:
        _refuse("it has a closed form and probes; the Jacobian norm has one source")
    if not 1 <= probes.K <= MOST_PROBES:
        _refuse(f"probes_K must be from 1 to {MOST_PROBES}; got {probes.K}")
    if not probes.K <= probes.n <= LARGEST_SPACE:
        _refuse(f"probes_n must be from probes_K = {probes.K} to {LARGEST_SPACE}; got {probes.n}")
    if not (np.isfinite(probes.gain) and probes.gain > 0):
        _refuse(f"probes_gain must be above 0; got {probes.gain!r}")


def _format(scorer: Scorer) -> int:
    if scorer.probes is None:
        return 1
    return PROBES_SINCE if scorer.probes.gain == 1.0 else GAIN_SINCE


def _require_layers(scorer: Scorer) -> None:
    if len(scorer.layers) > MOST_LAYERS:
        _refuse(f"the discriminator must have at most {MOST_LAYERS} layers; got {len(scorer.layers)}")
    width = scorer.dimension
    for number, (weight, bias) in enumerate(scorer.layers):
        rows = 1 if number == len(scorer.layers) - 1 else max(bias.size, 1)
        _require_array(f"layer_{number}_weight", weight, (rows, width))
        _require_array(f"layer_{number}_bias", bias, (rows,))
        width = rows
    if not np.isfinite(scorer.slope):
        _refuse(f"slope must be finite; got {scorer.slope!r}")


def _require_array(name: str, array: Float32, shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        _refuse(f"{name} must be float32 {shape}; got {array.dtype} {array.shape}")
    if not bool(np.isfinite(array).all()):
        _refuse(f"{name} has values that are not finite")


def _entries(data: bytes) -> dict[str, NDArray[Any]]:
    if len(data) > LARGEST_BYTES:
        _refuse(f"it has {len(data)} bytes; at most {LARGEST_BYTES} are read")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Stored, never compressed: then no entry can be larger than the file itself.
            packed = [
                info.filename for info in archive.infolist() if info.compress_type != zipfile.ZIP_STORED
            ]
        if packed:
            _refuse(f"its entry {packed[0]!r} is compressed; edgeosr writes stored entries only")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        raise BundleError(
            f"scorer.npz cannot be read: {error}; export the bundle again, or copy it again"
        ) from error


def _take(entries: dict[str, NDArray[Any]], name: str) -> Any:
    if name not in entries:
        _refuse(f"its entry {name!r} is missing")
    value = entries.pop(name)
    if not isinstance(value, np.ndarray):
        _refuse(f"its entry {name!r} is not an array")
    return value


def _whole(entries: dict[str, NDArray[Any]], name: str, largest: int, what: str) -> int:
    value = _take(entries, name)
    if value.dtype != np.int64 or value.shape != () or value < 1:
        _refuse(f"{name}, {what}, must be one int64 from 1; got {value.dtype} {value.shape}")
    if name == "format" and value > largest:
        raise BundleError(
            f"scorer.npz has format {int(value)}, made by a newer edgeosr; this one reads {largest}; "
            "run: pip install --upgrade edgeosr"
        )
    return int(value)


def _real(entries: dict[str, NDArray[Any]], name: str) -> float:
    value = _take(entries, name)
    if value.dtype != np.float32 or value.shape != ():
        _refuse(f"{name} must be one float32; got {value.dtype} {value.shape}")
    return float(value)


def _text(value: str) -> NDArray[np.uint8]:
    return np.frombuffer(value.encode("utf-8"), np.uint8)


def _read_text(entries: dict[str, NDArray[Any]], name: str) -> str:
    value = _take(entries, name)
    if value.dtype != np.uint8 or value.ndim != 1 or value.size > 64:
        _refuse(f"{name} must be uint8 text of at most 64 bytes; got {value.dtype} {value.shape}")
    return bytes(value).decode("utf-8", errors="replace")


def _refuse(reason: str) -> NoReturn:
    raise BundleError(f"scorer.npz is not valid: {reason}; export the bundle again, or copy it again")
