"""Seeded faults of the hidden layers in a cluster, which test_cluster_mutants.py runs."""

from mutant_builds import Mutant

FILE = "own_layers.cuh"
OF_OWN_LAYERS = [
    Mutant(
        "no wait for the layer before",
        FILE,
        "if (!waited) wait_for_mail(mailbox(p, layer - 1));",
        "",
    ),
    Mutant(
        "no wait for the layer before a lone one",
        FILE,
        "wait_for_mail(mailbox(p, layer - 1)); float c[4]",
        "float c[4]",
    ),
    Mutant("odd steps are left out", FILE, "c[i] += odd[i];", "c[i] += 0.0f;"),
    Mutant(
        "steps behind those held take the same weights",
        FILE,
        "stripe.at += kHeld * kStepBytes;",
        "",
    ),
    Mutant(
        "a warp's second stripe is left out",
        FILE,
        "if (number + kLayerTeamWarps >= tiles * parts) break;",
        "break;",
    ),
    Mutant(
        "stripes of the tile before",
        FILE,
        "if (tile < tiles) stripe.steps",
        "if (tile <= tiles) stripe.steps",
    ),
    Mutant(
        "each block that has weights in L2 takes the first block's",
        FILE,
        "(tile + (kKept ? 0 : first_tile(p, layer)))",
        "tile",
    ),
    Mutant(
        "blocks without a sample hear of the last layer that goes by mail",
        "mail.cuh",
        "return layer + 1 < p.mailed_layers ?",
        "return layer < p.mailed_layers ?",
    ),
    Mutant(
        "a block has its rank's rows of a lone layer",
        "mail.cuh",
        "return is_lone(p, layer) ? 0 :",
        "return false ? 0 :",
    ),
    Mutant(
        "a lone layer's values of the tile's first sample",
        FILE,
        "inputs_of(p, layer, cluster_rank());",
        "inputs_of(p, layer, 0);",
    ),
    Mutant("rows of the last layer that are padding", FILE, "weight = upper < width ?", "weight = true ?"),
    Mutant(
        "shares of the logit after each row's first",
        FILE,
        "lanes < 32; lanes <<= 1",
        "lanes < 16; lanes <<= 1",
    ),
    Mutant(
        "all row tiles leave their share in one place",
        FILE,
        "result(kLogit, tile), share",
        "result(kLogit, 0), share",
    ),
    Mutant(
        "the last layer does not wait for its values",
        "own_verdict.cuh",
        "wait_for_mail(mailbox(p, last));",
        "",
    ),
    Mutant(
        "the logit of the tile's first sample",
        "own_verdict.cuh",
        "last_layer<true>(p, hidden_values(p, last), column)",
        "last_layer<true>(p, hidden_values(p, last), 0)",
    ),
    Mutant(
        "the logit of the first row tile",
        "own_verdict.cuh",
        "if (tile < tiles) logit +=",
        "if (tile < 1) logit +=",
    ),
]
