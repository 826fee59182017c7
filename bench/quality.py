"""``edgeosr evaluate``: open-set quality of a bundle, measured on its own graph and at its own threshold."""

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgeosr import __version__
from edgeosr.arguments import path_from, require_kind
from edgeosr.bench.plots import draw_histograms, draw_oscr, draw_roc
from edgeosr.bench.quality_graph import measured_graph
from edgeosr.bench.quality_images import images_to_test, of_size
from edgeosr.bench.quality_report import PartRow, QualityReport
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bench.trade_off import Scored, measured_curve, trade_off_rows
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.left_out import ESTIMATED_RATES
from edgeosr.bundle.made_of import made_of
from edgeosr.class_figures import class_figures
from edgeosr.class_report import class_report
from edgeosr.errors import UsageError, require_extra
from edgeosr.export.conformal import groups_needed
from edgeosr.export.false_accepts_picture import false_accepts_png
from edgeosr.export.measure import Measured
from edgeosr.files import storage_errors, write_bytes, write_text
from edgeosr.metrics import OpenSetMetrics, open_set_report, oscr_curve, roc_curve
from edgeosr.printed import say
from edgeosr.runtime.bundle_golden import require_unedited
from edgeosr.scoring.thresholds import Threshold, margins_of

FUSED = "fused"
REPORT = "report.json"
SHIFTED = ".  The thresholds of all classes are shifted alike"
FOR_COMMON = "; the estimate is for a common one"


def evaluate_bundle(bundle: Path | str, settings: QualitySettings | None = None) -> QualityReport:
    """Measure a bundle on known and unknown test images, and write report and plots.

    Args:
        bundle: path of the ``.edgeosr`` directory.
        settings: which images, and where to write; the defaults if None.

    Raises:
        BundleError: the bundle is damaged.
        DataError: images are missing, changed since training, or of the wrong classes.
        InferenceError: the back end that was named cannot run the bundle here.
        FrameError: the bundle is for one size of frames, and an image has another.
        UsageError: the folder holds a ``report.json`` that no evaluation wrote.
        StorageError: the report cannot be written.
        MissingDependencyError: the extra ``export`` is not installed, or a back end that was named.
    """
    require_extra("matplotlib", extra="export", purpose="evaluating, which draws its plots,")
    settings, bundle_path = QualitySettings() if settings is None else settings, path_from("bundle", bundle)
    require_kind("settings", settings, QualitySettings)
    checked = read_bundle(bundle_path)
    require_unedited(checked)
    # A relative path stays relative, for a readable last line; "." and ".." have no place beside them.
    beside = bundle_path.resolve() if bundle_path.name in ("", "..") else bundle_path
    # Of the name alone: model.v1.edgeosr and model.v2.edgeosr have evaluations of their own.
    name = beside.name.removesuffix(".edgeosr") or beside.name
    out = settings.out or beside.with_name(f"{name}-evaluation")
    replaced = _replaced(out)
    known_title, known, unknown_title, unknown = images_to_test(checked, settings)
    if replaced is not None:
        say(replaced)
    fixed = checked.manifest.frame
    with measured_graph(checked, settings) as (runner, graph):
        known_measured = runner.measure(of_size(known, fixed), "scoring known test images")
        unknown_measured = runner.measure(of_size(unknown, fixed), "scoring unknown test images")
    threshold = graph.threshold
    manifest = replace(checked.manifest, fusion=graph.fusion, threshold=threshold)
    checked = replace(checked, manifest=manifest)
    figures = class_figures(
        manifest.classes,
        threshold,
        labels=known_measured.labels,
        predictions=known_measured.predictions,
        scores=known_measured.scores,
        groups=known_measured.groups,
    )
    by_class = class_report(
        figures,
        threshold,
        part="test images",
        in_sample=False,
        needed=groups_needed(threshold.target_false_reject_rate),
        made_of=made_of(manifest),
    )
    known_measured, unknown_measured = (
        _decided(one, threshold) for one in (known_measured, unknown_measured)
    )
    scores = _scores_by_name(checked, known_measured, unknown_measured)
    rows = tuple(
        PartRow(name=name, metrics=_metrics(checked, name, pair, known_measured, unknown_measured))
        for name, pair in scores.items()
    )
    rates = sorted({*ESTIMATED_RATES, threshold.target_false_reject_rate})
    report = QualityReport(
        bundle=str(bundle_path),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeosr=__version__,
        known=known_title,
        unknown=unknown_title,
        skipped=len(known_measured.skipped) + len(unknown_measured.skipped),
        rows=rows,
        by_class=by_class,
        trade_off=trade_off_rows(_scored(known_measured), _scored(unknown_measured), rates),
        graph=graph,
        manifest=manifest,
        out=out,
        plots=tuple(out / f"{name}.png" for name in ("scores", "roc", "oscr", "false-accepts")),
    )
    _draw(report, scores, known_measured, unknown_measured)
    write_text(out / REPORT, report.as_json() + "\n")
    for warning in by_class.warnings:
        say(f"warning: {warning}")
    return report


def _replaced(out: Path) -> str | None:
    """Return a line on the evaluation that will be replaced, if any; refuse a report that none wrote."""
    path = out / REPORT
    if not path.exists():
        return None
    with storage_errors("read", path):
        text = path.read_text("utf-8", errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != "quality":
        raise UsageError(
            f"{out} holds a {REPORT} that no evaluation wrote, and it would be replaced; choose another --out"
        )
    return (
        f"replacing the evaluation in {out}: made {found.get('created')}, unknown images: "
        f"{found.get('unknown')}; keep both with --out"
    )


def _decided(measured: Measured, threshold: Threshold) -> Measured:
    """Return the measurement with scores that 0 decides about, where there is a threshold a class.

    The fused score is then score minus the threshold of the predicted class: that is the order in which a
    common shift of all thresholds rejects images, and the curves are drawn over this shift.
    """
    if not threshold.by_class:
        return measured
    # Rounding to float32 leaves the sign, and 0 stays 0.
    margins = margins_of(measured.scores, threshold.limit, measured.predictions).astype(np.float32)
    return replace(measured, scores=margins)


def _shipped(threshold: Threshold) -> float:
    """Return what the scores of ``_decided`` are compared with."""
    return 0.0 if threshold.by_class else threshold.value


def _scored(measured: Measured) -> Scored:
    return Scored(scores=measured.scores, groups=measured.groups)


def _scores_by_name(
    bundle: Bundle, known: Measured, unknown: Measured
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (known, unknown) scores of the fused score and of every part the bundle carries."""
    scores: dict[str, tuple[np.ndarray, np.ndarray]] = {FUSED: (known.scores, unknown.scores)}
    for column, name in enumerate(bundle.manifest.parts):
        scores[name] = (known.values[:, column], unknown.values[:, column])
    return scores


def _metrics(
    bundle: Bundle,
    name: str,
    scores: tuple[np.ndarray, np.ndarray],
    known: Measured,
    unknown: Measured,
) -> OpenSetMetrics:
    at_threshold = name == FUSED
    return open_set_report(
        *scores,
        known.labels,
        known.answers,
        _shipped(bundle.manifest.threshold) if at_threshold else None,
        unknown_predictions=unknown.predictions if at_threshold else None,
        classes=len(bundle.manifest.classes) if at_threshold else None,
        known_groups=known.groups if at_threshold else None,
        unknown_groups=unknown.groups if at_threshold else None,
    )


def _draw(
    report: QualityReport,
    scores: dict[str, tuple[np.ndarray, np.ndarray]],
    known: Measured,
    unknown: Measured,
) -> None:
    fused, record = report.fused, report.manifest.left_out
    threshold, shipped = report.manifest.threshold, _shipped(report.manifest.threshold)
    title = f"{report.manifest.name}: {fused.known:,} known, {fused.unknown:,} unknown test images"
    images = f"known: {report.known}.  unknown: {_short(report.unknown)}."
    caption = f"{images}  edgeosr {report.edgeosr}, {report.created}"
    areas = {row.name: row.metrics for row in report.rows}
    histogram, roc, oscr, false_accepts = report.plots
    draw_histograms(
        histogram,
        *scores[FUSED],
        threshold=shipped,
        title=title,
        caption=caption,
        per_class=bool(threshold.by_class),
    )
    roc_curves = {name: (*roc_curve(*pair), areas[name].auroc) for name, pair in scores.items()}
    rejected_known = float(np.mean(~(scores[FUSED][0] <= shipped)))
    rejected_unknown = float(np.mean(~(scores[FUSED][1] <= shipped)))
    point = (rejected_known, rejected_unknown)
    draw_roc(roc, roc_curves, operating_point=point, title=title, caption=caption)
    correct = known.answers == known.labels
    oscr_curves = {name: (*oscr_curve(*pair, correct), areas[name].oscr) for name, pair in scores.items()}
    draw_oscr(oscr, oscr_curves, accuracy=fused.closed_accuracy, title=title, caption=caption)
    estimated = () if record is None else record.false_accepts
    shifted = f"{SHIFTED}{FOR_COMMON if estimated else ''}." if threshold.by_class else ""
    picture = false_accepts_png(
        measured=measured_curve(_scored(known), _scored(unknown), shipped),
        estimated=estimated,
        own_rate=threshold.target_false_reject_rate,
        title=title,
        caption=f"{caption}{shifted}",
    )
    write_bytes(false_accepts, picture)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
