"""Clusters on the CPU: mail comes at the latest moment or sooner, and each misuse is named with its place."""

import numpy as np
import pytest
from simt_build import ADDRESS, COUNTING, ROOT, THREAD, built
from simt_run import SCHEDULES, Library, Pointer, Shape, SimtError, run_case, write_case
from test_simt_shim import PROBE as SHIM_PROBE
from test_simt_shim import Probe, aligned, launch

PROBE = ROOT / "tests" / "kernels" / "cluster_probe.cu"
HOPPER = ("EDGEOSR_SIMT_ARCH=900",)
BLOCKS, THREADS = 8, 64
PAIR = Shape(2, THREADS, 1024, cluster=2)
EXCHANGE = Shape(2 * BLOCKS, THREADS, 64 + 4 * (BLOCKS + 2 * BLOCKS * THREADS + THREADS), cluster=BLOCKS)
FLAG = Shape(BLOCKS, THREADS, 256, cluster=4)
PARTIAL = np.arange(THREADS) + np.arange(BLOCKS)[:, None] + 1


@pytest.fixture(scope="module")
def library():
    return Library(built(PROBE, defines=HOPPER))


def exchanged(grid=2 * BLOCKS):
    """What ``exchange`` leaves, by its definition."""
    out = np.zeros((grid, THREADS), np.uint32)
    ranks, threads = np.arange(BLOCKS, dtype=np.uint32), np.arange(THREADS, dtype=np.uint32)
    for first in range(0, grid, BLOCKS):
        sums = np.broadcast_to(((first + ranks) * 7).sum() + threads, (BLOCKS, THREADS))
        for _ in range(2):
            sent = sums * 3 + ranks[:, None]
            sums = np.broadcast_to((sent[:, ::-1] * (ranks[:, None] + 1)).sum(0), (BLOCKS, THREADS))
        out[first : first + BLOCKS] = sums
    return out


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_words_go_from_all_blocks_to_all_in_every_order(library, schedule):
    for seed in range(40 if schedule == "shuffled" else 1):
        out = np.zeros((2 * BLOCKS, THREADS), np.uint32)
        launch(library, "exchange", EXCHANGE, out, schedule=schedule, seed=seed)
        assert (out == exchanged()).all(), seed


def test_the_seed_alone_decides_when_the_words_come(library):
    def seen(schedule, seed):
        out = np.zeros(16, np.uint32)
        launch(library, "peek", PAIR, out, schedule=schedule, seed=seed)
        assert (out[8:] == 1).all()
        return tuple(out[:8] == 1)

    assert all(seen("forward", 1)) and not any(seen("reverse", 1))
    shuffled = [seen("shuffled", seed) for seed in range(60)]
    assert shuffled == [seen("shuffled", seed) for seed in range(60)]
    assert {(False,) * 8, (True,) * 8} <= set(shuffled)
    assert any(words[0] and not words[7] for words in shuffled)
    assert any(words[7] and not words[0] for words in shuffled)


def test_a_block_may_be_many_barriers_ahead_of_another(library):
    def lead(schedule, seed):
        """By how many barriers block 1 is ahead of block 0, at most, and it of block 1."""
        out = np.zeros(16, np.uint32)
        launch(library, "pace", PAIR, out, schedule=schedule, seed=seed)
        ahead = np.cumsum(np.where(out == 1, 1, -1))
        return ahead.max(), -ahead.min()

    leads = [lead("shuffled", seed) for seed in range(40)]
    assert max(first for first, _ in leads) > 6 and max(second for _, second in leads) > 6
    assert min(max(pair) for pair in leads) < 4


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (0, r"send with the mailbox at byte 0 of block [01], which is not open"),
        (1, r"wait for the mailbox at byte 0, which is not open"),
        (2, r"the mailbox at byte 0 is opened twice: by thread 0 at cluster_probe.cu:\d+"),
        (3, r"a mailbox at byte 12 of 1024 of shared memory: misaligned, or outside"),
        (4, r"a mailbox at byte 1024 of 1024"),
        (5, r"the mailbox at byte 16 is opened after cluster_sync"),
        (6, r"send before cluster_sync"),
        (7, r"send to rank 2 of a cluster of 2 blocks"),
        (8, r"send to a place at byte 102[48] of 1024"),
        (9, r"send to a place at byte 66 of 1024"),
        (10, r"send to block 1, which has ended|send of more than the 8 bytes"),
        (11, r"send of more than the 4 bytes for which the mailbox at byte 0 of block [01] was opened"),
        (
            12,
            r"the block ends without a wait for the mailbox at byte 0, which thread 0 opened at",
        ),
        (13, r"the block ends without a wait for the mailbox at byte 0"),
        (14, r"but block 1, thread \d+ returned without|the thread returns without cluster_sync"),
        (15, r"cluster_sync a second time"),
        (16, r"but block 1, thread 63 returned without|the thread returns without cluster_sync"),
        (
            17,
            r"wait for the mailbox at byte 0, (which is not open|but the thread has met no one at a barrier)",
        ),
        (18, r"deadlock: block 0, thread 0 waits at .*byte 8: 0 of 8 bytes came; block 1, thread 0 waits"),
        (
            19,
            r"access at byte 64 races with the mail that block 0, thread 0 sent there at cluster_probe",
        ),
        (20, r"access at byte (64|68) races .* the thread has not waited for the mailbox at byte 0"),
        (21, r"shared access at byte 8, where a mailbox is"),
        (22, r"send to byte 0 of block [01], where a mailbox is"),
        (23, r"send to byte 6[48] of block 0, to which other mail is under way"),
        (26, r"lanes of a warp are at different program points"),
        (27, r"deadlock: block 0, thread 0 waits at .* cluster_sync of all: 64 of 128 threads came; block 0"),
        (28, r"opened for more bytes than it counts"),
        (29, r"block [01], thread 40 has returned|returns, but others of its warp came to cluster_probe"),
        (
            30,
            r"barrier reached by 32 of 64 threads; block 0, thread 0 waits .*: 0 of 8 bytes came; block 1",
        ),
        (31, r"access at byte 64 races .* the thread has not waited for the mailbox at byte 0"),
        (32, r"send to rank -1 of a cluster of 2 blocks"),
        (33, r"send with a mailbox at byte 4 of 1024"),
        (34, r"access at byte 64 races with the mail"),
        (35, r"lanes of a warp are at different program points"),
        (36, r"the block ends without a wait for the mailbox at byte 0"),
        (37, r"lanes of a warp name different mailboxes or groups"),
    ],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_misuse_ends_the_launch_with_its_place(library, choice, message, schedule):
    for seed in range(6 if schedule == "shuffled" else 1):
        with pytest.raises(SimtError, match=message) as caught:
            given = aligned(64, np.float32)
            launch(
                library,
                "misuse",
                PAIR,
                np.zeros(64, np.uint32),
                given=given,
                choice=choice,
                schedule=schedule,
                seed=seed,
            )
        assert str(caught.value).startswith(("block 0, thread ", "block 1, thread "))
    # The machine is as good as new.
    out = np.zeros((BLOCKS, THREADS), np.uint32)
    launch(library, "exchange", Shape(BLOCKS, THREADS, EXCHANGE.shared_bytes, BLOCKS), out, schedule=schedule)
    assert (out == exchanged(BLOCKS)).all()


def test_one_word_too_many_is_refused_for_its_block_that_has_ended_or_for_its_bytes(library):
    said = set()
    for seed in range(12):
        with pytest.raises(SimtError) as caught:
            launch(
                library, "misuse", PAIR, np.zeros(64, np.uint32), choice=10, schedule="shuffled", seed=seed
            )
        said.add("which has ended" in str(caught.value))
    assert said == {False, True}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape(8, 64, 64, cluster=0), "a cluster has 1 to 8 blocks"),
        (Shape(9, 64, 64, cluster=9), "a cluster has 1 to 8 blocks"),
        (Shape(9, 64, 64, cluster=8), "no multiple of the cluster's"),
    ],
)
def test_a_grid_that_no_device_would_launch_is_refused(library, shape, message):
    with pytest.raises(SimtError, match=message):
        launch(library, "exchange", shape, np.zeros((9, 64), np.uint32))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_clusters_end_early(library, schedule):
    out = np.zeros((3 * BLOCKS, THREADS), np.uint32)
    launch(library, "early_end", Shape(3 * BLOCKS, THREADS, 256, cluster=BLOCKS), out, schedule=schedule)
    assert (out[8:16] == 8 + np.arange(64) % 8).all() and not out[:8].any() and not out[16:].any()


@pytest.mark.parametrize("choice", [0, 1], ids=["block_sync", "group_sync"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_any_warps_wait_in_any_order_and_again_and_a_barrier_hands_mail_on(library, choice, schedule):
    for seed in range(20 if schedule == "shuffled" else 1):
        out = np.zeros((2, THREADS), np.uint32)
        launch(library, "any_order", PAIR, out, choice=choice, schedule=schedule, seed=seed)
        assert (out == [41, 52] * 32).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_place_takes_another_word_when_its_readers_are_done(library, schedule):
    sums = np.zeros(32, np.int64)
    for round_ in range(3):
        sent = sums + np.arange(32) + round_
        sums = sent + sent[::-1]
    for seed in range(30 if schedule == "shuffled" else 1):
        out = np.zeros((2, 32), np.uint32)
        launch(library, "places_again", PAIR, out, schedule=schedule, seed=seed)
        assert (out == sums).all()


def left(library, entry, choice, schedule, seed):
    """What each block adds up, and what lies in the workspace at the end."""
    out, workspace = np.zeros((BLOCKS, THREADS), np.float32), np.full(1 + PARTIAL.size, 0xFFFFFFFF, np.uint32)
    workspace[0] = 0
    launch(library, entry, FLAG, out, workspace=workspace, choice=choice, schedule=schedule, seed=seed)
    assert workspace[0] == 0
    return out, workspace[1:].view(np.float32).reshape(PARTIAL.shape)


@pytest.mark.parametrize(
    ("choice", "stale"),
    [(0, 3), (1, 3), (2, 4)],
    ids=["from the thread that counted", "behind a barrier", "with fences and no atomic"],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_mail_orders_nothing_of_global_memory(library, choice, stale, schedule):
    for seed in range(6 if schedule == "shuffled" else 1):
        out, partial = left(library, "mailed_flag", choice, schedule, seed)
        # Where a thread counted, its own block alone sees the sums.
        assert np.isnan(out).any(1).sum() == (stale if choice < 2 else BLOCKS)
        assert (partial == PARTIAL).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_behind_cluster_sync_blocks_see_one_another_s_stores_and_fence_them_as_their_own(library, schedule):
    of_clusters = PARTIAL.reshape(2, 4, THREADS).sum(1)
    for seed in range(10 if schedule == "shuffled" else 1):
        out, partial = left(library, "joined", 0, schedule, seed)
        assert (out.reshape(2, 4, THREADS) == of_clusters[:, None]).all() and (partial == PARTIAL).all()
        out, partial = left(library, "joined", 1, schedule, seed)
        last = out.any(1)
        assert last.sum() == 1 and (out[last] == PARTIAL.sum(0)).all() and (partial == PARTIAL).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_cluster_sync_is_no_barrier_among_clusters_and_later_stores_are_the_last(library, schedule):
    for seed in range(6 if schedule == "shuffled" else 1):
        out, partial = left(library, "joined", 2, schedule, seed)
        assert np.isnan(out).all() and (partial == PARTIAL).all()
        _, partial = left(library, "joined", 3, schedule, seed)
        assert (partial.T == [-3, 0, -1, -2, -7, -4, -5, -6]).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_fence_acquires_what_its_atomic_found_and_nothing_later(library, schedule):
    for seed in range(10 if schedule == "shuffled" else 1):
        for choice, counted in [(0, 2), (1, 3)]:
            out, workspace = np.zeros(2, np.float32), np.full(3, 0xFFFFFFFF, np.uint32)
            workspace[0] = 0
            launch(
                library,
                "late_fence",
                PAIR,
                out,
                workspace=workspace,
                choice=choice,
                schedule=schedule,
                seed=seed,
            )
            assert out[0] == 7 if choice else np.isnan(out[0])
            assert out[1:].view(np.uint32) == workspace[0] == counted
            assert (workspace[1:].view(np.float32) == [7, 8]).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("choice", [0, 1, 2, 5])
def test_fences_mean_the_same_between_blocks_of_a_cluster(choice, schedule):
    shim = Library(built(SHIM_PROBE))
    expected = sum(np.arange(64) + b + 1 for b in range(5))
    for seed in range(20 if schedule == "shuffled" else 1):
        out, workspace = np.zeros(64, np.float32), np.full(1 + 5 * 64, 0xFFFFFFFF, np.uint32)
        workspace[0] = 0
        launch(
            shim,
            "last_block",
            Shape(5, 64, 16, cluster=5),
            out,
            workspace=workspace,
            choice=choice,
            schedule=schedule,
            seed=seed,
        )
        assert (out == expected).all() == (choice == 0)
        assert (workspace[1:].view(np.float32) == (np.arange(64) + np.arange(5)[:, None] + 1).ravel()).all()


def test_what_blocks_of_a_cluster_ask_of_the_memories_counts_as_that_of_blocks_one_by_one():
    counting = Library(built(PROBE, COUNTING, defines=HOPPER))
    reports = []
    for cluster in (1, 8):
        out, workspace = aligned(BLOCKS * THREADS, np.float32), aligned(1 + BLOCKS * THREADS, np.uint32)
        probe = Probe(None, out.ctypes.data, workspace.ctypes.data, 0)
        shape = Shape(BLOCKS, THREADS, 1024, cluster=cluster)
        arrays = {"out": out, "workspace": workspace}
        reports.append(counting.counted("traffic", probe, shape, arrays, workspace=workspace))
    assert reports[0] == reports[1]
    assert reports[0].arrays["workspace"].load_requests == 2 * BLOCKS
    assert reports[0].shared_wavefronts > reports[0].shared_compulsory
    out = np.zeros(2 * BLOCKS * THREADS, np.uint32)
    probe = Probe(None, out.ctypes.data, None, 0)
    counted = counting.counted("exchange", probe, EXCHANGE, {"out": out})
    assert (out.reshape(-1, THREADS) == exchanged()).all()
    assert counted.arrays["out"].store_requests == 2 * 2 * BLOCKS


def cluster_case(path, entry, choice, shape, *, schedule="shuffled", seed=1, workspace=None):
    out = np.zeros(shape.blocks * shape.threads, np.uint32)
    pointers = [
        Pointer(Probe.input.offset, np.arange(64, dtype=np.float32)),
        Pointer(Probe.out.offset, out, "output"),
    ]
    if workspace is not None:
        pointers.append(Pointer(Probe.workspace.offset, workspace, "workspace"))
    write_case(path, entry, bytes(Probe(choice=choice)), shape, pointers, schedule=schedule, seed=seed)
    return path


@pytest.mark.parametrize("build", [ADDRESS, THREAD], ids=["address", "thread"])
def test_the_sanitizers_have_nothing_against_lawful_mail(build, tmp_path):
    program = built(PROBE, build, defines=HOPPER)
    for schedule in SCHEDULES:
        code, out, said = run_case(
            program, cluster_case(tmp_path / "exchange", "exchange", 0, EXCHANGE, schedule=schedule)
        )
        assert code == 0, said
        assert (np.frombuffer(out, np.uint32).reshape(-1, THREADS) == exchanged()).all()
        workspace = np.zeros(1 + PARTIAL.size, np.uint32)
        case = cluster_case(tmp_path / "joined", "joined", 0, FLAG, schedule=schedule, workspace=workspace)
        code, out, said = run_case(program, case)
        assert code == 0, said
        of_clusters = PARTIAL.reshape(2, 4, THREADS).sum(1)
        assert (np.frombuffer(out, np.float32).reshape(2, 4, THREADS) == of_clusters[:, None]).all()
    code, _, said = run_case(program, cluster_case(tmp_path / "misuse", "misuse", 12, PAIR))
    assert code == 3 and "SIMT: block" in said


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_thread_sanitizer_sees_a_place_of_mail_that_is_used_too_early(schedule, tmp_path):
    program = built(PROBE, THREAD, defines=HOPPER)
    shape = Shape(2, THREADS, 1024, cluster=2)
    case = cluster_case(tmp_path / "good", "place_used_before", 0, shape, schedule=schedule)
    code, out, said = run_case(program, case)
    assert code == 0, said
    assert (np.frombuffer(out, np.uint32).reshape(2, -1) == np.arange(THREADS)[::-1]).all()
    case = cluster_case(tmp_path / "race", "place_used_before", 1, shape, schedule=schedule)
    code, _, said = run_case(program, case)
    # Whichever comes first: the word is under way already, or the sanitizer alone can know.
    assert (code == 66 and "data race" in said) or (code == 3 and "races with the mail" in said)
