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
_SYNCS = {
    ("EXCH", "64"): "open",
    ("CCTL", "IVALL"): "forget",
    ("ARRIVE", "TRANS64"): "expect",
    ("PHASECHK", "TRANS64", "TRYWAIT"): "wait",
}


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


def copy(operands: Operands, modifiers: list[str]) -> Made:
    """UBLKCP [UR], [UR], UR: a run of global memory to shared memory, once a warp.

    The first pair is where to, and its mailbox; the second, where from; then the size in 16 bytes.
    """
    to, source, size = (re.fullmatch(r"\[?UR(\d+)\]?", text) for text in operands)
    if modifiers != ["S", "G"] or to is None or source is None or size is None:
        raise NotModelledError(f"UBLKCP.{'.'.join(modifiers)} {', '.join(operands)}")
    to_at, from_at = int(to[1]), int(source[1])
    place, mailbox = unsigned(f"UR{to_at}"), unsigned(f"UR{to_at + 1}")
    where, units = pair(f"UR{from_at}"), unsigned(f"UR{size[1]}")

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        values = [_of_each(value(s, ix), lanes) for value in (place, mailbox, where, units)]
        warps, first = np.unique(lanes >> 5, return_index=True)
        found = []
        for lane, *one in zip(lanes[first], *(value[first] for value in values), strict=True):
            to, box, at, many = (int(value) for value in one)
            words = s.memory.run_of(at, 16 * (many & 0xFFFF), int(lane))
            found.append(s.memory.request)
            s.mail.copy(int(lane), to, box, words)
        s.memory.request = Request(
            warps,
            np.concatenate([request.units for request in found]),
            np.zeros(len(warps), bool),
            np.concatenate([request.cold for request in found]),
        )

    return run, [], [(f"UR{to_at}", 2), (f"UR{from_at}", 2), (f"UR{size[1]}", 1)]


def elect(operands: Operands, modifiers: list[str]) -> Made:
    """ELECT: one of the lanes that are there; which, no code may ask."""
    out, to, mask = operands
    if to != "URZ" or mask != "PT":
        raise NotModelledError(f"ELECT {', '.join(operands)}")
    put = to_predicate(out)

    def run(s: Any, ix: Lanes) -> None:
        lanes = np.arange(s.lanes)[ix]
        _, first = np.unique(lanes >> 5, return_index=True)
        chosen = np.zeros(len(lanes), bool)
        chosen[first] = True
        put(s, ix, chosen)

    return run, ones(out), []


def mailbox(operands: Operands, modifiers: list[str]) -> Made:
    """SYNCS: .EXCH.64 opens a mailbox, .ARRIVE.TRANS64 arrives and says how many bytes will come.

    Where threads of a warp open one each, plain stores do it, and .CCTL.IVALL before they arrive.
    .PHASECHK.TRANS64.TRYWAIT answers whether a phase is over; it is run when it is: see ``Machine``.
    """
    kind = _SYNCS.get(tuple(modifiers))
    if kind is None:
        raise NotModelledError(f"SYNCS.{'.'.join(modifiers)}")
    if kind == "forget":
        return lambda s, ix: None, [], []
    to, inside, last = operands
    where = address(inside)
    reads = [(inside, 1)] if names(inside) else []
    if kind == "open":
        first = pair(last)

        def opened(s: Any, ix: Lanes) -> None:
            lanes = np.arange(s.lanes)[ix]
            s.mail.open(lanes, _of_each(where(s, ix), lanes), _of_each(first(s, ix), lanes))

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


def _of_each(value: Any, lanes: Array) -> Array:
    found: Array = np.broadcast_to(np.asarray(value), lanes.shape)
    return found


CLUSTERS: dict[str, Callable[[Operands, list[str]], Made]] = {
    "STAS": send,
    "UBLKCP": copy,
    "ELECT": elect,
    "SYNCS": mailbox,
    "UCGABAR_ARV": arrive,
}
