"""Packed scorers as files: what the C++ reader takes, and what it refuses for a launch would read beyond."""

import ctypes

import numpy as np
import pytest
from fused_cases import random_scorer
from host_planner import map_case, random_case, with_rows

from edgeosr.kernels.packed_file import packed_file
from edgeosr.kernels.packing import pack_scorer


def test_a_packed_file_is_read_back_and_a_damaged_one_refused(host: ctypes.CDLL) -> None:
    packed = pack_scorer(random_scorer(map_case()), half=True)
    content = packed_file(packed)
    layout = ctypes.create_string_buffer(504)
    assert host.host_read(content, ctypes.c_size_t(len(content)), layout) == 512
    assert layout.raw[:412] == content[8:420]
    for damaged in (content[:-1], content[:100], b"EDGEOSR1" + content[8:], content + b"\0"):
        assert host.host_read(damaged, ctypes.c_size_t(len(damaged)), layout) == 0
    # Words of PackedScorer: D, layers, C, parts, then of the first part row, rows and where its numbers lie.
    words = (
        (1, 0),
        (1, 4096),
        (9, 7),
        (9, -1),
        (2, 5000),
        (37, 0),
        (37, 17),
        (39, 5000),
        (40, -1),
        (41, 1 << 30),
    )
    for word, value in words:
        assert read_with(host, content, {word: value}) == 0


# Where a piece begins, by its word of PackedScorer.
BEGINS = {
    "split matrix": 18,
    "its biases": 19,
    "layer 1": 21,
    "layer 2": 22,
    "last layer": 23,
    "biases of layer 1": 27,
    "biases of layer 2": 28,
    "later layers": 32,
    "table": 34,
    "offsets": 35,
}


def read_with(host: ctypes.CDLL, content: bytes, words: dict[int, int]) -> int:
    """Read a packed file with words of its header replaced; return what the reader returns."""
    broken = bytearray(content)
    for word, value in words.items():
        broken[8 + 4 * word : 12 + 4 * word] = value.to_bytes(4, "little", signed=value < 0)
    layout = ctypes.create_string_buffer(504)
    return int(host.host_read(bytes(broken), ctypes.c_size_t(len(broken)), layout))


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("piece", BEGINS)
def test_a_piece_that_begins_inside_the_data_and_ends_behind_it_is_refused(
    host: ctypes.CDLL, piece: str, half: bool
) -> None:
    packed = pack_scorer(random_scorer(map_case()), half=half)
    content, word = packed_file(packed), BEGINS[piece]
    begin = int.from_bytes(content[8 + 4 * word : 12 + 4 * word], "little")
    assert begin % 16 == 0 and 0 < begin < len(packed.data)
    assert read_with(host, content, {word: begin}) == 512
    for elsewhere in (len(packed.data) - 16, len(packed.data), begin + 4, 0xFFFFFFF0):
        assert read_with(host, content, {word: elsewhere}) == 0


@pytest.mark.parametrize("half", [True, False])
def test_a_file_that_was_cut_and_says_so_is_refused(host: ctypes.CDLL, half: bool) -> None:
    packed = pack_scorer(random_scorer(map_case()), half=half)
    content = packed_file(packed)
    for less in (16, 512, len(packed.data)):
        assert read_with(host, content[:-less], {36: len(packed.data) - less}) == 0


@pytest.mark.parametrize(
    "words",
    [
        *({0: 2}, {3: 3}, {4: 2}, {6: 8}, {7: -1}),  # flags and codes
        *({5: 1}, {4: 0, 5: 33}),  # probes beside a closed form; too many
        *({1: 2048}, {2: 200}, {8: 100}),  # sizes larger than the data that they had
        *({13: 2}, {10: 1}, {11: 1024}, {16: 16}, {17: 48}),  # widths and rows that do not fit each other
        {33: 1 << 20},  # of the later layers, together
        {41: 8},  # a part's numbers, not aligned
    ],
    ids=str,
)
def test_sizes_that_do_not_go_together_are_refused(host: ctypes.CDLL, words: dict[int, int]) -> None:
    content = packed_file(pack_scorer(random_scorer(map_case()), half=True))
    assert read_with(host, content, words) == 0


def test_every_kind_of_scorer_is_read_back(host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(7)
    for _ in range(40):
        case, _, _ = random_case(rng)
        scorer = random_scorer(case)
        for given in (scorer, with_rows(scorer)):
            assert read_with(host, packed_file(pack_scorer(given, half=case.half_weights)), {}) == 512
