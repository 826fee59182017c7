"""Which score parts a bundle has: what weighs nothing need not be computed on the device.

The weights are fitted to every part that the network can have. Then, as ``--parts`` asks, parts of weight 0
are taken out of the graph, ``scorer.npz`` and the fusion; the score stays what it was, less zeros.

    reported   all but matrix rows (and other constants of its own) of a part that weighs nothing
    used       only what weighs something; without a Jacobian part its table goes too, as do the
               discriminator's layers
    all        every part
"""

from dataclasses import replace

from edgeosr.export.calibrate import SelectFit
from edgeosr.export.measure import Measured
from edgeosr.export.scored_graph import ScoredGraph, scored_graph
from edgeosr.export.settings import ALL_PARTS, USED_PARTS
from edgeosr.printed import say
from edgeosr.scoring.fusion import Fusion
from edgeosr.scoring.parts import carried_parts
from edgeosr.scoring.probes import Probes


def without_unused(
    graph: ScoredGraph, fit: SelectFit, probes: Probes | None, which: str
) -> tuple[ScoredGraph, SelectFit, Probes | None]:
    """Take the parts that the bundle need not have out of a graph and of what was fitted on it.

    Args:
        graph: of every part.
        fit: of its fusion.
        probes: of its Jacobian norm; None without any.
        which: one of ``settings.PARTS``.

    Returns:
        The smaller graph, the same fit of fewer columns, and the probes, None if nothing reads them. What
        was taken out is named in the fusion's note.
    """
    kept = kept_parts(graph, fit.fusion, which)
    if kept == graph.parts:
        return graph, fit, probes
    scorer, classifier, jacobian = graph.scorer, graph.classifier, graph.jacobian.method
    if set(kept) <= set(carried_parts(replace(scorer, closed_form=None, probes=None))):
        if probes is not None:
            say(
                "--jacobian probes was asked for, but its parts weigh nothing and --parts used leaves them "
                "out; --parts reported keeps them"
            )
        jacobian, probes = "none", None
    if set(kept) <= set(carried_parts(replace(scorer, layers=()))):
        classifier = replace(classifier, layers=())
    if classifier.default_part not in kept:
        # A fit on a typed graph (--recalibrate) asks for one, and the loss of the head is not there.
        heaviest = max(fit.fusion.used().items(), key=lambda item: abs(item[1]))[0]
        classifier = replace(classifier, default_part=heaviest)
    constants = {name: own for name, own in scorer.constants.items() if name in kept}
    smaller = scored_graph(classifier, jacobian, probes, constants, parts=kept)
    columns = [graph.parts.index(name) for name in kept]
    dropped = ", ".join(name for name in graph.parts if name not in kept)
    fusion = _of_columns(fit.fusion, columns, f"{fit.fusion.note}; not in the bundle at weight 0: {dropped}")
    unknown = None if fit.unknown is None else _measured_columns(fit.unknown, columns)
    given = None if fit.given is None else replace(fit.given, note=fusion.note)
    return smaller, SelectFit(fusion, _measured_columns(fit.known, columns), unknown, given), probes


def kept_parts(graph: ScoredGraph, fusion: Fusion, which: str) -> tuple[str, ...]:
    """Return the names of the parts that stay, in their order."""
    if which == ALL_PARTS:
        return graph.parts
    used = fusion.used()
    if which == USED_PARTS:
        return tuple(name for name in graph.parts if name in used)
    return tuple(name for name in graph.parts if name in used or name not in graph.scorer.constants)


def _of_columns(fusion: Fusion, columns: list[int], note: str) -> Fusion:
    chosen = {
        field: tuple(getattr(fusion, field)[i] for i in columns)
        for field in ("parts", "means", "stds", "weights")
    }
    return Fusion(**chosen, note=note)


def _measured_columns(measured: Measured, columns: list[int]) -> Measured:
    return replace(measured, values=measured.values[:, columns])
