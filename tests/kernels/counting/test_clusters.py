"""Clusters in the counter: words arrive and are counted, chains go on, mail that goes astray is a fault."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_kernel import out_of, ran, waits_of

from edgeosr.errors import KernelBuildError
from edgeosr.kernels.build.sources import FOLDER
from edgeosr.kernels.build.toolchain import FLAGS, find_nvcc, run_tool
from edgeosr.kernels.counting.__main__ import table_of
from edgeosr.kernels.counting.compiled import Compiled, disassembled
from edgeosr.kernels.counting.counts import LaunchCounts, counts_from_record
from edgeosr.kernels.counting.launch import Launch, run_launch
from edgeosr.kernels.counting.memory import MemoryFault
from edgeosr.kernels.counting.operands import NotModelledError
from edgeosr.kernels.counting.timeline import Wait

SOURCE = Path(__file__).with_name("exchange.cu")
BLOCKS, THREADS, RANKS = 16, 64, 8
WARPS = THREADS // 32


@pytest.fixture(scope="module", params=["sm_90", "sm_110"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    target = tmp_path_factory.mktemp("exchange") / "exchange.cubin"
    flags = (*FLAGS, f"-I{FOLDER}", f"-arch={request.param}", "-cubin")
    done = run_tool([find_nvcc().path, *flags, SOURCE, "-o", target])
    assert not done.returncode, done.stderr
    return Compiled(request.param, disassembled(target), target.read_bytes(), ())


def words() -> np.ndarray:
    """What the blocks start with."""
    return np.random.default_rng(4).integers(0, 1 << 32, (BLOCKS, THREADS), np.uint32)


def launch(*, last: int = 1, cluster: int = RANKS, slabs: int = BLOCKS) -> Launch:
    """Two clusters of which one goes on after the first exchange."""
    return Launch(
        entry="exchange",
        blocks=BLOCKS,
        slabs=slabs,
        threads=THREADS,
        shared_bytes=4096 + 24,
        parameters=struct.pack("<QQi", 0, 0, last),
        pointers={"input": 0, "verdicts": 8},
        arrays={"input": words(), "verdicts": np.zeros((BLOCKS, THREADS), np.uint32)},
        cluster=cluster,
    )


def expected(last: int) -> np.ndarray:
    """What they end with."""
    found = np.zeros((BLOCKS, THREADS), np.uint32)
    for cluster, mine in enumerate(words().reshape(-1, RANKS, THREADS)):
        # Thread r of each block sends its word to block r.
        sums = mine[:, :RANKS].sum(axis=0, dtype=np.uint32)
        here = found[RANKS * cluster : RANKS * (cluster + 1)]
        here[:] = sums[:, None]
        if cluster != last:
            continue
        sent = mine * np.uint32(3) + sums[:, None]
        ranks = np.arange(RANKS, dtype=np.uint32)
        turned = sent.reshape(RANKS, THREADS // RANKS, RANKS)  # [from, slot, to]
        got = turned.transpose(2, 0, 1).reshape(RANKS, THREADS) + ranks[:, None]
        total = np.zeros(THREADS, np.uint32)
        for row in got:
            total = total * np.uint32(5) + np.roll(row, -1)
        here[:] = total
    return found


@pytest.mark.parametrize("last", [0, 1])
def test_blocks_of_a_cluster_exchange_words_over_three_mailboxes(build: Compiled, last: int) -> None:
    found = run_launch(build, launch(last=last)).verdicts.view(np.uint32).reshape(BLOCKS, THREADS)
    np.testing.assert_array_equal(found, expected(last))


def test_sends_are_counted_as_instructions_and_words_and_a_wait_once_a_warp(build: Compiled) -> None:
    (phase,) = run_launch(build, launch()).counts.phases
    assert phase.words == BLOCKS * RANKS + RANKS * THREADS + RANKS * THREADS * RANKS
    assert phase.exchanges == 3
    assert phase.barriers == 1, "the cluster's own, before the first word is sent"
    opened = 2 * 3 * BLOCKS
    met = 2 * BLOCKS * WARPS
    sent = BLOCKS + RANKS * WARPS + RANKS * WARPS * RANKS
    waited = BLOCKS * WARPS + 2 * RANKS * WARPS
    assert phase.instructions["clusters"] == opened + met + sent + waited
    assert (phase.waits["mail"], phase.waits["cold"]) == (3, 1)


def test_counts_of_clusters_are_kept_and_read_again_and_others_do_not_show_them(build: Compiled) -> None:
    counts = run_launch(build, launch()).counts
    record = counts.as_record()
    assert counts_from_record(record) == counts
    assert {"words", "exchanges"} < set(record[0]) and "mail" in record[0]["waits"]
    assert table_of(counts).splitlines()[1].split()[-2:] == ["4,736", "3"]
    (plain,) = counts.phases
    waits = {name: many for name, many in plain.waits.items() if name != "mail"}
    without = LaunchCounts((replace(plain, words=0, exchanges=0, waits=waits),))
    assert not {"words", "exchanges"} & set(without.as_record()[0])
    assert "exchanges" not in table_of(without)
    assert counts_from_record(without.as_record()) == without


def test_without_clusters_the_same_code_takes_the_block_s_barrier(build: Compiled) -> None:
    """And there is no other block to send to."""
    with pytest.raises(KernelBuildError, match="shared memory of rank 7 in a cluster of 1 blocks"):
        run_launch(build, launch(cluster=1))


def test_a_launch_that_no_device_takes_is_refused(build: Compiled) -> None:
    with pytest.raises(KernelBuildError, match="whole clusters of 8; got 4 blocks"):
        run_launch(build, launch(slabs=4))
    older = Compiled("sm_87", build.text, build.cubin, ())
    with pytest.raises(KernelBuildError, match=r"clusters must be for one of sm_90, sm_110; got sm_87"):
        older.constants("exchange", b"", clustered=True)


# One warp a block, two blocks a cluster. UR4: the own shared memory; R6 and R7: the other block's words
# at 0x40 and its mailbox at 0; P1: rank 1; P2: not the first thread.
START = """
    S2R R0, SR_CgaCtaId
    S2UR UR8, SR_CgaCtaId
    UMOV UR9, 0x400
    ULEA UR4, UR8, UR9, 0x18
    MOV R9, 0x400
    LOP3.LUT R8, R0, 0x1, RZ, 0x3c, !PT
    PRMT R7, R8, 0x654, R9
    VIADD R9, R9, 0x40
    PRMT R6, R8, 0x654, R9
    LDC.64 R2, c[0x0][0x0]
    LDC.64 R50, c[0x0][0x8]
    S2R R40, SR_TID.X
    LEA R41, R0, R40, 0x5
    IMAD.WIDE.U32 R50, R41, 0x4, R50
    ISETP.NE.AND P1, PT, R0, RZ, PT
    ISETP.NE.AND P2, PT, R40, RZ, PT
"""
OPEN = """
    UMOV UR12, 0x1ffffe
    UMOV UR13, 0x7ffff800
    MOV R10, 0x80
    @P2 BRA `(.L_x_1)
    SYNCS.EXCH.64 URZ, [UR4], UR12
    SYNCS.ARRIVE.TRANS64 RZ, [UR4], R10
    .L_x_1:
    NOP
"""
MEET = "UCGABAR_ARV\nUCGABAR_WAIT\n"
SEND = "LEA R6, R40, R6, 0x2\nSTAS [R6.64], R41\n"
WAIT = "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], RZ\n@!P0 BRA `(.L_x_9)\n"
READ = "LEA R42, R40, UR4, 0x2\nLDS R43, [R42+0x40]\nSTG.E desc[UR4][R50.64], R43\n"
END = "EXIT\n.L_x_9:\nBRA `(.L_x_9)\n"


def test_each_block_gets_the_other_s_words() -> None:
    machine = ran(START + OPEN + MEET + SEND + WAIT + READ + END, blocks=2, cluster=2)
    np.testing.assert_array_equal(out_of(machine)[:64], np.r_[32:64, 0:32])
    assert machine.record.words.sum() == 64
    assert machine.record.exchanges.sum() == 2


def test_a_chain_goes_on_from_the_sender_s() -> None:
    """Block 1 sends after two loads in a row; block 0 has none of its own, and waits for them."""
    two = "LDG.E R2, desc[UR4][R2.64]\nMOV R3, RZ\nLDG.E R2, desc[UR4][R2.64]\nIADD3 R2, R2, 0x1, RZ\n"
    late = "@!P1 BRA `(.L_x_2)\n" + two
    lines = START + OPEN + MEET + late + ".L_x_2:\n" + SEND + WAIT + END
    machine = ran(lines, np.full(1024, 0x10100, np.uint32), blocks=2, cluster=2)
    paths = machine.record.paths[0]
    np.testing.assert_array_equal(paths[:, Wait.COLD], [2, 2])
    np.testing.assert_array_equal(paths[:, Wait.MAIL], [1, 0])
    assert machine.record.ends[0, 0] > machine.record.ends[0, 1] + 400
    assert machine.record.depths[0, 0] == 2


def test_who_arrives_early_at_the_cluster_s_barrier_does_not_wait_for_it() -> None:
    busy = "LDG.E R2, desc[UR4][R2.64]\nIADD3 R2, R2, 0x1, RZ\n"
    late = waits_of(ran(START + busy + MEET + "EXIT", blocks=2, cluster=2))
    assert (late["cold"], late["cluster"]) == (1, 1)
    early = waits_of(ran(START + "UCGABAR_ARV\n" + busy + "UCGABAR_WAIT\nEXIT", blocks=2, cluster=2))
    assert early["cold"] == 1 and "cluster" not in early


def test_words_are_not_there_before_the_mail_is_complete() -> None:
    """32 of 33 words have been sent when the blocks look, the last one by one thread."""
    lines = START + OPEN.replace("0x80", "0x84") + MEET + SEND
    last = "@!P2 STAS [R6.64], R41\n"
    early = ran(lines + READ + last + WAIT + END, blocks=2, cluster=2)
    np.testing.assert_array_equal(out_of(early)[:64], np.full(64, 0xFFFFFFFF))
    late = ran(lines + last + WAIT + READ + END, blocks=2, cluster=2)
    np.testing.assert_array_equal(out_of(late)[:64], np.r_[32:64, 0:32])
    assert late.record.words.sum() == 66


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (OPEN + SEND + WAIT, "before the cluster has met"),
        (MEET + SEND + WAIT, "is not open"),
        (OPEN + MEET + SEND, "nobody waited for the mailbox"),
        (OPEN + MEET + SEND + "STAS [R6.64], R41\n" + WAIT, "more bytes than it is open for"),
        (OPEN + OPEN.replace("_1", "_3") + MEET + SEND + WAIT, "opened twice"),
        (OPEN + MEET + "@P1 EXIT\n" + SEND + WAIT, "which has ended"),
        (OPEN + MEET + "MOV R7, 0x400\n" + SEND + WAIT, "must be of one block"),
        (OPEN + MEET + "LDS R9, [R6]\n", "of another block of the cluster"),
        (OPEN + MEET + "IADD3 R6, R6, 0x2, RZ\n" + SEND + WAIT, "shared memory: 4 bytes at"),
        (OPEN + MEET + "PRMT R6, R40, 0x654, R6\n" + SEND + WAIT, "in a cluster of 2 blocks"),
        (OPEN + MEET + SEND + "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R7], RZ\n", "neither opened nor waited"),
        (OPEN + MEET + SEND + WAIT.replace("UR4", "UR4+0x8"), "is not open"),
        ("UCGABAR_ARV\nUCGABAR_ARV\n", "arrives twice"),
    ],
)
def test_mail_that_goes_astray_is_a_fault(lines: str, fault: str) -> None:
    with pytest.raises(MemoryFault, match=fault):
        ran(START + lines + END, blocks=2, cluster=2)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (OPEN.replace("0x80", "0x84") + MEET + SEND + WAIT, "every thread waits"),
        (OPEN + "@!P1 UCGABAR_ARV\nUCGABAR_WAIT\n", "every thread waits"),
        ("UCGABAR_WAIT\n", "every thread waits"),
        ("@P2 UCGABAR_ARV\n", "a part of a warp arrives"),
        (OPEN.replace("0x1ffffe", "0x1ffffc") + MEET, "a mailbox that starts as"),
        ("STAS [R6.64+0x4], R41\n", "STAS to"),
        ("STAS.64 [R6.64], R40\n", "not modelled"),
        ("SYNCS.ARRIVE.TRANS64.A1T0 RZ, [UR4], R10\n", "not modelled"),
        ("SYNCS.ARRIVE.TRANS64.TRYWAIT RZ, [UR4], R10\n", "SYNCS.ARRIVE"),
        ("SYNCS.PHASECHK.TRANS64 P0, [UR4], RZ\n", "SYNCS.PHASECHK"),
        ("S2R R9, SR_SWINHI\n", "special register"),
        ("ST.E [R6], R41\n", "not modelled"),
    ],
)
def test_what_is_not_known_of_clusters_is_refused(lines: str, words: str) -> None:
    with pytest.raises(NotModelledError, match=words):
        ran(START + lines + END, blocks=2, cluster=2)


def test_a_warp_that_waits_for_several_mailboxes_is_refused() -> None:
    second = OPEN.replace("[UR4]", "[UR4+0x8]").replace("_1", "_3").replace("0x80", "0x0")
    wait = "LOP3.LUT R42, R40, 0x1, RZ, 0xc0, !PT\nLEA R42, R42, UR4, 0x3\n" + WAIT.replace("UR4", "R42")
    with pytest.raises(NotModelledError, match="several mailboxes"):
        ran(START + OPEN + second + MEET + SEND + wait + END, blocks=2, cluster=2)
