"""Instructions by which the blocks of a cluster send one another words and wait for them."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeosr.kernels.counting.mail import WORD
from edgeosr.kernels.counting.memory import Request
from edgeosr.kernels.counting.operands import (
    Array,
    Lanes,
    NotModelledError,
    address,
    names,
    pair,
    to_predicate,
    unsigned,
    word,
)
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]
_MOST_ARRIVALS = 1 << 20  # an mbarrier counts up to it from minus the arrivals that it waits for
_SYNCS = {("EXCH", "64"): "open", ("ARRIVE", "TRANS64"): "expect", ("PHASECHK", "TRANS64", "TRYWAIT"): "wait"}


def send(operands: Operands, modifiers: list[str]) -> Made:
    """STAS [R.64], R: a word to the address in the pair's low register; its mailbox is in the high one."""
    match = re.fullmatch(r"\[R(\d+)\.64\]", operands[0])
    if match is None:
        raise NotModelledError(f"STAS to {operands[0]}")
    pair_at = int(match[1])
    to, mailbox = unsigned(f"R{pair_at}"), unsigned(f"R{pair_at + 1}")
    what = word(operands[1])

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        values = np.broadcast_to(what(s, ix), lanes.shape)
        s.mail.send(lanes, to(s, ix), mailbox(s, ix), values)
        warps, many = np.unique(lanes >> 5, return_counts=True)
        neither = np.zeros(len(warps), bool)
        s.memory.request = Request(warps, many, neither, neither)

    return run, [], [(f"R{pair_at}", 2), (operands[1], WORD // 4)]


def mailbox(operands: Operands, modifiers: list[str]) -> Made:
    """SYNCS: .EXCH.64 opens a mailbox, .ARRIVE.TRANS64 arrives and says how many bytes will come.

    .PHASECHK.TRANS64.TRYWAIT answers whether a phase is over; it is run when it is: see ``Machine``.
    """
    kind = _SYNCS.get(tuple(modifiers))
    if kind is None:
        raise NotModelledError(f"SYNCS.{'.'.join(modifiers)}")
    to, inside, last = operands
    where = address(inside)
    reads = [(inside, 1)] if names(inside) else []
    if kind == "open":
        first = pair(last)

        def opened(s: Any, ix: Lanes) -> None:
            lanes = np.arange(s.lanes)[ix]
            s.mail.open(lanes, _of_each(where(s, ix), lanes), _arrivals(_of_each(first(s, ix), lanes)))

        run: Callable[[Any, Lanes], None] = opened
        width = 2
    elif kind == "expect":
        size = unsigned(last)

        def expected(s: Any, ix: Lanes) -> None:
            lanes = np.arange(s.lanes)[ix]
            s.mail.expect(lanes, _of_each(where(s, ix), lanes), _of_each(size(s, ix), lanes))

        run, width = expected, 1
    else:
        put, there = to_predicate(to), waited_for(operands)
        run, width = (lambda s, ix: put(s, ix, there(s, np.arange(s.lanes)[ix])[1])), 1
    return run, ones(to) if kind == "wait" else [], [*reads, (last, width)]


def waited_for(operands: Operands) -> Callable[[Any, Array], tuple[Array, Array]]:
    """Return what finds each lane's mailbox (its key), and whether its phase is over: of a try-wait."""
    where, parity = address(operands[1]), unsigned(operands[2])

    def find(s: Any, lanes: Array) -> tuple[Array, Array]:
        at = _of_each(where(s, lanes), lanes)
        over = s.mail.there(lanes, at, _of_each(parity(s, lanes), lanes) >> 31)
        return s.mail.key_of(lanes, at), over

    return find


def arrive(operands: Operands, modifiers: list[str]) -> Made:
    """UCGABAR_ARV: by whole warps."""

    def run(s: Any, ix: Lanes) -> None:
        s.mail.arrive(np.arange(s.lanes)[ix])

    return run, [], []


def _arrivals(first: Array) -> Array:
    """Return the arrivals that a new mailbox waits for: its two fields hold them as minus so many."""
    found: Array = _MOST_ARRIVALS - (first >> 1 & _MOST_ARRIVALS - 1)
    if (first != (_MOST_ARRIVALS - found) * ((1 << 43) + 2)).any() or (found < 1).any():
        raise NotModelledError(f"a mailbox that starts as {int(first[0]):#x}")
    return found


def _of_each(value: Any, lanes: Array) -> Array:
    found: Array = np.broadcast_to(np.asarray(value), lanes.shape)
    return found


CLUSTERS: dict[str, Callable[[Operands, list[str]], Made]] = {
    "STAS": send,
    "SYNCS": mailbox,
    "UCGABAR_ARV": arrive,
}
