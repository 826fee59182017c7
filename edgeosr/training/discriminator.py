"""The discriminator of a trained run: embeddings of its images, outliers, OpenGAN, and the files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.decode import Decoded, decode_images
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import Parts
from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import DataError
from edgeosr.run import RunRecord, read_run, write_discriminator

if TYPE_CHECKING:
    from edgeosr.training.synthetic_outliers import OutlierKind

SYNTHETIC_PER_KIND = 400  # synthetic outlier images of each kind, made from the select part
LARGEST_HALF = 10_000  # outlier images in each half; more changes nothing and takes memory


@dataclass(frozen=True)
class OutlierHalves:
    """Real outliers, cut into two disjoint halves; no group straddles.

    Attributes:
        train: for the discriminator's loss.
        select: for the choice of its epoch and, in calibration, of the fusion weights.
        classes: their class names.
    """

    train: LabelledImages
    select: LabelledImages
    classes: tuple[str, ...]


def outlier_halves(source: str, parts: Parts, image_set: ImageSet, data_root: Path | None) -> OutlierHalves:
    """Open outliers and cut them in two by a seeded draw of groups.

    Args:
        source: path or name, as ``--outliers``.
        parts: of the known data.
        image_set: the known data's set, to see whether the outliers come from the same one.
        data_root: where named sets are looked for.

    Raises:
        DataError: outliers of a known class, or too few of them.
    """
    outliers = open_image_set(source, data_root)
    # The training images where there are any: official test images of the same set stay for the test.
    images = outliers.train if len(outliers.train) else outliers.test
    classes = outliers.train.class_names
    shared = sorted(set(classes) & set(parts.known)) if same_set(source, image_set.source) else []
    if shared:
        raise DataError(
            f"the outliers {source} hold the known classes {', '.join(shared)}; name other classes "
            f"(for example {image_set.source}:{','.join(parts.unknown[:2]) or 'CLASS'}) or another set"
        )
    groups = np.unique(images.groups) if images is not None else np.empty(0, np.int64)
    if images is None or len(groups) < 4:
        raise DataError(f"the outliers {source} hold {len(groups)} separate images; at least 4 are needed")
    drawn = np.random.default_rng([parts.seed, 1]).permutation(groups)
    first = np.isin(images.groups, drawn[: len(drawn) // 2])
    train, select = (
        images.subset(np.flatnonzero(half)).evenly_spaced(LARGEST_HALF) for half in (first, ~first)
    )
    return OutlierHalves(train, select, tuple(classes))


def same_set(first: str, second: str) -> bool:
    """Return True if two sources name the same set, whatever classes they are restricted to."""
    return first.partition(":")[0] == second.partition(":")[0]


def add_discriminator(
    run_directory: Path, *, data_root: Path | None = None, threads: int | None = None
) -> RunRecord:
    """Train a discriminator on the embeddings of a finished run's best weights and add it to the run.

    Reads the known train and select parts and the run's outliers; the calibrate and test parts are not
    touched. Classes of the run's own set that serve as outliers are no longer unknown ones of the record:
    figures must not be measured on them.

    Args:
        run_directory: of a finished run.
        data_root: where named data sets are looked for.
        threads: of torch while the discriminator trains; None for one.

    Raises:
        StorageError, DataError: the run or its images cannot be read.
    """
    import torch

    from edgeosr.model.backbone import channels_last
    from edgeosr.model.classifier import load_classifier
    from edgeosr.training.augmentation import Normalise
    from edgeosr.training.epoch import embed
    from edgeosr.training.opengan import train_discriminator
    from edgeosr.training.opengan_settings import OpenGanSettings
    from edgeosr.training.synthetic_outliers import make_synthetic_outliers

    record = read_run(run_directory)
    data = data_record(record.data, str(Path(run_directory) / "run.json"))
    image_set, parts = reopen_parts(data, data_root)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = load_classifier(run_directory)
    channels_last(classifier, device)
    normalise = Normalise(record.preprocessing, device)

    def decoded(images: LabelledImages, what: str) -> Decoded:
        return decode_images(images, record.preprocessing, description=f"reading {what} images")

    def embeddings(pixels: NDArray[np.uint8], what: str) -> NDArray[np.float32]:
        return embed(classifier, pixels, normalise, f"embedding {what} images")

    known_train = embeddings(decoded(parts.train, "train").pixels, "train")
    select = decoded(parts.select, "select")
    source = record.training.get("outliers")
    outliers: dict[str, Any] | None = None
    open_train = None
    if source:
        halves = outlier_halves(source, parts, image_set, data_root)
        open_train = embeddings(decoded(halves.train, "outlier").pixels, "outlier")
        open_select = embeddings(decoded(halves.select, "outlier").pixels, "outlier")
        outliers = {
            "source": source,
            "classes": list(halves.classes),
            "train": len(open_train),
            "select": len(open_select),
        }
    else:
        synthetic = make_synthetic_outliers(
            select.pixels, parts.seed, SYNTHETIC_PER_KIND, labels=select.labels, kinds=_kinds(record)
        )
        open_select = embeddings(synthetic, "synthetic")
    settings = OpenGanSettings(
        lambda_g=record.training["lambda_g"], lambda_o=record.training["lambda_o"], seed=parts.seed
    )
    found = train_discriminator(
        known_train,
        embeddings(select.pixels, "select"),
        open_train=open_train,
        open_select=open_select,
        open_select_kind="real" if source else "synthetic",
        settings=settings,
        threads=threads,
    )
    description = {
        "slope": found.slope,
        "selected_by": found.selected_by,
        "best_epoch": found.best_epoch,
        "select_auroc": found.select_auroc,
        "history": [epoch.as_json() for epoch in found.history],
    }
    used = outliers is not None and same_set(outliers["source"], record.data["source"])
    seen = outliers["classes"] if outliers is not None and used else []
    unknown = [name for name in record.data["unknown"] if name not in seen]
    return write_discriminator(run_directory, found.layers, description, outliers, unknown=unknown)


def _kinds(record: RunRecord) -> "tuple[OutlierKind, ...]":
    """Return the kinds of synthetic outliers; turned images are known where the auxiliary trained on them."""
    from edgeosr.training.synthetic_outliers import OUTLIER_KINDS

    rotates = record.training["rotation_weight"] > 0 and not record.training["freeze"]
    return tuple(kind for kind in OUTLIER_KINDS if not (rotates and kind == "rotated"))
