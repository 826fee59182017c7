"""Seeded faults of what the blocks of a cluster do together: the short suite must notice every one."""

import pytest
from fused_suite import problem
from mutant_builds import Entry, Mutant, compiled, occurrences
from mutants_of_classes import OF_OWN_VERDICT
from mutants_of_layers import OF_OWN_LAYERS
from simt_run import Library

ENTRIES = (
    Entry("map_cluster_f16", "true, true, true, true"),
    Entry("tangents_cluster_f32", "false, true, false, true"),
)
MUTANTS = [
    Mutant("blocks do not wait for one another", "fused_score.cu", "cluster_sync();", ""),
    Mutant(
        "blocks wait for one another before they have multiplied",
        "fused_score.cu",
        "multiply_slab<kMma, kCluster>(p, block, asked, slab_partials(p, block.tile, block.slab)); } "
        "if (stops_after(2)) return drop_copies<kCluster>(p); "
        "if (kCluster) { wait_for_mail(copies_mailbox(p, 0)); cluster_sync();",
        "if (kCluster) { wait_for_mail(copies_mailbox(p, 0)); cluster_sync(); } "
        "multiply_slab<kMma, kCluster>(p, block, asked, slab_partials(p, block.tile, block.slab)); } "
        "if (stops_after(2)) return drop_copies<kCluster>(p); if (kCluster) {",
    ),
    Mutant(
        "no wait for the constants",
        "fused_score.cu",
        "wait_for_mail(copies_mailbox(p, 0)); cluster_sync();",
        "cluster_sync();",
    ),
    Mutant(
        "no wait for the slab's columns",
        "kept_columns.cuh",
        "if (kept_bytes(p, block) > 0) wait_for_mail(columns_mailbox(p));",
        "",
    ),
    Mutant(
        "the slab's columns come a row tile too late",
        "mail.cuh",
        "{p.columns_at, split_tiles(p, block),",
        "{p.columns_at, split_tiles(p, block) + 512,",
    ),
    Mutant(
        "a slab of fewer channels asks for as many columns",
        "kept_columns.cuh",
        "return smaller(p.kept_steps, block.channels >> 4);",
        "return p.kept_steps;",
    ),
    Mutant(
        "the columns that are not kept are those of the first steps",
        "dense.cuh",
        "weights + place + static_cast<unsigned>(kept) * jump;",
        "weights + place;",
    ),
    Mutant(
        "kept columns meet the same part of z",
        "dense.cuh",
        "own += jump; column += 16; }",
        "own += jump; }",
    ),
    Mutant("each thread opens the mailboxes", "mail.cuh", "if (lane_again() != 0 || layer >", "if (layer >"),
    Mutant(
        "half of the last layer's weights are not asked for",
        "mail.cuh",
        "static_cast<unsigned>(p.width[p.layers - 2] + 3) / 4u",
        "static_cast<unsigned>(p.width[p.layers - 2] + 3) / 8u",
    ),
    Mutant(
        "no wait for a layer's weights",
        "own_layers.cuh",
        "if (tiles > 0) wait_for_mail(copies_mailbox(p, layer));",
        "",
    ),
    Mutant(
        "values of all columns in the count of bytes",
        "mail.cuh",
        "(padded16(p.width[layer]) * block.valid) * 2u",
        "(padded16(p.width[layer]) * 8) * 2u",
    ),
    Mutant(
        "the words of blocks without rows are not counted",
        "mail.cuh",
        "static_cast<unsigned>(p.layer_idle[layer]) * 4u",
        "0u",
    ),
    Mutant(
        "blocks without rows say nothing",
        "own_layers.cuh",
        "if (thread < hearers(p, layer, valid)) send(idle_words",
        "if (thread < 0) send(idle_words",
    ),
    Mutant(
        "biases of the first block's rows",
        "mail.cuh",
        "p.scorer + p.bias_at[layer] + first * 64u,",
        "p.scorer + p.bias_at[layer],",
    ),
    Mutant(
        "weights of the first block's rows",
        "mail.cuh",
        "p.layer_at[layer] + first * step_bytes,",
        "p.layer_at[layer],",
    ),
    Mutant("the last block gets nothing", "mail.cuh", "rank < kMostCluster; ++rank)", "rank < 7; ++rank)"),
    Mutant(
        "each block has the first rows of layer 1",
        "together.cuh",
        "first = cluster_rank() * p.hidden_quads,",
        "first = 0 * p.hidden_quads,",
    ),
    Mutant(
        "the rows of another sample",
        "together.cuh",
        "place = partials + column * p.rows + row;",
        "place = partials + (column ^ 1) * p.rows + row;",
    ),
    Mutant(
        "the norm of the tile's first sample",
        "together.cuh",
        "slab_stats(p, block.tile, 0) + column * p.stats,",
        "slab_stats(p, block.tile, 0),",
    ),
    Mutant(
        "no barrier behind the sums over slabs",
        "together.cuh",
        "sync_classes<true>();",
        "",
    ),
    Mutant(
        "neighbouring rows change places",
        "own_layers.cuh",
        "odd ? first : second, 4)",
        "odd ? second : first, 4)",
    ),
    Mutant(
        "no barrier of the layers' warps",
        "own_layers.cuh",
        "group_sync(kLayerBarrier, kLayerTeamWarps * 32);",
        "",
    ),
    Mutant(
        "the layers' barrier lacks a warp",
        "own_layers.cuh",
        "group_sync(kLayerBarrier, kLayerTeamWarps * 32);",
        "group_sync(kLayerBarrier, kLayerTeamWarps * 32 - 32);",
    ),
    Mutant(
        "the next layer's sums come before the last lane has read",
        "own_layers.cuh",
        "value.y += sum[i].y; } } warp_sync();",
        "value.y += sum[i].y; } }",
    ),
    Mutant(
        "parts of other samples are added", "own_layers.cuh", "from += kTileMma * pitch;", "from += pitch;"
    ),
    Mutant(
        "no barrier of the classes' warps",
        "classes.cuh",
        "group_sync(kClassBarrier, kClassTeamWarps * 32);",
        "{}",
    ),
    Mutant(
        "classes and layers meet at one number",
        "classes.cuh",
        "kClassBarrier = 1, kLayerBarrier = 2,",
        "kClassBarrier = 1, kLayerBarrier = 1,",
    ),
    *OF_OWN_LAYERS,
    *OF_OWN_VERDICT,
]


@pytest.fixture(scope="module")
def libraries():
    return compiled(MUTANTS, ENTRIES, ("EDGEOSR_SIMT_ARCH=900",))


def test_the_right_kernel_passes_the_suite(libraries):
    assert problem(Library(libraries[None]), "sm_90") is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_notices(mutant, libraries):
    assert occurrences(mutant) == 1, f"the source has {mutant.before!r} not once: mend the mutant"
    library = libraries[mutant]
    assert not isinstance(library, AssertionError), library
    found = problem(Library(library), "sm_90")
    assert found is not None, "the mutant passes every check"
