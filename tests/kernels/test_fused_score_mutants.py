"""Seeded faults: each changes a line of the kernel's source, and the short suite must notice every one."""

import functools
import re
import shutil
from dataclasses import dataclass

import pytest
from fused_suite import problem
from largest_row import DEFINE, HEADER
from simt_build import CACHE, DEVICE, Build, built, compiled_in_parallel
from simt_run import Library

ENTRIES = ("map, mma, f16, true, true, true", "tangents, fma, f32, false, false, false")
QUICK = Build(kernel=("-O1", "-w"))  # a fault may leave a variable unused
RUN = f"""
#define {DEFINE.replace("=", " ")}
#include "fused_score.cu"
#include "harness.h"
const simt::Entry simt::entries[] = {{
    EDGEOSR_SIMT_ENTRY(fused_score_map_mma_f16, edgeosr::FusedScoreParams),
    EDGEOSR_SIMT_ENTRY(fused_score_tangents_fma_f32, edgeosr::FusedScoreParams),
    {{nullptr, nullptr, 0}}}};
"""


@dataclass(frozen=True)
class Mutant:
    """In ``file``, ``before`` (once; white space is free) becomes ``after``."""

    name: str
    file: str
    before: str
    after: str


MUTANTS = [
    Mutant(
        "no barrier after the map has arrived",
        "pooling.cuh",
        "copy_async_wait<0>(); } block_sync();",
        "copy_async_wait<0>(); }",
    ),
    Mutant(
        "no barrier before a stage is filled again",
        "pooling.cuh",
        "warp_sync(); } block_sync(); } }",
        "warp_sync(); } } }",
    ),
    Mutant("waits for too few copies", "pooling.cuh", "copy_async_wait<1>();", "copy_async_wait<2>();"),
    Mutant(
        "no warp barrier between a mask and its use",
        "pooling.cuh",
        "warp_sync(); float jacobian = 0.0f; #pragma unroll 1 for (int j",
        "float jacobian = 0.0f; for (int j",
    ),
    Mutant(
        "shared sums not initialised",
        "pooling.cuh",
        "shared_store_f32(jacobian_sums(0) + thread_index(), 0.0f);",
        ";",
    ),
    Mutant(
        "wrong mask: neighbours across the map's edge", "pooling.cuh", "column >= 0 && column < width", "true"
    ),
    Mutant("the NaN test sees no halves", "pooling.cuh", "bad |= half_not_finite(bits);", ""),
    Mutant("the kink of ReLU", "pooling.cuh", "y > pieces.low &&", "y >= pieces.low &&"),
    Mutant(
        "wrong tail: the last element of a row",
        "staging.cuh",
        "(bytes - middle) / kBytes;",
        "(bytes - middle) / kBytes - 1;",
    ),
    Mutant(
        "off by one in the tile",
        "block.cuh",
        "smaller(p.batch - block.first, kTile)",
        "smaller(p.batch - block.first, kTile - 1)",
    ),
    Mutant(
        "swapped fragment registers",
        "dense.cuh",
        "mma_f16(c, a[i], shared_load_u32(b), shared_load_u32(b + 8));",
        "mma_f16(c, a[i], shared_load_u32(b + 8), shared_load_u32(b));",
    ),
    Mutant(
        "one k step too few in the FMA path",
        "dense.cuh",
        "block.channels >> 2, embedding(p, 0)",
        "(block.channels >> 2) - 1, embedding(p, 0)",
    ),
    Mutant(
        "no fence before the counter",
        "fused_score.cu",
        "thread_fence(); block_sync(); int* const last",
        "block_sync(); int* const last",
    ),
    Mutant(
        "no barrier between the fences and the counter",
        "fused_score.cu",
        "thread_fence(); block_sync(); int* const last",
        "thread_fence(); int* const last",
    ),
    Mutant(
        "no fence after the counter",
        "fused_score.cu",
        "== 0u) return; thread_fence();",
        "== 0u) return;",
    ),
    Mutant(
        "dirty counter: it does not wrap",
        "fused_score.cu",
        "+ block.tile, wrap);",
        "+ block.tile, wrap + 1u);",
    ),
    Mutant(
        "a row too far of a part's own",
        "parts.cuh",
        "row += s.p.part[s.part].row;",
        "row += s.p.part[s.part].row + 1;",
    ),
    Mutant(
        "the numbers of the first part",
        "parts.cuh",
        "s.p.part[s.part].numbers_at",
        "s.p.part[0].numbers_at",
    ),
    Mutant("the mean of another part", "verdict.cuh", "->mean[lane - kFirst]", "->mean[lane - kFirst ^ 1]"),
    Mutant(
        "a part's value in its neighbour's place",
        "verdict.cuh",
        "if (lane == kFirst + where.part) value = found;",
        "if (lane == kFirst + (where.part ^ 1)) value = found;",
    ),
    Mutant(
        "one sum over classes for all parts",
        "verdict.cuh",
        "result(kSums, column * kMaxParts + part)",
        "result(kSums, column * kMaxParts)",
    ),
    Mutant(
        "no barrier between two sums over classes",
        "verdict.cuh",
        "keep_sum(p, warp, part); block_sync();",
        "keep_sum(p, warp, part);",
    ),
    Mutant(
        "no barrier between hidden layers",
        "verdict.cuh",
        "p.sums_at)); block_sync(); }",
        "p.sums_at)); }",
    ),
    Mutant(
        "a tie goes to the higher class",
        "verdict.cuh",
        "logit == top.logit && label < top.label",
        "logit == top.logit && label > top.label",
    ),
    Mutant(
        "stale threshold",
        "verdict.cuh",
        "if (sound && score <= load_f32(&constants_of(p)->threshold))",
        "static const float threshold = load_f32(&constants_of(p)->threshold); "
        "if (sound && score <= threshold)",
    ),
    Mutant(
        "a NaN threshold accepts",
        "verdict.cuh",
        "score <= load_f32(&constants_of(p)->threshold)",
        "!(score > load_f32(&constants_of(p)->threshold))",
    ),
    Mutant("never says written", "verdict.cuh", "unsigned flags = kWritten;", "unsigned flags = 0u;"),
    Mutant(
        "a slab is left out of the sums",
        "tile.cuh",
        "first + i < slabs ? load_shared",
        "first + i < slabs - 1 ? load_shared",
    ),
]


def pattern(mutant):
    return r"\s+".join(map(re.escape, re.split(r"\s+", mutant.before)))


def occurrences(mutant):
    """How often the source holds what the mutant changes; 1 for None, the right kernel."""
    return len(re.findall(pattern(mutant), (DEVICE / mutant.file).read_text("utf-8"))) if mutant else 1


def mutated(mutant):
    """The folder of the mutant's sources, and its run file; only the two entries that the suite calls."""
    folder = CACHE / "mutants" / re.sub(r"\W+", "-", mutant.name if mutant else "none")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in DEVICE.glob("*.cu*"):
        text = path.read_text("utf-8")
        if path.name == "fused_score.cu":
            kept = [f"EDGEOSR_ENTRY({entry})" for entry in ENTRIES]
            text = re.sub(r"^EDGEOSR_ENTRY\((.*)\)$", "", text, flags=re.M) + "\n".join(kept) + "\n"
        if mutant and path.name == mutant.file:
            text = re.sub(pattern(mutant), lambda _: mutant.after, text)
        (folder / path.name).write_text(text)
    shutil.copy(HEADER, folder)
    (folder / "run.cpp").write_text(RUN)
    return folder


@pytest.fixture(scope="module")
def libraries():
    jobs = {}
    for mutant in (None, *MUTANTS):
        if occurrences(mutant) != 1:
            continue  # its own test says so
        folder = mutated(mutant)
        jobs[mutant] = functools.partial(built, folder / "run.cpp", QUICK, device=folder)
    next(iter(jobs.values()))()  # compiles the runtime once, before two compile at a time
    return dict(zip(jobs, compiled_in_parallel(list(jobs.values())), strict=True))


def test_the_right_kernel_passes_the_suite(libraries):
    assert problem(Library(libraries[None])) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_notices(mutant, libraries):
    assert occurrences(mutant) == 1, f"the source has {mutant.before!r} not once: mend the mutant"
    library = libraries[mutant]
    assert not isinstance(library, AssertionError), library
    found = problem(Library(library))
    assert found is not None, "the mutant passes every check"
