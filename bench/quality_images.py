"""Which images a bundle is evaluated on: its recorded test part, or others that the user names."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.made_here import was_made_here
from edgeosr.data.catalogue import is_named_set, open_image_set
from edgeosr.data.equal_files import MOST_FILES, equal_files
from edgeosr.data.grouping import grouped
from edgeosr.data.labelled_images import Image, LabelledImages
from edgeosr.data.parts import Parts, evaluation_images
from edgeosr.data.recorded import reopen_parts
from edgeosr.data.spelling import as_spelled
from edgeosr.errors import DataError, EdgeosrError, UsageError, suggestion
from edgeosr.printed import printable, say
from edgeosr.runtime.frames import require_size

NOT_COMPARED = "nobody looked whether the given images are copies of images that the bundle was made from"


def images_to_test(
    bundle: Bundle, settings: QualitySettings
) -> tuple[str, LabelledImages, str, LabelledImages]:
    """Return (title, images) of the known and of the unknown test images."""
    manifest, parts = bundle.manifest, None
    if settings.known is None or settings.unknown is None:
        _require_trusted(bundle, settings)
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
        image_set = grouped(open_image_set(settings.unknown, settings.data_root))
        _require_other_classes(bundle, settings.unknown, image_set.source, image_set.train.class_names)
        unknown_title, unknown = image_set.title, evaluation_images(image_set)
    if parts is None:
        parts = _parts_if_there(bundle, settings)
    if parts is not None:
        _tell_copies(settings, parts, known, unknown)
    return known_title, known, unknown_title, unknown


def _is_trusted(bundle: Bundle, settings: QualitySettings) -> bool:
    source = bundle.manifest.data.source
    return settings.trust_source or is_named_set(source) or was_made_here(bundle.manifest_data)


def _parts_if_there(bundle: Bundle, settings: QualitySettings) -> Parts | None:
    """Return the bundle's own images, to look for copies of them; None, and said, where they are not here."""
    why = "it was not made here by you; --trust-source opens them"
    if _is_trusted(bundle, settings):
        try:
            return reopen_parts(bundle.manifest.data, settings.data_root)[1]
        except EdgeosrError as error:
            why = str(error)
    say(f"note: {NOT_COMPARED} ({why})")
    return None


def _require_trusted(bundle: Bundle, settings: QualitySettings) -> None:
    """Refuse to open what a stranger's bundle names; sets that edgeosr knows by name are no paths of its."""
    source = bundle.manifest.data.source
    if _is_trusted(bundle, settings):
        return
    raise UsageError(
        f"{bundle.path} was not made here by you, and says that its images are {source!r}, which is not "
        "opened unasked; if that is so, add --trust-source, or give images with --known and --unknown"
    )


def _tell_copies(
    settings: QualitySettings, parts: Parts, known: LabelledImages, unknown: LabelledImages
) -> None:
    """Say which test images are copies of images that the bundle was made from: they flatter it."""
    made_from = (parts.train, parts.select, parts.calibrate)
    official = parts.grouping.test_copies if settings.known is None else 0
    copies = {
        "official test": official,
        "given known": 0 if settings.known is None else equal_files(known, made_from),
        "given unknown": 0 if settings.unknown is None else equal_files(unknown, made_from),
    }
    for kind, count in copies.items():
        if count is None:
            say(f"note: {NOT_COMPARED} (the {kind} images: more than {MOST_FILES:,} files)")
        elif count:
            say(
                f"note: {count:,} of the {kind} images are copies of images that the bundle was made from; "
                "figures measured on them say nothing: take them out"
            )


def of_size(images: LabelledImages, fixed: tuple[int, int] | None) -> LabelledImages:
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
    image_set = grouped(open_image_set(source, data_root))
    images = evaluation_images(image_set)
    images = replace(images, class_names=tuple(as_spelled(name, classes) for name in images.class_names))
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
