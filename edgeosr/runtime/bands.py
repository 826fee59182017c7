"""What rounding can do to the numbers of a graph that runs elsewhere, and of an engine.

A Jacobian norm counts masks, of the map or of every activation behind the cut of its probes: where rounding
moves a number over a kink it jumps, by a step that no band of sums bounds, and nothing else of that frame
moves.
"""

from dataclasses import dataclass

from edgeosr.runtime.golden import Rounding

# One graph, two processors or two versions of onnxruntime: float32 sums in another order.
SAME_GRAPH = 1e-3
SAME_GRAPH_RELATIVE = 1e-5
# The kernel's fp16 weights against the float64 reference (kernels/selftest).
KERNEL = 1e-2
KERNEL_RELATIVE = 1e-3  # 2 of the last bits of fp16
# Of the typed graph's own rounding (its median on the golden frames), this much may come out differently:
# an engine fuses and sums in another order, so it rounds some tensors at other places than the CPU does.
OTHER_ORDER = 1.0
# Scores of an engine that may lie outside the band, of all: a mask that flips moves one frame, a fault moves
# most. None may lie further away than this many bands.
MOST_OUTSIDE = 0.1
CEILING = 8.0


@dataclass(frozen=True, kw_only=True)
class Band:
    """What rounding can do.

    Attributes:
        score: to a score, in standard deviations of known images.
        gap: to the gap between the first two classes, in standard deviations of the logits.
        values: to the value of each part, in the fusion's ``stds``;
        relative: and, on top of that, to any value, as a share of it.
        most_outside: share of the frames, of those judged alone and of those judged in a batch, whose score
            (or value) may lie outside, by up to ``CEILING`` bands. 0 to 1.
        steps: of each part, whether rounding may move it by a step; empty: of none. Of
            ``MOST_OUTSIDE`` of the frames such a part may lie outside, by up to ``CEILING`` bands, if all
            others are inside and the score differs by what follows of the step, within ``score``.
    """

    score: float
    gap: float
    values: tuple[float, ...]
    relative: float
    most_outside: float
    steps: tuple[bool, ...] = ()


def same_graph_band(parts: int, steps: tuple[bool, ...] = ()) -> Band:
    """Return the band of one graph that runs elsewhere; ``parts``: their number; ``steps``: see ``Band``."""
    return Band(
        score=SAME_GRAPH,
        gap=SAME_GRAPH,
        values=(SAME_GRAPH,) * parts,
        relative=SAME_GRAPH_RELATIVE,
        most_outside=0.0,
        steps=steps,
    )


def engine_band(rounding: Rounding) -> Band:
    """Return the band of an engine with the kernel; ``rounding`` as ``golden.npz`` records it."""
    return Band(
        score=KERNEL + OTHER_ORDER * rounding.score,
        gap=KERNEL + OTHER_ORDER * rounding.gap,
        values=tuple(KERNEL + OTHER_ORDER * share for share in rounding.values),
        relative=KERNEL_RELATIVE,
        most_outside=MOST_OUTSIDE,
    )
