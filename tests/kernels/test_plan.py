"""Plans: limits, refusals, and what they promise the kernel."""

import ctypes
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgeosr.errors import UsageError
from edgeosr.kernels import plan as plans
from edgeosr.kernels import sharing
from edgeosr.kernels.device_verdicts import LAYOUT, VERDICT
from edgeosr.kernels.matrices import padded_size
from edgeosr.kernels.packing import CONSTANTS_BYTES, PackedPart, PackedScorer
from edgeosr.kernels.params import FusedScoreParams, PartPlace
from edgeosr.kernels.plan import (
    LaunchPlan,
    MapShape,
    TangentShape,
    chunks_at_once,
    plan_launch,
)
from edgeosr.kernels.plan_table import PlanTable
from edgeosr.kernels.sharing import slab_width
from edgeosr.scoring.limits import KERNEL_LIMITS

SOURCES = Path(__file__).resolve().parents[2] / "kernels" / "src"
STANDARD = (512, 256, 128, 64, 1)


def a_packed(
    *,
    dimension: int = 512,
    classes: int = 10,
    widths: tuple[int, ...] = STANDARD,
    half: bool = True,
    smooth: bool = False,
    taps: int = 13,
    probes: int | None = None,
    part_rows: int = 0,
) -> PackedScorer:
    """The sizes of a packed scorer, without its bytes."""
    hidden_rows = padded_size(widths[0]) if widths else 0
    return PackedScorer(
        data=b"",
        half=half,
        dimension=dimension,
        classes=classes,
        head=0,
        closed_form=probes is None,
        probes=probes or 0,
        activation=5 if smooth else 1,
        smooth=smooth,
        taps=taps,
        parts=(PackedPart(code=4, row=hidden_rows + padded_size(classes), rows=part_rows, numbers_at=32),),
        widths=widths,
        hidden_rows=hidden_rows,
        rows=hidden_rows + padded_size(classes) + padded_size(part_rows),
        split_at=128,
        split_bias_at=0,
        layer_at=(0,) * len(widths),
        bias_at=(0,) * len(widths),
        later_at=0,
        later_bytes=0,
        table_at=0,
        offsets_at=0,
    )


def plan(packed: PackedScorer, batch: int, height: int = 7, **shape: object) -> LaunchPlan:
    """Plan for a square map."""
    return plan_launch(packed, MapShape(height=height, width=height, **shape), batch)  # type: ignore[arg-type]


def test_structs_have_the_same_offsets_in_c_plus_plus(tmp_path: Path) -> None:
    fields = {
        struct.__name__: {name: getattr(struct, name).offset for name in names(struct)}
        for struct in (FusedScoreParams, PartPlace)
    }
    fields["FusedVerdict"] = {
        {"values": "value"}.get(name, name): VERDICT.fields[name][1] for name in VERDICT.names or ()
    }
    sizes = {
        "FusedScoreParams": ctypes.sizeof(FusedScoreParams),
        "PartPlace": ctypes.sizeof(PartPlace),
        "FusedVerdict": VERDICT.itemsize,
        "ScorerConstants": CONSTANTS_BYTES,
    }
    words = [f"offsetof(edgeosr::{struct}, {name})" for struct in fields for name in fields[struct]]
    words += [f"sizeof(edgeosr::{struct})" for struct in sizes] + ["alignof(edgeosr::FusedVerdict)"]
    expected = [offset for struct in fields.values() for offset in struct.values()]
    assert printed(tmp_path, words) == [*expected, *sizes.values(), 16]
    assert VERDICT.itemsize == 80


def test_limits_are_the_enums_of_params_cuh(tmp_path: Path) -> None:
    limits = {
        "kMaxDimension": KERNEL_LIMITS.dimension,
        "kMaxClasses": KERNEL_LIMITS.classes,
        "kMaxLayers": KERNEL_LIMITS.layers,
        "kMaxWidth": KERNEL_LIMITS.width,
        "kMaxTaps": KERNEL_LIMITS.taps,
        "kMaxProbes": KERNEL_LIMITS.probes,
        "kMaxPartRows": KERNEL_LIMITS.rows,
        "kMaxPartNumbers": KERNEL_LIMITS.numbers,
        "kMaxParts": KERNEL_LIMITS.parts,
        "kMaxPositions": KERNEL_LIMITS.positions,
        "kMaxBatch": plans.LARGEST_BATCH,
        "kThreads": sharing.THREADS,
        "kMaxSlabs": sharing.MOST_SLABS,
        "kMaxSlabWidth": sharing.WIDEST_SLAB,
        "kGroup": plans.GROUP,
        "kTileMma": sharing.TILE_HALF,
        "kTileFma": sharing.TILE_FULL,
        "kStageAt": plans.STAGE_AT,
        "kEvenAt": plans.EVEN_AT,
        "kVerdictLayout": LAYOUT,
    }
    text = (SOURCES / "params.cuh").read_text("utf-8")
    assert set(re.findall(r"\bk(?:Max|Tile)\w+(?= = )", text)) <= set(limits)
    assert printed(tmp_path, [f"edgeosr::{name}" for name in limits]) == list(limits.values())


def names(struct: type[ctypes.Structure]) -> list[str]:
    return [field[0] for field in struct._fields_]


def printed(folder: Path, expressions: list[str]) -> list[int]:
    """What C++ makes of whole numbers."""
    source, program = folder / "print.cpp", folder / "print"
    lines = "".join(f'std::printf("%zu\\n", static_cast<std::size_t>({words}));' for words in expressions)
    head = '#include <cstddef>\n#include <cstdio>\n#include "params.cuh"\n'
    source.write_text(f"{head}int main() {{ {lines} }}")
    subprocess.run(["g++", "-std=c++17", f"-I{SOURCES}", str(source), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


def test_the_standard_scorer_takes_sixteen_blocks_a_tile() -> None:
    one, many = plan(a_packed(), 1), plan(a_packed(), 64)
    assert (one.blocks, many.blocks, one.threads) == (16, 128, 512)
    assert one.entry == "fused_score_map_mma_f16"
    assert one.params.slab_width == 32
    assert one.shared_bytes <= 48 * 1024  # two blocks on a multiprocessor of 100 KB, one where it has 64
    assert plan(a_packed(half=False), 64, half=False).entry == "fused_score_map_fma_f32"


@pytest.mark.parametrize("batch", [2, 9, 100, 1024])
def test_slabs_do_not_depend_on_the_batch(batch: int) -> None:
    for dimension in (1, 7, 127, 129, 509, 1280, 2048):
        packed = a_packed(dimension=dimension)
        one, many = plan(packed, 1), plan(packed, batch)
        assert (one.params.slab_width, one.params.slabs) == (many.params.slab_width, many.params.slabs)


@pytest.mark.parametrize("dimension", [1, 15, 16, 17, 257, 512, 1280, 2047, 2048])
@pytest.mark.parametrize("rows", [0, 16, 528, 1520, 5120])
def test_slabs_cover_the_channels_once(dimension: int, rows: int) -> None:
    width = slab_width(dimension, rows)
    slabs = -(-dimension // width)
    assert width % 16 == 0 and width <= 256 and slabs <= 16
    assert (slabs - 1) * width < dimension <= slabs * width


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("input_half", [False, True])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_nothing_within_the_limits_needs_more_than_64_kb(half: bool, input_half: bool, layout: str) -> None:
    for smooth in (False, True):
        for widths in ((), (1,), (1024, 1), (1024,) * 5 + (1,), (1024, 1024, 256, 1024, 1)):
            for classes in (1, 4096):
                packed = a_packed(
                    dimension=2048, classes=classes, widths=widths, half=half, smooth=smooth, taps=128
                )
                got = plan(packed, 1024, 16, layout=layout, half=input_half)
                assert got.shared_bytes <= 64 * 1024
                assert got.params.odd_at % 16 == got.params.halves_at % 16 == got.params.z_at % 16 == 0
                assert got.workspace_bytes < 256 << 20
                brought = replace(packed, rows=packed.rows + KERNEL_LIMITS.rows)
                # Rows of a part as many as classes: room for them beside the classes', not shared memory.
                more = plan(brought, 1024, 16, layout=layout, half=input_half)
                assert more.shared_bytes <= 64 * 1024 and more.workspace_bytes < 512 << 20


def test_shared_parts_do_not_overlap_and_fit() -> None:
    params = plan(a_packed(smooth=True), 8).params
    assert params.slopes_at == 4 * (8 + 4) + 16 * params.chunk_bytes
    assert params.masks_at == params.inside_at == params.slopes_at + 16 * 49 * 4
    assert params.z_at == params.inside_at + 16 * 4 * 4
    assert params.halves_at == 4 * (8 + 4)  # where the map was
    assert params.halves_at + 2 * 8 * (32 + 8) * 2 <= params.z_at
    assert params.sums_at - params.odd_at >= 8 * (256 + 8) * 2
    params = plan(a_packed(), 8, 14).params
    assert params.masks_at == 4 * (8 + 4) + 2 * 4 * params.chunk_bytes
    assert params.inside_at == params.masks_at + 16 * (2 * 8 + 1) * 32
    assert params.z_at == params.inside_at + (8 + 1) * 16 * 4


@pytest.mark.parametrize(
    ("chunks", "chunk_bytes", "at_once"),
    [(2, 1584, 2), (16, 1584, 16), (17, 1584, 8), (40, 1584, 8), (16, 6288, 4), (2, 8208, 2), (16, 8208, 3)],
)
def test_a_block_stages_all_its_chunks_or_two_halves_that_keep_every_warp_busy(
    chunks: int, chunk_bytes: int, at_once: int
) -> None:
    assert chunks_at_once(chunks, chunk_bytes) == at_once


@pytest.mark.parametrize(
    ("dimension", "architecture", "multiprocessors", "batch", "at_once", "keeps_layers"),
    [
        (512, "sm_90", 0, 16, 32, 1),  # all, and the hidden layers beside them
        (512, "sm_120", 0, 16, 8, 1),  # no room for both, and three times between halves are not worth it
        (1280, "sm_90", 0, 16, 16, 0),  # five are
        (1280, "sm_90", 132, 96, 16, 1),  # a block that has its multiprocessor alone
        (1280, "sm_90", 132, 16, 8, 1),  # tiles of two
        (1280, "", 0, 16, 8, 0),  # no clusters
    ],
)
def test_a_full_tiles_block_in_a_cluster_stages_more_where_it_is_worth_the_room(
    dimension: int, architecture: str, multiprocessors: int, batch: int, at_once: int, keeps_layers: int
) -> None:
    made = plan_launch(
        a_packed(dimension=dimension),
        MapShape(height=7, width=7),
        batch,
        architecture=architecture,
        multiprocessors=multiprocessors,
        table=PlanTable(),
    )
    assert made.params.chunks_per_half == at_once
    assert made.params.keeps_layers == keeps_layers
    if architecture:
        room, _ = sharing.cluster_room(architecture, made.blocks, multiprocessors)
        assert made.params.z_at < made.shared_bytes <= room


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8, 9, 16, 63, 1024])
@pytest.mark.parametrize("half", [True, False])
def test_the_inverses_divide_exactly(batch: int, half: bool) -> None:
    for dimension in (1, 129, 512, 1280, 2048):
        got = plan(a_packed(dimension=dimension, half=half), batch, half=half)
        for block in range(got.blocks):
            assert block * got.params.slabs_inverse >> 20 == block // got.params.slabs
        last = (batch - 1) % got.tile + 1
        for number in range(16 * got.tile):
            assert number * got.params.last_inverse >> 16 == number // last
            assert number * (65536 // got.tile + 1) >> 16 == number // got.tile
    for width in range(1, 257):
        inverse = plan_launch(a_packed(), MapShape(height=1, width=width), 1).params.width_inverse
        assert all(at * inverse >> 16 == at // width for at in range(256))


@pytest.mark.parametrize(
    ("batch", "multiprocessors", "samples"),
    [
        (1, 132, 1),
        (8, 132, 1),
        (9, 132, 2),
        (16, 132, 2),
        (17, 132, 4),
        (64, 132, 8),
        (65, 132, 8),
        (8, 8, 8),
    ],
)
def test_tiles_have_as_few_samples_as_the_multiprocessors_have_room_for(
    batch: int, multiprocessors: int, samples: int
) -> None:
    packed, shape = a_packed(), MapShape(height=7, width=7)
    got = plan_launch(packed, shape, batch, multiprocessors=multiprocessors)
    assert got.tile == got.params.samples == samples
    assert got.blocks == -(-batch // samples) * 16
    # The same room whatever the tiles, and warps of their own for few classes of few samples.
    unknown = plan_launch(packed, shape, batch)
    assert (got.workspace_bytes, got.counter_bytes) == (unknown.workspace_bytes, unknown.counter_bytes)
    assert got.params.class_warps == (4 if samples <= 4 else 0)


@pytest.mark.parametrize("half", [True, False])
def test_tiles_are_full_where_the_multiprocessors_are_not_known(half: bool) -> None:
    for multiprocessors in (0, 1, 15):
        got = plan_launch(
            a_packed(half=half), MapShape(height=7, width=7), 20, multiprocessors=multiprocessors
        )
        assert got.tile == (8 if half else 4)


def test_a_number_of_multiprocessors_that_no_device_has_is_refused() -> None:
    for number in (-1, 4097):
        with pytest.raises(UsageError, match=f"multiprocessors must be from 0 to 4096.*got {number}"):
            plan_launch(a_packed(), MapShape(height=7, width=7), 1, multiprocessors=number)


def test_how_a_layer_is_cut_depends_on_the_scorer_alone() -> None:
    packed = a_packed(widths=(512, 256, 128, 64, 1))
    one = plan_launch(packed, MapShape(height=7, width=7), 1, multiprocessors=132).params
    many = plan(packed, 1024).params
    assert list(one.layer_parts) == list(many.layer_parts) == [0, 3, 3, 3, 0, 0]
    assert list(one.layer_share) == list(many.layer_share) == [0, 11, 6, 3, 0, 0]
    for params in (one, many):
        for layer, tiles in ((1, 16), (2, 8), (3, 4)):
            for unit in range(tiles * 3 + 16):
                assert unit * params.layer_inverse[layer] >> 20 == unit // tiles


def test_an_empty_batch_launches_nothing() -> None:
    assert plan(a_packed(), 0).blocks == 0


def test_counters_come_first_in_the_workspace() -> None:
    got = plan(a_packed(), 1024)
    assert got.counter_bytes == got.params.stats_at == 1024 * 4  # as if tiles were of one sample
    assert got.params.partials_at == 4096 + 128 * 16 * 8 * 2 * 4
    assert got.workspace_bytes == got.params.partials_at + 128 * 16 * 8 * 528 * 4


def test_channels_last_rows_fall_into_different_banks() -> None:
    for positions, pitch_half, pitch_full in ((1, 4, 2), (16, 20, 18), (49, 52, 50), (256, 260, 258)):
        height, width = (positions, 1)
        for half, pitch in ((True, pitch_half), (False, pitch_full)):
            shape = MapShape(height=height, width=width, layout="nhwc", half=half)
            assert plan_launch(a_packed(), shape, 1).params.row_pitch == pitch


def test_strides_default_to_arrays_without_gaps() -> None:
    params = plan(a_packed(), 3).params
    assert params.sample_stride == 512 * 49
    params = plan(a_packed(dimension=509), 3, layout="nhwc", position_stride=512).params
    assert (params.sample_stride, params.position_stride) == (512 * 49, 512)
    params = plan_launch(a_packed(probes=8), TangentShape(probes=8), 3).params
    assert (params.sample_stride, params.tangent_sample_stride, params.probe_stride) == (512, 512, 1536)
    assert params.stats == 2 + 16


@pytest.mark.parametrize(
    ("packed", "shape", "batch", "words"),
    [
        (a_packed(), MapShape(height=7, width=7), 1025, "batch must be from 0 to 1024.*got 1025"),
        (a_packed(), MapShape(height=17, width=16), 1, "positions must be from 1 to 256.*got 272"),
        (a_packed(), MapShape(height=0, width=16), 1, "height must be from 1 to 256.*got 0"),
        (a_packed(), MapShape(height=7, width=7, layout="hwc"), 1, "layout must be nchw or nhwc; got 'hwc'"),
        (
            a_packed(),
            MapShape(height=7, width=7, layout="nhwc", position_stride=511),
            1,
            "position_stride must be at least D = 512; got 511",
        ),
        (
            a_packed(),
            MapShape(height=7, width=7, sample_stride=10),
            1,
            "sample_stride must be at least 25088 elements; got 10",
        ),
        (
            a_packed(),
            MapShape(height=7, width=7, sample_stride=1 << 24),
            1024,
            "fewer than 2\\^31 elements; got 17179869184",
        ),
        (a_packed(probes=8), TangentShape(probes=5), 1, "K = 8 probes; got 5 tangents"),
        (a_packed(probes=8), MapShape(height=7, width=7), 1, "no closed form.*not the map"),
        (a_packed(), TangentShape(), 1, "closed form; the fused kernel needs the map"),
        (
            a_packed(probes=1),
            TangentShape(probes=1, tangent_sample_stride=100),
            1,
            "tangent_sample_stride must be at least 512",
        ),
    ],
)
def test_what_the_kernel_cannot_take_is_refused(
    packed: PackedScorer, shape: MapShape | TangentShape, batch: int, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        plan_launch(packed, shape, batch)
