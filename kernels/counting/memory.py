"""Global and shared memory: loads, stores and atomics, with what each warp's request costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeosr.kernels.counting.operands import (
    Array,
    Lanes,
    NotModelledError,
    address,
    names,
    to_predicate,
    to_word,
    unsigned,
    word,
)
from edgeosr.kernels.counting.step import Made, ones

Operands = tuple[str, ...]
SHARED_AT = 0x400  # on sm_90 and later the first 1024 bytes are the system's
RANK_AT = 24  # a shared address has its block's rank in the cluster from this bit on
_FIRST = 1 << 16  # address of the first array
_GAP = 256
SECTOR = 32


class MemoryFault(Exception):
    """An access outside the arrays, or misaligned: a fault of the kernel or of the interpreter."""


@dataclass(frozen=True)
class Request:
    """What the warps of one instruction asked for; arrays are by lane group, see ``warps``.

    Attributes:
        warps: numbers of the warps that asked, ascending.
        units: 32-byte sectors of global memory, or wavefronts of shared memory, of each.
        near: of a cached global load: all of the warp's sectors were read by the block before.
        cold: of global memory: a sector that the launch had neither read, written nor fetched ahead.
    """

    warps: Array
    units: Array
    near: Array
    cold: Array


class Memory:
    """All blocks' memory.

    Attributes:
        request: what the last load or store asked for.
        cluster: blocks of a cluster; the machine sets it.
    """

    def __init__(self, arrays: Mapping[str, Array], blocks: int, threads: int, shared_bytes: int):
        """Lay the arrays out, 256 bytes apart; shared memory starts as not-a-numbers."""
        self.cluster = 1
        self.addresses: dict[str, int] = {}
        at = _FIRST
        for name, array in arrays.items():
            self.addresses[name] = at
            at += -(-array.nbytes // _GAP) * _GAP + _GAP
        self.bytes = np.zeros(at, np.uint8)
        self._there = np.zeros(at // 4 + 1, bool)
        for name, array in arrays.items():
            first = self.addresses[name]
            self.bytes[first : first + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
            self._there[first // 4 : (first + array.nbytes + 3) // 4] = True
        self._read = np.zeros((blocks, at // SECTOR + 1), bool)
        self._known = np.zeros(at // SECTOR + 1, bool)
        self._window = -(-(shared_bytes + SHARED_AT) // 16) * 16
        self.shared = np.full(blocks * self._window, 0xFF, np.uint8)
        self._lane_block = np.repeat(np.arange(blocks), threads)
        self._lane_warp = np.arange(blocks * threads) // 32
        self._warps_of_block = threads // 32
        self._lanes = np.arange(blocks * threads)
        nothing = np.zeros(0, bool)
        self.request = Request(np.zeros(0, int), np.zeros(0, int), nothing, nothing)

    def array(self, name: str, size: int) -> Array:
        """Return a copy of the first ``size`` bytes of an array."""
        first = self.addresses[name]
        return self.bytes[first : first + size].copy()

    def load(self, at: Array, ix: Lanes, size: int, *, cached: bool = True) -> list[Array]:
        """Return global words (one of 16 bits if ``size`` is 2)."""
        self._check(at, size)
        self.request = self._sectors(at, ix, size, cached=cached)
        return _words(self.bytes, at, size)

    def store(self, at: Array, ix: Lanes, size: int, values: list[Any]) -> None:
        """Store global words."""
        self._check(at, size)
        self.request = self._sectors(at, ix, size, cached=False)
        _put(self.bytes, at, size, values)

    def run_of(self, at: int, size: int, lane: int) -> Array:
        """Return the words of a run of global memory that a lane's block copies past its registers."""
        self._check(np.arange(at, at + size, 16), 16)
        sectors = np.arange(at // SECTOR, (at + size - 1) // SECTOR + 1)
        cold = bool((~self._known[sectors]).any())
        self._known[sectors] = True
        warp = self._lane_warp[[lane]]
        self.request = Request(warp, np.array([len(sectors)]), np.zeros(1, bool), np.array([cold]))
        found: Array = self.bytes[at : at + size].view(np.uint32).copy()
        return found

    def atomic(self, at: Array, ix: Lanes) -> Request:
        """Check a word for an atomic; return what the warps ask for."""
        self._check(at, 4)
        return self._sectors(at, ix, 4, cached=False)

    def shared_place(self, at: Array, ix: Lanes, size: int) -> Array:
        """Return where the block's shared addresses lie in ``shared``; count the wavefronts."""
        if self.cluster > 1:
            if (at >> RANK_AT != self._lane_block[ix] % self.cluster).any():
                raise MemoryFault(f"shared memory: {int(at.flat[0]):#x} is of another block of the cluster")
            at = at & (1 << RANK_AT) - 1
        places = self.place_in(self._lane_block[ix], at, size)
        warps = self._lane_warp[ix]
        offsets = np.arange(0, max(size, 4), 4)
        # A wavefront serves a word of each bank; 8 and 16 bytes a lane are served by halves and quarters.
        turns = max(size // 4, 1)
        part = (self._lanes[ix] & 31) * turns // 32
        key = (warps * turns + part)[:, None] << 20 | (at[:, None] + offsets) >> 2
        distinct = np.unique(key)
        bank = (distinct >> 20) << 5 | distinct & 31
        banks, many = np.unique(bank, return_counts=True)
        group = banks >> 5
        starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        waves = np.maximum.reduceat(many, starts)
        owner = group[starts] // turns
        asked = np.flatnonzero(np.bincount(owner))
        neither = np.zeros(len(asked), bool)
        self.request = Request(asked, np.bincount(owner, waves).astype(int)[asked], neither, neither)
        return places

    def place_in(self, blocks: Array, at: Array, size: int) -> Array:
        """Return where these offsets of shared memory, each of its own block, lie in ``shared``."""
        if (at % size).any() or (at < 0).any() or (at + size > self._window).any():
            raise MemoryFault(f"shared memory: {size} bytes at {int(at.flat[0])} of {self._window}")
        found: Array = at + blocks * self._window
        return found

    def fetch_ahead(self, at: Array) -> None:
        """Bring the 128-byte lines of these addresses to L2; addresses beyond the arrays are no fault."""
        for part in range(0, 128, SECTOR):
            sector = (at // 128 * 128 + part) // SECTOR
            self._known[sector[sector < len(self._known)]] = True

    def forget(self, ix: Lanes) -> None:
        """Empty the caches of the multiprocessors that run these lanes."""
        self._read[np.unique(self._lane_block[ix])] = False

    def _check(self, at: Array, size: int) -> None:
        if (at % size).any():
            raise MemoryFault(f"global memory: {size} bytes at {int(at[at % size != 0][0]):#x}: misaligned")
        inside = (at >= 0) & (at + size <= len(self.bytes))
        if not inside.all() or not self._there[at >> 2].all() or not self._there[(at + size - 1) >> 2].all():
            raise MemoryFault(f"global memory: {size} bytes outside the arrays, near {int(at[0]):#x}")

    def _sectors(self, at: Array, ix: Lanes, size: int, *, cached: bool) -> Request:
        warps = self._lane_warp[ix]
        distinct = np.unique(warps.astype(np.int64) << 32 | at // SECTOR)
        owner, sector = distinct >> 32, distinct & 0xFFFFFFFF
        asked, starts, many = np.unique(owner, return_index=True, return_counts=True)
        near = np.zeros(len(asked), bool)
        cold = np.logical_or.reduceat(~self._known[sector], starts)
        self._known[sector] = True
        if cached:
            block = owner // self._warps_of_block
            near = np.logical_and.reduceat(self._read[block, sector], starts)
            self._read[block, sector] = True
        return Request(asked, many, near, cold)


def _words(data: Array, at: Array, size: int) -> list[Array]:
    if size == 2:
        return [data.view(np.uint16)[at >> 1].astype(np.uint32)]
    words = data.view(np.uint32)
    return [words[(at >> 2) + i] for i in range(size // 4)]


def _put(data: Array, at: Array, size: int, values: list[Any]) -> None:
    if size == 2:
        data.view(np.uint16)[at >> 1] = np.asarray(values[0]).astype(np.uint16)
    else:
        for i, value in enumerate(values):
            data.view(np.uint32)[(at >> 2) + i] = value


def _size(modifiers: list[str]) -> int:
    return 2 if "U16" in modifiers else 16 if "128" in modifiers else 8 if "64" in modifiers else 4


def _targets(text: str, size: int) -> list[Any]:
    return [to_word(text, i) for i in range(max(size // 4, 1))]


def _sources(text: str, size: int) -> list[Any]:
    if text == "RZ":
        return [word("RZ")] * max(size // 4, 1)
    first = int(text[1:])
    return [word(f"R{first + i}") for i in range(max(size // 4, 1))]


def load_global(operands: Operands, modifiers: list[str]) -> Made:
    """LDG; ``.CONSTANT`` may come from the multiprocessor's own cache, ``.STRONG`` may not."""
    to, where, size = operands[0], address(operands[-1]), _size(modifiers)
    targets, cached = _targets(to, size), "STRONG" not in modifiers

    def run(s: Any, ix: Lanes) -> None:
        for put, value in zip(targets, s.memory.load(where(s, ix), ix, size, cached=cached), strict=True):
            put(s, ix, value)

    return run, [(to, max(size // 4, 1))], _address_reads(operands[-1])


def store_global(operands: Operands, modifiers: list[str]) -> Made:
    """STG."""
    where, size, sources = address(operands[0]), _size(modifiers), _sources(operands[1], _size(modifiers))

    def run(s: Any, ix: Lanes) -> None:
        s.memory.store(where(s, ix), ix, size, [read(s, ix) for read in sources])

    return run, [], [*_address_reads(operands[0]), (operands[1], max(size // 4, 1))]


def load_shared(operands: Operands, modifiers: list[str]) -> Made:
    """LDS."""
    to, where, size = operands[0], address(operands[1]), _size(modifiers)
    targets = _targets(to, size)

    def run(s: Any, ix: Lanes) -> None:
        at = s.memory.shared_place(_of_all(where(s, ix), s, ix), ix, size)
        for put, value in zip(targets, _words(s.memory.shared, at, size), strict=True):
            put(s, ix, value)

    return run, [(to, max(size // 4, 1))], _address_reads(operands[1])


def store_shared(operands: Operands, modifiers: list[str]) -> Made:
    """STS."""
    where, size, sources = address(operands[0]), _size(modifiers), _sources(operands[1], _size(modifiers))

    def run(s: Any, ix: Lanes) -> None:
        at = s.memory.shared_place(_of_all(where(s, ix), s, ix), ix, size)
        _put(s.memory.shared, at, size, [read(s, ix) for read in sources])

    return run, [], [*_address_reads(operands[0]), (operands[1], max(size // 4, 1))]


def copy_to_shared(operands: Operands, modifiers: list[str]) -> Made:
    """LDGSTS: from global to shared memory past the registers; the timeline lets it arrive at the wait."""
    to, source, size = address(operands[0]), address(operands[1]), _size(modifiers)

    def run(s: Any, ix: Lanes) -> None:
        at = s.memory.shared_place(_of_all(to(s, ix), s, ix), ix, size)
        values = s.memory.load(source(s, ix), ix, size, cached=False)
        _put(s.memory.shared, at, size, values)

    return run, [], [*_address_reads(operands[0]), *_address_reads(operands[1])]


def count_in(operands: Operands, modifiers: list[str]) -> Made:
    """ATOMG.INC: 0 after the limit, lane after lane; the old value comes back."""
    if "INC" not in modifiers:
        raise NotModelledError(f"ATOMG.{'.'.join(modifiers)}")
    out, to, where, limit = operands[-4:] if len(operands) == 4 else ("PT", *operands)
    place, most, write, put = address(where), unsigned(limit), to_word(to), to_predicate(out)

    def run(s: Any, ix: Lanes) -> None:
        at, limits = place(s, ix), most(s, ix)
        s.memory.request = s.memory.atomic(at, ix)
        old = np.zeros(len(at), np.uint32)
        words = s.memory.bytes.view(np.uint32)
        for i, (one, top) in enumerate(zip(at >> 2, np.broadcast_to(limits, at.shape), strict=True)):
            old[i] = words[one]
            words[one] = 0 if old[i] >= top else old[i] + 1
        write(s, ix, old)
        put(s, ix, np.ones(len(at), bool))

    return run, ones(to), [*_address_reads(where), (limit, 1)]


def cache_control(operands: Operands, modifiers: list[str]) -> Made:
    """CCTL: fetch ahead to L2 (PF2), or forget what the multiprocessor's cache holds (IVALL)."""
    if modifiers == ["IVALL"]:
        return lambda s, ix: s.memory.forget(ix), [], []
    if "PF2" not in modifiers:
        raise NotModelledError(f"CCTL.{'.'.join(modifiers)}")
    where = address(operands[0])
    return lambda s, ix: s.memory.fetch_ahead(where(s, ix)), [], _address_reads(operands[0])


def _of_all(at: Any, s: Any, ix: Lanes) -> Array:
    """An address that is the same for all lanes, for each of them."""
    found = np.asarray(at)
    return found if found.ndim else np.full(len(np.arange(s.lanes)[ix]), found)


def _address_reads(text: str) -> list[tuple[str, int]]:
    inside = text[text.rindex("[") : text.rindex("]")]
    return [(inside, 1)] if names(inside) else []


MEMORY: dict[str, Callable[[Operands, list[str]], Made]] = {
    "LDG": load_global,
    "STG": store_global,
    "LDS": load_shared,
    "STS": store_shared,
    "LDGSTS": copy_to_shared,
    "ATOMG": count_in,
    "CCTL": cache_control,
}
