"""Barriers of groups of warps in the counter: who waits for whom, what is counted, what is refused."""

import numpy as np
import pytest
from tiny_kernel import out_of, ran

from edgeosr.kernels.counting.operands import NotModelledError
from edgeosr.kernels.counting.timeline import Wait

# Four warps: P0 in the last two. R9 is stored by each thread at the end.
START = """
    S2R R0, SR_TID.X
    ISETP.GE.AND P0, PT, R0, 0x40, PT
    LDC.64 R2, c[0x0][0x0]
    LDC.64 R50, c[0x0][0x8]
    IMAD.WIDE R50, R0, 0x4, R50
    SHF.L.U32 R8, R0, 0x2, RZ
    MOV R9, RZ
    @P0 BRA `(.L_x_1)
"""
STORE = "STG.E desc[UR4][R50.64], R9\nEXIT\n"
# A group hands a word from warp to warp through shared memory, over its barrier.
HAND = """
    STS [R8], R0
    BAR.SYNC.DEFER_BLOCKING {number}, 0x40
    LOP3.LUT R7, R8, 0x80, RZ, 0x3c, !PT
    LDS R9, [R7]
"""
SHAPE = {"threads": 128, "shared_bytes": 512}


def test_two_groups_meet_each_at_its_own_barrier() -> None:
    lines = START + HAND.format(number="0x1") + STORE + ".L_x_1:\n" + HAND.format(number="0x2") + STORE
    machine = ran(lines, blocks=2, **SHAPE)
    np.testing.assert_array_equal(out_of(machine)[:128], np.arange(128) ^ 32)
    assert machine.record.barriers.sum(axis=0).tolist() == [2, 2], "one a group, in each block"


def test_a_group_does_not_wait_for_the_others_loads_and_all_do_at_the_block_s_barrier() -> None:
    loads = "LDG.E R3, desc[UR4][R2.64]\nIADD3 R9, R3, 0x1, RZ\n"
    groups = START + "BAR.SYNC.DEFER_BLOCKING 0x1, 0x40\nBRA `(.L_x_2)\n.L_x_1:\n" + loads
    groups += "BAR.SYNC.DEFER_BLOCKING 0x2, 0x40\n.L_x_2:\n"
    apart = ran(groups + "EXIT\n", **SHAPE).record
    np.testing.assert_array_equal(apart.paths[0, :, Wait.COLD], [0, 0, 1, 1])
    np.testing.assert_array_equal(apart.paths[0, :, Wait.BARRIER], [1, 1, 1, 1])
    assert (apart.ends[0, 2:] > apart.ends[0, :2].max() + 200).all()
    together = ran(groups + "BAR.SYNC.DEFER_BLOCKING 0x0\nEXIT\n", **SHAPE).record
    np.testing.assert_array_equal(together.paths[0, :, Wait.COLD], [1, 1, 1, 1])
    np.testing.assert_array_equal(together.paths[0, :, Wait.BARRIER], [2, 2, 2, 2])


def test_warps_meet_at_one_number_from_two_places_and_again() -> None:
    """As the warp that has a logit and the one that waits for it do; once more, the barrier is new."""
    here, there = "BAR.SYNC.DEFER_BLOCKING 0x3, 0x80\n", "NOP\nBAR.SYNC.DEFER_BLOCKING 0x3, 0x80\n"
    lines = START + here + here + "EXIT\n.L_x_1:\n" + there + there + "EXIT\n"
    machine = ran(lines, **SHAPE)
    assert machine.record.barriers.sum() == 2


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("0x1, 0x60", "0x1, 0x40", "barrier 1 of 64 threads, for which 96 wait"),
        ("0x1, 0x60", "0x1, 0x60", "barrier 1 of 96 threads, at which 128 are"),
        ("0x1, 0x80", "0x2, 0x80", "every thread waits"),
        ("0x1, 0x60", "0x0", "every thread waits"),
    ],
)
def test_groups_that_do_not_come_to_their_number_are_refused(one: str, other: str, words: str) -> None:
    meet = "BAR.SYNC.DEFER_BLOCKING {}\nEXIT\n"
    lines = START + meet.format(one) + ".L_x_1:\n" + meet.format(other)
    with pytest.raises(NotModelledError, match=words):
        ran(lines, **SHAPE)
