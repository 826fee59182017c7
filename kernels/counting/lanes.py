"""Instructions in which the lanes of a warp exchange values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.operands import (
    Lanes,
    NotModelledError,
    predicate,
    to_predicate,
    to_word,
    unsigned,
    word,
)
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]


def shuffle(operands: Operands, modifiers: list[str]) -> Made:
    """SHFL.BFLY and .IDX over whole warps; every source lane must be there."""
    _, to, source, lane, clamp = operands
    if clamp != "0x1f" or modifiers[0] not in ("BFLY", "IDX"):
        raise NotModelledError(f"SHFL.{modifiers[0]} {clamp}")
    read, which, write = word(source), unsigned(lane), to_word(to)
    butterfly = modifiers[0] == "BFLY"

    def run(s: Any, ix: Lanes) -> None:
        values = np.asarray(read(s, ix))
        if values.size % 32:
            raise NotModelledError("SHFL by a part of a warp")
        own = np.tile(np.arange(32), values.size // 32)
        by = which(s, ix)
        write(s, ix, values[np.arange(values.size) - own + ((own ^ by) if butterfly else (by & 31))])

    return run, ones(to), ones(source, lane)


def vote(operands: Operands, modifiers: list[str]) -> Made:
    """VOTE.ANY: a register takes the ballot of the lanes that are there, a predicate whether any is set."""
    if modifiers != ["ANY"]:
        raise NotModelledError(f"VOTE.{'.'.join(modifiers)}")
    into_word = len(operands) == 3
    to, out = (operands[0], operands[1]) if into_word else ("RZ", operands[0])
    read, write, put = predicate(operands[-1]), to_word(to), to_predicate(out)

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        bits = np.zeros(s.lanes, bool)
        bits[lanes] = read(s, ix)
        ballots = np.packbits(bits.reshape(-1, 32), axis=1, bitorder="little").view(np.uint32).ravel()
        mine = ballots[lanes >> 5]
        write(s, ix, mine)
        put(s, ix, mine != 0)

    return run, ones(to, out), ones(operands[-1])


LANES: dict[str, Callable[[Operands, list[str]], Made]] = {"SHFL": shuffle, "VOTE": vote, "VOTEU": vote}
