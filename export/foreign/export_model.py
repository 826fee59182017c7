"""``edgeosr export`` of a classifier that is already deployed."""

from dataclasses import replace
from pathlib import Path

from edgeosr.arguments import path_from, require_kind
from edgeosr.bundle.data import OutliersRecord
from edgeosr.bundle.graphs import require_graph_of_bundle
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.grouping import grouped, require_room
from edgeosr.data.parts import four_parts
from edgeosr.errors import UsageError, require_extra
from edgeosr.export.bundling import Provenance
from edgeosr.export.calibrated import draft_of, export_calibrated
from edgeosr.export.channel_weights import weigh_channels
from edgeosr.export.conformal import require_enough_groups
from edgeosr.export.folds import Folds
from edgeosr.export.foreign.class_names import known_classes
from edgeosr.export.foreign.classifier import read_classifier
from edgeosr.export.foreign.discriminator import discriminator_for, torch_is_there
from edgeosr.export.foreign.known_check import check_on_known_images
from edgeosr.export.foreign.stated import stated_preprocessing
from edgeosr.export.foreign.unknown_outputs import (
    described,
    known_outputs,
    of_all_outputs,
    with_images,
    without_outputs,
)
from edgeosr.export.precision.export_body import require_body_here
from edgeosr.export.precision.parts import CalibrationParts
from edgeosr.export.report import ExportReport
from edgeosr.export.settings import ExportSettings, require_frozen
from edgeosr.export.train_features import train_features
from edgeosr.printed import printable, say
from edgeosr.training.discriminator import outlier_halves

# A foreign classifier is trained already: its known images serve the discriminator a little and the
# calibration a lot.
FOREIGN_FRACTIONS = (0.3, 0.3, 0.4)


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
    path = path_from("path", path)
    require_kind("settings", settings, ExportSettings)
    require_body_here(settings.openvino)
    if settings.data is None:
        raise UsageError(
            f"{path.name} needs images of the classes it knows to be calibrated on; "
            "add --data FOLDER, with one sub-folder a class"
        )
    require_frozen(path, settings, frozen=False)
    image_set = open_image_set(settings.data, settings.data_root)
    if settings.groups is not None:  # what is wrong with it is told before the pictures are looked at
        image_set = grouped(image_set, settings.groups)
    known, notes = known_classes(path, settings, with_images(image_set))
    if settings.known_order_given:
        # Said at once: a wrong order may end the export before its report.
        for note in notes:
            say(note)
    outputs = known
    known, unknown = known_outputs(outputs, settings, image_set)
    if unknown:
        notes = [*notes, described(unknown)]
    own, seen = read_classifier(path, outputs, settings, image_set.train)
    classifier = without_outputs(own, known) if unknown else own
    # Better said before a discriminator is trained for it.
    draft = draft_of(classifier, settings)
    require_graph_of_bundle(draft.model(), parts=len(draft.parts))
    parts = four_parts(image_set, known=known, seed=settings.seed, fractions=FOREIGN_FRACTIONS)
    require_room(parts.grouping, settings.data)
    require_enough_groups(parts.calibrate.groups, settings.false_reject_rate, "more images in --data")
    size = classifier.preprocessing
    stated = stated_preprocessing(settings, size.height, size.width)
    for note in stated.notes:
        say(note)
    check = check_on_known_images(path, own, stated, of_all_outputs(parts, outputs), settings)
    halves = None
    if settings.outliers is not None:
        halves = outlier_halves(settings.outliers, parts, image_set, settings.data_root)
    selected_by = ""
    classifier = weigh_channels(classifier, settings.channel_weights, parts.train, threads=settings.threads)
    if classifier.channel_weights is not None:
        draft = draft_of(classifier, settings)
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
    report = export_calibrated(
        classifier,
        CalibrationParts(
            train=parts.train,
            select=parts.select,
            calibrate=parts.calibrate,
            open_select=halves.select if halves else None,
            test=parts.test,
        ),
        settings,
        Provenance(
            name=printable(path.stem),
            out=settings.out or path.with_suffix(".edgeosr"),
            data=parts.record(settings.data, image_set.title),
            outliers=None
            if halves is None
            else OutliersRecord(printable(settings.outliers), len(halves.train), len(halves.select)),
            training=None,
            discriminator_selected_by=selected_by,
            unknown_outputs=described(unknown) if unknown else "",
        ),
        Folds(why_none="a deployed classifier has no folds"),
        features,
    )
    return replace(report, notes=(*notes, *seen, *stated.notes), known_check=check)
