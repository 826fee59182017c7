"""Seeded faults: each changes a line of the kernel's source, and the short suite must notice every one."""

import pytest
from fused_suite import problem
from mutant_builds import Entry, Mutant, compiled, occurrences
from mutants_of_classes import OF_CLASSES
from simt_run import Library

ENTRIES = (
    Entry("map_mma_f16", "true, true, true, false"),
    Entry("tangents_fma_f32", "false, false, false, false"),
)

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
        "if (next < chunks) block_sync();",
        "",
    ),
    Mutant("waits for too few copies", "pooling.cuh", "copy_async_wait<1>();", "copy_async_wait<2>();"),
    Mutant(
        "channels beyond the last are not cleared",
        "staging.cuh",
        "chunk.channels < kGroup) clear_rows(",
        "false) clear_rows(",
    ),
    Mutant(
        "the weights of the chunk before",
        "pooling.cuh",
        "own = table_row(p, lane, group);",
        "own = table_row(p, lane, group - 1);",
    ),
    Mutant(
        "a sum goes to another channel",
        "pairs.cuh",
        "(row & 3) << 3 | row >> 2 | column",
        "(row & 3) << 3 | (row >> 2 ^ 1) | column",
    ),
    Mutant(
        "a sum lacks half of the lanes' groups",
        "pairs.cuh",
        "(one + shuffle_xor(one, 4))",
        "(one + one)",
    ),
    Mutant(
        "a pair's masks change places",
        "pairs.cuh",
        "bits[2 * pair], bits[2 * pair + 1]",
        "bits[2 * pair + 1], bits[2 * pair]",
    ),
    Mutant(
        "chunks of a sample that are aligned as the first one's",
        "pooling.cuh",
        "held_if_many(rows ? stride & 15 : 0)",
        "held_if_many(0)",
    ),
    Mutant("positions beyond the map count", "pairs.cuh", "kWhole || lane_index() < left;", "left > -256;"),
    Mutant("a pair's second row is its first", "pairs.cuh", "from + held(pitch)", "from"),
    Mutant("pairs a row apart", "pairs.cuh", "from += held(2 * pitch);", "from += held(pitch);"),
    Mutant("a second word as long as the first", "rows.cuh", "positions - 32, bits)", "positions, bits)"),
    Mutant("a whole chunk's second pieces are not copied", "staging.cuh", "if (left > 512)", "if (false)"),
    Mutant("nor the last of them", "staging.cuh", "if (left > 512)", "if (left > 528)"),
    Mutant(
        "every second group of warps copies nothing",
        "staging.cuh",
        "held(warp_index() & (sharers - 1))",
        "held(warp_index() & (sharers / 2 - 1))",
    ),
    Mutant(
        "a group's warps copy the same pieces",
        "staging.cuh",
        "held((warp_index() >> bits) * 1024 +",
        "held(0 * bits +",
    ),
    Mutant("chunks that are not aligned as those that are", "staging.cuh", ") == 0) {", ") < 16) {"),
    Mutant(
        "wrong mask: neighbours across the map's edge",
        "taps.cuh",
        "at + width - (offset.right > 0 ? offset.right : 0)",
        "at + width",
    ),
    Mutant("the mask's second word meets the first's places", "taps.cuh", "(place.y)", "(place.x)"),
    Mutant("a shifted mask loses its upper word", "taps.cuh", "low = high;", "low = 0u;"),
    Mutant(
        "the NaN test is not there",
        "pairs.cuh",
        "y[pair] = halves_times(y[pair], inside);",
        "y[pair] &= (inside >> 10 & 0x00010001u) * 0xffffu;",
    ),
    Mutant("the kink of ReLU", "pairs.cuh", "halves_above(y[pair], low)", "halves_not_below(y[pair], low)"),
    Mutant(
        "a word of many meets its neighbour's pairs", "taps.cuh", "own_word(word + 1),", "own_word(word),"
    ),
    Mutant(
        "weights of many words stay those of the first taps",
        "taps.cuh",
        "left.value[i - 1] = left.value[i];",
        "left.value[i] = left.value[i];",
    ),
    Mutant(
        "wrong tail: the last element of a row",
        "staging.cuh",
        "(bytes - middle) / kBytes;",
        "(bytes - middle) / kBytes - 1;",
    ),
    Mutant(
        "a tile's verdicts all in one place",
        "verdict.cuh",
        "slab_partials(p, block.tile, 0), block.first + warp, warp, before);",
        "slab_partials(p, block.tile, 0), block.first, warp, before);",
    ),
    Mutant(
        "swapped fragment registers",
        "dense.cuh",
        "mma_f16(c[i], word[i], high_0, high_1);",
        "mma_f16(c[i], word[i], high_1, high_0);",
    ),
    Mutant(
        "the weights that were asked for are those of the next steps",
        "dense.cuh",
        "from = stepped(from, 2 * jump);",
        "from = stepped(from, 0 * jump);",
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
        "thread_fence(); unsigned const arrived",
        "unsigned const arrived",
    ),
    Mutant(
        "no barrier before one thread's fence",
        "fused_score.cu",
        "its atomic theirs. block_sync();",
        "its atomic theirs.\nif (block.slab < 0) block_sync();",
    ),
    Mutant(
        "the counter acquires nothing",
        "fused_score.cu",
        "atomic_increment(reinterpret_cast<unsigned*>(p.workspace) + block.tile, wrap);",
        "simt::atomic_increment(reinterpret_cast<unsigned*>(p.workspace) + block.tile, wrap, "
        "simt::Site::here());",
    ),
    Mutant(
        "another thread fences than counts",
        "fused_score.cu",
        "if (thread_index() == 0) { unsigned const wrap = static_cast<unsigned>(p.slabs) - 1u; "
        "thread_fence();",
        "if (thread_index() == 32) thread_fence(); block_sync(); if (thread_index() == 0) { "
        "unsigned const wrap = static_cast<unsigned>(p.slabs) - 1u;",
    ),
    Mutant(
        "layers' warps skip units",
        "hidden.cuh",
        "unit.number + layer_warps(p), 0)",
        "unit.number + kWarps, 0)",
    ),
    Mutant(
        "no barrier after the counter",
        "fused_score.cu",
        "arrived == wrap ? 1u : 0u); } block_sync();",
        "arrived == wrap ? 1u : 0u); }",
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
        "classes.cuh",
        "shared_store_f32(result(kValues, where.column * kMaxParts + where.part), value);",
        "shared_store_f32(result(kValues, where.column * kMaxParts + (where.part ^ 1)), value);",
    ),
    Mutant(
        "a part that waits for the discriminator is left out",
        "verdict.cuh",
        "if (needs_discriminator(p.part[where.part].code)) keep_value(where);",
        "",
    ),
    Mutant(
        "one sum over classes for all parts",
        "classes.cuh",
        "result(kSums, column * kMaxParts + part)",
        "result(kSums, column * kMaxParts)",
    ),
    Mutant(
        "no barrier between two sums over classes",
        "classes.cuh",
        "if (!alone<kOwn>(p)) sync_classes<kOwn>();",
        "",
    ),
    Mutant(
        "no barrier before the warps' sums are added",
        "classes.cuh",
        "if (alone<kOwn>(p)) warp_sync(); else sync_classes<kOwn>();",
        "warp_sync();",
    ),
    Mutant(
        "top class and sums in one turn, with no barrier between",
        "verdict.cuh",
        "if (turn == (alone<false>(p) ? 0 : 1)) find_sums",
        "if (turn == 0) find_sums",
    ),
    Mutant(
        "no barrier between hidden layers",
        "verdict.cuh",
        "ask_for_layer<kMma>(p, turn + 2, asked); block_sync(); }",
        "ask_for_layer<kMma>(p, turn + 2, asked); }",
    ),
    Mutant(
        "no barrier before a layer's parts are added",
        "hidden.cuh",
        "if (parts == 1) return; block_sync();",
        "if (parts == 1) return;",
    ),
    Mutant(
        "the weights asked for are of the layer before",
        "verdict.cuh",
        "ask_for_layer<kMma>(p, turn + 2, asked);",
        "ask_for_layer<kMma>(p, turn + 1, asked);",
    ),
    Mutant("a unit's sums go on into the next one's", "hidden.cuh", "c[0] = c[1] = c[2] = c[3] = 0.0f;", ""),
    Mutant(
        "the steps of a unit that are left, once too few",
        "hidden.cuh",
        "if (i < next.steps) asked.word[i]",
        "if (i < next.steps - 1) asked.word[i]",
    ),
    Mutant(
        "the last layer's first weight is another's",
        "hidden.cuh",
        "shared_store_f32(last_weights(p) + k,",
        "shared_store_f32(last_weights(p) + (k ^ 1),",
    ),
    Mutant(
        "a tie goes to the higher class",
        "classes.cuh",
        "logit == top.logit && label < top.label",
        "logit == top.logit && label > top.label",
    ),
    Mutant(
        "stale threshold",
        "verdict.cuh",
        "if (sound && score <= shared_load_f32(&kept_constants()->threshold))",
        "static const float threshold = shared_load_f32(&kept_constants()->threshold); "
        "if (sound && score <= threshold)",
    ),
    Mutant(
        "a NaN threshold accepts",
        "verdict.cuh",
        "score <= shared_load_f32(&kept_constants()->threshold)",
        "!(score > shared_load_f32(&kept_constants()->threshold))",
    ),
    Mutant(
        "never says written",
        "verdict.cuh",
        "unsigned flags = next_number(before) | kWritten;",
        "unsigned flags = next_number(before);",
    ),
    Mutant(
        "verdicts never have a number",
        "verdict.cuh",
        "unsigned flags = next_number(before) | kWritten;",
        "unsigned flags = kWritten;",
    ),
    Mutant(
        "the number of another sample's slot",
        "verdict.cuh",
        "flags_before(p, block.first + warp)",
        "flags_before(p, warp)",
    ),
    Mutant(
        "a slab is left out of the sums",
        "tile.cuh",
        "first + i < slabs ? load_shared",
        "first + i < slabs - 1 ? load_shared",
    ),
    Mutant(
        "a slab is left out of the sums of four",
        "tile.cuh",
        "if (first + at + i < slabs) value",
        "if (first + at + i < slabs - 1) value",
    ),
    Mutant("the odd lane's slabs are left out", "tile.cuh", "sum.z += shuffle_xor(sum.z, 1);", ""),
    Mutant(
        "a slab is left out of |z|", "verdict.cuh", "if (lane < p.slabs) own", "if (lane < p.slabs - 1) own"
    ),
    Mutant("the neighbour's bias", "verdict.cuh", "sums.y + bias.y", "sums.y + bias.x"),
    Mutant(
        "rows of parts keep the first slab's products",
        "verdict.cuh",
        "store_f32(partials + sample * p.rows + row, sums.x);",
        "",
    ),
    Mutant(
        "a class's product goes to its neighbour",
        "verdict.cuh",
        "row + 1 - p.hidden_rows, sums.y);",
        "row + 1 - p.hidden_rows, sums.x);",
    ),
    Mutant("the constants are not fetched", "verdict.cuh", "keep_constants(p); keep_last", "keep_last"),
    Mutant(
        "samples beyond a warp's first are left out",
        "classes.cuh",
        "int const top = keep_top<kOwn>(p, sample, share.label < 32).label;",
        "if (sample != share.sample) break; "
        "int const top = keep_top<kOwn>(p, sample, share.label < 32).label;",
    ),
    Mutant(
        "class warps count as many as all",
        "classes.cuh",
        "return p.class_warps > 0 ? p.class_warps",
        "return p.class_warps > 0 ? p.class_warps + 1",
    ),
    Mutant(
        "the second step of a slab is left out",
        "dense.cuh",
        "if (k + step < steps) multiply_step",
        "if (step < 1) multiply_step",
    ),
    Mutant(
        "no barrier between the map and z in its place",
        "fused_score.cu",
        "if (!kCluster) ask_for_slab<kMma>(p, block, asked); block_sync();",
        "if (!kCluster) ask_for_slab<kMma>(p, block, asked);",
    ),
    Mutant(
        "a tile has as many samples as it may",
        "block.cuh",
        "block.first = block.tile * p.samples;",
        "block.first = block.tile * 8;",
    ),
    *OF_CLASSES,
]


@pytest.fixture(scope="module")
def libraries():
    return compiled(MUTANTS, ENTRIES)


def test_the_right_kernel_passes_the_suite(libraries):
    assert problem(Library(libraries[None])) is None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_notices(mutant, libraries):
    assert occurrences(mutant) == 1, f"the source has {mutant.before!r} not once: mend the mutant"
    library = libraries[mutant]
    assert not isinstance(library, AssertionError), library
    found = problem(Library(library))
    assert found is not None, "the mutant passes every check"
