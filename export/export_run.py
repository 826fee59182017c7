"""``edgeosr export`` of a run made by ``edgeosr train``."""

from dataclasses import replace
from pathlib import Path

from edgeosr.arguments import path_from, require_kind
from edgeosr.bundle.data import OutliersRecord
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import UsageError, require_extra
from edgeosr.export.bundling import Provenance
from edgeosr.export.calibrated import export_calibrated
from edgeosr.export.channel_weights import weigh_channels
from edgeosr.export.conformal import require_enough_groups
from edgeosr.export.folds import folds_of
from edgeosr.export.precision.export_body import require_body_here
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.report import ExportReport
from edgeosr.export.settings import ExportSettings, require_frozen
from edgeosr.export.trained import classifier_from_run
from edgeosr.run import read_run
from edgeosr.training.discriminator import outlier_halves


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
    run, settings = path_from("run", run), ExportSettings() if settings is None else settings
    require_kind("settings", settings, ExportSettings)
    require_body_here(settings.openvino)
    record = read_run(run)
    _require_none_foreign(run, settings)
    require_frozen(run, settings, frozen=bool(record.training.get("freeze")))
    # Better said before the images are read: the run's weights are torch's.
    require_extra("torch", extra="train", purpose="exporting a training run")
    if settings.fit not in (None, record.preprocessing.fit):
        raise UsageError(
            f"the run was trained with --fit {record.preprocessing.fit}; got --fit {settings.fit}, "
            "which would "
            "show the network frames unlike those it was trained on; leave --fit out, or train again with it"
        )
    data = data_record(record.data, str(run / "run.json"))
    image_set, parts = reopen_parts(data, settings.data_root)
    # Better said before the images are embedded.
    require_enough_groups(
        parts.calibrate.groups, settings.false_reject_rate, "more images, or edgeosr train --fractions"
    )
    open_select, outliers = None, None
    if record.outliers is not None:
        halves = outlier_halves(record.outliers["source"], parts, image_set, settings.data_root)
        open_select = halves.select
        outliers = OutliersRecord(record.outliers["source"], len(halves.train), len(halves.select))
    discriminator = record.discriminator or {}
    report = export_calibrated(
        weigh_channels(
            classifier_from_run(run), settings.channel_weights, parts.train, threads=settings.threads
        ),
        CalibrationParts(
            train=parts.train,
            select=parts.select,
            calibrate=parts.calibrate,
            open_select=open_select,
            test=parts.test,
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
        to_train = [option for option in given if option in ("--data", "--known", "--groups", "--outliers")]
        advice = f"for a run give {', '.join(to_train)} to edgeosr train" if to_train else "a run has its own"
        is_or_are = "is" if len(given) == 1 else "are"
        raise UsageError(f"{', '.join(given)} {is_or_are} only for MODEL.onnx; got the run {run}; " + advice)
