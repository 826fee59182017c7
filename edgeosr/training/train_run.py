"""The way into training. Importing it imports no torch, which takes seconds: what is wrong is told before."""

from pathlib import Path
from typing import Any

from edgeosr.arguments import path_from, require_kind
from edgeosr.data.catalogue import require_image_set
from edgeosr.errors import UsageError, require_extra
from edgeosr.run import RECORD, read_run
from edgeosr.training.fold_plan import require_possible_folds
from edgeosr.training.open_data import open_parts
from edgeosr.training.settings import CIRCUMSTANCES, TrainSettings, settings_from_json


def train_run(settings: TrainSettings) -> Path:
    """Train a classifier as told, discriminator included, and the folds that weigh its score parts.

        run = edgeosr.train_run(edgeosr.TrainSettings(data="photos/", epochs=20))

    A fold is the same recipe once more without some of the known classes; folds train in processes of their
    own, several side by side, each about as long as the run itself. ``folds=0`` trains none.

    Args:
        settings: what to train on and how.

    Returns:
        The run directory, for ``edgeosr.export_run``.

    Raises:
        UsageError, DataError: settings or images cannot be used; nothing is written.
        MissingDependencyError: the extra ``train`` is not installed.
        TrainingError: the loss is not finite, or a fold failed; what is finished stays, to be resumed.
        StorageError: the run cannot be written.
        KeyboardInterrupt: Ctrl-C; how to resume is printed, and the last finished epoch stays.
    """
    require_kind("settings", settings, TrainSettings)
    require_extra("torch", extra="train", purpose="training")
    for source in (settings.outliers, settings.watch_unknown):
        if source is not None:  # before all pictures are looked at
            require_image_set(source)
    require_possible_folds(settings, *open_parts(settings))
    from edgeosr.training.train import train

    return train(settings)


def resumed_settings(directory: Path | str, **circumstances: Any) -> TrainSettings:
    """Return the settings of the run in ``directory``, finished or not, with which ``train_run`` goes on.

    Args:
        directory: the run.
        circumstances: data_root, max_minutes and the like (``settings.CIRCUMSTANCES``).

    Raises:
        UsageError: there is no run to resume.
        DataError: it is damaged.
        MissingDependencyError: the extra ``train`` is not installed.
    """
    run = path_from("directory", directory)
    foreign = sorted(set(circumstances) - set(CIRCUMSTANCES))
    if foreign:
        raise UsageError(f"circumstances must be of {', '.join(CIRCUMSTANCES)}; got {', '.join(foreign)}")
    if (run / RECORD).exists():
        values = read_run(run).training
    else:
        require_extra("torch", extra="train", purpose="training")
        from edgeosr.training.checkpoint import read_checkpoint

        values = read_checkpoint(run).settings
    return settings_from_json(values, **{**circumstances, "out": run, "resume": True})
