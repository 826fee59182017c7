"""Copies by mail on the CPU: when they come, and each misuse is named with its place."""

import numpy as np
import pytest
from simt_build import ADDRESS, COUNTING, ROOT, THREAD, built
from simt_run import SCHEDULES, Library, Pointer, Shape, SimtError, run_case, write_case
from test_simt_shim import Probe, aligned, launch

PROBE = ROOT / "tests" / "kernels" / "copies_probe.cu"
HOPPER = ("EDGEOSR_SIMT_ARCH=900",)
THREADS, WORDS = 128, 64
ALONE = Shape(1, THREADS, 1024)
FOUR = Shape(4, THREADS, 1024, cluster=2)


@pytest.fixture(scope="module")
def library():
    return Library(built(PROBE, defines=HOPPER))


def given():
    words = aligned(WORDS + 4, np.uint32)
    words[:] = np.arange(WORDS + 4) * 7 + 1
    return words


def copied():
    """What ``copies`` leaves in each block, by its definition."""
    words = given()[:WORDS].astype(np.int64)
    mail = np.concatenate([np.arange(32, 64), 1000 + np.arange(32, 64)])
    return np.concatenate([words, words + mail]) + words[0]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_copies_and_words_fill_one_mailbox_and_a_copy_alone_comes_before_cluster_sync(library, schedule):
    for seed in range(30 if schedule == "shuffled" else 1):
        out = np.zeros((4, THREADS), np.uint32)
        launch(library, "copies", FOUR, out, given=given(), schedule=schedule, seed=seed)
        assert (out == copied()).all(), seed


def test_sixteen_bytes_of_a_copy_come_in_any_order_at_any_time_to_a_poisoned_place(library):
    def seen(schedule, seed):
        out = np.zeros(32, np.uint32)
        launch(library, "peek", ALONE, out, given=given(), schedule=schedule, seed=seed)
        assert (out[16:] == given()[:16]).all()
        pieces, words = out[:16].reshape(4, 4), given()[:16].reshape(4, 4)
        there = (pieces == words).all(1)
        assert (pieces[~there] == 0xFFFFFFFF).all()
        return tuple(there)

    assert all(seen("forward", 1)) and not any(seen("reverse", 1))
    shuffled = {seen("shuffled", seed) for seed in range(80)}
    assert {(False,) * 4, (True,) * 4} <= shuffled
    assert any(pieces[0] and not pieces[3] for pieces in shuffled)
    assert any(pieces[3] and not pieces[0] for pieces in shuffled)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (0, r"copy_by_mail with the mailbox at byte 0, which is not open"),
        (1, r"copy_by_mail with the mailbox at byte 0, (which is not open|but the thread has met no one)"),
        (2, r"mailbox at byte 0, (which is not open|but .* since thread 0 opened it at copies_probe.cu:\d+)"),
        (3, r"copy_by_mail to a place at byte 68 of 1024 of shared memory: misaligned"),
        (4, r"misaligned address: 4 past a multiple of 16"),
        (5, r"copy_by_mail of 24 bytes: no multiple of 16, or none"),
        (6, r"copy_by_mail of 0 bytes"),
        (7, r"read-only \(nc\) load of the workspace"),
        (8, r"copy_by_mail to a place at byte 1008 of 1024 of shared memory: misaligned, or outside"),
        (9, r"copy_by_mail of more than the 64 bytes for which the mailbox at byte 0 of block 0 was opened"),
        (10, r"copy_by_mail to byte 0 of block 0, where a mailbox is"),
        (11, r"global access to shared memory"),
        (12, r"the mailbox at byte 80 is opened where mail comes"),
        (13, r"access at byte 64 races with the mail that block 0, thread 0 sent there at copies_probe"),
        (14, r"access at byte 124 races with the mail"),
        (
            15,
            r"the block ends without a wait for the mailbox at byte 0, which thread 0 opened at copies_probe",
        ),
        (16, r"deadlock: block 0, thread 0 waits at .* byte 0: 48 of 64 bytes came"),
        (17, r"access at byte 64 races with .* the thread has not waited for the mailbox at byte 0"),
        (18, r"copy_by_mail with a mailbox at byte 4 of 1024"),
        (19, r"copy_by_mail to byte 80 of block 0, to which other mail is under way"),
    ],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_wrong_copy_ends_the_launch_with_its_place(library, choice, message, schedule):
    for seed in range(6 if schedule == "shuffled" else 1):
        workspace = aligned(64, np.uint32)
        with pytest.raises(SimtError, match=message) as caught:
            launch(
                library,
                "wrong_copy",
                ALONE,
                np.zeros(THREADS, np.uint32),
                given=given(),
                workspace=workspace,
                choice=choice,
                schedule=schedule,
                seed=seed,
            )
        assert str(caught.value).startswith("block 0, thread ")


def test_a_copy_counts_as_what_it_reads_of_global_memory():
    counting = Library(built(PROBE, COUNTING, defines=HOPPER))
    words, out = given(), np.zeros(4 * THREADS, np.uint32)
    counted = counting.counted(
        "copies", Probe(words.ctypes.data, out.ctypes.data, None, 0), FOUR, {"in": words}
    )
    assert (out.reshape(4, -1) == copied()).all()
    assert counted.arrays["in"].load_sectors == 4 * (2 * 4 * WORDS // 32)
    assert counted.arrays["in"].load_requests == 4 * 3


def case_of(path, entry, choice, shape, schedule, words=WORDS):
    pointers = [
        Pointer(Probe.input.offset, given()[:words]),
        Pointer(Probe.out.offset, np.zeros(shape.blocks * shape.threads, np.uint32), "output"),
        Pointer(Probe.workspace.offset, np.zeros(1 + 2 * THREADS, np.uint32), "workspace"),
    ]
    write_case(path, entry, bytes(Probe(choice=choice)), shape, pointers, schedule=schedule)
    return path


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_address_sanitizer_sees_a_copy_beyond_its_source(schedule, tmp_path):
    address, thread = (built(PROBE, build, defines=HOPPER) for build in (ADDRESS, THREAD))
    for program in (address, thread):
        code, out, said = run_case(program, case_of(tmp_path / "good", "copies", 0, FOUR, schedule))
        assert code == 0, said
        assert (np.frombuffer(out, np.uint32).reshape(4, -1) == copied()).all()
    code, _, said = run_case(address, case_of(tmp_path / "short", "copies", 0, FOUR, schedule, WORDS - 4))
    assert code == 66 and "heap-buffer-overflow" in said
