"""Matrices as the fused kernel reads them: ``[outputs, inputs]``, both padded with zeros to multiples of 16.

- fp16 weights, for tensor cores: ``[inputs / 16, outputs / 16, 32 lanes, 8 halves]``, a lane's 16 bytes being
  its registers of the A operand of mma m16n8k16 (PTX ISA): with g = lane // 4 and t = lane % 4, the elements
  (g, 2t), (g, 2t+1), (g+8, 2t), (g+8, 2t+1), then the same at input + 8;
- fp32 weights: ``[inputs / 4, outputs, 4]``.

Both run along the inputs, so that a block's part of z meets one piece of memory. Of a hidden layer in fp16 a
block has some of the rows instead: ``[outputs / 16, inputs / 16, ..]``, so that these are one piece.
"""

import numpy as np
from numpy.typing import NDArray


def pack_matrix(matrix: NDArray[np.float32], *, half: bool, hidden: bool = False) -> bytes:
    """Return ``matrix``, ``[outputs, inputs]``, both multiples of 16, in the order of the module's docstring.

    ``hidden``: of a hidden layer. With ``half`` every weight is within fp16's range
    (``packing.require_supported``).
    """
    outputs, inputs = matrix.shape
    if not half:
        return matrix.reshape(outputs, inputs // 4, 4).transpose(1, 0, 2).tobytes()
    halves = matrix.astype(np.float16)
    # output = 16 r + 8 high_row + g, input = 16 k + 8 high_input + 2 t + e; lane = 4 g + t.
    tiles = halves.reshape(outputs // 16, 2, 8, inputs // 16, 2, 4, 2)
    order = (0, 3) if hidden else (3, 0)
    return tiles.transpose(*order, 2, 5, 4, 1, 6).tobytes()


def padded_size(size: int) -> int:
    """Return ``size`` rounded up to a multiple of 16, the least that a tile of the tensor cores covers."""
    return -(-size // 16) * 16


class Pieces:
    """Bytes put together, each piece at a multiple of 16."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.length = 0

    def add(self, data: bytes) -> int:
        """Append a piece; return where it begins."""
        at = self.length
        self.pieces.append(data + bytes(-len(data) % 16))
        self.length += len(self.pieces[-1])
        return at

    def joined(self) -> bytes:
        """Return them all."""
        return b"".join(self.pieces)


def padded_matrix(weight: NDArray[np.float32], inputs: int) -> NDArray[np.float32]:
    """Return ``weight``, ``[outputs, inputs or fewer]``, with zeros up to multiples of 16."""
    outputs = len(weight)
    return np.pad(np.asarray(weight, np.float32), ((0, -outputs % 16), (0, -inputs % 16)))


def padded_bias(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``bias`` with zeros up to a multiple of 16."""
    return np.pad(np.asarray(bias, np.float32), (0, -len(bias) % 16))
