"""Instructions that are easy to get wrong: each against what it must give."""

import numpy as np
import pytest
from tiny_kernel import machine_of, out_of, ran

from edgeosr.kernels.counting.bits import BITS
from edgeosr.kernels.counting.clusters import CLUSTERS
from edgeosr.kernels.counting.compiled import PARAMETERS_AT
from edgeosr.kernels.counting.decode import CONTROL, NOTHING, Grid
from edgeosr.kernels.counting.floating import FLOATING
from edgeosr.kernels.counting.integer import INTEGER
from edgeosr.kernels.counting.lanes import LANES
from edgeosr.kernels.counting.memory import MEMORY, MemoryFault
from edgeosr.kernels.counting.modifiers import KNOWN, SYSTEM
from edgeosr.kernels.counting.operands import NotModelledError

STORE = """
    LDC.64 R50, c[0x0][0x8]
    S2R R0, SR_TID.X
    IMAD.WIDE R50, R0, 0x4, R50
    STG.E desc[UR4][R50.64], R9
    EXIT
"""


def result(lines: str) -> np.ndarray:
    """R9 of 32 lanes, where R0 is the lane."""
    return out_of(ran("S2R R0, SR_TID.X\n" + lines + STORE))[:32]


LANE = np.arange(32, dtype=np.int64)
CONSTANTS = np.where(LANE & 1, 0x400, 0x10000)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("IADD3 R9, R0, -0x1, RZ", LANE - 1),
        ("IMAD R9, R0, -0x3, R0", LANE * -2),
        ("IMAD.HI.U32 R9, R0, 0x80000000, RZ", LANE >> 1),
        ("LEA.HI R9, R0, 0x7, RZ, 0x1f", (LANE >> 1) + 7),
        ("LOP3.LUT R9, R0, 0x5, RZ, 0x3c, !PT", LANE ^ 5),
        ("SHF.R.S32.HI R9, RZ, 0x1f, R0", LANE * 0),
        ("SHF.L.U32 R9, R0, 0x20, RZ", LANE * 0),
        ("SHF.R.W.U32.HI R9, RZ, 0x21, R0", LANE >> 1),
        ("SHF.L.W.U32 R9, R0, 0x22, RZ", LANE << 2),
        ("MOV R4, 0x3ffff\nI2F.S16 R8, R4\nMOV R9, R8", LANE * 0 + 0xBF800000),  # -1
        ("MOV R4, 0x1ffff\nI2F.U16 R8, R4\nMOV R9, R8", LANE * 0 + 0x477FFF00),  # 65535
        ("POPC R9, R0", [bin(i).count("1") for i in LANE]),
        # The highest bit's number, from the low end; all ones for 0: what 31 - FLO makes of it is 32 zeros.
        ("FLO.U32 R9, R0", [int(i).bit_length() - 1 for i in LANE]),
        ("IMAD R8, R0, 0x8000001, RZ\nFLO.U32 R9, R8", [int(i * 0x8000001).bit_length() - 1 for i in LANE]),
        # 64 bits of a constant by address: two words, the high one 0 here.
        (
            "LOP3.LUT R8, R0, 0x1, RZ, 0xc0, !PT\nSHF.L.U32 R8, R8, 0x3, RZ\n"
            "LDC.64 R8, c[0x0][R8+0x8]\nIADD3 R9, R8, R9, RZ",
            np.where(LANE & 1, 0x400, 0x11100),
        ),
        # A negative offset beside the register: bank 0 holds 0x10000 at 0, 0x400 at 16.
        ("LOP3.LUT R8, R0, 0x1, RZ, 0xc0, !PT\nLEA R8, R8, 0x64, 0x4\nLDC R9, c[0x0][R8+-0x64]", CONSTANTS),
        (
            "LOP3.LUT R8, R0, 0x1, RZ, 0xc0, !PT\nLEA R8, R8, 0x64, 0x4\nLDC.64 R8, c[0x0][R8+-0x64]\n"
            "IADD3 R9, R8, R9, RZ",
            CONSTANTS,
        ),
        # Four words at once: the third one is that at 8.
        ("LDCU.128 UR4, c[0x0][0x0]\nULDC UR8, c[0x0][0x8]\nIADD3 R9, UR6, -UR8, R0", LANE),
        (
            "MOV R9, RZ\nR2P PR, R0, 0x6\n@P1 IADD3 R9, R9, 0x1, RZ\n@P2 IADD3 R9, R9, 0x2, RZ",
            LANE >> 1 & 3,
        ),
        (
            "I2FP.F32.S32 R8, R0\nFSET.BF.GT.AND R9, R8, RZ, PT",
            (LANE > 0).astype(np.float32).view(np.uint32),
        ),
        (
            "I2FP.F32.S32 R8, R0\nF2F.F16.F32 R9, R8",
            LANE.astype(np.float16).view(np.uint16),
        ),
        ("PRMT R9, R0, 0x1000, RZ", LANE << 0 | LANE << 8 | LANE << 16),
        ("VIMNMX R9, R0, 0x7, PT", np.minimum(LANE, 7)),
        # The sum wraps to 32 bits before it is compared: a jump table took the wrong row otherwise.
        ("VIADDMNMX.U32 R9, R0, -0x7, 0x2, PT", np.where(LANE >= 7, np.minimum(LANE - 7, 2), 2)),
        ("VIADDMNMX R9, R0, -0x7, 0x2, PT", np.minimum(LANE - 7, 2)),
        # The lowest lane's value for the whole warp, lanes that the guard leaves out too; P1: who differs.
        (
            "ISETP.GE.AND P0, PT, R0, 0x5, PT\nPLOP3.LUT P1, PT, PT, PT, PT, 0x8, 0x0\n"
            "@P0 R2UR P1, UR6, R0\nSEL R8, RZ, 0x100, !P1\nIADD3 R9, R8, UR6, RZ",
            5 + 256 * (LANE > 5),
        ),
        (
            "ISETP.GE.AND P1, PT, R0, 0x1, PT\nVOTEU.ALL UP0, P1\nUSEL UR6, URZ, 0x7, UP0\nMOV R9, UR6",
            LANE * 0 + 7,
        ),
        (
            "MOV R9, RZ\nISETP.GE.AND P1, PT, R0, 0x1, PT\n@!P1 BRA `(.L_x_1)\nVOTEU.ALL UP0, P1\n"
            "USEL UR6, URZ, 0x7, UP0\nMOV R9, UR6\n.L_x_1:",
            LANE * 0,
        ),
        # Who branches if any lane does: all.
        (
            "MOV R9, RZ\nISETP.EQ.AND P0, PT, R0, 0x9, PT\n@P0 BRA.U.ANY `(.L_x_1)\nMOV R9, 0x1\n.L_x_1:",
            LANE * 0,
        ),
        # As unsigned numbers, to all lanes of the warp.
        ("IADD3 R8, R0, -0x9, RZ\nREDUX.MAX UR6, R8\nMOV R9, UR6", LANE * 0 - 1),
        ("LOP3.LUT R8, R0, 0x5, RZ, 0x3c, !PT\nREDUX.MAX UR6, R8\nIADD3 R9, R0, UR6, RZ", LANE + 31),
        ("SHFL.BFLY PT, R9, R0, 0x10, 0x1f", LANE ^ 16),
        ("ISETP.GE.AND P1, PT, R0, 0x9, PT\nVOTE.ANY R9, PT, P1", LANE * 0 + 0xFFFFFE00),
        ("I2FP.F32.S32 R8, R0\nF2FP.F16.F32.PACK_AB R9, RZ, R8", LANE.astype(np.float16).view(np.uint16)),
    ],
)
def test_an_instruction_gives(lines: str, expected: object) -> None:
    want = np.asarray(expected, np.int64) & 0xFFFFFFFF
    np.testing.assert_array_equal(result(lines), want)


def test_prmt_copies_bytes_in_the_selectors_order() -> None:
    assert result("MOV R8, 0x44332211\nPRMT R9, R8, 0x0123, RZ")[0] == 0x11223344
    assert result("MOV R8, 0x44332281\nPRMT R9, R8, 0x8880, RZ")[0] == 0xFFFFFF81


def test_prmt_takes_its_selector_from_a_register() -> None:
    lines = "MOV R8, 0x44332211\nIMAD R7, R0, 0x1111, RZ\nPRMT R9, R8, R7, RZ"
    np.testing.assert_array_equal(result(lines)[:4], [0x11111111, 0x22222222, 0x33333333, 0x44444444])


# 1, -2 | 3, NaN | -0, 0.5: the low half, then the high one.
ONE_MINUS_TWO, THREE_NAN, NOTHING_HALF = 0xC0003C00, 0x7E004200, 0x38008000


@pytest.mark.parametrize(
    ("lines", "low", "high"),
    [
        (f"MOV R8, {ONE_MINUS_TWO:#x}\nHSET2.BF.GT.AND R9, R8, RZ.H0_H0, PT", 1.0, 0.0),
        (f"MOV R8, {THREE_NAN:#x}\nHSET2.BF.GE.AND R9, R8, RZ.H0_H0, PT", 1.0, 0.0),
        (f"MOV R8, {NOTHING_HALF:#x}\nHSET2.BF.GT.AND R9, R8, RZ.H0_H0, PT", 0.0, 1.0),
        (f"MOV R8, {ONE_MINUS_TWO:#x}\nHSET2.BF.GT.AND R9, R8, R8.H1_H1, PT", 1.0, 0.0),
        (f"MOV R8, {ONE_MINUS_TWO:#x}\nMOV R7, {THREE_NAN:#x}\nHMUL2 R9, R8, R7", 3.0, np.nan),
        (f"MOV R8, {ONE_MINUS_TWO:#x}\nHFMA2 R9, R8, 512, 512, R8", 513.0, -1026.0),
        # Immediate factors are printed the high half's first.
        (f"MOV R8, {ONE_MINUS_TWO:#x}\nHFMA2 R9, R8, 2, -1, R8", 0.0, -6.0),
        (f"MOV R8, {ONE_MINUS_TWO:#x}\nHFMA2 R9, R8, R8, -R8", 0.0, 6.0),
    ],
)
def test_two_halves_a_register_are_worked_on_each_for_itself(lines: str, low: float, high: float) -> None:
    halves = result(lines)[:1].view(np.float16)
    np.testing.assert_array_equal(halves, np.array([low, high], np.float16))


def test_a_comparison_of_two_halves_sets_a_predicate_for_each() -> None:
    lines = (
        f"MOV R8, {ONE_MINUS_TWO:#x}\nHSETP2.GT.AND P1, P2, R8, RZ.H0_H0, PT\n"
        "MOV R9, RZ\n@P1 IADD3 R9, R9, 0x1, RZ\n@P2 IADD3 R9, R9, 0x2, RZ"
    )
    assert result(lines)[0] == 1
    assert result(lines.replace(f"{ONE_MINUS_TWO:#x}", f"{NOTHING_HALF:#x}"))[0] == 2


@pytest.mark.parametrize(
    "line",
    [
        "HSET2.BF.GT.AND R9, R8, RZ.H0_H0, P1",
        "HSETP2.GT.AND P1, P2, R8, RZ.H0_H0, P3",
        "HMUL2 R9, |R8|, R8",
        "HSET2.BM.GT.AND R9, R8, RZ.H0_H0, PT",
    ],
)
def test_a_form_of_two_halves_that_is_not_modelled_is_refused(line: str) -> None:
    with pytest.raises(NotModelledError):
        result(f"MOV R8, RZ\n{line}")


def test_a_64_bit_sum_carries_from_the_low_word_to_the_high_one() -> None:
    lines = "MOV R4, 0xffffffff\nIADD3 R5, P0, R4, R0, RZ\nIADD3.X R9, RZ, RZ, RZ, P0, !PT"
    np.testing.assert_array_equal(result(lines), (LANE > 0).astype(np.uint32))
    minus = "MOV R4, 0x5\nIADD3 R5, P0, R4, -R0, RZ\nIADD3.X R9, RZ, -0x1, RZ, P0, !PT"  # 5 - lane, high word
    np.testing.assert_array_equal(result(minus), np.where(LANE <= 5, 0, 0xFFFFFFFF))


@pytest.mark.parametrize(
    ("relation", "holds"), [("GE", LANE >= 5), ("GT", LANE > 5), ("LT", LANE < 5), ("EQ", LANE == 5)]
)
def test_a_64_bit_comparison_takes_the_low_words_where_the_high_ones_are_equal(
    relation: str, holds: np.ndarray
) -> None:
    lines = (
        f"ISETP.{relation}.U32.AND P0, PT, R0, 0x5, PT\n"
        f"ISETP.{relation}.AND.EX P1, PT, {{high}}, 0x3, PT, P0\nSEL R9, RZ, 0x1, !P1"
    )
    np.testing.assert_array_equal(result("MOV R4, 0x3\n" + lines.format(high="R4")), holds)
    above = 1 if relation in ("GE", "GT") else 0
    np.testing.assert_array_equal(result("MOV R4, 0x4\n" + lines.format(high="R4")), LANE * 0 + above)


def test_a_multiply_add_rounds_once() -> None:
    # (1 + 2^-12)^2 - (1 + 2^-11) = 2^-24 exactly; two roundings give 0.
    lines = "MOV R4, 0x3f800800\nMOV R5, 0x3f801000\nFFMA R9, R4, R4, -R5"
    assert result(lines).view(np.float32)[0] == np.float32(2.0**-24)
    # 1 + 2^-23 + 2^-24 - 2^-70 is just below a tie; as a float64 it is the tie, which goes up.
    lines = "MOV R4, 0x39800001\nMOV R5, 0x397ffffe\nMOV R6, 0x3f800001\nFFMA R9, R4, R5, R6"
    assert result(lines)[0] == 0x3F800001


def test_rounding_goes_where_the_instruction_says() -> None:
    tiny = "MOV R4, 0x3f800000\nMOV R5, 0x30800000\nFFMA{mode} R9, R5, R4, R4"  # 1 + 2^-30
    for mode, expected in (("", 1.0), (".RM", 1.0), (".RZ", 1.0), (".RP", np.nextafter(np.float32(1), 2))):
        assert result(tiny.format(mode=mode)).view(np.float32)[0] == np.float32(expected)


def test_a_comparison_with_u_holds_for_not_a_numbers() -> None:
    for relation, expected in (("NEU", 1), ("NE", 0), ("GTU", 1), ("GT", 0)):
        lines = f"FSETP.{relation}.AND P1, PT, +QNAN, RZ, PT\nSEL R9, RZ, 0x1, !P1"
        assert result(lines)[0] == expected


def test_a_divergent_branch_issues_both_sides_and_joins_where_the_code_says() -> None:
    machine = ran(
        """
        S2R R0, SR_TID.X
        ISETP.GE.AND P0, PT, R0, 0x8, PT
        BSSY B0, `(.L_x_2)
        @P0 BRA `(.L_x_1)
        MOV R9, 0x1
        BRA `(.L_x_2)
        .L_x_1:
        MOV R9, 0x2
        .L_x_2:
        BSYNC B0
        IADD3 R9, R9, 0x10, RZ
        """
        + STORE
    )
    np.testing.assert_array_equal(out_of(machine)[:32], np.where(LANE < 8, 0x11, 0x12))
    issued = machine.record.issued[:, 0]
    names = [one.opcode for one in machine.listing.instructions]
    assert issued[names.index("BSSY")] == 1
    assert issued[names.index("BSYNC")] == 2  # each side comes to it
    assert issued[names.index("IADD3")] == 1


def test_an_indirect_branch_by_a_uniform_register_goes_where_the_register_says() -> None:
    lines = "MOV R9, 0x1\nUMOV UR4, 0x50\nBRXU UR4 -0x40\nMOV R9, 0x2\nIADD3 R9, R9, 0x10, RZ"
    assert set(result(lines)) == {0x11}  # `result` puts an instruction before them: 0x50 is the IADD3


def test_an_unknown_instruction_is_named_with_its_place_when_it_is_reached() -> None:
    with pytest.raises(NotModelledError, match=r"tiny at 0x10: FRND R9, R0: .*not modelled"):
        ran("NOP\nFRND R9, R0\nEXIT")
    ran("BRA `(.L_x_1)\nFRND R9, R0\n.L_x_1:\nEXIT")


@pytest.mark.parametrize(
    "line",
    [
        "LDG.E.U8 R4, desc[UR4][R2.64]",
        "LDG.E.S16 R4, desc[UR4][R2.64]",
        "LDS.U8 R4, [R2]",
        "STS.U8 [R2], R4",
        "STG.E.U8 desc[UR4][R2.64], R4",
        "I2F.U16 R9, R0.H1",
        "I2F.U8 R9, R0",
        "F2I.S64.TRUNC R9, R0",
        "SHF.R.S64 R9, R0, 0x21, R0",
        "MUFU.RCP64H R9, R0",
        "F2FP.BF16.F32.PACK_AB R9, R0, R0",
        "BAR.SYNC.DEFER_BLOCKING 0x1",
        "BAR.SYNC.DEFER_BLOCKING 0x0, 0x40",
        "BAR.SYNC.DEFER_BLOCKING 0x10, 0x40",
        "BAR.SYNC.DEFER_BLOCKING 0x1, 0x30",
        "BAR.SYNC.DEFER_BLOCKING 0x1, R4",
        "BAR.SYNC.DEFER_BLOCKING R4, 0x40",
        "REDUX.MAX.S32 UR4, R4",
        "REDUX.MIN UR4, R4",
        "REDUX.SUM UR4, R4",
        "BAR.ARV 0x0",
        "BAR.RED.POPC.DEFER_BLOCKING 0x0",
        "DEPBAR.LE SB0, 0x2",
        "MEMBAR.SC.SYS",
        "MEMBAR.ALL.SYS",
        "FLO.U32.SH R9, R0",
        "FLO.S32 R9, R0",
        "ATOMG.E.ADD.STRONG.GPU R4, desc[UR4][R2.64], R5",
        "LDC R9, c[0x0][0x0]",  # blockDim
        "IMAD R9, R0, c[0x0][0xc], RZ",  # gridDim
    ],
)
def test_a_form_that_is_only_half_known_is_refused_and_not_taken_for_another(line: str) -> None:
    machine = machine_of(f"{line}\nEXIT")
    machine.grid = Grid((0,), 32, parameters_at=0x210, system=frozenset((0x28, 0x208)))
    with pytest.raises(
        NotModelledError, match=r"tiny at 0x0: .*(not modelled|is modelled|under way|not laid out)"
    ):
        machine.run()


def test_the_constants_that_every_kernel_reads_before_its_parameters_are_known() -> None:
    machine = machine_of("LDC R1, c[0x0][0x14]\nLDC R2, c[0x0][0x18]\nEXIT")
    machine.grid = Grid((0,), 32, parameters_at=0x18, system=frozenset((0x14,)))
    machine.run()


def test_every_opcode_that_can_be_run_has_its_forms_listed() -> None:
    tables = (INTEGER, BITS, FLOATING, MEMORY, LANES, CLUSTERS)
    runnable = {*CONTROL, *NOTHING, "S2R", "S2UR"}.union(*tables)
    assert runnable <= set(KNOWN)
    assert set(KNOWN) - runnable <= {"R2P", "FSET"}, "what is listed and cannot be run is refused by its name"
    assert set(SYSTEM) == set(PARAMETERS_AT)


def test_a_constant_by_address_outside_its_bank_is_refused() -> None:
    for load, first, last in (("LDC R4,", 4, 28), ("LDC.64 R4,", 4, 24)):
        for at, outside in ((first, 0), (first - 1, 1), (last + 4, 0), (last + 8, 1)):
            lines = f"MOV R2, {at:#x}\n{load} c[0x0][R2+-0x4]\nEXIT"
            if not outside:
                ran(lines)
                continue
            with pytest.raises(NotModelledError, match="outside its bank of 32 bytes"):
                ran(lines)


def test_a_part_of_a_warp_has_no_largest_word() -> None:
    with pytest.raises(NotModelledError, match="REDUX by a part of a warp"):
        result("ISETP.GE.AND P0, PT, R0, 0x1, PT\n@P0 REDUX.MAX UR6, R0")


def test_an_access_outside_the_arrays_is_a_fault() -> None:
    with pytest.raises(MemoryFault, match="outside the arrays"):
        ran("MOV R2, 0x10\nMOV R3, RZ\nLDG.E R4, desc[UR4][R2.64]\nEXIT")
    with pytest.raises(MemoryFault, match="misaligned"):
        ran("LDC.64 R2, c[0x0][0x0]\nLDG.E R4, desc[UR4][R2.64+0x2]\nEXIT")


def test_threads_that_wait_for_ever_are_a_fault() -> None:
    machine = machine_of("S2R R0, SR_TID.X\nISETP.GE.AND P0, PT, R0, 0x20, PT\n@P0 BRA `(.L_x_1)\n"
                         "BAR.SYNC.DEFER_BLOCKING 0x0\nEXIT\n.L_x_1:\n.L_x_3:\nWARPSYNC.ALL\nBRA `(.L_x_3)",
                         threads=64)  # fmt: skip
    machine.most_steps = 200
    with pytest.raises(NotModelledError, match="no end"):
        machine.run()
