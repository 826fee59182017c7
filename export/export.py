"""``edgeosr export``: a training run, or any float ONNX classifier, becomes a calibrated bundle.

    a classifier, ours or a deployed one                      trained.py, foreign.py, foreign_discriminator.py
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
    typed backbone through the decision gate                  precision/
    golden frames and their verdicts                          golden.py
    scorer, manifest, bundle                                  bundling.py

Whatever is fitted is fitted on the scores of the exported graph itself.
"""

from dataclasses import replace
from pathlib import Path
from shlex import quote

from edgeosr.bundle.data import OutliersRecord
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.parts import four_parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import UsageError, require_extra
from edgeosr.export.bundling import ExportReport, Provenance, write_calibrated
from edgeosr.export.calibrate import (
    fit_on_select,
    require_better_than_chance,
    score_select,
    threshold_on_calibrate,
)
from edgeosr.export.conformal import require_enough_groups
from edgeosr.export.folds import Folds, folds_of, weigh
from edgeosr.export.foreign import classifier_from_onnx
from edgeosr.export.foreign_discriminator import discriminator_for, torch_is_there
from edgeosr.export.frozen_features import known_features
from edgeosr.export.golden import GoldenImages
from edgeosr.export.kernel_limits import require_kernel
from edgeosr.export.measure import GraphRunner
from edgeosr.export.precision.export_typed import CalibrationParts, export_typed
from edgeosr.export.probing import AUTO, drafted, make_probes
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.export.tangents.cuts import INPUT_CUT
from edgeosr.export.train_features import train_features
from edgeosr.export.trained import classifier_from_run
from edgeosr.export.used_parts import without_unused
from edgeosr.run import read_run
from edgeosr.scoring.part import TrainFeatures
from edgeosr.scoring.parts import with_constants
from edgeosr.scoring.probes import PROBE_FAMILIES
from edgeosr.training.discriminator import outlier_halves

__all__ = ["ExportReport", "ExportSettings", "export_model", "export_run"]

# A foreign classifier is trained already: its known images serve the discriminator a little and the
# calibration a lot.
FOREIGN_FRACTIONS = (0.3, 0.3, 0.4)


def export_run(run: Path | str, settings: ExportSettings | None = None) -> ExportReport:
    """Export a run made by ``edgeosr train``.

    Args:
        run: the run directory.
        settings: see ``ExportSettings``, its defaults if None; what is for foreign classifiers must be left
            alone.

    Raises:
        UsageError, DataError, ExportError, StorageError: see the message; nothing half-written is left.
        MissingDependencyError: the extra ``export`` is not installed (for a run: ``train``).
    """
    require_extra("onnx_ir", extra="export", purpose="exporting")
    run, settings = Path(run), settings or ExportSettings()
    record = read_run(run)
    _require_none_foreign(run, settings)
    _require_frozen(run, settings, frozen=bool(record.training.get("freeze")))
    if settings.fit not in (None, record.preprocessing.fit):
        raise UsageError(
            f"the run was trained with --fit {record.preprocessing.fit}; got --fit {settings.fit}, "
            "which would "
            "show the network frames unlike those it was trained on; leave --fit out, or train again with it"
        )
    data = data_record(record.data, str(run / "run.json"))
    image_set, parts = reopen_parts(data, settings.data_root)
    # Better said before the images are embedded.
    require_enough_groups(parts.calibrate.groups, settings.false_reject_rate)
    open_select, outliers = None, None
    if record.outliers is not None:
        halves = outlier_halves(record.outliers["source"], parts, image_set, settings.data_root)
        open_select = halves.select
        outliers = OutliersRecord(record.outliers["source"], len(halves.train), len(halves.select))
    discriminator = record.discriminator or {}
    report = _calibrated(
        classifier_from_run(run),
        CalibrationParts(
            train=parts.train, select=parts.select, calibrate=parts.calibrate, open_select=open_select
        ),
        settings,
        Provenance(
            name=record.name,
            out=settings.out or run / f"{record.name}.edgeosr",
            data=data,
            outliers=outliers,
            training={**record.training, "result": record.result},
            discriminator_selected_by=discriminator.get("selected_by", ""),
        ),
        folds=folds_of(run, record, settings),
    )
    stopped = bool(record.training.get("discriminator")) and record.discriminator is None
    return replace(report, without_discriminator=run) if stopped else report


def _require_none_foreign(run: Path, settings: ExportSettings) -> None:
    """Refuse what a run has of its own, which would be ignored."""
    given = settings.foreign_given()
    if given:
        to_train = [option for option in given if option in ("--data", "--known", "--outliers")]
        advice = f"for a run give {', '.join(to_train)} to edgeosr train" if to_train else "a run has its own"
        is_or_are = "is" if len(given) == 1 else "are"
        raise UsageError(f"{', '.join(given)} {is_or_are} only for MODEL.onnx; got the run {run}; " + advice)


def _require_frozen(origin: Path, settings: ExportSettings, *, frozen: bool) -> None:
    """Refuse folds that would be ignored; 0 asks for none."""
    if settings.folds and not frozen:
        advice = "leave it out"
        if origin.is_dir():
            advice = (
                f"a trained backbone's folds are trained: edgeosr train --resume {quote(str(origin))} --folds"
            )
            advice += f" {settings.folds}; then export without --folds"
        raise UsageError(
            f"--folds is only for a run with a frozen backbone (edgeosr train --freeze); got {origin}; "
            f"{advice}"
        )


def export_model(path: Path | str, settings: ExportSettings) -> ExportReport:
    """Wrap a classifier that is already deployed.

    Args:
        path: its ONNX file.
        settings: ``data`` is needed: images of its known classes, best ones it was not trained on.

    Raises:
        UsageError, DataError, ExportError, StorageError: see the message; nothing half-written is left.
        MissingDependencyError: the extra ``export`` is not installed. Without ``train`` there is no
            discriminator, and no error.
    """
    require_extra("onnx_ir", extra="export", purpose="exporting")
    path = Path(path)
    if settings.data is None:
        raise UsageError(
            f"{path.name} needs images of the classes it knows to be calibrated on; "
            "add --data FOLDER, with one sub-folder a class"
        )
    _require_frozen(path, settings, frozen=False)
    image_set = open_image_set(settings.data, settings.data_root)
    known = settings.known or image_set.train.class_names
    classifier = classifier_from_onnx(path, tuple(known), settings)
    # Better said before a discriminator is trained for it.
    draft = _draft(classifier, settings)
    parts = four_parts(image_set, known=known, seed=settings.seed, fractions=FOREIGN_FRACTIONS)
    require_enough_groups(parts.calibrate.groups, settings.false_reject_rate)
    halves = None
    if settings.outliers is not None:
        halves = outlier_halves(settings.outliers, parts, image_set, settings.data_root)
    selected_by = ""
    features = train_features(draft, parts.train, seed=settings.seed, threads=settings.threads)
    if torch_is_there():
        found = discriminator_for(
            classifier,
            parts,
            features.embeddings,
            halves.train if halves else None,
            halves.select if halves else None,
            threads=settings.threads,
        )
        classifier = replace(classifier, layers=found.layers)
        selected_by = found.selected_by
    return _calibrated(
        classifier,
        CalibrationParts(
            train=parts.train,
            select=parts.select,
            calibrate=parts.calibrate,
            open_select=halves.select if halves else None,
        ),
        settings,
        Provenance(
            name=path.stem,
            out=settings.out or path.with_suffix(".edgeosr"),
            data=parts.record(settings.data, image_set.title),
            outliers=None
            if halves is None
            else OutliersRecord(str(settings.outliers), len(halves.train), len(halves.select)),
            training=None,
            discriminator_selected_by=selected_by,
        ),
        Folds(why_none="a deployed classifier has no folds"),
        features,
    )


def _calibrated(
    classifier: ClassifierGraph,
    parts: CalibrationParts,
    settings: ExportSettings,
    provenance: Provenance,
    folds: Folds,
    features: TrainFeatures | None = None,
) -> ExportReport:
    draft, probes, kept = _draft(classifier, settings), None, None
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
    require_better_than_chance(fit.known, classifier.classes, trained_here=provenance.training is not None)
    graph, fit, probes = without_unused(graph, fit, probes, settings.parts)
    shipped = graph.model(fit.fusion)
    threshold, measured = threshold_on_calibrate(
        GraphRunner(shipped, threads=settings.threads), parts.calibrate, settings.false_reject_rate
    )
    typed = None
    if settings.precision is not None:
        picture = provenance.out.with_suffix(".gate.png")
        typed = export_typed(graph, probes, fit, threshold, shipped, parts, settings, picture)
    model = shipped if settings.frame is None else graph.model(fit.fusion, frame=settings.frame)
    return write_calibrated(
        graph,
        fit,
        threshold,
        calibrate_accuracy=measured.accuracy,
        any_size=shipped,
        model=model,
        golden_images=GoldenImages(known=(parts.select, parts.calibrate), unknown=parts.open_select),
        settings=settings,
        provenance=provenance,
        typed=typed,
        left_out=decided.record,
    )


def _draft(classifier: ClassifierGraph, settings: ExportSettings) -> ScoredGraph:
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
