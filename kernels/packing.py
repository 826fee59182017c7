"""A scorer as the fused kernel reads it: one block of bytes in device memory, and where its pieces lie.

Pieces begin at multiples of 16 bytes. First come 192 bytes of constants (``ScorerConstants`` of
``src/params.cuh``), which may be rewritten in place between launches: a new threshold needs no new graph.
Then the *split matrix*, everything that z is multiplied with: the discriminator's first layer, the head, the
rows of each score part, and their biases; then the discriminator's later layers; the closed form's table; the
parts' numbers. How a matrix lies is told in ``matrices.py``.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UsageError
from edgeosr.kernels.matrices import Pieces, pack_matrix, padded_bias, padded_matrix
from edgeosr.kernels.parts import kernel_parts
from edgeosr.scoring.limits import KERNEL_LIMITS
from edgeosr.scoring.parts import part
from edgeosr.scoring.scorer import Float32, PartConstants, Scorer
from edgeosr.verdict import MOST_PARTS

CONSTANTS_BYTES = 192
# Codes of src/params.cuh.
HEAD_CODES = {"cosine": 0, "linear": 1, "external": 2}
ACTIVATION_CODES = {
    "identity": 0,
    "relu": 1,
    "leaky_relu": 2,
    "clip": 3,
    "hard_swish": 4,
    "silu": 5,
    "gelu": 6,
    "gelu_tanh": 7,
}
SMOOTH = ("hard_swish", "silu", "gelu", "gelu_tanh")
# Ways out, for people: what no option of an export avoids, and what one does.
MODEL_ONNX = "score with model.onnx, which takes any: export with --engine onnx"
NO_MAP = f"export with --jacobian probes, which needs no map, or {MODEL_ONNX}"


@dataclass(frozen=True, kw_only=True)
class PackedPart:
    """One score part.

    Attributes:
        code: of its function in the kernel.
        row: its first row of the split matrix; 0 without rows.
        rows: how many, padding not counted.
        numbers_at: float32, its numbers; 0 without.
    """

    code: int
    row: int
    rows: int
    numbers_at: int


@dataclass(frozen=True, kw_only=True)
class PackedScorer:
    """Bytes for the device, and what a launch must know of them; offsets in bytes from the first.

    Attributes:
        data: the bytes; the device's copy must be aligned to 16.
        half: fp16 weights in fragment order (tensor cores), or fp32 (FMAs).
        dimension: D.
        classes: C.
        head: code of the head.
        closed_form: J comes from the map; else from K tangents, K = ``probes``.
        probes: K, 0 without probes.
        activation: code of the map's activation; 0 without a closed form.
        smooth: its derivative is not constant on pieces.
        taps: of the autocorrelation table; 1 without a closed form.
        parts: of the score, in the scorer's order.
        widths: outputs of the discriminator's layers; empty without one.
        hidden_rows: rows of the split matrix that belong to the first layer.
        rows: all of them; 0 if there are none.
        split_at: the split matrix, and then its biases.
        split_bias_at: float32 ``[rows]``.
        layer_at: per layer; the first is in the split matrix (0), the last a float32 vector.
        bias_at: per layer; the first's and the last's are elsewhere (0).
        later_at: layers from the second on, one piece.
        later_bytes: its length.
        table_at: float32 ``[D, taps]``.
        offsets_at: int32 ``[taps, 2]``.
    """

    data: bytes
    half: bool
    dimension: int
    classes: int
    head: int
    closed_form: bool
    probes: int
    activation: int
    smooth: bool
    taps: int
    parts: tuple[PackedPart, ...]
    widths: tuple[int, ...]
    hidden_rows: int
    rows: int
    split_at: int
    split_bias_at: int
    layer_at: tuple[int, ...]
    bias_at: tuple[int, ...]
    later_at: int
    later_bytes: int
    table_at: int
    offsets_at: int


def pack_scorer(scorer: Scorer, *, half: bool) -> PackedScorer:
    """Return ``scorer`` in the kernel's layout.

    Args:
        scorer: a valid one.
        half: fp16 weights of the discriminator, the head and the parts' rows (tensor cores); else fp32.
            Biases, the last layer's weights, the table, numbers and constants are fp32 either way.

    Raises:
        UsageError: see ``require_supported``.
    """
    require_supported(scorer)
    if half:
        _require_half(scorer, "pack it with fp32 weights")
    pieces = Pieces()
    pieces.add(constants_bytes(scorer))
    first = [] if not scorer.layers else [scorer.layers[0]]
    head = [] if scorer.head.kind == "external" else [(scorer.head.weight, scorer.head.bias)]
    own = [scorer.constants.get(name, _NOTHING) for name in scorer.fusion.parts]
    brought = [(constants.rows, constants.biases) for constants in own if len(constants.rows)]
    blocks = [
        (padded_matrix(weight, scorer.dimension), padded_bias(bias))
        for weight, bias in [*first, *head, *brought]
    ]
    split_at = split_bias_at = 0
    if blocks:
        split_at = pieces.add(pack_matrix(np.concatenate([weight for weight, _ in blocks]), half=half))
        split_bias_at = pieces.add(np.concatenate([bias for _, bias in blocks]).tobytes())
    layer_at, bias_at = [0] * len(scorer.layers), [0] * len(scorer.layers)
    later_at = pieces.length
    for number in range(1, len(scorer.layers)):
        weight, bias = scorer.layers[number]
        if number == len(scorer.layers) - 1:
            layer_at[number] = pieces.add(np.asarray(weight[0], np.float32).tobytes())
        else:
            matrix = padded_matrix(weight, weight.shape[1])
            layer_at[number] = pieces.add(pack_matrix(matrix, half=half, hidden=True))
            bias_at[number] = pieces.add(padded_bias(bias).tobytes())
    later_bytes = pieces.length - later_at
    closed_form = scorer.closed_form
    table_at = offsets_at = 0
    if closed_form is not None:
        table_at = pieces.add(np.ascontiguousarray(closed_form.table).tobytes())
        offsets_at = pieces.add(np.ascontiguousarray(closed_form.offsets).tobytes())
    parts, row = [], sum(len(bias) for _, bias in blocks[: len(first) + len(head)])
    for name, constants in zip(scorer.fusion.parts, own, strict=True):
        rows, numbers = len(constants.rows), constants.numbers
        numbers_at = pieces.add(numbers.astype(np.float32).tobytes()) if numbers.size else 0
        parts.append(
            PackedPart(code=part(name).code, row=row if rows else 0, rows=rows, numbers_at=numbers_at)
        )
        row += len(padded_bias(constants.biases))
    return PackedScorer(
        data=pieces.joined(),
        half=half,
        dimension=scorer.dimension,
        classes=scorer.classes,
        head=HEAD_CODES[scorer.head.kind],
        closed_form=closed_form is not None,
        probes=0 if scorer.probes is None else scorer.probes.K,
        activation=0 if closed_form is None else ACTIVATION_CODES[closed_form.activation],
        smooth=closed_form is not None and closed_form.activation in SMOOTH,
        taps=1 if closed_form is None else closed_form.table.shape[1],
        parts=tuple(parts),
        widths=tuple(len(bias) for _, bias in scorer.layers),
        hidden_rows=0 if not scorer.layers else len(blocks[0][1]),
        rows=sum(len(bias) for _, bias in blocks),
        split_at=split_at,
        split_bias_at=split_bias_at,
        layer_at=tuple(layer_at),
        bias_at=tuple(bias_at),
        later_at=later_at,
        later_bytes=later_bytes,
        table_at=table_at,
        offsets_at=offsets_at,
    )


def constants_bytes(scorer: Scorer) -> bytes:
    """Return the 192 bytes of ``ScorerConstants``; write them over a packed scorer's first to change them."""
    constants = np.zeros(CONSTANTS_BYTES // 4, np.float32)
    fusion, closed_form = scorer.fusion, scorer.closed_form
    constants[0] = scorer.threshold
    constants[1] = scorer.head.temperature
    constants[2:4] = np.cos(scorer.head.margin), np.sin(scorer.head.margin)
    constants[4] = scorer.slope
    constants[5] = 1.0 if scorer.probes is None else scorer.probes.scale
    if closed_form is not None:
        constants[6 : 6 + closed_form.parameters.size] = closed_form.parameters
    if len(scorer.layers) > 1:
        constants[8] = scorer.layers[-1][1][0]
    parts = len(fusion.parts)
    constants[16 : 16 + parts] = np.asarray(fusion.weights, np.float64) / fusion.stds
    constants[16 + MOST_PARTS : 16 + MOST_PARTS + parts] = fusion.means
    return constants.tobytes()


def unpacked_weights(scorer: Scorer, *, half: bool) -> Scorer:
    """Return ``scorer`` with the weights that the kernel multiplies with: rounded to fp16 where packed so.

    The float64 reference of this scorer is what the kernel is compared with; what fp16 weights themselves
    change is measured by the decision gate.
    """
    if not half:
        return scorer

    def rounded(array: Float32) -> Float32:
        return array.astype(np.float16).astype(np.float32)

    last = len(scorer.layers) - 1
    layers = tuple(
        (weight if number == last and number > 0 else rounded(weight), bias)
        for number, (weight, bias) in enumerate(scorer.layers)
    )
    constants = {name: replace(own, rows=rounded(own.rows)) for name, own in scorer.constants.items()}
    head = replace(scorer.head, weight=rounded(scorer.head.weight))
    return replace(scorer, layers=layers, head=head, constants=constants)


def require_supported(scorer: Scorer, *, map_size: tuple[int, int] | None = None, half: bool = False) -> None:
    """Raise UsageError, naming the limit and what to do, if the kernel cannot take ``scorer``.

    Args:
        scorer: a valid one; nothing is packed and no device is needed.
        map_size: (H, W) of the map that a closed form is taken from, where it is known.
        half: its weights are to be packed in fp16, as every device with tensor cores has them.
    """
    limits, closed_form = KERNEL_LIMITS, scorer.closed_form
    if scorer.class_thresholds:
        raise UsageError(
            "the fused kernel compares with one threshold for all classes; got "
            f"{len(scorer.class_thresholds)}, one a class; export with --threshold-rule common, or "
            "run model.onnx on onnxruntime"
        )
    require_within("the embedding's length D", scorer.dimension, 1, limits.dimension, MODEL_ONNX)
    require_within("the number of classes C", scorer.classes, 1, limits.classes, MODEL_ONNX)
    require_within("the discriminator's layers", len(scorer.layers), 0, limits.layers, MODEL_ONNX)
    for number, (_, bias) in enumerate(scorer.layers[:-1]):
        what = f"the width of the discriminator's layer {number}"
        require_within(what, len(bias), 1, limits.width, MODEL_ONNX)
    if scorer.probes is not None:
        instead = f"export with --probes {limits.probes} or fewer, or {MODEL_ONNX}"
        require_within("the number of probes K", scorer.probes.K, 1, limits.probes, instead)
    if closed_form is not None:
        if closed_form.activation not in ACTIVATION_CODES:
            raise UsageError(
                f"the map's activation must be one of {', '.join(ACTIVATION_CODES)} for the fused kernel; "
                f"got {closed_form.activation}; {NO_MAP}"
            )
        taps = closed_form.table.shape[1]
        require_within("the taps of the autocorrelation table", taps, 1, limits.taps, NO_MAP)
        if map_size is not None:
            height, width = map_size
            require_within("the map's positions", height * width, 1, limits.positions, NO_MAP)
    require_within("the number of score parts", len(scorer.fusion.parts), 1, limits.parts, MODEL_ONNX)
    for name in scorer.fusion.parts:
        if part(name).code not in kernel_parts():
            raise UsageError(
                f"the score parts must be among {', '.join(kernel_parts().values())} for the fused kernel; "
                f"got {name}; {MODEL_ONNX}"
            )
        own = scorer.constants.get(name, _NOTHING)
        require_within(f"the matrix rows of {name}", len(own.rows), 0, limits.rows, MODEL_ONNX)
        require_within(f"the numbers of {name}", own.numbers.size, 0, limits.numbers, MODEL_ONNX)
    if half:
        _require_half(scorer, MODEL_ONNX)


def require_within(what: str, value: int, least: int, most: int, instead: str = "") -> None:
    """Raise UsageError unless ``value`` is within a limit of the kernel; ``instead`` says what to do."""
    if not least <= value <= most:
        words = f"{what} must be from {least} to {most} for the fused kernel; got {value}"
        raise UsageError(f"{words}; {instead}" if instead else words)


def _require_half(scorer: Scorer, instead: str) -> None:
    """Refuse weights beyond fp16's range, of the matrices that ``unpacked_weights`` rounds."""
    matrices = {f"the discriminator's layer {i}": weight for i, (weight, _) in enumerate(scorer.layers)}
    if len(scorer.layers) > 1:
        matrices.popitem()  # the last one is a vector, and stays fp32
    matrices["the head"] = scorer.head.weight
    matrices |= {f"the rows of {name}": own.rows for name, own in scorer.constants.items()}
    for name, weight in matrices.items():
        with np.errstate(over="ignore"):
            fits = bool(np.isfinite(weight.astype(np.float16)).all())
        if not fits:
            largest = float(np.abs(weight).max())
            raise UsageError(
                f"the weights of {name} must be within 65504 for the fused kernel's fp16; got one of "
                f"{largest:.4g}; {instead}"
            )


def _empty(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


_NOTHING = PartConstants(rows=_empty(0, 0), biases=_empty(0), numbers=_empty(0))
