"""A scorer as the fused kernel reads it: one block of bytes in device memory, and where its parts lie.

Parts begin at multiples of 16 bytes. First come 128 bytes of constants (``ScorerConstants`` of
``src/params.cuh``), which may be rewritten in place between launches: a new threshold needs no new graph.
Then the *split matrix*, the discriminator's first layer over the head, both multiplied with z; the later
layers with their biases; the closed form's table.

Matrices are ``[outputs, inputs]``, both padded with zeros to multiples of 16:

- fp16 weights, for tensor cores: ``[inputs / 16, outputs / 16, 32 lanes, 8 halves]``, a lane's 16 bytes being
  its registers of the A operand of mma m16n8k16 (PTX ISA): with g = lane // 4 and t = lane % 4, the elements
  (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1), then the same at input + 8;
- fp32 weights: ``[inputs / 4, outputs, 4]``.

Both run along the inputs, so that a block's part of z meets one piece of memory.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import UsageError
from edgeosr.scoring.scorer import Scorer

CONSTANTS_BYTES = 128
MOST_LAYERS = 6
MOST_TAPS = 128
WIDEST = 1024
LARGEST_DIMENSION = 2048
MOST_CLASSES = 4096
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
        half: fp16 weights of the discriminator and the head (tensor cores); else fp32. Biases, the last
            layer's weights, the table and all constants are fp32 either way.

    Raises:
        UsageError: a limit of the kernel is exceeded, its activation is not one of the kernel's, or a weight
            does not fit fp16.
    """
    require_supported(scorer)
    pieces = _Pieces()
    pieces.add(constants_bytes(scorer))
    first = [] if not scorer.layers else [scorer.layers[0]]
    head = [] if scorer.head.kind == "external" else [(scorer.head.weight, scorer.head.bias)]
    blocks = [(_padded(weight, scorer.dimension), _padded_bias(bias)) for weight, bias in [*first, *head]]
    rows = sum(len(bias) for _, bias in blocks)
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
            layer_at[number] = pieces.add(pack_matrix(_padded(weight, weight.shape[1]), half=half))
            bias_at[number] = pieces.add(_padded_bias(bias).tobytes())
    later_bytes = pieces.length - later_at
    closed_form = scorer.closed_form
    table_at = offsets_at = 0
    if closed_form is not None:
        table_at = pieces.add(np.ascontiguousarray(closed_form.table).tobytes())
        offsets_at = pieces.add(np.ascontiguousarray(closed_form.offsets).tobytes())
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
        widths=tuple(len(bias) for _, bias in scorer.layers),
        hidden_rows=0 if not scorer.layers else len(blocks[0][1]),
        rows=rows,
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
    """Return the 128 bytes of ``ScorerConstants``; write them over a packed scorer's first to change them."""
    constants = np.zeros(CONSTANTS_BYTES // 4, np.float32)
    fusion, closed_form = scorer.fusion, scorer.closed_form
    constants[0] = scorer.threshold
    constants[1:6] = fusion.weights.astype(np.float64) / fusion.stds
    constants[6:11] = fusion.means
    constants[11] = scorer.head.temperature
    constants[12:14] = np.cos(scorer.head.margin), np.sin(scorer.head.margin)
    constants[14] = scorer.slope
    constants[15] = 1.0 if scorer.probes is None else scorer.probes.scale
    if closed_form is not None:
        constants[16 : 16 + closed_form.parameters.size] = closed_form.parameters
    if len(scorer.layers) > 1:
        constants[18] = scorer.layers[-1][1][0]
    return constants.tobytes()


def pack_matrix(matrix: NDArray[np.float32], *, half: bool) -> bytes:
    """Return ``matrix``, ``[outputs, inputs]``, both multiples of 16, in the order of the module's docstring.

    Raises:
        UsageError: a weight is beyond fp16's range.
    """
    outputs, inputs = matrix.shape
    if not half:
        return matrix.reshape(outputs, inputs // 4, 4).transpose(1, 0, 2).tobytes()
    with np.errstate(over="ignore"):
        halves = matrix.astype(np.float16)
    if not bool(np.isfinite(halves).all()):
        largest = float(np.abs(matrix).max())
        raise UsageError(
            f"fp16 weights reach 65504; the scorer has one of {largest:.4g}; pack it with fp32 weights"
        )
    # output = 16 r + 8 high_row + g, input = 16 k + 8 high_input + 2 t + e; lane = 4 g + t.
    tiles = halves.reshape(outputs // 16, 2, 8, inputs // 16, 2, 4, 2)
    return tiles.transpose(3, 0, 2, 5, 4, 1, 6).tobytes()


def unpacked_weights(scorer: Scorer, *, half: bool) -> Scorer:
    """Return ``scorer`` with the weights that the kernel multiplies with: rounded to fp16 where packed so.

    The float64 reference of this scorer is what the kernel is compared with; what fp16 weights themselves
    change is measured by the decision gate.
    """
    if not half:
        return scorer

    def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return array.astype(np.float16).astype(np.float32)

    last = len(scorer.layers) - 1
    layers = tuple(
        (weight if number == last and number > 0 else rounded(weight), bias)
        for number, (weight, bias) in enumerate(scorer.layers)
    )
    return replace(scorer, layers=layers, head=replace(scorer.head, weight=rounded(scorer.head.weight)))


def padded_size(size: int) -> int:
    """Return ``size`` rounded up to a multiple of 16, the least that a tile of the tensor cores covers."""
    return -(-size // 16) * 16


def require_supported(scorer: Scorer) -> None:
    """Raise UsageError, naming the limit, if the kernel cannot take ``scorer``."""
    _require("the embedding's length D", scorer.dimension, 1, LARGEST_DIMENSION)
    _require("the number of classes C", scorer.classes, 1, MOST_CLASSES)
    _require("the discriminator's layers", len(scorer.layers), 0, MOST_LAYERS)
    for number, (_, bias) in enumerate(scorer.layers[:-1]):
        _require(f"the width of the discriminator's layer {number}", len(bias), 1, WIDEST)
    if scorer.probes is not None:
        _require("the number of probes K", scorer.probes.K, 1, 32)
    if scorer.closed_form is not None:
        activation = scorer.closed_form.activation
        if activation not in ACTIVATION_CODES:
            raise UsageError(
                f"the fused kernel knows the activations {', '.join(ACTIVATION_CODES)}; the scorer has "
                f"{activation!r}; score with model.onnx"
            )
        _require("the taps of the autocorrelation table", scorer.closed_form.table.shape[1], 1, MOST_TAPS)


def _require(what: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(
            f"the fused kernel takes {least} to {most} as {what}; the scorer has {value}; "
            "score with model.onnx"
        )


class _Pieces:
    """Bytes put together, each piece at a multiple of 16."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.length = 0

    def add(self, data: bytes) -> int:
        at = self.length
        self.pieces.append(data + bytes(-len(data) % 16))
        self.length += len(self.pieces[-1])
        return at

    def joined(self) -> bytes:
        return b"".join(self.pieces)


def _padded(weight: NDArray[np.float32], inputs: int) -> NDArray[np.float32]:
    outputs = len(weight)
    return np.pad(np.asarray(weight, np.float32), ((0, -outputs % 16), (0, -inputs % 16)))


def _padded_bias(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(np.asarray(bias, np.float32), (0, -len(bias) % 16))
