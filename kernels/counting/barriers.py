"""Barriers of a block: number 0 of all its threads, and those of groups of its warps, 1 to 15."""

from collections.abc import Iterator

import numpy as np

from edgeosr.kernels.counting.operands import Array, NotModelledError

_NUMBERS = 16


class Barriers:
    """Who waits for which; ``live``: threads that have not ended."""

    def __init__(self, live: Array, threads: int):
        """Nobody waits; ``threads``: of a block."""
        self._live, self._threads = live, threads
        self._number = np.full(len(live), -1)
        self._needed = np.zeros((_NUMBERS, len(live) // threads), np.int64)  # threads, while some wait

    def arrive(self, lanes: Array, operands: tuple[str, ...]) -> None:
        """Let threads wait; ``operands``: the barrier's number, and but for 0 how many threads it is of.

        Raises:
            NotModelledError: those that wait for it already are of another number of threads.
        """
        number, many = int(operands[0], 0), int(operands[1], 0) if len(operands) > 1 else 0
        blocks = np.unique(lanes // self._threads)
        others = self._needed[number, blocks]
        if ((others != 0) & (others != many)).any():
            raise NotModelledError(f"barrier {number} of {many} threads, for which {others.max()} wait")
        self._number[lanes], self._needed[number, blocks] = number, many

    def over(self) -> Iterator[Array]:
        """Yield the threads of each barrier for which all have come; they wait no more.

        Raises:
            NotModelledError: more have come.
        """
        waiting = np.flatnonzero(self._number >= 0)
        keys = waiting // self._threads * _NUMBERS + self._number[waiting]
        for key in np.unique(keys):
            block, number = divmod(int(key), _NUMBERS)
            lanes = waiting[keys == key]
            needed = int(self._needed[number, block])
            if not number:
                needed = int(self._live[block * self._threads : (block + 1) * self._threads].sum())
            if len(lanes) > needed:
                raise NotModelledError(f"barrier {number} of {needed} threads, at which {len(lanes)} are")
            if len(lanes) == needed:
                self._number[lanes], self._needed[number, block] = -1, 0
                yield lanes
