"""What the blocks of a cluster share: mailboxes in shared memory (mbarriers), and the cluster's own barrier.

A shared address holds the rank of its block in its upper 8 bits: rank << 24 | offset. A mailbox is open for a
number of arrivals and of bytes; when both have come, its phase is over. Words lie in transit until then, so
that code which does not wait reads not-a-numbers. What the hardware leaves to luck is a fault here: mail to a
block that may not have opened its mailbox yet, or that has ended or may end before the mail is there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgeosr.kernels.counting.memory import RANK_AT, Memory, MemoryFault
from edgeosr.kernels.counting.operands import Array, NotModelledError
from edgeosr.kernels.counting.sides import lane_bits
from edgeosr.kernels.counting.timeline import Meeting, Timeline, Wait

_MOST_ARRIVALS = 1 << 20  # an mbarrier counts up to it from minus the arrivals that it waits for
WORD = 4  # bytes of what is sent at once
_OFFSET = (1 << RANK_AT) - 1


@dataclass
class Mailbox:
    """One mailbox.

    Attributes:
        arrivals: of each phase.
        opened: cluster barriers that its thread had arrived at before it opened it.
        pending: arrivals still to come in this phase.
        owed: bytes still to come.
        phase: how many are over.
        waited: how many of them a thread has waited for.
        letters: places and words on their way.
        mail: whether any was sent.
        meeting: the chains that lead to the end of this phase; ``over``: of the one before.
    """

    arrivals: int
    opened: int
    pending: int
    owed: int = 0
    phase: int = 0
    waited: int = 0
    letters: list[tuple[Array, Array]] = field(default_factory=list)
    mail: bool = False
    meeting: Meeting = field(default_factory=Meeting)
    over: Meeting = field(default_factory=Meeting)


class Mail:
    """All mailboxes and cluster barriers of a launch; ``live``: threads that have not ended."""

    def __init__(self, memory: Memory, timeline: Timeline, live: Array, threads: int):
        """Nothing is open."""
        self._memory, self._timeline, self._live, self._threads = memory, timeline, live, threads
        self._open: dict[int, Mailbox] = {}  # by block << 24 | offset
        self._lanes_of_cluster = threads * memory.cluster
        self._arrived = np.zeros(len(live), np.int64)  # cluster barriers of each thread
        self._passed = np.zeros(len(live), np.int64)
        self._meetings: dict[tuple[int, int], Meeting] = {}  # of each cluster's n-th barrier

    def open(self, lanes: Array, addresses: Array, values: Array) -> None:
        """Open a mailbox of each warp's own block: lanes of a warp at one address do it once.

        Raises:
            NotModelledError: a value is none that an mbarrier starts with.
        """
        keys = self._own(addresses, lanes)
        _, first = np.unique(np.stack([lanes >> 5, keys]), axis=1, return_index=True)
        for lane, key, value in zip(lanes[first], keys[first], values[first], strict=True):
            if int(key) in self._open:
                raise MemoryFault(f"the mailbox at {int(key) & _OFFSET:#x} is opened twice")
            many = _arrivals(int(value))
            if not many:
                raise NotModelledError(f"a mailbox that starts as {int(value):#x}")
            self._open[int(key)] = Mailbox(many, int(self._arrived[lane]), many)

    def expect(self, lanes: Array, addresses: Array, sizes: Array) -> None:
        """Arrive at a mailbox of the own block, for which so many bytes more will come.

        One that a plain store has made is opened by it.
        """
        for lane, key, size in zip(lanes, self._own(addresses, lanes), sizes, strict=True):
            if int(key) not in self._open:
                place = self._memory.place_in(key >> RANK_AT, key & _OFFSET, 8)
                if many := _arrivals(int(self._memory.shared.view(np.uint64)[place >> 3])):
                    self._open[int(key)] = Mailbox(many, int(self._arrived[lane]), many)
            box = self._box(int(key))
            box.owed += int(size)
            box.pending -= 1
            self._timeline.bring(box.meeting, np.array([lane >> 5]))
            self._close(box)

    def send(self, lanes: Array, addresses: Array, mailboxes: Array, words: Array) -> None:
        """Send a word of each lane to the block of its address, counted by a mailbox there."""
        blocks = self._blocks(addresses, lanes)
        if (blocks != self._blocks(mailboxes, lanes)).any():
            raise MemoryFault("a word and the mailbox that counts it must be of one block")
        places = self._memory.place_in(blocks, addresses & _OFFSET, WORD)
        keys = blocks << RANK_AT | mailboxes & _OFFSET
        for key in np.unique(keys):
            mine = keys == key
            box, block = self._box(int(key)), int(key) >> RANK_AT
            if not self._live[block * self._threads : (block + 1) * self._threads].any():
                raise MemoryFault(f"mail to block {block} of those that run, which has ended")
            foreign = lanes[mine] // self._threads != block
            if (self._passed[lanes[mine]][foreign] <= box.opened).any():
                raise MemoryFault(f"mail to {int(key) & _OFFSET:#x} before the cluster has met: not yet open")
            box.letters.append((places[mine], words[mine]))
            box.owed -= WORD * int(mine.sum())
            box.mail = True
            if box.owed < 0:
                raise MemoryFault(
                    f"the mailbox at {int(key) & _OFFSET:#x} got more bytes than it is open for"
                )
            self._timeline.bring(box.meeting, np.unique(lanes[mine] >> 5), Wait.MAIL)
            self._close(box)

    def copy(self, lane: int, address: int, mailbox: int, words: Array) -> None:
        """Copy words to the lane's own block, counted by a mailbox that it opened or may know to be open.

        In a chain a copy takes as long as a load: its bytes' time is the floor by bytes'.
        """
        here = np.array([lane])
        (block,), (key,) = self._blocks(np.array([address]), here), self._own(np.array([mailbox]), here)
        if block != lane // self._threads:
            raise MemoryFault("a copy to another block of the cluster")
        first = int(self._memory.place_in(block, np.array([address & _OFFSET]), 16)[0])
        last = self._memory.place_in(block, np.array([(address & _OFFSET) + WORD * len(words) - 16]), 16)
        box = self._box(int(key))
        box.letters.append((np.arange(first, int(last[0]) + 16, WORD), words))
        box.owed -= WORD * len(words)
        box.mail = True
        if box.owed < 0:
            raise MemoryFault(f"the mailbox at {key & _OFFSET:#x} got more bytes than it is open for")
        wait = Wait.COLD if self._memory.request.cold.any() else Wait.FAR
        self._timeline.bring(box.meeting, here >> 5, wait)
        self._close(box)

    def there(self, lanes: Array, addresses: Array, parities: Array) -> Array:
        """Return whether the phase of that parity is over, of a mailbox of each lane's block."""
        keys = self._own(addresses, lanes)
        found: Array = np.array([self._box(int(key)).phase & 1 for key in keys]) != parities
        return found

    def read(self, warps: Array, keys: Array, writes: tuple[int, ...]) -> list[int]:
        """Let warps go on from their wait; return the blocks of which these are the first.

        Args:
            warps: numbers, ascending; every one has ``keys``' mailbox, see ``key_of``.
            keys: of each warp's mailbox.
            writes: registers of the answer.
        """
        first = []
        for warp, key in zip(warps, keys, strict=True):
            box = self._box(int(key))
            if box.waited < box.phase:
                box.waited = box.phase
                first.append(int(key) >> RANK_AT)
            self._timeline.answer(box.over, np.array([warp]), writes)
        return first

    def key_of(self, lanes: Array, addresses: Array) -> Array:
        """Return the keys of the mailboxes of each lane's own block at these addresses."""
        return self._own(addresses, lanes)

    def require_read(self) -> None:
        """Refuse a launch in which mail came that no thread of its block waited for.

        Raises:
            MemoryFault: the block may end before the mail is there.
        """
        for key, box in self._open.items():
            if box.mail and (box.letters or box.waited < box.phase):
                raise MemoryFault(
                    f"nobody waited for the mailbox at {key & _OFFSET:#x} of block {key >> RANK_AT}, "
                    "and mail was sent there"
                )

    def arrive(self, lanes: Array) -> None:
        """Arrive at the cluster's barrier, by whole warps.

        Raises:
            NotModelledError: a warp has come apart; what the hardware makes of that is not known.
            MemoryFault: a thread has not waited since it arrived last.
        """
        total = len(self._live)
        live, here = lane_bits(np.flatnonzero(self._live), total), lane_bits(lanes, total)
        if (live != here)[lanes >> 5].any():
            raise NotModelledError("a part of a warp arrives at the cluster's barrier")
        if (self._arrived[lanes] > self._passed[lanes]).any():
            raise MemoryFault("a thread arrives twice at the cluster's barrier and has not waited for it")
        for barrier, mine in self._by_barrier(lanes, self._arrived):
            meeting = self._meetings.setdefault(barrier, Meeting())
            self._timeline.bring(meeting, np.unique(mine >> 5), Wait.CLUSTER)
        self._arrived[lanes] += 1

    def met(self, lanes: Array) -> Array:
        """Return whether all threads of each lane's cluster have arrived at the barrier it waits for."""
        count = np.where(self._live, self._arrived, np.iinfo(np.int64).max)
        least = count.reshape(-1, self._lanes_of_cluster).min(axis=1)
        found: Array = least[lanes // self._lanes_of_cluster] > self._passed[lanes]
        return found

    def go_on(self, lanes: Array) -> list[int]:
        """Let lanes go on from the cluster's barrier; return the blocks of which these are the first."""
        first: set[int] = set()
        highest = self._passed.reshape(-1, self._threads).max(axis=1)
        for barrier, mine in self._by_barrier(lanes, self._passed):
            self._timeline.take(self._meetings[barrier], np.unique(mine >> 5))
            blocks = np.unique(mine // self._threads)
            first.update(int(block) for block in blocks[highest[blocks] == barrier[1]])
        self._passed[lanes] += 1
        return sorted(first)

    def _by_barrier(self, lanes: Array, counts: Array) -> Iterator[tuple[tuple[int, int], Array]]:
        """Yield (cluster, number of its barrier) with the lanes of which this is the next to count."""
        clusters, numbers = lanes // self._lanes_of_cluster, counts[lanes]
        for cluster, number in sorted(set(zip(clusters.tolist(), numbers.tolist(), strict=True))):
            yield (cluster, number), lanes[(clusters == cluster) & (numbers == number)]

    def _blocks(self, addresses: Array, lanes: Array) -> Array:
        rank = addresses >> RANK_AT
        if (rank < 0).any() or (rank >= self._memory.cluster).any():
            raise MemoryFault(
                f"shared memory of rank {int(rank.max())} in a cluster of {self._memory.cluster} blocks"
            )
        own = lanes // self._threads
        found: Array = own - own % self._memory.cluster + rank
        return found

    def _own(self, addresses: Array, lanes: Array) -> Array:
        if (self._blocks(addresses, lanes) != lanes // self._threads).any():
            raise MemoryFault("a mailbox of another block can be sent to, and neither opened nor waited for")
        found: Array = lanes // self._threads << RANK_AT | addresses & _OFFSET
        return found

    def _box(self, key: int) -> Mailbox:
        if key not in self._open:
            raise MemoryFault(f"the mailbox at {key & _OFFSET:#x} of block {key >> RANK_AT} is not open")
        return self._open[key]

    def _close(self, box: Mailbox) -> None:
        """End the phase if all has come."""
        if box.pending or box.owed:
            return
        for places, words in box.letters:
            self._memory.shared.view(np.uint32)[places >> 2] = words
        box.letters.clear()
        box.over, box.meeting = box.meeting, Meeting()
        box.phase, box.pending = box.phase + 1, box.arrivals


def _arrivals(value: int) -> int:
    """Return the arrivals that a new mbarrier waits for: two fields hold minus them. 0: it is none."""
    many = _MOST_ARRIVALS - (value >> 1 & _MOST_ARRIVALS - 1)
    return many if value == (_MOST_ARRIVALS - many) * ((1 << 43) + 2) else 0
