"""The sides of divergent branches: lanes of a warp that are at one place, and yet not together.

Two sides that come to the same instruction before the code joins them issue it one after the other. Their
lanes are run in one step here, and counted as often as there are sides.
"""

import numpy as np

from edgeosr.kernels.counting.operands import Array


def lane_bits(lanes: Array, total: int) -> Array:
    """Return a mask of 32 lanes for each warp; ``total``: lanes of the machine."""
    flags = np.zeros(total, bool)
    flags[lanes] = True
    found: Array = np.packbits(flags.reshape(-1, 32), axis=1, bitorder="little").view(np.uint32).ravel()
    return found


class Sides:
    """Which side each lane is on."""

    def __init__(self, lanes: int):
        """All warps are whole."""
        self._side = np.zeros(lanes, np.int64)
        self._newest = 0
        self._split = np.zeros(lanes // 32, bool)

    def part(self, lanes: Array, places: Array) -> None:
        """After a branch of ``lanes``: those of a warp that go elsewhere than its lowest are a new side."""
        warps = lanes >> 5
        starts = np.flatnonzero(np.r_[True, warps[1:] != warps[:-1]])
        lowest = np.repeat(np.minimum.reduceat(places, starts), np.diff(np.r_[starts, len(lanes)]))
        apart = places != lowest
        if apart.any():
            self._newest += 1
            self._side[lanes[apart]] = self._newest
            self._split[np.unique(warps[apart])] = True

    def join(self, lanes: Array, live: Array) -> None:
        """Lanes that go on together are one side; a warp of which all are there is whole again."""
        if len(lanes) and self._split.any():
            self._newest += 1
            self._side[lanes] = self._newest
            here, all_lanes = lane_bits(lanes, len(live)), lane_bits(np.flatnonzero(live), len(live))
            self._split[(here == all_lanes) & (here != 0)] = False

    def times(self, lanes: Array, warps: Array) -> Array:
        """Return how often each of ``warps`` issues what ``lanes`` do here."""
        if not self._split[warps].any():
            return np.ones(len(warps), np.int64)
        sides = np.unique((lanes >> 5) << 32 | self._side[lanes])
        found: Array = np.bincount(sides >> 32, minlength=len(self._split))[warps]
        return found
