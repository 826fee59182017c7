"""Seeded faults of the classes' logits and sums; the other files' are in test_fused_score_mutants.py."""

from mutant_builds import Mutant

OF_CLASSES = [
    Mutant(
        "logits from outside of the first tile's samples",
        "classes.cuh",
        "logit = external_logit(p, block.first + sample, label);",
        "logit = external_logit(p, sample, label);",
    ),
    Mutant(
        "sums over logits from outside of the first tile's samples",
        "classes.cuh",
        "? external_logit(p, block.first + sample, label)",
        "? external_logit(p, sample, label)",
    ),
    Mutant(
        "the word that says a tile's last block lies among the constants",
        "tile.cuh",
        "kLast = 1240,",
        "kLast = 680,",
    ),
    Mutant(
        "what a sum over classes lost is another part's",
        "parts.cuh",
        "(shared_load_f32(result(kValues, s.column * kMaxParts + s.part)) + own);",
        "(shared_load_f32(result(kValues, s.column * kMaxParts + (s.part ^ 1))) + own);",
    ),
]

# Of a sample's classes, parts and verdict in a cluster, which test_cluster_mutants.py runs.
FILE = "own_verdict.cuh"
OF_OWN_VERDICT = [
    Mutant(
        "of two equal classes the higher one",
        FILE,
        "those ? lowest_bit(those)",
        "those ? 31 - leading_zeros(those)",
    ),
    Mutant(
        "classes beyond the lanes are never the top one",
        FILE,
        "largest_of_lanes(first > second ? first : second)",
        "largest_of_lanes(first)",
    ),
    Mutant(
        "the lower of a lane's two classes, whatever the others have",
        FILE,
        "those ? lowest_bit(those) : 32 +",
        "those ? lowest_bit(those) :",
    ),
    Mutant(
        "the top class is added up", FILE, "label < p.classes && label != own.top.label", "label < p.classes"
    ),
    Mutant(
        "lanes without a class are added up",
        FILE,
        "label < p.classes && label != own.top.label",
        "label != own.top.label",
    ),
    Mutant("a lane adds its first class twice", FILE, "logit = own.second;", "logit = own.first;"),
    Mutant(
        "no barrier before the last part's sum",
        FILE,
        "find_sums<true>(p, block, partials); sync_classes<true>();",
        "find_sums<true>(p, block, partials);",
    ),
    Mutant(
        "no barrier before the parts are fused",
        FILE,
        "own_parts(p, block, column, partials); sync_classes<true>();",
        "own_parts(p, block, column, partials);",
    ),
    Mutant(
        "the verdict does not wait for the logit",
        "classes.cuh",
        "group_sync(kLogitBarrier, (kMostLoneTiles + 1) * 32);",
        "warp_sync();",
    ),
    Mutant("classes and logit meet at one number", "classes.cuh", "kLogitBarrier = 3;", "kLogitBarrier = 1;"),
    Mutant("the part that waited has no share", FILE, "score += next.gain * (value - next.mean);", ""),
    Mutant("the part that waited is not said", FILE, "if (own == next.part) word = value;", ""),
    Mutant(
        "the number of the launch before",
        "launch_number.cuh",
        "(before | kFlagBits) + 1u;",
        "(before + 1u) & ~kFlagBits;",
    ),
    Mutant(
        "flags of the launch before stay",
        "launch_number.cuh",
        "(before | kFlagBits) + 1u;",
        "before == ~0u ? 0u : before + kFlagBits + 1u;",
    ),
    Mutant(
        "a number that nobody asked for",
        "launch_number.cuh",
        "p.numbered && lane_again()",
        "lane_again()",
    ),
    Mutant(
        "the number of the first tile's slot",
        FILE,
        "flags_before(p, sample)",
        "flags_before(p, column)",
    ),
    Mutant(
        "a verdict in the first tile's place",
        FILE,
        "partials, block.first + column, column);",
        "partials, column, column);",
    ),
]
