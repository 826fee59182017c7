"""Groups of warps on the CPU: what they order, and each misuse is named with its place."""

import numpy as np
import pytest
from simt_build import ROOT, THREAD, built
from simt_run import SCHEDULES, Library, Pointer, Shape, SimtError, run_case, write_case
from test_simt_shim import Probe, launch

PROBE = ROOT / "tests" / "kernels" / "group_probe.cu"
HOPPER = ("EDGEOSR_SIMT_ARCH=900",)
THREADS = 128
ALONE = Shape(1, THREADS, 1024)


@pytest.fixture(scope="module")
def library():
    return Library(built(PROBE, defines=HOPPER))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_groups_meet_without_the_others_and_order_shared_memory_and_the_block_s_stores(library, schedule):
    expected = np.arange(THREADS, dtype=np.uint32)
    for round_ in range(5):
        turned = expected.reshape(2, 2, 32)[:, ::-1].reshape(-1) * 4
        expected = np.where((round_ < 3) | (np.arange(THREADS) >= 64), turned, expected)
    for seed in range(20 if schedule == "shuffled" else 1):
        for choice in (0, 1):
            out, workspace = np.zeros(THREADS, np.uint32), np.zeros(1 + THREADS, np.uint32)
            launch(
                library,
                "groups",
                ALONE,
                out,
                workspace=workspace,
                choice=choice,
                schedule=schedule,
                seed=seed,
            )
            assert (out == expected).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_whole_warps_count_and_a_number_may_be_used_again_at_once(library, schedule):
    threads = np.arange(THREADS)
    handed = np.where(threads < 32, threads + 33, (threads ^ 96) + 1) * (threads < 96)
    for seed in range(20 if schedule == "shuffled" else 1):
        for choice, expected in enumerate((handed, (threads ^ 31) + 1)):
            out = np.zeros(THREADS, np.uint32)
            launch(library, "turns", ALONE, out, choice=choice, schedule=schedule, seed=seed)
            assert (out == expected).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_thread_s_fence_behind_a_group_s_barrier_is_that_of_the_group(library, schedule):
    for seed in range(10 if schedule == "shuffled" else 1):
        for choice in (0, 1):
            out, workspace = np.zeros(THREADS, np.float32), np.full(1 + 2 * THREADS, 0xFFFFFFFF, np.uint32)
            workspace[0] = 0
            shape = Shape(2, THREADS, 256)
            launch(
                library,
                "settled",
                shape,
                out,
                workspace=workspace,
                choice=choice,
                schedule=schedule,
                seed=seed,
            )
            assert (out == 2 * (np.arange(THREADS) + 1)).all() == (choice == 0)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (0, r"group_sync with number 0, which is not 1 to 15"),
        (1, r"group_sync with number 16, which is not 1 to 15"),
        (2, r"group_sync with number 1 of 48 threads: not whole warps of a block of 128"),
        (3, r"group_sync with number 1 of 160 threads: not whole warps of a block of 128"),
        (4, r"group_sync with number 1 of 0 threads"),
        (5, r"of (64|128) threads, where block 0, thread \d+ waits for (128|64) at group_probe.cu:\d+"),
        (
            6,
            r"block 0, thread \d+ has returned|the thread returns, but others of its warp came to group_prob",
        ),
        (7, r"lanes of a warp are at different program points"),
        (8, r"lanes of a warp name different mailboxes or groups"),
        (9, r"deadlock: block 0, thread 0 waits at group_probe.cu:\d+ for group 1: 96 of 128 threads came"),
        (10, r"barrier reached by 64 of 128 threads; .* for group 2: 64 of 96 threads came"),
    ],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_wrong_group_ends_the_launch_with_its_place(library, choice, message, schedule):
    for seed in range(6 if schedule == "shuffled" else 1):
        with pytest.raises(SimtError, match=message) as caught:
            out = np.zeros(THREADS, np.uint32)
            launch(library, "wrong_group", ALONE, out, choice=choice, schedule=schedule, seed=seed)
        assert str(caught.value).startswith("block 0, thread ")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_thread_sanitizer_sees_warps_that_have_not_met(schedule, tmp_path):
    program, codes = built(PROBE, THREAD, defines=HOPPER), []
    for entry, choice in (("groups", 0), ("wrong_group", 11)):
        pointers = [
            Pointer(Probe.out.offset, np.zeros(THREADS, np.uint32), "output"),
            Pointer(Probe.workspace.offset, np.zeros(1 + THREADS, np.uint32), "workspace"),
        ]
        case = tmp_path / entry
        write_case(case, entry, bytes(Probe(choice=choice)), ALONE, pointers, schedule=schedule)
        code, _, said = run_case(program, case)
        codes.append((code, "data race" in said))
    assert codes == [(0, False), (66, True)]
