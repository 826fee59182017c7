"""The SIMT shim itself: each primitive does what CUDA documents, each misuse is named with its place."""

import ctypes
import subprocess

import numpy as np
import pytest
from simt_build import ADDRESS, COUNTING, ROOT, THREAD, built
from simt_run import SCHEDULES, Library, Pointer, Shape, SimtError, run_case, write_case

PROBE = ROOT / "tests" / "kernels" / "simt_probe.cu"
WARP = Shape(1, 32)
LAST = Shape(5, 64, 16)


class Probe(ctypes.Structure):
    _fields_ = [
        ("input", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
        ("choice", ctypes.c_int),
    ]


@pytest.fixture(scope="module")
def library():
    return Library(built(PROBE))


@pytest.fixture(scope="module")
def turing_library():
    return Library(built(PROBE, defines=("EDGEOSR_SIMT_ARCH=750",)))


@pytest.fixture(scope="module")
def counting_library():
    return Library(built(PROBE, COUNTING))


def aligned(count, dtype, at=32):
    """``count`` items that start at a multiple of ``at`` bytes."""
    room = np.zeros(count + at, dtype)
    start = -room.ctypes.data % at // room.itemsize
    return room[start : start + count]


def launch(library, entry, shape, out, *, given=None, workspace=None, choice=0, schedule="forward", seed=1):
    given = np.zeros(64, np.float32) if given is None else given
    probe = Probe(
        given.ctypes.data, out.ctypes.data, None if workspace is None else workspace.ctypes.data, choice
    )
    return library.run(entry, probe, shape, schedule=schedule, seed=seed, workspace=workspace)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_thread_of_every_block_runs_once_with_its_indices(library, schedule):
    out = np.zeros((6, 96), np.uint32)
    launch(library, "indices", Shape(6, 96), out, schedule=schedule, seed=4)
    threads = np.arange(96)
    assert (out == (np.arange(6)[:, None] << 16 | threads // 32 << 8 | threads % 32)).all()


def test_schedules_order_threads_and_blocks_and_the_seed_alone_decides_the_shuffled_one(library):
    seen = {}
    for name, schedule, seed in [
        ("forward", "forward", 1),
        ("reverse", "reverse", 1),
        ("one", "shuffled", 1),
        ("again", "shuffled", 1),
        ("two", "shuffled", 2),
    ]:
        out = np.zeros(256, np.uint32)  # 4 x 64 threads: a launch fills it once
        launch(library, "order", Shape(4, 64), out, schedule=schedule, seed=seed)
        seen[name] = [(int(v) >> 16, int(v) & 0xFFFF) for v in out]
    everyone = [(block, thread) for block in range(4) for thread in range(64)]
    assert seen["forward"] == everyone
    assert [b for b, _ in seen["reverse"]] == [b for b, _ in everyone[::-1]]
    assert seen["reverse"][:32] == [(3, 31 - lane) for lane in range(32)]
    assert seen["one"] == seen["again"] != seen["two"]
    assert sorted(seen["one"]) == sorted(seen["two"]) == everyone


def test_ballot_gives_every_lane_the_votes_of_its_own_warp(library):
    out, given = np.zeros(64, np.uint32), np.zeros(64, np.uint32)
    given[[0, 5, 31, 33]] = 9
    launch(library, "votes", Shape(1, 64), out, given=given)
    assert (out[:32] == (1 | 1 << 5 | 1 << 31)).all() and (out[32:] == 2).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_shuffle_takes_the_value_of_the_lane_named(library, schedule):
    source = np.random.default_rng(1).permutation(32).astype(np.uint32)
    out = np.zeros(32, np.uint32)
    launch(library, "votes", WARP, out, given=source, choice=1, schedule=schedule)
    assert (out == source * 100).all()


def test_the_other_votes_and_shuffles(library):
    out, given = np.zeros(64, np.uint32), np.zeros(64, np.uint32)
    given[40] = 1
    launch(library, "votes", Shape(1, 64), out, given=given, choice=2)
    assert (out[:32] == 0).all() and (out[32:] == 1).all()
    launch(library, "votes", Shape(1, 64), out, choice=3)
    assert (out == np.arange(64) ^ 5).all()
    launch(library, "votes", Shape(1, 64), out, choice=4)
    assert (out == np.arange(64) ^ 16).all()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (0, r"lane 31 calls a warp operation with mask 7fffffff without itself"),
        (1, r"lanes named in the mask never came.*arrived 000000ff"),
        (2, r"shuffle reads lane 8, which is not in mask 000000ff"),
        (3, r"overlaps mask|names|never came"),
        (4, r"lanes of mask ffffffff are at different program points"),
        (5, r"barrier reached by 33 of 64 threads"),
        (6, r"divergent barrier"),
        (7, r"returns with 1 cp.async that it never waited for"),
        (8, r"misaligned address: 4 past a multiple of 16"),
        (9, r"misaligned address: 8 past a multiple of 16"),
        (10, r"read-only \(nc\) load of the workspace"),
        (11, r"lanes named in the mask never came"),
        (12, r"shared access of 4 bytes at byte 1024 of 1024"),
        (13, r"shared access of 2 bytes at byte -2 of 1024"),
        (14, r"shared access of 8 bytes at byte 4 of 1024"),
        (15, r"global access to shared memory"),
    ],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_misuse_ends_the_launch_with_its_place(library, choice, message, schedule):
    given = aligned(64, np.float32)
    with pytest.raises(SimtError, match=message) as caught:
        launch(
            library,
            "misuse",
            Shape(1, 64, 1024),
            np.zeros(64, np.uint32),
            given=given,
            workspace=np.zeros(8, np.uint32),
            choice=choice,
            schedule=schedule,
        )
    if choice != 7:
        assert "simt_probe.cu:" in str(caught.value)
    # The machine is as good as new.
    test_every_thread_of_every_block_runs_once_with_its_indices(library, schedule)


def test_shared_memory_is_not_a_number_at_the_start_of_every_block(library):
    shape = Shape(2, 64, 256)
    out = np.zeros((2, 64), np.float32)
    launch(library, "shared_words", shape, out, choice=1)
    assert (out == np.arange(64)[::-1]).all()
    launch(library, "shared_words", shape, out, choice=0)
    assert np.isnan(out).all()


def test_shared_accesses_of_every_width_give_back_what_was_stored(library):
    out = np.zeros((32, 12), np.float32)
    launch(library, "shared_widths", Shape(1, 32, 32 * 48), out)
    expected = np.arange(32)[:, None] + np.arange(7)
    assert (out[:, :7] == expected).all() and (out[:, 7:9] == [7, 8]).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_the_barrier_some_threads_read_shared_memory_too_early(library, schedule):
    out = np.zeros((1, 64), np.float32)
    launch(library, "shared_words", Shape(1, 64, 256), out, choice=2, schedule=schedule)
    assert np.isnan(out).any()


@pytest.mark.parametrize("pending", [0, 1, 2, 3])
def test_asynchronous_copies_arrive_at_the_wait_that_covers_them(library, pending):
    given = aligned(32 * 12, np.float32)
    given[:] = np.arange(32 * 12)
    out = np.zeros((32, 12), np.float32)
    launch(library, "asynchronous_copies", Shape(1, 32, 4 * 12 * 32), out, given=given, choice=pending)
    arrived = 4 * (3 - pending)
    assert (out[:, :arrived] == given.reshape(32, 12)[:, :arrived]).all()
    assert np.isnan(out[:, arrived:]).all()


@pytest.mark.parametrize("hardware", ["one m16n8k16", "two m16n8k8"])
def test_matrix_products_follow_the_fragment_layouts_of_the_ptx_isa(library, turing_library, hardware):
    machine = library if hardware == "one m16n8k16" else turing_library
    rng = np.random.default_rng(16)
    a = rng.standard_normal((16, 16)).astype(np.float16)
    b = rng.standard_normal((16, 8)).astype(np.float16)
    c = rng.standard_normal((16, 8)).astype(np.float32)
    out = c.copy()
    launch(machine, "matrix_product", WARP, out, given=np.concatenate([a.ravel(), b.ravel()]))
    exact = a.astype(np.float64) @ b.astype(np.float64) + c
    largest = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(c)  # of any intermediate sum
    assert (np.abs(out - exact) <= 2 * np.spacing(largest.astype(np.float32))).all()
    if hardware == "one m16n8k16":
        assert (np.abs(out) <= np.abs(exact)).all()  # cut toward zero
    a[3, 2], b[1, 4] = np.nan, np.inf
    launch(machine, "matrix_product", WARP, out, given=np.concatenate([a.ravel(), b.ravel()]))
    finite = np.isfinite(out)
    assert not finite[3].any() and not finite[:, 4].any() and finite.sum() == 15 * 7


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_last_block_sees_every_fenced_store(library, schedule):
    out, workspace = np.zeros(64, np.float32), np.full(1 + 5 * 64, 0xFFFFFFFF, np.uint32)
    workspace[0] = 0
    expected = sum(np.arange(64) + b + 1 for b in range(5))
    for _ in range(2):  # the counter wraps to 0 by itself
        launch(library, "last_block", LAST, out, workspace=workspace, schedule=schedule)
        assert (out == expected).all() and workspace[0] == 0
    assert (workspace[1:].view(np.float32).reshape(5, 64) == np.arange(64) + np.arange(5)[:, None] + 1).all()


@pytest.mark.parametrize(
    ("choice", "what"),
    [
        (1, "no fence after the store"),
        (2, "no fence after the counter"),
        (5, "a fence before the store only"),
    ],
)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_missing_fence_leaves_stale_partial_results(library, choice, what, schedule):
    out, workspace = np.zeros(64, np.float32), np.zeros(1 + 5 * 64, np.uint32)
    launch(library, "last_block", LAST, out, workspace=workspace, choice=choice, schedule=schedule)
    assert (out != sum(np.arange(64) + b + 1 for b in range(5))).any(), what
    # When the kernel has ended, every store is there.
    assert (workspace[1:].view(np.float32).reshape(5, 64) == np.arange(64) + np.arange(5)[:, None] + 1).all()


def test_a_fence_without_a_barrier_before_it_publishes_only_what_has_been_stored(library):
    out, workspace = np.zeros(64, np.float32), np.zeros(1 + 5 * 64, np.uint32)
    launch(library, "last_block", LAST, out, workspace=workspace, choice=8)
    assert (out != sum(np.arange(64) + b + 1 for b in range(5))).any()


def test_every_half_becomes_the_same_float_as_in_numpy(library):
    given = np.arange(65536, dtype=np.uint16)
    out = np.zeros(65536, np.float32)
    launch(library, "halves", Shape(64, 1024), out, given=given)
    np.testing.assert_array_equal(out, given.view(np.float16).astype(np.float32))


def test_floats_round_to_halves_as_in_numpy(library):
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 1 << 32, 60000, dtype=np.uint64).astype(np.uint32)
    near = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = np.sort(near[np.isfinite(near)])
    middles = (finite[:-1] + finite[1:]) / 2  # ties
    sizes = rng.standard_normal(4000) * 10.0 ** rng.uniform(-9, 6, 4000)
    with np.errstate(over="ignore"):
        given = np.concatenate([bits.view(np.float32), middles, sizes.astype(np.float32), near])
        given = np.resize(given, -(-len(given) // 1024) * 1024).astype(np.float32)
        expected = given.astype(np.float16)
    out = np.zeros(len(given), np.uint16)
    launch(library, "halves", Shape(len(given) // 1024, 1024), out, given=given, choice=1)
    number = ~np.isnan(given)
    assert (out[number] == expected.view(np.uint16)[number]).all()
    assert np.isnan(out.view(np.float16)[~number]).all()


@pytest.mark.parametrize(
    ("choice", "requests", "sectors"),
    [(0, 1, 4), (1, 1, 32), (2, 1, 16), (3, 2, 6), (9, 1, 16)],
)
def test_global_loads_are_counted_in_sectors_of_32_bytes(counting_library, choice, requests, sectors):
    report = count(counting_library, choice)
    assert (report.arrays["in"].load_requests, report.arrays["in"].load_sectors) == (requests, sectors)
    assert (report.arrays["out"].store_requests, report.arrays["out"].store_sectors) == (1, 4)


@pytest.mark.parametrize(
    ("choice", "requests", "wavefronts", "compulsory"),
    [(4, 1, 1, 1), (5, 1, 32, 1), (6, 2, 2, 2), (7, 1, 4, 4), (8, 1, 8, 4)],
)
def test_shared_accesses_are_counted_in_wavefronts(
    counting_library, choice, requests, wavefronts, compulsory
):
    report = count(counting_library, choice)
    assert (report.shared_requests, report.shared_wavefronts) == (requests, wavefronts)
    assert report.shared_compulsory == compulsory
    assert sum(report.conflicts.values()) == wavefronts - compulsory


def count(library, choice):
    given, out = aligned(256, np.float32), aligned(32, np.float32)
    probe = Probe(given.ctypes.data, out.ctypes.data, None, choice)
    return library.counted("traffic", probe, Shape(1, 32, 4096), {"in": given, "out": out})


def probe_case(path, entry, choice, *, given_words=64, shared_bytes=256, threads=64):
    out = np.zeros(threads, np.float32)
    pointers = [
        Pointer(Probe.input.offset, np.arange(given_words, dtype=np.float32)),
        Pointer(Probe.out.offset, out, "output"),
    ]
    shape = Shape(1, threads, shared_bytes)
    write_case(path, entry, bytes(Probe(choice=choice)), shape, pointers)
    return path


def test_the_address_sanitizer_sees_a_read_past_an_array(tmp_path):
    program = built(PROBE, ADDRESS)
    code, out, said = run_case(program, probe_case(tmp_path / "good", "shared_words", 1))
    assert code == 0, said
    assert (np.frombuffer(out, np.float32) == np.arange(64)[::-1]).all()
    short = probe_case(tmp_path / "array", "traffic", 0, given_words=31, threads=32)
    code, _, said = run_case(program, short)
    assert code == 66 and "AddressSanitizer: heap-buffer-overflow" in said


def test_the_thread_sanitizer_sees_a_missing_barrier_whatever_the_schedule(tmp_path):
    program = built(PROBE, THREAD)
    code, _, said = run_case(program, probe_case(tmp_path / "good", "shared_words", 1))
    assert code == 0, said
    code, _, said = run_case(program, probe_case(tmp_path / "race", "shared_words", 2))
    assert code == 66 and "data race" in said and "shared_words" in said
    code, _, said = run_case(program, probe_case(tmp_path / "warp", "shared_words", 3))
    assert code == 0, said


def test_a_compiler_error_is_shown(tmp_path):
    source = tmp_path / "wrong.cu"
    source.write_text('#include "simt.h"\nint x = ;\n')
    with pytest.raises(AssertionError, match=r"wrong\.cu:2"):
        built(source)


def test_a_kernel_of_another_name_or_parameter_size_is_refused(library):
    with pytest.raises(SimtError, match="no kernel of this name"):
        library.run("nothing", b"", WARP)
    with pytest.raises(SimtError, match="another size"):
        library.run("votes", b"1234", WARP)


def test_the_program_reports_a_misuse_too(tmp_path):
    program = built(PROBE, ADDRESS)
    code, _, said = run_case(program, probe_case(tmp_path / "case", "misuse", 5))
    assert code == 3 and "barrier reached by 33 of 64 threads" in said
    assert subprocess.run([str(program)], capture_output=True).returncode == 2
