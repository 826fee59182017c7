"""``scorer.npz``: a scorer as a file, without pickles, the same bytes for the same scorer.

A zip of ``.npy`` entries, stored without compression. The entries of something that a scorer does not have
(closed form, probes, discriminator, a part's constants) are missing. Text is stored as uint8 UTF-8, because
NumPy's text arrays would be four bytes a character.
"""

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import BundleError
from edgeosr.scoring.fusion import Fusion, float32_values
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.npz import NpzError, npz_arrays
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ClosedForm, Float32, Head, PartConstants, Scorer
from edgeosr.scoring.scorer_checks import refuse, require_valid

# Of the file; files of other formats are refused. A scorer with one threshold is written as format 4, which
# older versions read; with class_thresholds as format 5, which they refuse by its number.
FORMATS = FORMAT, CLASS_FORMAT = (4, 5)
# A zip cannot hold a year before 1980; every entry has this time, so that bytes depend on values alone.
_EPOCH = (1980, 1, 1, 0, 0, 0)
LARGEST_SCORER = 1 << 28  # bytes
LONGEST_TEXT = 1024


def write_scorer(scorer: Scorer) -> bytes:
    """Return the file's bytes; equal for equal scorers.

    Raises:
        BundleError: the scorer is not valid (shapes, dtypes, values that are not finite).
    """
    require_valid(scorer)
    entries: dict[str, NDArray[Any]] = {
        "format": np.array(CLASS_FORMAT if scorer.class_thresholds else FORMAT, np.int64),
        "dimension": np.array(scorer.dimension, np.int64),
        "classes": np.array(scorer.classes, np.int64),
        "threshold": np.array(scorer.threshold, np.float32),
        "head_kind": _text(scorer.head.kind),
        "head_weight": scorer.head.weight,
        "head_bias": scorer.head.bias,
        "head_temperature": np.array(scorer.head.temperature, np.float32),
        "head_margin": np.array(scorer.head.margin, np.float32),
        "parts": _text("\n".join(scorer.fusion.parts)),
        "fusion_means": np.array(scorer.fusion.means, np.float32),
        "fusion_stds": np.array(scorer.fusion.stds, np.float32),
        "fusion_weights": np.array(scorer.fusion.weights, np.float32),
    }
    if scorer.class_thresholds:
        entries["class_thresholds"] = np.array(scorer.class_thresholds, np.float32)
    if scorer.closed_form is not None:
        entries["activation"] = _text(scorer.closed_form.activation)
        entries["activation_parameters"] = scorer.closed_form.parameters
        entries["table"] = scorer.closed_form.table
        entries["offsets"] = scorer.closed_form.offsets
    if scorer.probes is not None:
        entries["probes_K"] = np.array(scorer.probes.K, np.int64)
        entries["probes_n"] = np.array(scorer.probes.n, np.int64)
        entries["probes_gain"] = np.array(scorer.probes.gain, np.float32)
    if scorer.layers:
        entries["slope"] = np.array(scorer.slope, np.float32)
    for number, (weight, bias) in enumerate(scorer.layers):
        entries[f"layer_{number}_weight"] = weight
        entries[f"layer_{number}_bias"] = bias
    for name, constants in scorer.constants.items():
        entries[f"part_{name}_rows"] = constants.rows
        entries[f"part_{name}_biases"] = constants.biases
        entries[f"part_{name}_numbers"] = constants.numbers
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
        BundleError: not such a file, made by another version of edgeosr, or with a field that is missing,
            unknown, of the wrong type or shape, or not finite; the message names the field.
    """
    entries = _entries(data)
    by_class = _read_format(entries) == CLASS_FORMAT
    dimension = _whole(entries, "dimension", FILE_LIMITS.dimension, "the embedding's length")
    classes = _whole(entries, "classes", FILE_LIMITS.classes, "the number of classes")
    parts = tuple(_read_text(entries, "parts").split("\n"))
    closed_form = None
    if "activation" in entries:
        closed_form = ClosedForm(
            activation=_read_text(entries, "activation"),
            parameters=_take(entries, "activation_parameters"),
            table=_take(entries, "table"),
            offsets=_take(entries, "offsets"),
        )
    probes = None
    if "probes_K" in entries:
        probes = Probes(
            K=_whole(entries, "probes_K", FILE_LIMITS.probes, "the number of probes"),
            n=_whole(entries, "probes_n", FILE_LIMITS.space, "the size of the space they are in"),
            gain=_real(entries, "probes_gain"),
        )
    layers: list[tuple[Float32, Float32]] = []
    while f"layer_{len(layers)}_weight" in entries and len(layers) < FILE_LIMITS.layers:
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
            parts=parts,
            means=_numbers(entries, "fusion_means"),
            stds=_numbers(entries, "fusion_stds"),
            weights=_numbers(entries, "fusion_weights"),
        ),
        threshold=_real(entries, "threshold"),
        class_thresholds=_numbers(entries, "class_thresholds", "classes") if by_class else (),
        closed_form=closed_form,
        probes=probes,
        layers=tuple(layers),
        slope=_real(entries, "slope") if layers else Scorer.slope,
        constants={name: _constants(entries, name) for name in parts if f"part_{name}_rows" in entries},
    )
    if entries:
        refuse(f"it has entries that edgeosr does not know: {', '.join(sorted(entries)[:5])}")
    require_valid(scorer)
    return scorer


def _entries(data: bytes) -> dict[str, NDArray[Any]]:
    try:
        return npz_arrays(data, largest=LARGEST_SCORER)
    except NpzError as error:
        raise BundleError(
            f"scorer.npz cannot be read: {error}; export the bundle again, or copy it again"
        ) from error


def _take(entries: dict[str, NDArray[Any]], name: str) -> Any:
    if name not in entries:
        refuse(f"its entry {name!r} is missing")
    return entries.pop(name)


def _read_format(entries: dict[str, NDArray[Any]]) -> int:
    found = _whole(entries, "format", (1 << 63) - 1, "the format version")
    if found not in FORMATS:
        newer = found > max(FORMATS)
        raise BundleError(
            f"scorer.npz has format {found}, made by {'a newer' if newer else 'an older'} edgeosr; this one "
            f"reads {' and '.join(map(str, FORMATS))}; "
            + (
                "run: pip install --upgrade edgeosr"
                if newer
                else "export the bundle again from its run or model"
            )
        )
    return found


def _constants(entries: dict[str, NDArray[Any]], part: str) -> PartConstants:
    return PartConstants(
        rows=_take(entries, f"part_{part}_rows"),
        biases=_take(entries, f"part_{part}_biases"),
        numbers=_take(entries, f"part_{part}_numbers"),
    )


def _whole(entries: dict[str, NDArray[Any]], name: str, largest: int, what: str) -> int:
    value = _take(entries, name)
    if value.dtype != np.int64 or value.shape != () or not 1 <= value <= largest:
        got = f"{value.dtype} {value.shape}" + (
            f" {int(value)}" if value.dtype == np.int64 and value.shape == () else ""
        )
        refuse(f"{name}, {what}, must be one int64 from 1 to {largest}; got {got}")
    return int(value)


def _numbers(entries: dict[str, NDArray[Any]], name: str, each: str = "parts") -> tuple[float, ...]:
    value = _take(entries, name)
    if value.dtype != np.float32 or value.ndim != 1:
        refuse(f"{name} must be float32 [{each}]; got {value.dtype} {value.shape}")
    return float32_values(value)


def _real(entries: dict[str, NDArray[Any]], name: str) -> float:
    value = _take(entries, name)
    if value.dtype != np.float32 or value.shape != ():
        refuse(f"{name} must be one float32; got {value.dtype} {value.shape}")
    return float(value)


def _text(value: str) -> NDArray[np.uint8]:
    return np.frombuffer(value.encode("utf-8"), np.uint8)


def _read_text(entries: dict[str, NDArray[Any]], name: str) -> str:
    value = _take(entries, name)
    if value.dtype != np.uint8 or value.ndim != 1 or value.size > LONGEST_TEXT:
        refuse(f"{name} must be uint8 text of at most {LONGEST_TEXT} bytes; got {value.dtype} {value.shape}")
    return bytes(value).decode("utf-8", errors="replace")
