"""The machine: every thread of every block, in the order of the code, warps as converged as the hardware's.

Of the groups of threads that can run, the one at the lowest address runs; so blocks and warps that do the
same share one step. Branches split a group; convergence barriers (BSSY, BSYNC), WARPSYNC and BAR join it
where the machine code says, so a divergent warp counts its instructions as often as it issues them.
"""

from collections.abc import Sequence

import numpy as np

from edgeosr.kernels.counting.barriers import Barriers
from edgeosr.kernels.counting.clusters import waited_for
from edgeosr.kernels.counting.decode import NOTHING, Grid, controls, ready
from edgeosr.kernels.counting.listing import BYTES, Instruction, Listing
from edgeosr.kernels.counting.mail import Mail
from edgeosr.kernels.counting.memory import Memory
from edgeosr.kernels.counting.operands import (
    Array,
    Lanes,
    NotModelledError,
    predicate,
    word,
)
from edgeosr.kernels.counting.record import Record
from edgeosr.kernels.counting.sides import Sides, lane_bits
from edgeosr.kernels.counting.state import State
from edgeosr.kernels.counting.step import RESULT_WAITS, Step
from edgeosr.kernels.counting.timeline import Timeline, Wait

_AWAY = 1 << 30  # the place of a thread that waits or has ended
_MOST_STEPS = 3_000_000
_WHY = {"BSYNC": 1, "WARPSYNC": 2, "BAR": 3, "UCGABAR_WAIT": 4, "SYNCS": 5}


class Machine:
    """One launch of a kernel's machine code."""

    def __init__(
        self,
        listing: Listing,
        grid: Grid,
        memory: Memory,
        constants: dict[int, Array],
        phases: Sequence[int] | None = None,
    ):
        """Stand at the first instruction; ``phases``: of each instruction, None for one phase."""
        lanes = len(grid.blocks) * grid.threads
        self.listing, self.grid = listing, grid
        self.most_steps = _MOST_STEPS
        self.state = State(lanes, constants)
        self.state.memory = memory
        self.record = Record(phases or [0] * len(listing.instructions), len(grid.blocks), grid.threads // 32)
        self.timeline = Timeline(lanes // 32)
        self._place = np.zeros(lanes, np.int64)
        self._kept = np.zeros(lanes, np.int64)  # the place of a waiting thread
        self._waits = np.zeros(lanes, np.int8)  # 0, or why: see _WHY
        self._live = np.ones(lanes, bool)
        memory.cluster = grid.cluster
        self.state.mail = Mail(memory, self.timeline, self._live, grid.threads)
        self._barriers = Barriers(self._live, grid.threads)
        self._sides = Sides(lanes)
        self._joins = np.zeros((17, lanes), np.uint32)  # convergence barriers: masks, one a lane
        self._steps: dict[int, Step] = {}  # made when first reached: slow paths may hold what is not modelled
        self._guards = [predicate(one.guard) if one.guard else None for one in listing.instructions]

    def run(self) -> None:
        """Run to the end.

        Raises:
            NotModelledError: an instruction that the interpreter does not know, or a deadlock.
            MemoryFault: an access outside the arrays.
        """
        with np.errstate(all="ignore"):
            for _ in range(self.most_steps):
                first = int(self._place.min())
                if first >= _AWAY:
                    if not self._live.any():
                        self.state.mail.require_read()
                        return
                    if not self._release():
                        raise NotModelledError(f"every thread waits: {sorted(set(self._kept[self._live]))}")
                    continue
                self._run_from(first)
        raise NotModelledError(f"no end after {self.most_steps} steps")

    def _run_from(self, first: int) -> None:
        here = self._place == first
        lanes = np.flatnonzero(here)
        others = self._place[~here]
        end = min(int(others.min()) if len(others) else _AWAY, len(self.listing.instructions))
        whole = len(lanes) == lanes[-1] - lanes[0] + 1
        ix: Lanes = slice(int(lanes[0]), int(lanes[-1]) + 1) if whole else lanes
        warps = np.flatnonzero(np.bincount(lanes >> 5))
        times = self._sides.times(lanes, warps)
        phases = self.record.phases
        at = first
        while at < end:
            instruction = self.listing.instructions[at]
            if at > first and phases[at] != phases[at - 1]:
                self.record.mark(at - 1, warps, self.timeline)
            self.record.executed(at, warps, times)
            if controls(instruction):
                self.timeline.issue(warps, times, self._ready(at).reads)
                self.record.mark(at, warps, self.timeline)
                self._control(at, instruction, lanes)
                return
            depth = self.timeline.issue(warps, times, self._ready(at).reads)
            self._execute(at, instruction, lanes, ix, warps, depth)
            at += 1
        self.record.mark(at - 1, warps, self.timeline)
        self._place[lanes] = at

    def _execute(
        self, at: int, instruction: Instruction, lanes: Array, ix: Lanes, warps: Array, depth: Array
    ) -> None:
        one, guard, base = self._ready(at), self._guards[at], instruction.base
        if guard is not None:
            wanted = guard(self.state, lanes)
            if not wanted.all():
                lanes = lanes[wanted]
                if not len(lanes):
                    return
                ix = lanes
        if base in NOTHING:
            self._no_register(instruction, warps)
            return
        one.run(self.state, ix)
        if base in ("LDG", "STG", "LDS", "STS", "LDGSTS", "ATOMG", "STAS", "UBLKCP"):
            self._remembered(at, instruction, one, lanes, depth, warps)
        else:
            who = warps if guard is None else np.unique(lanes >> 5)
            kind = RESULT_WAITS.get(base, Wait.MATH)
            mine = depth if len(who) == len(warps) else depth[np.searchsorted(warps, who)]
            self.timeline.produce(who, one.writes, np.full(len(who), kind), 0, mine)

    def _remembered(
        self, at: int, instruction: Instruction, one: Step, lanes: Array, depth: Array, warps: Array
    ) -> None:
        request, base = self.state.memory.request, instruction.base
        who = request.warps
        mine = depth[np.searchsorted(warps, who)]
        if base in ("LDS", "STS"):
            self.record.shared(at, who, request.units)
            if base == "LDS":
                self.timeline.produce(
                    who, one.writes, np.full(len(who), Wait.SHARED), 2 * (request.units - 1), mine
                )
            return
        if base == "STAS":
            self.record.sent(at, who, request.units)
            return
        self.record.global_memory(at, who, request.units)
        distant = np.where(request.cold, int(Wait.COLD), int(Wait.FAR))
        if base == "LDG":
            waits = np.where(request.near, int(Wait.NEAR), distant)
            self.timeline.produce(who, one.writes, waits, 2 * (request.units - 1), mine + 1)
        elif base == "ATOMG":
            self.record.atomic(at, who)
            self.timeline.produce(who, one.writes, np.full(len(who), Wait.ATOMIC), 0, mine)
        elif base == "LDGSTS":
            self.timeline.copy(who, distant)

    def _no_register(self, instruction: Instruction, warps: Array) -> None:
        if instruction.base == "LDGDEPBAR":
            self.timeline.commit(warps)
        elif instruction.base == "DEPBAR" and instruction.operands:
            self.timeline.wait_for_copies(warps, int(instruction.operands[1], 0))
        elif instruction.base == "MEMBAR" and "CTA" not in instruction.opcode:
            self.timeline.pause(warps, Wait.FENCE)

    def _control(self, at: int, instruction: Instruction, lanes: Array) -> None:
        guard, base, operands = self._guards[at], instruction.base, instruction.operands
        taken = np.ones(len(lanes), bool) if guard is None else guard(self.state, lanes)
        if "ANY" in instruction.opcode:
            taken = np.isin(lanes >> 5, lanes[taken] >> 5)
        self._place[lanes[~taken]] = at + 1
        go = lanes[taken]
        if not len(go):
            return
        if base in ("BRA", "BRX", "BRXU", "RET", "CALL"):
            self._place[go] = self._next_places(at, instruction, go)
            self._sides.part(lanes, self._place[lanes])
        elif base == "EXIT":
            self._live[go] = False
            self._place[go] = _AWAY
            self._waits[go] = 0
            if self._waits.any():
                self._release()
        elif base == "BSSY":
            self._joins[_number(operands[0]), go] = lane_bits(go, self.state.lanes)[go >> 5]
            self._place[go] = at + 1
        elif base == "BREAK":
            mine = lane_bits(go, self.state.lanes)
            self._joins[_number(operands[0])] &= np.repeat(~mine, 32)
            self._place[go] = at + 1
        elif base == "BMOV":
            self._move_join(instruction, go)
            self._place[go] = at + 1
        else:
            self._waits[go] = _WHY[base]
            if base == "BAR":
                self._barriers.arrive(go, operands)
            if base == "WARPSYNC" and "COLLECTIVE" in instruction.opcode:
                raise NotModelledError(f"{instruction.opcode} at {at * BYTES:#x}: a warp came apart")
            self._kept[go] = at
            self._place[go] = _AWAY
            # Blocks wait for one another until no thread can do else: then they go on in one step.
            if base not in ("UCGABAR_WAIT", "SYNCS"):
                self._release_at(at, base, operands)

    def _next_places(self, at: int, instruction: Instruction, go: Array) -> Array | int:
        kinds, operands = instruction.opcode.split(".")[1:], instruction.operands
        if instruction.base in ("BRX", "BRXU", "RET"):
            return np.asarray(word(operands[0].split()[0])(self.state, go)).astype(np.int64) // BYTES
        target = self._target(operands[-1])
        if "DIV" in kinds or "CONV" in kinds:
            whole = lane_bits(go, self.state.lanes) == lane_bits(np.flatnonzero(self._live), self.state.lanes)
            apart = ~whole[go >> 5]
            jump = apart if "DIV" in kinds else ~apart
        elif len(operands) > 1:
            jump = predicate(operands[0])(self.state, go)
        else:
            return target
        return np.where(jump, target, at + 1)

    def _release(self) -> bool:
        """Try every place where threads wait; whether any went on."""
        before = int(self._waits.astype(bool).sum())
        for place in np.unique(self._kept[self._waits > 0]):
            one = self.listing.instructions[int(place)]
            self._release_at(int(place), one.base, one.operands)
        return int(self._waits.astype(bool).sum()) < before

    def _release_at(self, at: int, base: str, operands: tuple[str, ...]) -> None:
        waiting = np.flatnonzero((self._waits > 0) & (self._kept == at))
        if not len(waiting):
            return
        if base == "BAR":
            self._release_meetings()
            return
        if base in ("UCGABAR_WAIT", "SYNCS"):
            self._release_clusters(at, operands, waiting)
            return
        here, live = (
            lane_bits(waiting, self.state.lanes),
            lane_bits(np.flatnonzero(self._live), self.state.lanes),
        )
        needed = live[waiting >> 5]
        if base == "BSYNC":
            needed = needed & self._joins[_number(operands[0]), waiting]
        go = waiting[(needed & ~here[waiting >> 5]) == 0]
        self._sides.join(go, self._live)
        self._waits[go] = 0
        self._place[go] = at + 1

    def _release_meetings(self) -> None:
        for lanes in self._barriers.over():
            self.record.barrier(int(self._kept[lanes[0]]), int(lanes[0]) // self.grid.threads)
            self.timeline.meet(np.unique(lanes >> 5))
            self._sides.join(lanes, self._live)
            self._waits[lanes] = 0
            self._place[lanes] = self._kept[lanes] + 1

    def _release_clusters(self, at: int, operands: tuple[str, ...], waiting: Array) -> None:
        mail = self.state.mail
        if operands:
            keys, there = waited_for(operands)(self.state, waiting)
            go, keys = waiting[there], keys[there]
            warps, first = np.unique(go >> 5, return_index=True)
            if (keys != np.repeat(keys[first], np.diff(np.r_[first, len(go)]))).any():
                raise NotModelledError(f"a warp waits for several mailboxes at {at * BYTES:#x}")
            for block in mail.read(warps, keys[first], self._ready(at).writes):
                self.record.exchange(at, block)
            self._ready(at).run(self.state, go)
        else:
            go = waiting[mail.met(waiting)]
            for block in mail.go_on(go):
                self.record.barrier(at, block)
            self._sides.join(go, self._live)
        self._waits[go] = 0
        self._place[go] = at + 1

    def _move_join(self, instruction: Instruction, go: Array) -> None:
        """BMOV: between a convergence barrier and a register."""
        to, source = instruction.operands
        if to.startswith("B"):
            mask = word(source)(self.state, go) if not source.startswith("B") else None
            self._joins[_number(to), go] = self._joins[_number(source), go] if mask is None else mask
        else:
            self.state.general[int(to[1:])][go] = self._joins[_number(source), go]
        if "CLEAR" in instruction.opcode and source.startswith("B"):
            self._joins[_number(source), go] = 0

    def _target(self, text: str) -> int:
        name = text.strip("`").strip("()")
        return self.listing.labels[name]

    def _ready(self, at: int) -> Step:
        if at not in self._steps:
            self._steps[at] = ready(self.listing, at, self.grid)
        return self._steps[at]


def _number(text: str) -> int:
    return int(text.lstrip("B"))
