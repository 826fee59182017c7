"""Chains of waits, on tiny kernels whose chains are known."""

import numpy as np
from tiny_kernel import ran, waits_of

LOAD_ADDRESS = """
    LDC.64 R2, c[0x0][0x0]
"""


def chase(loads: int) -> np.ndarray:
    """Words that each hold the address of the next one, 64 bytes on; the first array starts at 0x10000."""
    data = np.zeros(1024, np.uint32)
    for i in range(loads):
        data[16 * i] = 0x10000 + 64 * (i + 1)
    return data


def test_loads_of_which_each_needs_the_one_before_are_a_chain_of_their_number() -> None:
    lines = LOAD_ADDRESS + "LDG.E R2, desc[UR4][R2.64]\nMOV R3, RZ\n" * 5 + "IADD3 R4, R2, 0x1, RZ\nEXIT\n"
    machine = ran(lines, chase(5))
    found = waits_of(machine)
    assert found["far" if "far" in found else "cold"] + found.get("near", 0) == 5
    assert machine.record.depths[0].max() == 5


def test_loads_that_start_together_are_one_wait() -> None:
    loads = "".join(f"LDG.E R{10 + i}, desc[UR4][R2.64+{64 * i:#x}]\n" for i in range(5))
    machine = ran(LOAD_ADDRESS + loads + "IADD3 R4, R10, R14, R12\nEXIT\n")
    found = waits_of(machine)
    assert found["cold"] == 1 and "far" not in found
    assert machine.record.depths[0].max() == 1


def test_a_loop_that_uses_each_load_before_the_next_waits_each_time_though_no_address_depends() -> None:
    lines = (
        LOAD_ADDRESS
        + """
        MOV R5, RZ
        MOV R6, RZ
        .L_x_1:
        LDG.E.STRONG.GPU R4, desc[UR4][R2.64]
        IADD3 R2, P0, R2, 0x40, RZ
        IADD3.X R3, R3, RZ, RZ, P0, !PT
        IADD3 R6, R6, R4, RZ
        IADD3 R5, R5, 0x1, RZ
        ISETP.LT.AND P1, PT, R5, 0x7, PT
        @P1 BRA `(.L_x_1)
        EXIT
        """
    )
    machine = ran(lines)
    assert waits_of(machine)["cold"] == 7
    assert machine.record.depths[0].max() == 1


def test_a_word_read_again_is_near_and_one_fetched_ahead_is_not_cold() -> None:
    lines = """
        LDC.64 R2, c[0x0][0x0]
        CCTL.E.PF2 [R2.64+0x200]
        LDG.E.CONSTANT R4, desc[UR4][R2.64]
        IADD3 R4, R4, 0x1, RZ
        LDG.E.CONSTANT R5, desc[UR4][R2.64]
        IADD3 R5, R5, 0x1, RZ
        LDG.E.CONSTANT R6, desc[UR4][R2.64+0x200]
        IADD3 R6, R6, 0x1, RZ
        CCTL.IVALL
        LDG.E.CONSTANT R7, desc[UR4][R2.64]
        IADD3 R7, R7, 0x1, RZ
        EXIT
    """
    found = waits_of(ran(lines))
    assert (found["cold"], found["near"], found["far"]) == (1, 1, 2)


def test_a_barrier_hands_the_latest_warps_chain_to_all() -> None:
    lines = """
        LDC.64 R2, c[0x0][0x0]
        S2R R0, SR_TID.X
        ISETP.GE.AND P0, PT, R0, 0x20, PT
        @P0 BRA `(.L_x_1)
        LDG.E R4, desc[UR4][R2.64]
        IADD3 R4, R4, 0x1, RZ
        LDG.E R4, desc[UR4][R2.64+0x40]
        IADD3 R4, R4, 0x1, RZ
        .L_x_1:
        BAR.SYNC.DEFER_BLOCKING 0x0
        EXIT
    """
    machine = ran(lines, threads=64)
    paths = machine.record.paths[0]
    assert (paths[0] == paths[1]).all()
    assert waits_of(machine)["barrier"] == 1
    assert waits_of(machine)["cold"] == 2
    assert machine.record.barriers.sum() == 1


def test_an_asynchronous_copy_is_waited_for_where_the_code_waits() -> None:
    lines = """
        LDC.64 R2, c[0x0][0x0]
        LDC R4, c[0x0][0x10]
        LDGSTS.E.BYPASS.128 [R4], desc[UR4][R2.64]
        LDGDEPBAR
        LDGSTS.E.BYPASS.128 [R4+0x40], desc[UR4][R2.64+0x100]
        LDGDEPBAR
        {wait}
        LDS R5, [R4]
        IADD3 R5, R5, 0x1, RZ
        EXIT
    """
    waited = waits_of(ran(lines.format(wait="DEPBAR.LE SB0, 0x0")))
    assert (waited["cold"], waited["shared"]) == (1, 1)
    assert "cold" not in waits_of(ran(lines.format(wait="NOP")))


def test_sectors_and_wavefronts_are_those_of_the_addresses() -> None:
    lines = """
        LDC.64 R2, c[0x0][0x0]
        LDC R8, c[0x0][0x10]
        S2R R0, SR_TID.X
        IMAD.WIDE R4, R0, {apart}, R2
        IMAD R9, R0, {apart}, R8
        LDG.E R6, desc[UR4][R4.64]
        STS [R9], R6
        LDS R7, [R9]
        EXIT
    """
    for apart, sectors, wavefronts in ((4, 4, 1), (8, 8, 2), (128, 32, 32)):
        record = ran(lines.format(apart=f"{apart:#x}"), np.zeros(1024, np.uint32), shared_bytes=4096).record
        assert record.sectors.sum() == sectors
        assert record.wavefronts.sum() == 2 * wavefronts  # stored, then loaded
