"""How large a scorer may be: in its file, and for the fused kernel."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Largest sizes.

    Attributes:
        dimension: D, length of the embedding.
        classes: C.
        layers: of the discriminator, the last included.
        width: outputs of one of its hidden layers.
        taps: of the closed form's autocorrelation table.
        probes: K.
        rows: that one part brings.
        numbers: that one part brings.
    """

    dimension: int
    classes: int
    layers: int
    width: int
    taps: int
    probes: int
    rows: int
    numbers: int


# scorer.npz: what model.onnx and the reference compute; any larger number is a damaged file.
FILE_LIMITS = Limits(
    dimension=1 << 16,
    classes=1 << 20,
    layers=64,
    width=1 << 16,
    taps=1 << 14,
    probes=1 << 12,
    rows=1 << 16,
    numbers=1 << 16,
)
# The fused kernel: enums of kernels/src/params.cuh, held equal by a test. All within the file's.
KERNEL_LIMITS = Limits(
    dimension=2048,
    classes=4096,
    layers=6,
    width=1024,
    taps=128,
    probes=32,
    rows=4096,
    numbers=16,
)
