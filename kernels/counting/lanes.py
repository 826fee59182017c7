"""Instructions in which the lanes of a warp exchange values."""

from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.integer import move
from edgeosr.kernels.counting.operands import (
    Lanes,
    NotModelledError,
    predicate,
    to_predicate,
    to_word,
    unsigned,
    word,
)
from edgeosr.kernels.counting.sides import lane_bits
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
    """VOTE.ANY: a register takes the ballot of the lanes that are there, a predicate whether any is set.

    VOTE.ALL: a predicate alone, whether all of them are set.
    """
    into_word = len(operands) == 3
    if modifiers != ["ANY"] and (modifiers != ["ALL"] or into_word):
        raise NotModelledError(f"VOTE.{'.'.join(modifiers)} of {len(operands)} operands")
    to, out = (operands[0], operands[1]) if into_word else ("RZ", operands[0])
    read, write, put = predicate(operands[-1]), to_word(to), to_predicate(out)
    everyone = modifiers == ["ALL"]

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        mine = lane_bits(lanes[np.broadcast_to(read(s, ix), lanes.shape)], s.lanes)[lanes >> 5]
        write(s, ix, mine)
        put(s, ix, mine == lane_bits(lanes, s.lanes)[lanes >> 5] if everyone else mine != 0)

    return run, ones(to, out), ones(operands[-1])


def reduce(operands: Operands, modifiers: list[str]) -> Made:
    """REDUX.MAX: the largest of a warp's unsigned words, in a uniform register."""
    if modifiers != ["MAX"]:
        raise NotModelledError(f"REDUX.{'.'.join(modifiers)}")
    to, source = operands
    read, write = word(source), to_word(to)

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        if len(lanes) % 32:
            raise NotModelledError("REDUX by a part of a warp")
        values = np.broadcast_to(read(s, ix), lanes.shape)
        write(s, ix, np.repeat(values.reshape(-1, 32).max(axis=1), 32))

    return run, ones(to), ones(source)


def to_uniform(operands: Operands, modifiers: list[str]) -> Made:
    """R2UR: to a uniform register; with a predicate, the lowest lane's value, and who has another one.

    So a loop goes through the values of a warp. The register is the whole warp's: lanes that the guard leaves
    out have it too.
    """
    if len(operands) == 2 and not modifiers:
        return move(operands, modifiers)
    if modifiers:
        return _broadcast(operands)
    out, to, source = operands
    read, write, put = word(source), to_word(to), to_predicate(out)

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        values = np.broadcast_to(read(s, ix), lanes.shape)
        warps, first, which = np.unique(lanes >> 5, return_index=True, return_inverse=True)
        write(s, (warps[:, None] * 32 + np.arange(32)).ravel(), np.repeat(values[first], 32))
        put(s, ix, values != values[first][which])

    return run, ones(to, out), ones(source)


def _broadcast(operands: Operands) -> Made:
    """R2UR.BROADCAST: to the whole warp's uniform register, what the lanes that are there all have."""
    to, source = operands
    read, write = word(source), to_word(to)

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        values = np.broadcast_to(read(s, ix), lanes.shape)
        warps, first, which = np.unique(lanes >> 5, return_index=True, return_inverse=True)
        if (values != values[first][which]).any():
            raise NotModelledError("R2UR.BROADCAST of lanes with different values")
        write(s, (warps[:, None] * 32 + np.arange(32)).ravel(), np.repeat(values[first], 32))

    return run, ones(to), ones(source)


LANES: dict[str, Callable[[Operands, list[str]], Made]] = {
    "SHFL": shuffle,
    "VOTE": vote,
    "VOTEU": vote,
    "REDUX": reduce,
    "R2UR": to_uniform,
}
