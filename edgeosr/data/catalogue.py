"""Open an image set from a path or a name."""

import os
from collections.abc import Sequence
from pathlib import Path

from edgeosr.data.cifar_binary import cifar_version, read_cifar
from edgeosr.data.digits import read_digits
from edgeosr.data.folder import read_folder
from edgeosr.data.gtsrb import gtsrb_root, read_gtsrb
from edgeosr.data.idx import DIGIT_NAMES, FASHION_NAMES, is_idx_folder, read_idx_folder
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.named_sets import NAMED_SETS, NamedSet, set_of_pack
from edgeosr.data.packs import read_pack
from edgeosr.data.parts import require_class
from edgeosr.data.spelling import as_spelled
from edgeosr.data.walk import unreadable_folder
from edgeosr.errors import DataError, UsageError, suggestion
from edgeosr.printed import printable, say
from edgeosr.user_path import path_from_user

DATA_VARIABLE = "EDGEOSR_DATA"
Opened = tuple[LabelledImages, LabelledImages | None]


def open_image_set(source: str, data_root: Path | None = None) -> ImageSet:
    """Open the image set that ``source`` names; images are decoded later, on demand.

    Args:
        source: a named set (``digits``, ``cifar10``, ...; write ``./digits`` for a folder of that name), the
            path of an image folder, of a pack (.npz), of a CIFAR binary archive or folder, of a folder of IDX
            files or of GTSRB in its official layout; ``SOURCE:class1,class2`` takes some classes only.
        data_root: where named sets are looked for; ``$EDGEOSR_DATA`` if None. The official archive or
            layout is preferred to a pack.

    Raises:
        UsageError: neither a path nor a name.
        DataError: the data are missing, damaged, or have no such class.
    """
    if data_root is not None:
        _data_root(data_root)  # looked at, also where nothing is looked for in it
    if _is_source(source):
        return _open(source, data_root)
    base, colon, classes = source.rpartition(":")
    if colon and _is_source(base):
        names = tuple(name.strip() for name in classes.split(",") if name.strip())
        return _restricted(_open(base, data_root), names, source)
    raise _no_source(source)


def require_image_set(source: str) -> None:
    """Raise a UsageError unless ``source`` is a name or a path that is there; what is in it shows later."""
    base, colon, _ = source.rpartition(":")
    if not _is_source(source) and not (colon and _is_source(base)):
        raise _no_source(source)


def is_named_set(source: str) -> bool:
    """Tell whether ``source`` means a set that edgeosr knows by name, or classes of one, and no path."""
    if source in NAMED_SETS:
        return True
    base, colon, _ = source.rpartition(":")
    return bool(colon) and base in NAMED_SETS and not _is_source(source)


def _no_source(source: str) -> UsageError:
    return UsageError(
        f"no file or folder {source!r}, and no set of that name{suggestion(source, NAMED_SETS) or ';'} "
        f"expected a folder with one folder a class, a pack (.npz), or one of {', '.join(NAMED_SETS)}"
    )


def _is_source(text: str) -> bool:
    if text in NAMED_SETS:
        return True
    try:
        return bool(text) and path_from_user(text).exists()
    except OSError:
        # A long list of classes behind a set's name is longer than any file name may be.
        return False


def _open(source: str, data_root: Path | None) -> ImageSet:
    if source in NAMED_SETS:
        if Path(source).exists():
            say(
                f"note: {source!r} is a set that edgeosr knows by name, and that is what is taken; for the "
                f"one that lies here write ./{source}"
            )
        return _open_named(NAMED_SETS[source], data_root)
    return _open_path(source, path_from_user(source))


def _restricted(image_set: ImageSet, names: Sequence[str], source: str) -> ImageSet:
    if not names:
        raise UsageError(f"{source!r} names no class after the colon; expected {source}CLASS1,CLASS2")
    names = [as_spelled(name, image_set.train.class_names) for name in names]
    for name in names:
        require_class(name, image_set.train.class_names, image_set.title)
    unique = tuple(dict.fromkeys(names))
    return ImageSet(
        source=source,
        title=f"{image_set.title}: {', '.join(unique)}",
        train=image_set.train.of_classes(unique),
        test=None if image_set.test is None else image_set.test.of_classes(unique),
        flips=image_set.flips,
    )


def _open_named(named: NamedSet, data_root: Path | None) -> ImageSet:
    if named.name == "digits":
        return _image_set(named.name, named.title, (read_digits(), None), named)
    root = _data_root(data_root)
    places = [] if root is None else [root / place for place in named.official]
    if named.system is not None:
        places.append(named.system)
    for place in places:
        opened = _official(place, named.name)
        if opened is not None and opened[0].name == named.name:
            return _image_set(named.name, named.title, opened[1], named)
    if root is not None and named.pack and (root / named.pack).is_file():
        opened_pack = read_pack(root / named.pack)
        return _image_set(named.name, f"{named.title} ({named.pack_note})", opened_pack, named)
    looked = (
        f"no data folder is given; set {DATA_VARIABLE} or --data-root to one that holds it"
        if root is None
        else f"not found in {root}"
    )
    raise DataError(f"{named.title} is not here: {looked}. To get it: {named.how}")


def _data_root(data_root: Path | None) -> Path | None:
    """Return the folder to look in, None if none is given."""
    given = str(data_root) if data_root is not None else os.environ.get(DATA_VARIABLE, "")
    if not given:
        return None
    root = path_from_user(given)
    if not root.is_dir():
        said_by = "--data-root" if data_root is not None else f"the environment variable {DATA_VARIABLE}"
        raise DataError(f"the data folder {root} of {said_by} does not exist; correct it or make the folder")
    return root


def _official(path: Path, expected: str = "") -> tuple[NamedSet, Opened] | None:
    """Open a set in its official layout, told by the files that are there; None if it is none.

    MNIST and Fashion-MNIST have the same file names: ``expected`` tells which it is, else the folder's name.
    """
    version = cifar_version(path) if path.exists() else None
    if version is not None:
        return NAMED_SETS[version], read_cifar(path)
    if not path.is_dir():
        return None
    root = gtsrb_root(path)
    if root is not None:
        return NAMED_SETS["gtsrb"], read_gtsrb(root)
    if is_idx_folder(path):
        hints = [expected] if expected else path.resolve().parts[-2:]
        fashion = any("fashion" in hint.casefold() for hint in hints)
        named = NAMED_SETS["fashion-mnist" if fashion else "mnist"]
        return named, read_idx_folder(path, FASHION_NAMES if fashion else DIGIT_NAMES, named.name)
    return None


def _open_path(source: str, path: Path) -> ImageSet:
    if path.exists() and not path.is_dir() and not path.is_file():
        raise UsageError(f"{path} is no folder and no regular file; expected a folder of images or a pack")
    try:
        official = _official(path)
    except OSError as error:  # of looking for its files, whose names the user never typed
        raise unreadable_folder(path, error) from error
    if official is not None:
        return _image_set(source, official[0].title, official[1], official[0])
    if path.is_dir():
        return _image_set(source, f"folder {printable(path.resolve().name)}", read_folder(path), None)
    if path.suffix.casefold() == ".npz":
        named = set_of_pack(path)
        title = f"{named.title} ({named.pack_note})" if named else f"{printable(path.stem)} (pack)"
        return _image_set(source, title, read_pack(path), named)
    raise UsageError(
        f"{path} is not an image set; expected a folder with one folder a class, a pack (.npz), "
        "or an archive cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"
    )


def _image_set(source: str, title: str, opened: Opened, named: NamedSet | None) -> ImageSet:
    train, test = opened
    for name in train.class_names:
        if printable(name) != name:
            raise DataError(
                f"the name of the class {printable(name)} of {title} holds control characters or is no text; "
                "rename its folder"
            )
    return ImageSet(
        source=source,
        title=title,
        train=train,
        test=test,
        flips=named is not None and named.flips,
        splits=() if named is None else named.splits_of(train.class_names),
    )
