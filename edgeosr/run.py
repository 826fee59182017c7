"""The run directory: what `edgeosr train` leaves behind and `edgeosr export` starts from.

runs/NAME/run.json           this module's RunRecord; written last, so its presence means "trained"
runs/NAME/weights.pt         torch state dict of the best epoch (loadable with weights_only=True)
runs/NAME/discriminator.npz  float32 arrays w0, b0, w1, b1, ... of the OpenGAN discriminator
runs/NAME/log.jsonl          one JSON line an epoch
runs/NAME/last.pt            resume state; removed when the run is finished
runs/NAME/folds/1, 2, ...    complete runs of the same recipe, each trained without some known classes
runs/NAME/folds/plan.json    which classes each fold leaves out, and how long it trains; or that none do
runs/NAME/demo.json          only in a run that `edgeosr demo` made: it may remove that one
"""

import itertools
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from edgeosr.bundle.checked_json import parse_json
from edgeosr.bundle.data import data_from_json
from edgeosr.bundle.made_of import DEMO
from edgeosr.bundle.preprocessing import preprocessing_from_json
from edgeosr.errors import DataError, StorageError, UsageError
from edgeosr.files import atomic_file, storage_errors, write_text
from edgeosr.preprocessing import Preprocessing
from edgeosr.printed import json_text
from edgeosr.scoring.limits import FILE_LIMITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECORD = "run.json"
WEIGHTS = "weights.pt"
DISCRIMINATOR = "discriminator.npz"
LOG = "log.jsonl"
LAST = "last.pt"
FOLDS = "folds"

FORMAT = 1
_LARGEST_RECORD = 16 * 2**20  # bytes; a record is a few kilobytes
_LARGEST_DISCRIMINATOR = 2**30  # bytes
_MODEL_FIELDS = ("arch", "input_size", "dimension", "head", "temperature", "pretrained")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one training run was and reached; plain values, ready for a manifest.

    Attributes:
        name: the run's name, normally its directory's.
        created: UTC time of writing, ISO 8601.
        version: the edgeosr version that trained it.
        data: source, title, known, unknown (class names), split, seed, fractions, per_group,
            test_fraction, digests (SHA-256 by part), sizes (``[images, groups]`` by part). ``unknown``
            leaves out the classes that served as outliers.
        outliers: source, and how many images trained and selected the discriminator; None without.
        model: arch, input_size (pixels), dimension (of z), head ("cosine" or "linear"), temperature,
            pretrained.
        preprocessing: from a frame to the network's input.
        training: the settings, machine paths left out.
        result: epochs, best_epoch (1-based), select_accuracy (0..1), seconds, images_per_second, device,
            precision; ``gpu_memory_bytes``, the most that torch held, of a run on a GPU.
        discriminator: layer sizes, how it was selected and its history; ``folds``: ``fold_identity`` of the
            folds that chose it, where some did. None without one.
    """

    name: str
    created: str
    version: str
    data: dict[str, Any]
    outliers: dict[str, Any] | None
    model: dict[str, Any]
    preprocessing: Preprocessing
    training: dict[str, Any]
    result: dict[str, Any]
    discriminator: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain values, with the format number first."""
        values = {key: value for key, value in asdict(self).items() if key != "preprocessing"}
        return {"format": FORMAT, **values, "preprocessing": self.preprocessing.as_json()}


def write_run(directory: Path, record: RunRecord) -> None:
    """Write ``run.json`` into the run directory atomically; raises StorageError."""
    write_text(Path(directory) / RECORD, json_text(record.as_json(), indent=2) + "\n")


def write_discriminator(
    directory: Path,
    layers: "tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]",
    description: dict[str, Any],
    outliers: dict[str, Any] | None,
    *,
    unknown: list[str],
) -> RunRecord:
    """Add a discriminator to a finished run.

    Args:
        directory: the run directory.
        layers: (weight float32 ``[out, in]``, bias float32 ``[out]``) in order.
        description: what ``RunRecord.discriminator`` shall say; ``layers`` (sizes) is added.
        outliers: what ``RunRecord.outliers`` shall say.
        unknown: what ``RunRecord.data["unknown"]`` shall say: the classes neither known nor outliers.

    Returns:
        the new record, already written.
    """
    import numpy as np

    record = read_run(directory)
    arrays: dict[str, Any] = {
        f"{key}{i}": np.asarray(array, np.float32)
        for i, layer in enumerate(layers)
        for key, array in zip("wb", layer, strict=True)
    }
    sizes = [int(layers[0][0].shape[1]), *(int(weight.shape[0]) for weight, _ in layers)]
    with atomic_file(Path(directory) / DISCRIMINATOR) as file:
        np.savez(file, **arrays)
    record = replace(
        record,
        discriminator={"layers": sizes, **description},
        outliers=outliers,
        data={**record.data, "unknown": unknown},
    )
    write_run(directory, record)
    return record


def read_discriminator(
    directory: Path,
) -> "tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] | None":
    """Return the discriminator's layers in order, or None if the run has none.

    Raises:
        DataError: the file is damaged or its layers do not fit together.
    """
    import numpy as np

    from edgeosr.scoring.npz import NpzError, npz_arrays

    path = Path(directory) / DISCRIMINATOR
    if not path.exists():
        return None
    try:
        with storage_errors("read", path):
            data = path.read_bytes()
        arrays = npz_arrays(data, largest=_LARGEST_DISCRIMINATOR)
    except NpzError as error:
        raise DataError(f"{path} is not a discriminator file ({error}); train the run again") from error
    layers: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    while f"w{len(layers)}" in arrays and f"b{len(layers)}" in arrays:
        i = len(layers)
        layers.append((np.asarray(arrays[f"w{i}"], np.float32), np.asarray(arrays[f"b{i}"], np.float32)))
    fits = bool(layers) and 2 * len(layers) == len(arrays)
    fits = fits and all(w.ndim == 2 and b.shape == w.shape[:1] for w, b in layers)
    fits = fits and all(a[0].shape[0] == b[0].shape[1] for a, b in itertools.pairwise(layers))
    if not fits:
        raise DataError(f"{path} does not hold layers w0, b0, w1, b1, ... that fit; train the run again")
    return tuple(layers)


def read_run(directory: Path) -> RunRecord:
    """Read and check a run's record.

    Raises:
        StorageError: there is no run here, or it cannot be read.
        DataError: the record is damaged, unfinished or from a newer edgeosr.
    """
    path = Path(directory) / RECORD
    if not path.exists():
        if (Path(directory) / LAST).exists():
            raise DataError(
                f"the run {directory} is not finished; run: edgeosr train --resume {quote(str(directory))}"
            )
        raise StorageError(f"{directory} is not a run: it has no {RECORD}; make one with: edgeosr train")
    with storage_errors("read", path):
        if path.stat().st_size > _LARGEST_RECORD:
            raise DataError(f"{path} is larger than {_LARGEST_RECORD >> 20} MiB: not a run record")
        then = "train the run again, or copy it again"
        document = parse_json(path.read_bytes(), str(path), DataError, then=then)
    found = document.field("format").integer(1, 2**31)
    if found > FORMAT:
        raise DataError(
            f"{path} was made by a newer edgeosr (format {found}, this one reads {FORMAT}); update edgeosr"
        )
    field = document.fields(("format", *RunRecord.__dataclass_fields__))
    data_from_json(field["data"])
    model = field["model"].fields(_MODEL_FIELDS)
    model["arch"].text()
    model["input_size"].integer(1, 4096)
    model["dimension"].integer(1, FILE_LIMITS.dimension)
    model["head"].choice(("cosine", "linear"))
    model["temperature"].number(0)
    for name in ("training", "result"):
        field[name].entries()
    for name in ("outliers", "discriminator"):
        if not field[name].is_null:
            field[name].entries()
    return RunRecord(
        name=field["name"].text(),
        created=field["created"].text(),
        version=field["version"].text(),
        data=field["data"].value,
        outliers=field["outliers"].value,
        model=field["model"].value,
        preprocessing=preprocessing_from_json(field["preprocessing"]),
        training=field["training"].value,
        result=field["result"].value,
        discriminator=field["discriminator"].value,
    )


def fold_directory(directory: Path, number: int) -> Path:
    """Return where a run's fold of this 1-based number lies."""
    return Path(directory) / FOLDS / str(number)


def fold_runs(directory: Path) -> list[Path]:
    """Return the directories of a run's finished folds, in order; each is a run itself."""
    numbers = sorted(
        int(record.parent.name)
        for record in (Path(directory) / FOLDS).glob(f"*/{RECORD}")
        if re.fullmatch("[1-9][0-9]{0,3}", record.parent.name)
    )
    return [fold_directory(directory, number) for number in numbers]


def fold_identity(record: RunRecord) -> dict[str, Any]:
    """Return what tells a run's fold from one that was trained in its place later."""
    return {"known": list(record.data["known"]), "created": record.created}


def is_fold(directory: Path) -> bool:
    """Tell whether a run is a fold of another one."""
    folder = Path(directory).absolute().parent
    return folder.name == FOLDS and (folder.parent / RECORD).exists()


def newest_run(root: Path = Path("runs")) -> Path:
    """Return the run directory under ``root`` whose record was written last; never a fold of a run.

    The demo's run, which no picture of the user's is in, is taken only where there is no other.

    Raises:
        UsageError: there is none.
    """
    runs = finished_runs(root)
    if not runs:
        raise UsageError(f"there is no finished run in {root}; make one with: edgeosr train --data PATH")
    return next((run for run in reversed(runs) if not (run / DEMO).exists()), runs[-1])


def finished_runs(root: Path = Path("runs")) -> list[Path]:
    """Return the finished runs under ``root``, no folds, the one whose record was written last at the end."""
    records = sorted(Path(root).glob(f"*/{RECORD}"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [record.parent for record in records]
