"""The scorer's weights as the plug-in lays them on the device: those of Python, byte by byte."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from fused_cases import covering_cases, random_scorer
from host_planner import map_case, with_rows

from edgeosr.kernels.packed_file import packed_file
from edgeosr.kernels.packing import pack_scorer
from edgeosr.kernels.parts import kernel_parts
from edgeosr.scoring.scorer_file import write_scorer

ROOM = 16 << 20


@pytest.fixture
def packed(libraries):
    """Packs scorer.npz in C++; gives the bytes, or the words of the refusal."""
    function = libraries[3].edgeosr_tensorrt_test_packed
    function.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(ROOM)

    def made(data, *, half):
        size = function(data, ctypes.c_size_t(len(data)), int(half), room, ctypes.c_size_t(ROOM))
        return room.raw[:size] if size else room.value.decode()

    return made


@pytest.fixture(scope="module")
def scorers():
    """Scorers of every kind, each with its file."""
    made = [random_scorer(case) for case in covering_cases()[::5]]
    made.append(with_rows(random_scorer(map_case())))
    return [(scorer, write_scorer(scorer)) for scorer in made]


@pytest.mark.parametrize("half", [True, False], ids=["tensor cores", "fp32"])
def test_a_packed_scorer_is_that_of_python(packed, scorers, half):
    for scorer, file in scorers:
        assert packed(file, half=half) == packed_file(pack_scorer(scorer, half=half))


def test_what_the_kernel_does_not_take_is_refused_in_words(packed):
    large = random_scorer(map_case(dimension=2049, discriminator="none", head="linear"))
    said = packed(write_scorer(large), half=True)
    assert "the embedding's length must be from 1 to 2048 for the fused kernel; got 2049; take the" in said
    scorer = random_scorer(map_case(head="linear", discriminator="none"))
    scorer.head.weight[0, 0] = 70000
    said = packed(write_scorer(scorer), half=True)
    assert "must be within 65504 for the fused kernel's fp16; got one of 70000; take the back end" in said
    assert isinstance(packed(write_scorer(scorer), half=False), bytes)
    by_class = replace(scorer, class_thresholds=(0.5,) * scorer.classes)
    said = packed(write_scorer(by_class), half=False)
    assert f"compares with one threshold for all classes; got {scorer.classes}, one a class" in said


def test_a_list_that_is_shorter_than_the_scorer_says_is_not_read_beyond_its_end(libraries, scorers):
    notices = libraries[3].edgeosr_tensorrt_test_notices
    seen = set()
    for _, file in scorers:
        for number in range(40):
            found = notices(file, ctypes.c_size_t(len(file)), number)
            if found == -1:
                break
            assert found != 0, f"the list {number}"
            seen.add((number, found))
    assert {number for number, found in seen if found == 1} >= set(range(12))


def test_it_has_every_part_of_the_kernel(libraries):
    assert sorted(kernel_parts()) == list(range(libraries[3].edgeosr_tensorrt_test_kernel_parts()))


def test_halves_are_those_of_numpy(libraries):
    function = libraries[3].edgeosr_tensorrt_test_half
    function.argtypes, function.restype = [ctypes.c_float], ctypes.c_uint
    rng = np.random.default_rng(1)
    halves = np.arange(0, 0x7C00, 7, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = np.nextafter(halves[:-1] / 2 + halves[1:] / 2, np.float32(np.inf), dtype=np.float32)
    numbers = [*halves, *between, *(halves[:-1] / 2 + halves[1:] / 2), *rng.normal(0, 100, 2000)]
    numbers += [0.0, -0.0, 65504, 65519.9, 65520, 1e30, -1e30, np.inf, 6e-8, 2.9e-8, 2.98023224e-8, 1e-20]
    with np.errstate(over="ignore"):
        expected = np.array(numbers, np.float32).astype(np.float16).view(np.uint16)
    assert [function(float(np.float32(number))) for number in numbers] == expected.tolist()
