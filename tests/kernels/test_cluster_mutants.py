"""Seeded faults of what the blocks of a cluster do together: the short suite must notice every one."""

import pytest
from fused_suite import problem
from mutant_builds import Entry, Mutant, compiled, occurrences
from mutants_of_classes import OF_OWN_VERDICT
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
    Mutant("no wait for a layer's weights", "together.cuh", "wait_for_mail(copies_mailbox(p, layer));", ""),
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
        "together.cuh",
        "if (thread < kMostCluster) send(idle_words",
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
        "a block's share of layer 1 begins a row too late",
        "together.cuh",
        "return {sample, first + number, true};",
        "return {sample, first + (number ^ 1), true};",
    ),
    Mutant(
        "the rows of another sample",
        "together.cuh",
        "return {rank, hidden + number, rank < valid",
        "return {rank ^ 1, hidden + number, rank < valid",
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
        "add_own_rows(p, block.valid, slab_partials(p, block.tile, 0)); block_sync();",
        "add_own_rows(p, block.valid, slab_partials(p, block.tile, 0));",
    ),
    Mutant(
        "neighbouring rows change places",
        "together.cuh",
        "odd ? first : second, 4)",
        "odd ? second : first, 4)",
    ),
    Mutant(
        "no barrier of the layers' warps",
        "together.cuh",
        "group_sync(kLayerBarrier, kLayerTeamWarps * 32);",
        "",
    ),
    Mutant(
        "the layers' barrier lacks a warp",
        "together.cuh",
        "group_sync(kLayerBarrier, kLayerTeamWarps * 32);",
        "group_sync(kLayerBarrier, kLayerTeamWarps * 32 - 32);",
    ),
    Mutant(
        "the next layer's sums come before the last lane has read",
        "together.cuh",
        "from += kTileMma * pitch; } warp_sync();",
        "from += kTileMma * pitch; }",
    ),
    Mutant("parts of other samples are added", "together.cuh", "from += kTileMma * pitch;", "from += pitch;"),
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
    Mutant(
        "no wait for layer 1",
        "together.cuh",
        "if (p.layers < 2) return; wait_for_mail(mailbox(p, 0));",
        "if (p.layers < 2) return;",
    ),
    Mutant("no wait for a hidden layer", "together.cuh", "wait_for_mail(mailbox(p, layer));", ""),
    Mutant(
        "the logit of the tile's first sample",
        "together.cuh",
        "last_layer<true>(p, hidden_values(p, p.layers - 2), column);",
        "last_layer<true>(p, hidden_values(p, p.layers - 2), 0);",
    ),
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
