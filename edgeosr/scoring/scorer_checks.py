"""Checks every field of a scorer against its contract, whether it was made here or came from a file."""

from typing import NoReturn

import numpy as np

from edgeosr.errors import BundleError
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.parts import part, unknown_parts
from edgeosr.scoring.probes import Probes
from edgeosr.scoring.scorer import ACTIVATIONS, HEADS, ClosedForm, Float32, Scorer

LARGEST_MARGIN = 1.5708  # radians, pi / 2 rounded up for float32
ACTIVATION_PARAMETERS = {"leaky_relu": 1, "elu": 1, "clip": 2}


def require_valid(scorer: Scorer) -> None:
    """Check every field of ``scorer`` against its contract; raises BundleError that names the field."""
    dimension, classes, head = scorer.dimension, scorer.classes, scorer.head
    if not 1 <= dimension <= FILE_LIMITS.dimension:
        refuse(f"dimension must be from 1 to {FILE_LIMITS.dimension}; got {dimension}")
    if not 1 <= classes <= FILE_LIMITS.classes:
        refuse(f"classes must be from 1 to {FILE_LIMITS.classes}; got {classes}")
    if head.kind not in HEADS:
        refuse(f"head_kind must be one of {', '.join(HEADS)}; got {head.kind!r}")
    external = head.kind == "external"
    require_array("head_weight", head.weight, (0, 0) if external else (classes, dimension))
    require_array("head_bias", head.bias, (0,) if external else (classes,))
    if not (np.isfinite(head.temperature) and head.temperature > 0):
        refuse(f"head_temperature must be finite and above 0; got {head.temperature!r}")
    largest = LARGEST_MARGIN if head.kind == "cosine" else 0.0
    if not 0 <= head.margin <= largest:
        refuse(f"head_margin must be from 0 to {largest:.4f} for a {head.kind} head; got {head.margin!r}")
    _require_fusion(scorer.fusion)
    if not np.isfinite(scorer.threshold):
        refuse(f"threshold must be finite; got {scorer.threshold!r}")
    _require_class_thresholds(scorer)
    if scorer.closed_form is not None:
        _require_closed_form(scorer.closed_form, dimension)
    if scorer.probes is not None:
        _require_probes(scorer.probes, scorer.closed_form)
    _require_layers(scorer)
    _require_constants(scorer)
    _require_carried(scorer)


def _require_class_thresholds(scorer: Scorer) -> None:
    values = scorer.class_thresholds
    if values and (len(values) != scorer.classes or not bool(np.isfinite(values).all())):
        got = f"{len(values)} numbers" + ("" if bool(np.isfinite(values).all()) else ", not all finite")
        refuse(f"class_thresholds must be {scorer.classes} finite numbers, one a class; got {got}")


def _require_fusion(fusion: Fusion) -> None:
    if not 1 <= len(fusion.parts) <= FILE_LIMITS.parts:
        refuse(f"it must list 1 to {FILE_LIMITS.parts} parts; got {len(fusion.parts)}")
    if len(set(fusion.parts)) < len(fusion.parts):
        refuse(f"it lists a part twice: {', '.join(fusion.parts)}")
    for name in ("means", "stds", "weights"):
        values = getattr(fusion, name)
        if len(values) != len(fusion.parts) or not bool(np.isfinite(values).all()):
            refuse(f"fusion_{name} must be {len(fusion.parts)} finite numbers; got {values}")
    if not min(fusion.stds) > 0:
        refuse(f"fusion_stds must be above 0; got {fusion.stds}")


def _require_constants(scorer: Scorer) -> None:
    for name, constants in scorer.constants.items():
        if name not in scorer.fusion.parts:
            refuse(f"it has constants of {name!r}, which is not among its parts")
        # Of a file's arrays nothing is known yet, and one without an axis has no length.
        rows, numbers = constants.rows.shape[0] if constants.rows.ndim else 0, constants.numbers.size
        if rows > FILE_LIMITS.rows or numbers > FILE_LIMITS.numbers:
            refuse(
                f"the part {name} has {rows} rows and {numbers} numbers; at most {FILE_LIMITS.rows} and "
                f"{FILE_LIMITS.numbers}"
            )
        require_array(f"part_{name}_rows", constants.rows, (rows, scorer.dimension))
        require_array(f"part_{name}_biases", constants.biases, (rows,))
        require_array(f"part_{name}_numbers", constants.numbers, (numbers,))


def _require_carried(scorer: Scorer) -> None:
    # The kernel reads as many numbers as the part is defined with. Names that no part has are told elsewhere,
    # with the version that knows them.
    for name in scorer.fusion.parts:
        if not unknown_parts([name]) and not part(name).carried_by(scorer):
            refuse(f"what the part {name} is computed from is missing or of the wrong size")


def _require_closed_form(closed_form: ClosedForm, dimension: int) -> None:
    activation, table = closed_form.activation, closed_form.table
    if activation not in ACTIVATIONS:
        refuse(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    parameters = closed_form.parameters
    lengths = (1, dimension) if activation == "prelu" else (ACTIVATION_PARAMETERS.get(activation, 0),)
    if parameters.shape not in [(length,) for length in lengths]:
        refuse(
            f"activation_parameters of {activation} must have the length {lengths}; got {parameters.shape}"
        )
    require_array("activation_parameters", parameters, parameters.shape)
    taps = table.shape[1] if table.ndim == 2 else 0
    if not 1 <= taps <= FILE_LIMITS.taps:
        refuse(f"table must be [{dimension}, taps] with 1 to {FILE_LIMITS.taps} taps; got {table.shape}")
    require_array("table", table, (dimension, taps))
    offsets = closed_form.offsets
    if offsets.dtype != np.int32 or offsets.shape != (taps, 2):
        refuse(f"offsets must be int32 {(taps, 2)}; got {offsets.dtype} {offsets.shape}")
    if offsets[0].any():
        refuse(f"the first of the offsets must be (0, 0); got {offsets[0].tolist()}")


def _require_probes(probes: Probes, closed_form: ClosedForm | None) -> None:
    if closed_form is not None:
        refuse("it has a closed form and probes; the Jacobian norm has one source")
    if not 1 <= probes.K <= FILE_LIMITS.probes:
        refuse(f"probes_K must be from 1 to {FILE_LIMITS.probes}; got {probes.K}")
    if not probes.K <= probes.n <= FILE_LIMITS.space:
        refuse(f"probes_n must be from probes_K = {probes.K} to {FILE_LIMITS.space}; got {probes.n}")
    if not (np.isfinite(probes.gain) and probes.gain > 0):
        refuse(f"probes_gain must be above 0; got {probes.gain!r}")


def _require_layers(scorer: Scorer) -> None:
    if len(scorer.layers) > FILE_LIMITS.layers:
        refuse(f"the discriminator must have at most {FILE_LIMITS.layers} layers; got {len(scorer.layers)}")
    width = scorer.dimension
    for number, (weight, bias) in enumerate(scorer.layers):
        rows = 1 if number == len(scorer.layers) - 1 else max(bias.size, 1)
        if rows > FILE_LIMITS.width:
            refuse(f"layer_{number} must have at most {FILE_LIMITS.width} outputs; got {rows}")
        require_array(f"layer_{number}_weight", weight, (rows, width))
        require_array(f"layer_{number}_bias", bias, (rows,))
        width = rows
    if not np.isfinite(scorer.slope):
        refuse(f"slope must be finite; got {scorer.slope!r}")


def require_array(name: str, array: Float32, shape: tuple[int, ...]) -> None:
    """Raise a BundleError unless an array is finite float32 of this shape."""
    if array.dtype != np.float32 or array.shape != shape:
        refuse(f"{name} must be float32 {shape}; got {array.dtype} {array.shape}")
    if not bool(np.isfinite(array).all()):
        refuse(f"{name} has values that are not finite")


def refuse(reason: str) -> NoReturn:
    """Raise a BundleError that says what is wrong with a scorer, and what to do."""
    raise BundleError(f"scorer.npz is not valid: {reason}; export the bundle again, or copy it again")
