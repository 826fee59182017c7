"""Bytes that the fused kernel asks for, in 32-byte sectors without any cache, and its bank conflicts."""

import functools
from dataclasses import replace

import pytest
from fused_cases import Case, random_inputs, random_scorer
from fused_run import SOURCE, prepared
from simt_build import COUNTING, built
from simt_run import Library

from edgeosr.kernels.packing import pack_scorer
from edgeosr.scoring.fusion import unfitted_fusion

SECTOR = 32


@functools.cache
def library(architecture=""):
    defines = ("EDGEOSR_SIMT_ARCH=900",) if architecture else ()
    return Library(built(SOURCE, COUNTING, defines=defines))


def case(**changes):
    """D = 512, fp16, the product's discriminator, ten classes."""
    return Case(
        **{
            "dimension": 512,
            "batch": 8,
            "classes": 10,
            "head": "cosine",
            "discriminator": "wide",
            "half_weights": True,
            "half_input": True,
            "positions": 49,
            "filter": 3,
            "activation": "relu",
            "seed": 31,
            **changes,
        }
    )


@functools.cache
def report(chosen, architecture=""):
    """Traffic by array; the scorer's parts are told apart."""
    packed = pack_scorer(random_scorer(chosen), half=chosen.half_weights)
    launch = prepared(chosen, packed, random_inputs(chosen), architecture=architecture)
    whole = launch.arrays.pop("scorer")
    parts = {
        "weights": whole[packed.split_at : packed.split_bias_at],
        "later layers": whole[packed.later_at : packed.later_at + packed.later_bytes],
    }
    arrays = {**parts, "scorer": whole, **launch.arrays}
    launch.arrays = {**launch.arrays, "scorer": whole}
    launch.clear()
    counted = library(architecture).counted(
        launch.plan.entry,
        launch.parameters(),
        launch.shape,
        arrays,
        workspace=launch.arrays["workspace"],
    )
    return launch, counted, {name: array.nbytes for name, array in arrays.items()}


def loaded(counted, *names):
    return SECTOR * sum(counted.arrays[name].load_sectors for name in names)


@pytest.mark.parametrize("half_weights", [True, False])
def test_weights_are_read_once_a_tile(half_weights):
    chosen = case(batch=64, positions=1, filter=1, half_weights=half_weights)
    launch, counted, sizes = report(chosen)
    tiles = -(-chosen.batch // launch.plan.tile)
    once = sizes["weights"] + sizes["later layers"]
    asked = loaded(counted, "weights", "later layers")
    print(f"weights: {asked / tiles / once:.3f} of one read a tile")
    assert asked <= 1.1 * tiles * once


MAPS = [
    case(batch=3),
    case(batch=3, channels_last=True),
    case(batch=2, half_input=False, activation="silu"),
    case(batch=2, half_input=False, channels_last=True, filter=1),
    case(batch=2, positions=256, filter=1, half_weights=False),
    case(batch=9, positions=64, dimension=128, activation="gelu", filter=5),
]


@pytest.mark.parametrize("chosen", MAPS, ids=str)
def test_the_map_is_read_once(chosen):
    _, counted, sizes = report(chosen)
    print(f"map: {loaded(counted, 'input') / sizes['input']:.3f} of one read")
    assert loaded(counted, "input") <= 1.2 * sizes["input"]


TANGENTS = [
    case(positions=0, probes=8, batch=8),
    case(positions=0, probes=5, batch=5, half_input=False, half_weights=False),
    case(positions=0, probes=0, batch=8, half_input=False),
]


@pytest.mark.parametrize("chosen", TANGENTS, ids=str)
def test_tangents_and_embedding_are_read_once(chosen):
    _, counted, sizes = report(chosen)
    names = ["input", "tangents"] if chosen.probes else ["input"]
    whole = sum(sizes[name] for name in names)
    print(f"tangents: {loaded(counted, *names) / whole:.3f} of one read")
    assert loaded(counted, *names) <= 1.2 * whole


# Rows of two samples, or of two parts of a sum, meet in one access: widths that are odd multiples of 16,
# tiles that are not full, slabs of 80 channels.
MEETING = [
    case(batch=2, dimension=127, positions=16, discriminator="four", half_weights=False),
    case(batch=2, dimension=129, positions=1, discriminator="deep", half_weights=False, half_input=False),
    case(batch=9, dimension=1280, positions=1, filter=1),
    case(batch=3, dimension=1280, positions=0, probes=3),
    case(batch=3, dimension=1280, positions=0, probes=3, half_input=False),
    case(batch=64, positions=1, filter=1),
]


@pytest.mark.parametrize("chosen", [*MAPS, *TANGENTS, *MEETING], ids=str)
def test_shared_memory_has_no_bank_conflicts(chosen):
    _, counted, _ = report(chosen)
    assert counted.shared_requests > 0
    assert counted.conflicts == {}
    assert counted.shared_wavefronts == counted.shared_compulsory


# Of clusters: the product's layers; layers cut into parts, of ragged widths, from global memory.
CLUSTERS = [
    case(batch=9),
    case(batch=3, classes=100, discriminator="ragged", dimension=360),
    case(batch=9, positions=0, probes=5, discriminator="four", classes=32, half_input=False),
    case(batch=2, positions=0, probes=0, discriminator="widest", dimension=128),
    case(batch=8, positions=16, discriminator="deep", head="external", dimension=128),
]


@pytest.mark.parametrize("chosen", CLUSTERS, ids=str)
def test_a_cluster_s_shared_memory_has_no_bank_conflicts(chosen):
    launch, counted, _ = report(chosen, "sm_90")
    assert launch.plan.cluster == 8 and counted.shared_requests > 0
    assert counted.conflicts == {}
    assert counted.shared_wavefronts == counted.shared_compulsory


@pytest.mark.parametrize("chosen", CLUSTERS[:3], ids=str)
def test_a_cluster_reads_its_layers_weights_once_a_tile_and_its_input_once(chosen):
    launch, counted, sizes = report(chosen, "sm_90")
    tiles = -(-chosen.batch // launch.plan.tile)
    asked = loaded(counted, "weights", "later layers")
    names = ["input", "tangents"] if chosen.probes else ["input"]
    print(f"weights: {asked / tiles / (sizes['weights'] + sizes['later layers']):.3f} of one read a tile")
    assert launch.plan.params.keeps_layers == 1
    # Every block has the last layer's weights.
    params = launch.plan.params
    last = 8 * 4 * params.width[params.layers - 2]
    if params.mailed_layers < params.layers - 1:  # and those that have a sample a lone layer's
        pieces = params.layer_tiles[params.layers - 2] * -(-params.width[params.layers - 3] // 16)
        last += (min(launch.plan.tile, chosen.batch) - 1) * 512 * pieces
    assert asked <= 1.1 * tiles * (sizes["weights"] + sizes["later layers"] + last)
    assert loaded(counted, *names) <= 1.2 * sum(sizes[name] for name in names)


def test_verdicts_are_stored_once():
    _, counted, sizes = report(MAPS[0])
    # 80 bytes that begin at a multiple of 16: three sectors in one request.
    samples = MAPS[0].batch
    assert counted.arrays["verdicts"].store_requests == samples
    assert counted.arrays["verdicts"].store_sectors == 3 * samples
    assert sizes["verdicts"] == 80 * samples
    assert counted.arrays["verdicts"].load_requests == 0


@pytest.mark.parametrize(
    ("parts", "passes"),
    [(("max_logit",), 1), (("movr_loss", "log_norm"), 2), (("movr_loss", "max_logit", "ovr_loss"), 3)],
)
def test_classes_are_gone_through_once_and_once_more_for_each_part_that_sums_over_them(parts, passes):
    chosen = case(batch=3, classes=1000, head="external", discriminator="none", positions=1, half_input=False)
    scorer = replace(random_scorer(chosen), fusion=unfitted_fusion(parts))
    launch = prepared(chosen, pack_scorer(scorer, half=True), random_inputs(chosen))
    counted, logits = launch.counted(library()), launch.arrays["logits"]
    assert counted.arrays["logits"].load_sectors == passes * logits.nbytes // SECTOR
