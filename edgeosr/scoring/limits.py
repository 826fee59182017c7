"""How large a scorer may be: in a bundle's files, and for the fused kernel. No other file states a limit."""

from dataclasses import dataclass

from edgeosr.verdict import MOST_PARTS


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest sizes that files and kernel both have.

    Attributes:
        dimension: D, length of the embedding.
        classes: C.
        layers: of the discriminator, the last included.
        width: outputs of one of its hidden layers.
        taps: of the closed form's autocorrelation table.
        probes: K.
        parts: of the score.
        rows: that one part brings.
        numbers: that one part brings; two for each class are within it.
    """

    dimension: int
    classes: int
    layers: int
    width: int
    taps: int
    probes: int
    parts: int
    rows: int
    numbers: int


@dataclass(frozen=True, kw_only=True)
class FileLimits(Limits):
    """``space``: n, size of the tensor that the probes' directions lie in."""

    space: int


@dataclass(frozen=True, kw_only=True)
class KernelLimits(Limits):
    """``positions``: H W of the map that a closed form is taken from."""

    positions: int


# manifest.json and scorer.npz: what model.onnx and the reference compute; a larger number is a damaged file.
FILE_LIMITS = FileLimits(
    dimension=1 << 16,
    classes=1 << 16,
    layers=64,
    width=1 << 16,
    taps=1 << 14,
    probes=1 << 12,
    parts=MOST_PARTS,
    rows=1 << 16,
    numbers=1 << 17,
    space=1 << 31,
)
# The fused kernel: enums of kernels/src/params.cuh, held equal by a test. All within the file's.
KERNEL_LIMITS = KernelLimits(
    dimension=2048,
    classes=4096,
    layers=6,
    width=1024,
    taps=128,
    probes=32,
    parts=MOST_PARTS,
    rows=4096,
    numbers=8192,
    positions=256,
)
