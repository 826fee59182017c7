"""``edgeosr export``: a training run, or any float ONNX classifier, becomes a calibrated bundle.

    a classifier, ours or a deployed one                      trained.py; foreign/
    what a device could not score, refused first              kernel_limits.py
    probes of the Jacobian norm, if any                       probing.py
    train embeddings -> constants of the score parts          train_features.py
    graph -> Jacobian norm -> scoring nodes -> front end      scored_graph.py, scoring_graph.py
    weights of the parts, no outlier needed                   folds.py: frozen_features.py,
                                                              frozen_recipe.py, frozen_folds.py or
                                                              trained_folds.py; left_out.py, fold_weights.py
    fusion on the select part                                 calibrate.py, weights.py, measure.py
    parts that weigh nothing are taken out                    used_parts.py
    threshold on the calibrate part                           conformal.py
    figures of each class                                     class_report.py
    typed backbone, or a body for OpenVINO, through the
    decision gate                                             precision/
    golden frames and their verdicts                          golden.py
    scorer, manifest, bundle                                  bundling.py

``export_run.py`` and ``foreign/export_model.py`` begin it. Whatever is fitted is fitted on the scores of the
exported graph itself.
"""

from dataclasses import replace

from edgeosr.bundle.made_of import MODEL, RUN
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.export.bundling import Provenance, write_calibrated
from edgeosr.export.calibrate import (
    fit_on_select,
    require_better_than_chance,
    score_select,
    threshold_on_calibrate,
)
from edgeosr.export.class_report import calibrate_report
from edgeosr.export.folds import Folds, weigh
from edgeosr.export.frozen_features import known_features
from edgeosr.export.golden import GoldenImages
from edgeosr.export.kernel_limits import require_kernel
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.export_body import export_body
from edgeosr.export.precision.export_typed import export_typed
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.precision.portable import Portable
from edgeosr.export.probing import AUTO, drafted, make_probes
from edgeosr.export.report import ExportReport
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.export.tangents.cuts import INPUT_CUT
from edgeosr.export.train_features import train_features
from edgeosr.export.used_parts import without_unused
from edgeosr.printed import say
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import with_constants
from edgeosr.scoring.probes import PROBE_FAMILIES


def export_calibrated(
    classifier: ClassifierGraph,
    parts: CalibrationParts,
    settings: ExportSettings,
    provenance: Provenance,
    folds: Folds,
    features: TrainFeatures | None = None,
) -> ExportReport:
    """Calibrate a classifier on the parts of its images, and write its bundle.

    Args:
        classifier: with its head, and its discriminator if it has one.
        parts: the images, each for one purpose.
        settings: of the export.
        provenance: where the classifier comes from, and where the bundle goes.
        folds: of left-out classes, or why there are none.
        features: of the train part, if they are there already.

    Raises:
        UsageError, DataError, ExportError, StorageError: see the message; nothing half-written is left.
    """
    draft, probes, kept = draft_of(classifier, settings), None, None
    if folds.recipe is not None:
        kept = known_features(draft, parts, threads=settings.threads)
        features = kept.train.for_parts(len(classifier.classes), settings.seed)
    if features is None:
        features = train_features(draft, parts.train, seed=settings.seed, threads=settings.threads)
    constants = with_constants(draft.scorer, features).constants
    if settings.jacobian == "probes":
        probes = make_probes(
            classifier,
            K=settings.probes or AUTO,
            cut=settings.cut or INPUT_CUT,
            family=settings.probe_family or PROBE_FAMILIES[0],
            seed=settings.seed,
            images=parts.select,
            threads=settings.threads,
        )
    graph = scored_graph(classifier, settings.jacobian, probes, constants)
    scores = score_select(
        GraphRunner(graph.model(), threads=settings.threads), parts.select, parts.open_select
    )
    decided = weigh(graph, scores, kept, folds, parts, settings)
    fit = fit_on_select(scores, default_part=classifier.default_part, parts=graph.parts, given=decided.given)
    if provenance.training is not None:
        require_better_than_chance(fit.known, classifier.classes)
    graph, fit, probes = without_unused(graph, fit, probes, settings.parts)
    if provenance.unknown_outputs:
        note = f"{fit.fusion.note}; {provenance.unknown_outputs}"
        fit = replace(fit, fusion=replace(fit.fusion, note=note))
    shipped = graph.model(fit.fusion)
    runner, names = GraphRunner(shipped, threads=settings.threads), classifier.classes
    threshold, measured = threshold_on_calibrate(
        runner,
        parts.calibrate,
        settings.false_reject_rate,
        rule=settings.threshold_rule,
        classes=len(names),
    )
    source = MODEL if provenance.training is None else RUN
    by_class = calibrate_report(runner, measured, _others(parts), names, threshold, source)
    portable = Portable(
        graph=graph,
        fit=fit,
        threshold=threshold,
        model=shipped,
        parts=parts,
        settings=settings,
        picture=provenance.out.with_suffix(".gate.png"),
    )
    typed = export_typed(portable, probes) if settings.precision is not None else None
    body = export_body(portable) if settings.openvino is not None else None
    model = shipped if settings.frame is None else graph.model(fit.fusion, frame=settings.frame)
    report = write_calibrated(
        graph,
        fit,
        threshold,
        calibrate=measured,
        any_size=shipped,
        model=model,
        golden_images=GoldenImages(known=(parts.select, parts.calibrate), unknown=parts.open_select),
        settings=settings,
        provenance=provenance,
        typed=typed,
        body=body,
        left_out=decided.record,
        by_class=by_class,
    )
    for warning in by_class.warnings:
        say(f"warning: {warning}")
    return report


def _others(parts: CalibrationParts) -> tuple[LabelledImages, ...]:
    """Return the parts of known images beside the calibrate part."""
    return (parts.train, parts.select, *(() if parts.test is None else (parts.test,)))


def draft_of(classifier: ClassifierGraph, settings: ExportSettings) -> ScoredGraph:
    """Return the scored graph, with one probe if there are probes: whatever refuses it does so here.

    Raises:
        UsageError, UnsupportedGraphError: there is no such Jacobian norm of this classifier.
        ExportError: it is for a device, whose kernel cannot take it.
    """
    if settings.jacobian == "probes":
        K = settings.probes or AUTO
        draft = drafted(classifier, K, settings.cut or INPUT_CUT)
        require_kernel(draft, settings.precision, probes=K if isinstance(K, int) else None)
    else:
        draft = scored_graph(classifier, settings.jacobian)
        require_kernel(draft, settings.precision)
    return draft
