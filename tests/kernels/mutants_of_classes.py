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
