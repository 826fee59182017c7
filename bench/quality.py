"""``edgeosr evaluate``: open-set quality of a bundle, measured on its own graph and at its own threshold."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgeosr import __version__
from edgeosr.arguments import path_from, require_kind
from edgeosr.bench.plots import draw_histograms, draw_oscr, draw_roc
from edgeosr.bench.quality_report import PartRow, QualityReport
from edgeosr.bench.trade_off import Scored, measured_curve, trade_off_rows
from edgeosr.bundle.directory import Bundle, read_bundle
from edgeosr.bundle.left_out import ESTIMATED_RATES
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import Image, LabelledImages
from edgeosr.data.parts import Parts, evaluation_images
from edgeosr.data.recorded import reopen_parts
from edgeosr.errors import (
    DataError,
    UsageError,
    require_extra,
    require_path,
    require_text,
    require_threads,
    suggestion,
)
from edgeosr.export.false_accepts_picture import false_accepts_png
from edgeosr.export.measure import GraphRunner, Measured
from edgeosr.files import storage_errors, write_bytes, write_text
from edgeosr.metrics import OpenSetMetrics, open_set_report, oscr_curve, roc_curve
from edgeosr.printed import printable, say
from edgeosr.runtime.frames import require_size

FUSED = "fused"
REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class QualitySettings:
    """What to evaluate a bundle on.

    Attributes:
        unknown: path or name of images of no known class; None: the classes left out in training.
        known: path or name of labelled images of known classes; None: the recorded test part.
        data_root: where named sets are looked for.
        out: folder for report and plots; None: ``NAME-evaluation`` beside the bundle.
        threads: processor threads of onnxruntime; None: by the size of the work.
    """

    unknown: str | None = None
    known: str | None = None
    data_root: Path | None = None
    out: Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        require_text("unknown", self.unknown)
        require_text("known", self.known)
        require_path("out", self.out)
        if self.data_root is not None:
            path_from("data_root", self.data_root)
        require_threads("threads", self.threads)


def evaluate_bundle(bundle: Path | str, settings: QualitySettings | None = None) -> QualityReport:
    """Measure a bundle on known and unknown test images, and write report and plots.

    Args:
        bundle: path of the ``.edgeosr`` directory.
        settings: which images, and where to write; the defaults if None.

    Raises:
        BundleError: the bundle is damaged.
        DataError: images are missing, changed since training, or of the wrong classes.
        FrameError: the bundle is for one size of frames, and an image has another.
        UsageError: the folder holds a ``report.json`` that no evaluation wrote.
        StorageError: the report cannot be written.
        MissingDependencyError: the extra ``export`` is not installed.
    """
    require_extra("matplotlib", extra="export", purpose="evaluating, which draws its plots,")
    settings, bundle_path = QualitySettings() if settings is None else settings, path_from("bundle", bundle)
    require_kind("settings", settings, QualitySettings)
    checked = read_bundle(bundle_path)
    # A relative path stays relative, for a readable last line; "." and ".." have no place beside them.
    beside = bundle_path.resolve() if bundle_path.name in ("", "..") else bundle_path
    out = settings.out or beside.with_name(f"{checked.manifest.name}-evaluation")
    _announce_replaced(out)
    known_title, known, unknown_title, unknown = _test_images(checked, settings)
    runner = GraphRunner(checked.files["model.onnx"], threads=settings.threads)
    fixed = checked.manifest.frame
    known_measured = runner.measure(_of_size(known, fixed), "scoring known test images")
    unknown_measured = runner.measure(_of_size(unknown, fixed), "scoring unknown test images")
    scores = _scores_by_name(checked, known_measured, unknown_measured)
    rows = tuple(
        PartRow(name=name, metrics=_metrics(checked, name, pair, known_measured, unknown_measured))
        for name, pair in scores.items()
    )
    own_rate = checked.manifest.threshold.target_false_reject_rate
    rates = sorted({*ESTIMATED_RATES, own_rate})
    report = QualityReport(
        bundle=str(bundle_path),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeosr=__version__,
        known=known_title,
        unknown=unknown_title,
        skipped=len(known_measured.skipped) + len(unknown_measured.skipped),
        rows=rows,
        trade_off=trade_off_rows(_scored(known_measured), _scored(unknown_measured), rates),
        manifest=checked.manifest,
        out=out,
        plots=tuple(out / f"{name}.png" for name in ("scores", "roc", "oscr", "false-accepts")),
    )
    _draw(report, scores, known_measured, unknown_measured)
    write_text(out / REPORT, report.as_json() + "\n")
    return report


def _announce_replaced(out: Path) -> None:
    """Say which evaluation will be replaced, if any; refuse a report that no evaluation wrote."""
    path = out / REPORT
    if not path.exists():
        return
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
    say(
        f"replacing the evaluation in {out}: made {found.get('created')}, unknown images: "
        f"{found.get('unknown')}; keep both with --out"
    )


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
        known.predictions,
        bundle.manifest.threshold.value if at_threshold else None,
        unknown_predictions=unknown.predictions if at_threshold else None,
        classes=len(bundle.manifest.classes) if at_threshold else None,
        known_groups=known.groups if at_threshold else None,
        unknown_groups=unknown.groups if at_threshold else None,
    )


def _test_images(
    bundle: Bundle, settings: QualitySettings
) -> tuple[str, LabelledImages, str, LabelledImages]:
    """Return (title, images) of the known and of the unknown test images."""
    manifest, parts = bundle.manifest, None
    if settings.known is None or settings.unknown is None:
        parts = reopen_parts(manifest.data, settings.data_root)[1]
    if settings.known is None:
        assert parts is not None
        known_title, known = f"{manifest.data.title}, recorded test part", parts.test
    else:
        known_title, known = _labelled(settings.known, manifest.classes, settings.data_root)
    if settings.unknown is None:
        assert parts is not None
        unknown_title, unknown = _left_out(bundle, parts)
    else:
        image_set = open_image_set(settings.unknown, settings.data_root)
        _require_other_classes(bundle, settings.unknown, image_set.source, image_set.train.class_names)
        unknown_title, unknown = image_set.title, evaluation_images(image_set)
    return known_title, known, unknown_title, unknown


def _of_size(images: LabelledImages, fixed: tuple[int, int] | None) -> LabelledImages:
    """Return images whose reading refuses any other size than the bundle's, if it has one."""

    def read(index: int) -> Image:
        image = images.read(index)
        require_size((image.shape[0], image.shape[1]), fixed)
        return image

    return replace(images, read=read)


def _left_out(bundle: Bundle, parts: Parts) -> tuple[str, LabelledImages]:
    # Classes that served as outliers in training are no longer unknown: the record leaves them out.
    names = bundle.manifest.data.unknown
    if parts.unknown_test is None or not names:
        raise DataError(
            f"every class of {bundle.manifest.data.source} is known to this bundle, so it holds no "
            "unknown images; "
            "give some with --unknown FOLDER, or a set such as --unknown digits"
        )
    images = parts.unknown_test.of_classes(names)
    return f"{bundle.manifest.data.title}, classes {', '.join(names)}", images


def _labelled(source: str, classes: tuple[str, ...], data_root: Path | None) -> tuple[str, LabelledImages]:
    """Open known images of the user's own; their class names must be the bundle's."""
    image_set = open_image_set(source, data_root)
    images = evaluation_images(image_set)
    present = [name for name in images.class_names if np.any(images.labels == images.class_names.index(name))]
    strange = [name for name in present if name not in classes]
    if strange:
        raise DataError(
            f"{source} holds the class {strange[0]!r}, which the bundle does not know"
            f"{suggestion(strange[0], classes)}; --known takes images of known classes only: "
            f"{', '.join(classes)}"
        )
    positions = np.array([classes.index(name) if name in classes else -1 for name in images.class_names])
    return image_set.title, replace(images, class_names=classes, labels=positions[images.labels])


def _require_other_classes(bundle: Bundle, given: str, source: str, names: tuple[str, ...]) -> None:
    """Refuse known classes of the very same set as unknown images."""
    shared = sorted(set(names) & set(bundle.manifest.classes))
    if printable(source).partition(":")[0] == bundle.manifest.data.source.partition(":")[0] and shared:
        raise DataError(
            f"--unknown {given} holds the known classes {', '.join(shared)}; leave --unknown out to use "
            "the classes "
            f"that were held out, or name others: --unknown {source.partition(':')[0]}:CLASS,CLASS"
        )


def _draw(
    report: QualityReport,
    scores: dict[str, tuple[np.ndarray, np.ndarray]],
    known: Measured,
    unknown: Measured,
) -> None:
    fused, record = report.fused, report.manifest.left_out
    threshold = report.manifest.threshold
    title = f"{report.manifest.name}: {fused.known:,} known, {fused.unknown:,} unknown test images"
    images = f"known: {report.known}.  unknown: {_short(report.unknown)}."
    caption = f"{images}  edgeosr {report.edgeosr}, {report.created}"
    areas = {row.name: row.metrics for row in report.rows}
    histogram, roc, oscr, false_accepts = report.plots
    draw_histograms(histogram, *scores[FUSED], threshold=threshold.value, title=title, caption=caption)
    roc_curves = {name: (*roc_curve(*pair), areas[name].auroc) for name, pair in scores.items()}
    rejected_known = float(np.mean(~(scores[FUSED][0] <= threshold.value)))
    rejected_unknown = float(np.mean(~(scores[FUSED][1] <= threshold.value)))
    point = (rejected_known, rejected_unknown)
    draw_roc(roc, roc_curves, operating_point=point, title=title, caption=caption)
    correct = known.predictions == known.labels
    oscr_curves = {name: (*oscr_curve(*pair, correct), areas[name].oscr) for name, pair in scores.items()}
    draw_oscr(oscr, oscr_curves, accuracy=fused.closed_accuracy, title=title, caption=caption)
    picture = false_accepts_png(
        measured=measured_curve(_scored(known), _scored(unknown), threshold.value),
        estimated=() if record is None else record.false_accepts,
        own_rate=threshold.target_false_reject_rate,
        title=title,
        caption=caption,
    )
    write_bytes(false_accepts, picture)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
