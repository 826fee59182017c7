"""GTSRB in its official layout: folders of PPM files with a semicolon-separated list in each.

    Final_Training/Images/000NN/GT-000NN.csv     class NN; files 000TT_000FF.ppm: frame FF of track TT
    Final_Test/Images/*.ppm                      no tracks
    GT-final_test.csv                            true classes of the test images (an archive of its own)

Whole images are used, the border around the sign included; class names are the ids "0".."42".
"""

import csv
import re
from pathlib import Path

import numpy as np

from edgeosr.data.image_file import read_image_file
from edgeosr.data.labelled_images import LabelledImages
from edgeosr.errors import DataError
from edgeosr.files import require_readable

CLASSES = 43
_TRAIN = Path("Final_Training", "Images")
_TEST = Path("Final_Test", "Images")
_TRUTH = "GT-final_test.csv"
_TRACK = re.compile(r"(\d{5})_(\d{5})\.ppm", re.IGNORECASE)


def gtsrb_root(folder: Path) -> Path | None:
    """Return the folder that holds ``Final_Training``: this one or its ``GTSRB``; None if neither does."""
    return next((root for root in (folder, folder / "GTSRB") if (root / _TRAIN).is_dir()), None)


def read_gtsrb(root: Path) -> tuple[LabelledImages, LabelledImages | None]:
    """Open the official layout; ``root`` holds ``Final_Training``.

    Returns:
        (train, test or None if there is no Final_Test). Groups of train are tracks.

    Raises:
        DataError: a list is missing or damaged, or a file name has no track.
    """
    rows: list[tuple[int, int, Path]] = []
    for label in range(CLASSES):
        folder = root / _TRAIN / f"{label:05d}"
        rows += [
            (label, _track(file), folder / file) for file, _ in _listed(folder / f"GT-{label:05d}.csv", label)
        ]
    # Sorted by name, so that the frames of a track are in their order.
    rows.sort(key=lambda row: (row[0], row[2].name))
    pairs = np.array([row[:2] for row in rows], np.int64)
    groups = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    train = _labelled(root, [row[2] for row in rows], pairs[:, 0].copy(), groups)
    if not (root / _TEST).is_dir():
        return train, None
    listed = sorted(_listed(_truth(root), None))
    labels = np.array([label for _, label in listed], np.int64)
    files = [root / _TEST / file for file, _ in listed]
    return train, _labelled(root, files, labels, np.arange(len(files), dtype=np.int64))


def _labelled(
    root: Path,
    files: list[Path],
    labels: "np.typing.NDArray[np.int64]",
    groups: "np.typing.NDArray[np.int64]",
) -> LabelledImages:
    return LabelledImages(
        class_names=tuple(str(label) for label in range(CLASSES)),
        labels=labels,
        groups=groups,
        read=lambda i: read_image_file(files[i]),
        name_of=lambda i: files[i].relative_to(root).as_posix(),
    )


def _truth(root: Path) -> Path:
    # The archive with the true classes unpacks beside GTSRB/, not into it.
    for folder in (root / _TEST, root / _TEST.parent, root, root.parent):
        if (folder / _TRUTH).is_file():
            return folder / _TRUTH
    raise DataError(
        f"{root / _TEST} is there, but not {_TRUTH} with the true classes; "
        f"unpack GTSRB_Final_Test_GT.zip into {root}, or move Final_Test away"
    )


def _listed(path: Path, label: int | None) -> list[tuple[str, int]]:
    """Return the (file name, class) rows of a list; every class is ``label`` unless that is None."""
    try:
        require_readable(path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["Filename"], int(row["ClassId"])) for row in csv.DictReader(file, delimiter=";")]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; unpack GTSRB again") from error
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path} is not a GTSRB list; expected columns Filename and ClassId, separated by semicolons"
        ) from error
    for name, found in rows:
        if Path(name).name != name or not 0 <= found < CLASSES or label not in (None, found):
            raise DataError(f"{path} lists {name!r} of class {found}, which cannot be; unpack GTSRB again")
    if not rows:
        raise DataError(f"{path} lists no images; unpack GTSRB again")
    return rows


def _track(name: str) -> int:
    match = _TRACK.fullmatch(name)
    if match is None:
        raise DataError(f"GTSRB training file {name!r} has no track; expected a name like 00003_00012.ppm")
    return int(match[1])
